"""How many small changes of the code do the nearest tests notice? A sample of mutmut's mutants.

    pip install mutmut
    python -m benchmarks.mutation [--sample 400] [--least 10] [--seed 0] [PATTERN ...]

draws mutants of each file of the attacks, the statistics and the training methods in proportion to
what there is of them, at least some of each, and runs for each the test files that belong to the
file (`TESTS`), up to the first test that fails. With patterns such as "*.attacks.apgd.*", or whole
names of mutants, it draws from those that match. It prints what survives, and a table, after Ctrl-C
of what was tried until then.
"""

import contextlib
import difflib
import fnmatch
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.utils.format_utils import get_mutant_name, mangled_name_from_mutant_name

ROOT = Path(__file__).parents[1]
OF_ATTACKS = "test_base.py test_progress.py test_contract.py"
"""What every attack is tested by, besides its own tests."""
TESTS = {
    "attacks": {
        "__init__": "test_base.py test_transfer.py",
        "base": "test_base.py test_progress.py test_contract.py test_transfer.py",
        "checks": "test_checks.py test_base.py",
        "cw": "test_minimum_norm.py",
        "ddn": "test_minimum_norm.py",
        "deepfool": "test_minimum_norm.py",
        "draws": "test_draws.py test_norms.py test_square.py",
        "fmn": "test_minimum_norm.py",
        "gradients": f"test_gradients.py test_confident.py test_fgsm.py {OF_ATTACKS}",
        "norms": f"test_norms.py test_pgd.py {OF_ATTACKS}",
        "progress": f"test_progress.py test_random_models.py test_pgd.py {OF_ATTACKS}",
        "*": f"test_NAME.py {OF_ATTACKS}",
    },
    "evaluation": {
        "outcomes": "test_outcomes.py test_statistics.py test_resume.py",
        "paired": "test_paired.py test_statistics.py",
        "statistics": "test_statistics.py test_costs.py",
    },
    "runtime": {"intervals": "test_intervals.py"},
    "training/methods": {
        "*": "test_values.py test_losses.py test_adversarial_training.py test_winn.py"
        " test_negatives.py test_unsupervised.py test_settings.py"
    },
}
"""Of every room, the files that are changed and the files of tests, the nearest first."""
CPU_SECONDS = 300
"""A mutant that takes longer is stuck."""


class Mutant(NamedTuple):
    """A mutant's name, the file that it is in, the tests to run, and what it changes."""

    name: str
    file: Path
    tests: list[str]
    change: str


def sources() -> dict[Path, list[str]]:
    """Return the files to change and the tests of each."""
    found = {}
    for room, files in TESTS.items():
        for path in sorted(Path("winnrobust", room).glob("*.py")):
            if tests := files.get(path.stem, files.get("*")):
                names = tests.replace("NAME", path.stem).split()
                found[path] = [f"tests/{room}/{name}" for name in dict.fromkeys(names)]
    return found


def plant(file: Path, tests: list[str]) -> list[Mutant]:
    """Put all mutants of a file beside what they change; one is chosen by its name."""
    mutated = mutate_file_contents(str(file), file.read_text())
    file.write_text(mutated.code)
    return [
        Mutant(get_mutant_name(file, name), file, tests, change(mutated, name))
        for name in mutated.mutant_names
    ]


def change(mutated: MutatedFile, name: str) -> str:
    """Return the lines that a mutant changes, before and after."""
    lines, spans = mutated.code.splitlines(), mutated.line_span_by_function_name
    original = f"{mangled_name_from_mutant_name(name)}__mutmut_orig"
    before, after = (
        [line.replace(each, "") for line in lines[spans[each].start - 1 : spans[each].end]]
        for each in (original, name)
    )
    return "\n".join(list(difflib.unified_diff(before, after, lineterm="", n=0))[3:])


class Failures:
    """A plugin of pytest that writes down which test failed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.path.write_text(report.nodeid)


def run_tests(tests: Sequence[str], mutant: str | None, failure: Path) -> int:
    """Run tests in a process of their own, with a mutant; the exit code, or minus a signal."""
    child = os.fork()
    if child == 0:
        set_mutant_under_test(mutant)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        options = ["-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
        os._exit(pytest.main([*options, *tests], plugins=[Failures(failure)]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def status_of(exit_code: int) -> str:
    """Say what became of a mutant."""
    if exit_code == pytest.ExitCode.USAGE_ERROR:
        raise RuntimeError("there are no such tests")
    if exit_code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timed out"
    passed = pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED
    return "survived" if exit_code in passed else "killed"


def row(name: str, sizes: dict[Path, int], statuses: dict[Path, list[str]]) -> str:
    """Write a row of the table.

    The score weighs a file by all its mutants; the interval is Wilson's, at the number of mutants
    that says as much when they are drawn alike from all (L. Kish 1965).
    """
    from winnrobust.runtime.intervals import rate  # from the copy

    total = sum(sizes[file] for file in statuses)
    share = sum(
        sizes[file] / total * (1 - statuses[file].count("survived") / len(statuses[file]))
        for file in statuses
    )
    squares = sum((sizes[file] / total) ** 2 / len(statuses[file]) for file in statuses)
    score = rate(share / squares, 1 / squares)
    became = Counter(status for file in statuses for status in statuses[file])
    counts = [f"{became.total()} of {total}", *(became[each] for each in STATUSES)]
    percent = f"{score.value:.1%} ({score.low:.1%} to {score.high:.1%})"
    return f"| {' | '.join(map(str, [name, *counts, percent]))} |"


STATUSES = ("killed", "timed out", "survived")


def copy_package(folder: Path) -> None:
    """Copy what the tests need, and go there."""
    unneeded = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("winnrobust", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=unneeded)
    settings = '\n[tool.mutmut]\nsource_paths = ["winnrobust"]\n'
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings)
    os.chdir(folder)
    sys.path[0] = os.environ["PYTHONPATH"] = str(folder)


@click.command(help=__doc__)
@click.argument("patterns", nargs=-1)
@click.option("--sample", default=400, show_default=True, help="Mutants to draw, more or less.")
@click.option("--least", default=10, show_default=True, help="At least so many of a file.")
@click.option("--seed", default=0, show_default=True)
def main(patterns: tuple[str, ...], sample: int, least: int, seed: int) -> None:
    """Draw mutants, try them and print what became of them."""
    with tempfile.TemporaryDirectory() as folder:
        copy_package(Path(folder))
        planted = {file: plant(file, tests) for file, tests in sources().items()}
        chosen = {
            file: [
                mutant
                for mutant in mutants
                if any(fnmatch.fnmatchcase(mutant.name, each) for each in patterns or "*")
            ]
            for file, mutants in planted.items()
        }
        sizes = {file: len(mutants) for file, mutants in chosen.items()}
        share = sample / sum(sizes.values())
        drawn = [
            mutant
            for file, mutants in chosen.items()
            for mutant in random.Random(f"{seed} {file}").sample(
                mutants, min(len(mutants), max(least, round(share * len(mutants))))
            )
        ]
        random.Random(seed).shuffle(drawn)
        try_out(drawn, sizes, Path(folder, "failure"))


def try_out(drawn: list[Mutant], sizes: dict[Path, int], failure: Path) -> None:
    """Run the tests of each mutant, and print what became of them all."""
    # Tests are read once, and torch with them; a process for a mutant begins with all that.
    pytest.main(["--collect-only", "-qq", "-n", "0", *{test for m in drawn for test in m.tests}])
    statuses: dict[Path, list[str]] = defaultdict(list)
    killers = set()
    with contextlib.suppress(KeyboardInterrupt):  # they are in random order: some are a sample, too
        for number, mutant in enumerate(drawn, start=1):
            status = status_of(run_tests(mutant.tests, mutant.name, failure))
            statuses[mutant.file].append(status)
            if status == "killed" and failure.exists():
                killers.add(failure.read_text())
                failure.unlink()
            print(f"{number}/{len(drawn)} {status} {mutant.name}", flush=True)
            if status == "survived":
                print(mutant.change, flush=True)
    if killers and run_tests(sorted(killers), None, failure) != 0:
        raise SystemExit(f"without a mutant a test fails, too: {failure.read_text()}")
    print("\n| file or room | mutants | killed | timed out | survived | score (95 %) |")
    print("|---|---|---|---|---|---|")
    for room in TESTS:
        of_room = {f: each for f, each in statuses.items() if f.parent == Path("winnrobust", room)}
        if of_room:
            for file in sorted(of_room):
                print(row(file.name, sizes, {file: of_room[file]}))
            print(row(f"{room}/", sizes, of_room))
    print(row("all", sizes, statuses))


if __name__ == "__main__":
    main()
