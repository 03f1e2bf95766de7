"""The public names: what there is, that each has an example that is true, that nothing is slow."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import winnrobust

README = Path(__file__).parents[1] / "README.md"
NAMES = [name for name in winnrobust.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_is_true(name):
    found = getattr(winnrobust, name)
    tests = doctest.DocTestFinder().find(found, name, globs={})
    examples = [test for test in tests if test.examples]
    assert examples, f"{name} has no example"
    runner = doctest.DocTestRunner()
    for test in examples:
        runner.run(test)
    assert runner.failures == 0


def test_the_list_of_public_names_is_whole():
    assert set(winnrobust.__all__) == {"__version__", *winnrobust._HOME_OF}
    assert set(winnrobust.__all__) <= set(dir(winnrobust))


def test_the_reference_has_every_public_name():
    page = (README.parent / "docs" / "api.md").read_text()
    listed = set(re.findall(r":: winnrobust\.(\w+)\n", page))
    assert listed == set(NAMES)


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
    assert len(test.examples) > 5
    runner = doctest.DocTestRunner(AnyNumbers())
    runner.run(test)
    assert runner.failures == 0
