"""Which class of a model a folder of images is: by its number, or by a list of names."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import read_json, read_text

BY_NAME = "by-name"
"""In place of a list: folders are numbered in the order of their names, as torchvision does."""

WORDNET = re.compile(r"n\d{8}")

PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""What folders are called that hold folders of classes themselves."""

NAMED = 5
"""How many folders an error names."""


def read_classes(path: Path) -> list[str]:
    """Read the names of a model's classes, in the order of its logits.

    Args:
        path: text with a line for each class, or JSON: a list, or a dict from number to name or to
            a list of names. A name may be several, with commas between; a WordNet id may stand
            before them: "n01440764 tench, Tinca tinca".

    Raises:
        InputError: it is something else.
    """
    if path.suffix.lower() != ".json":
        lines = [line.strip() for line in read_text(path).splitlines()]
        while lines and not lines[-1]:
            lines.pop()
        if not lines:
            raise InputError(f"{path} holds no names of classes; it must have a line for each")
        return lines
    found = read_json(path)
    if isinstance(found, dict):
        if sorted(found) != sorted(map(str, range(len(found)))):
            raise InputError(f"{path} must have the numbers of all classes from 0 on as its keys")
        found = [found[str(number)] for number in range(len(found))]
    if not isinstance(found, list) or not found:
        raise InputError(f"{path} must be a list of names, or a dict from number to name")
    return [", ".join(map(str, each)) if isinstance(each, list) else str(each) for each in found]


def number_folders(
    folders: Sequence[str], classes: Sequence[str] | str | None, own: Sequence[str] = ()
) -> list[int]:
    """Return the number of the class that each folder holds; nothing is guessed.

    Args:
        folders: their names, in the order of the names.
        classes: the names of the model's classes in the order of its logits; `BY_NAME`; or None if
            nothing was said. A folder whose name is a number, and no class's name, is that class.
        own: the names that the model itself knows, for other folders.

    Raises:
        InputError: it is not clear; the message says which folder is not known, and what to do.

    >>> number_folders(["2", "10"], None)
    [2, 10]
    >>> number_folders(["emu", "great_white"], ["great white, Carcharodon", "emu"])
    [1, 0]
    """
    if len(folders) > 1 and set(map(_plain, folders)) <= PARTS:
        raise InputError(
            f"folders are called {_some(folders)}, which are parts of a data set, not classes; give"
            f" one of them, such as --data .../{folders[0]}"
        )
    if classes == BY_NAME:
        return list(range(len(folders)))
    if classes is None and all(name.isdecimal() for name in folders):
        return [int(name) for name in folders]
    listed = own if classes is None else classes
    if not listed:
        raise InputError(
            f"the folders {_some(folders)} do not say which class they are; number them in the"
            f" order of their names, as torchvision's ImageFolder does, with --classes {BY_NAME}"
            f" (in Python classes='{BY_NAME}'), or give the model's class names, a line each in the"
            " order of its logits, with --classes FILE (classes=[...]), or call the folders 0, 1,"
            " 2, ..."
        )
    known: dict[str, set[int]] = {}
    for number, line in enumerate(listed):
        for name in _names(line):
            known.setdefault(name, set()).add(number)
    called = {name: {int(name)} for name in folders if name.isdecimal() and len(name) < 9}
    found = [known.get(_plain(name)) or called.get(name, set()) for name in folders]
    where = "names that were given" if classes is not None else "names that the model brings along"
    missing = [name for name, numbers in zip(folders, found, strict=True) if not numbers]
    if missing:
        close = get_close_matches(_plain(missing[0]), known, 3)
        raise InputError(
            f"no class is called {_some(missing)} in the {len(listed)} {where}"
            f"{f' ({missing[0]} is like {_some(close)})' if close else ''}; name the folders"
            " like that, or by the numbers of the classes"
        )
    for name, numbers in zip(folders, found, strict=True):
        if len(numbers) > 1:
            told = ", ".join(f"{number} ({listed[number]})" for number in sorted(numbers))
            raise InputError(
                f"{len(numbers)} classes are called {name} in the {len(listed)} {where}: {told};"
                f" rename the folder {name} to the number of the one that you mean"
            )
    return [min(numbers) for numbers in found]


def _names(line: str) -> set[str]:
    """All names in a line, comparable."""
    first, _, rest = line.strip().partition(" ")
    parts = [line, *line.split(",")]
    if WORDNET.fullmatch(first.rstrip(",")):
        parts += [first.rstrip(","), rest, *rest.split(",")]
    return {_plain(part) for part in parts if part.strip()}


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
