"""The public names: what there is, that each has an example that is true, that nothing is slow."""

import doctest
import pkgutil
import re
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from types import FunctionType

import pytest

import winnrobust

README = Path(__file__).parents[1] / "README.md"
NAMES = [name for name in winnrobust.__all__ if name != "__version__"]
DIRECTIVE = re.compile(r"\.\. auto(?:function|class|exception):: winnrobust\.([\w.]+)\n")


def listed(page):
    """Return the names that a page of the reference documents."""
    return DIRECTIVE.findall((README.parent / "docs" / page).read_text(encoding="utf-8"))


MODULES = listed("api-attacks.md") + listed("api-defenses.md")
INSIDE = [name for name in listed("api.md") if "." in name]


def members(found):
    """Return what people call or read of a public class."""
    kinds = (property, cached_property, FunctionType)
    own = vars(found).items() if isinstance(found, type) else ()
    return [name for name, each in own if isinstance(each, kinds) and name[0] != "_"]


@pytest.mark.parametrize("name", [*NAMES, *MODULES, *INSIDE])
def test_every_public_name_has_an_example_that_is_true(name):
    found = pkgutil.resolve_name(f"winnrobust.{name}")
    named = members(found) if name in NAMES else []
    places = {name: found} | {f"{name}.{each}": getattr(found, each) for each in named}
    parser, runner, known = doctest.DocTestParser(), doctest.DocTestRunner(), {}
    for place, each in places.items():
        test = parser.get_doctest(each.__doc__ or "", known, place, None, None)
        assert test.examples, f"{place} has no example"
        runner.run(test, clear_globs=False)
        known.update(test.globs)  # those of members go on from their class's
    assert runner.failures == 0


def test_the_list_of_public_names_is_whole():
    assert set(winnrobust.__all__) == {"__version__", *winnrobust._HOME_OF}
    assert set(winnrobust.__all__) <= set(dir(winnrobust))


def test_the_reference_has_every_public_name():
    assert {name for name in listed("api.md") if "." not in name} == set(NAMES)


def test_the_reference_has_every_attack():
    page = (README.parent / "docs" / "api-attacks.md").read_text(encoding="utf-8")
    assert re.findall(r"^([\w-]+) +l", page, re.MULTILINE) == list(winnrobust.attacks.ATTACKS)
    named = {name.removeprefix("attacks.") for name in listed("api-attacks.md")}
    assert named <= set(winnrobust.attacks.__all__)


def test_importing_winnrobust_imports_no_torch():
    code = "import sys, winnrobust; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_attacks_are_there_without_another_import():
    code = "import winnrobust; print(winnrobust.attacks.PGD(steps=3).name)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "pgd(steps=3)"


class AnyNumbers(doctest.OutputChecker):
    """Compares what is printed but for its numbers, which another processor may round otherwise."""

    def check_output(self, want, got, flags):
        return self.plain(want) == self.plain(got)

    @staticmethod
    def plain(text):
        return " ".join(re.sub(r"\s*\d+(\.\d+)?,?", " N", text).split())


@pytest.mark.slow
def test_the_readmes_session_is_true_but_for_numbers():
    text = README.read_text()
    test = doctest.DocTestParser().get_doctest(text, {}, "README", str(README), 0)
    assert len(test.examples) == 5  # five lines, as its readers were promised
    runner = doctest.DocTestRunner(AnyNumbers())
    runner.run(test)
    assert runner.failures == 0
