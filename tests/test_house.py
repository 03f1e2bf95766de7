"""The house: which rooms there are, and that imports only go down the list."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import winnrobust

PACKAGE = Path(winnrobust.__file__).parent

ROOMS = (
    "cli", "workflows", "zoo", "reporting", "generation", "external", "evaluation", "training",
    "synthesis", "defenses", "attacks", "models", "data", "runtime",
)  # fmt: skip
"""From the top to the bottom."""

ALONE = {"models": ("runtime",), "evaluation": ("attacks", "models", "data", "runtime")}
"""Rooms that may import less than all below them."""


def imports_of(file: Path) -> Iterator[str]:
    """The full names of all modules of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> dict[tuple[str, str], str]:
    """Room -> room, with a file that makes it so."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        room = file.relative_to(PACKAGE).parts[0]
        for name in imports_of(file):
            package, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if package == "winnrobust" and other in ROOMS and other != room and room in ROOMS:
                found[room, other] = str(file)
    return found


def test_there_are_no_loose_files_and_no_unknown_rooms():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert entries - set(ROOMS) == {"__init__.py", "__main__.py", "py.typed"}
    assert len(ROOMS) <= 18
    assert set(ROOMS) <= entries


def test_arrows_only_go_down():
    height = {room: len(ROOMS) - number for number, room in enumerate(ROOMS)}
    up = [(*arrow, file) for arrow, file in arrows().items() if height[arrow[0]] < height[arrow[1]]]
    assert up == []


@pytest.mark.parametrize("room", ALONE)
def test_rooms_that_others_build_on_import_little(room):
    assert {other for one, other in arrows() if one == room} <= set(ALONE[room])
