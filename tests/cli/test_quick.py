"""Help and lists answer at once: they import nothing that takes seconds, and are still right."""

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from tests.cli.conftest import winnrobust
from winnrobust import read_outcomes
from winnrobust.attacks import ATTACKS, CORRUPTIONS, find
from winnrobust.cli import COMMANDS, choices
from winnrobust.data.datasets import DATASETS
from winnrobust.evaluation.targets import TARGETS
from winnrobust.generation.detection import STEPS
from winnrobust.generation.sampling import NOISE
from winnrobust.generation.textures import EMBEDDED
from winnrobust.models import ARCHITECTURES
from winnrobust.reporting import FORMATS
from winnrobust.reporting.reproduction import BUDGETS
from winnrobust.reporting.reproduction import TARGETS as TABLES
from winnrobust.runtime.progress import show_progress
from winnrobust.training.methods import INITIAL, METHODS, UNSUPERVISED

SLOW = ("torch", "torchvision", "scipy", "matplotlib", "pandas", "pyarrow", "foolbox", "numpy")
"""What takes a tenth of a second or more to import."""

CODE = """
import sys
from winnrobust.cli import main
try:
    main(sys.argv[1:], prog_name="winnrobust")
except SystemExit as stop:
    assert not stop.code, stop.code
print("imported:", *(name for name in {slow} if name in sys.modules), file=sys.stderr)
"""


def imported(*typed: str) -> list[str]:
    """Run a command in a process of its own; return which slow modules it imported."""
    result = subprocess.run(
        [sys.executable, "-c", CODE.format(slow=SLOW), *typed],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(result.stdout) > 100
    return result.stderr.rpartition("imported:")[2].split()


@pytest.mark.parametrize("typed", [["--help"], ["attacks"], ["models"]], ids=" ".join)
def test_lists_import_nothing_slow(typed):
    assert imported(*typed) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_imports_nothing_slow(command):
    assert imported(command, "--help") == []


def test_what_help_names_is_what_there_is():
    assert tuple(DATASETS) == choices.DATASETS
    assert tuple(ARCHITECTURES) == choices.ARCHITECTURES
    assert tuple(dict.fromkeys([*METHODS, *UNSUPERVISED])) == choices.METHODS
    assert tuple(INITIAL) == choices.INITIAL
    assert tuple(EMBEDDED) == choices.TEXTURES
    assert tuple(TARGETS) == choices.TARGETS
    assert choices.NOISE == NOISE
    assert tuple(FORMATS) == choices.FORMATS
    assert choices.DETECTION_STEPS == STEPS
    assert tuple(TABLES) == choices.TABLES
    assert {name: budget.summary for name, budget in BUDGETS.items()} == choices.BUDGETS


def test_the_list_of_attacks_is_that_of_the_attacks():
    rows = []
    for attack in (*ATTACKS.values(), *map(find, ("spatial", "patch", "transfer:NAME"))):
        can = {"targeted": attack.targeted, "distances": attack.minimum_norm}
        also = ", ".join(word for word, does in can.items() if does)
        norms = ", ".join(attack.norms)
        rows.append((attack.name, norms, attack.access, attack.cost, also, attack.source))
    assert [tuple(row) for row in choices.ATTACKS] == rows
    assert tuple(attack.name for attack in CORRUPTIONS) == choices.CORRUPTIONS


def test_a_run_imports_no_foolbox_and_needs_no_git(tmp_path):
    typed = ["attack", "zoo:mnist-vanilla-baseline", "--dataset", "mnist5k", "--limit", "4",
             "--no-diagnose", "--device", "cpu", "--out", str(tmp_path / "out"),
             "--attacks", "deepfool,ddn,fmn,cw-l2", "--steps", "2"]  # fmt: skip
    code = CODE.format(slow=("foolbox", "git"))
    environment = dict(os.environ, PATH="/nonexistent")
    result = subprocess.run(
        [sys.executable, "-c", code, *typed],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.rpartition("imported:")[2].split() == []


def test_a_first_figure_comes_early_and_the_rest_is_estimated(tmp_path, monkeypatch):
    # Four seconds to the first batch, most of them preparation, and one for the next.
    clock = SimpleNamespace(monotonic=iter([0.0, 4.0, 5.0]).__next__)
    monkeypatch.setattr("winnrobust.workflows.attacking.time", clock)
    typed = ["attack", "zoo:mnist-vanilla-baseline", "--dataset", "mnist5k", "--limit", "80",
             "--batch-size", "16", "--no-diagnose", "--device", "cpu", "--eps", "0.1,0.2",
             "--attacks", "fgsm", "--out", str(tmp_path / "out")]  # fmt: skip
    result = winnrobust(*typed)
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("first "))
    found = read_outcomes(tmp_path / "out").query("image < 16")
    shares = [
        f"{found[found.epsilon.fillna(0) == epsilon].correct.mean():.0%} ({how})"
        for epsilon, how in ((0, "no attack"), (0.1, "fgsm, Linf 0.1"), (0.2, "fgsm, Linf 0.2"))
    ]
    told = f"first 16 images: baseline is right about {', '.join(shares)}; the rest takes about 2 s"
    assert line == told


def test_progress_in_a_pipe_is_plain_lines_now_and_then(capfd, monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("winnrobust.runtime.progress.time.monotonic", lambda: float(next(clock)))
    with show_progress("attack", "image") as update:
        for done in range(1, 101):
            update(done, 100)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "attack: 3% done, about 6 min left"
    assert 8 < len(lines) < 16
    assert all("done, about" in line for line in lines)


def test_long_work_says_that_it_goes_on_while_nothing_is_reported(capfd, monkeypatch):
    """A single attack of the first batch can take minutes."""
    monkeypatch.setattr("winnrobust.runtime.progress.OFTEN", 0.02)
    monkeypatch.setattr("winnrobust.runtime.progress.BEAT", 0.005)
    seen = ""
    with show_progress("attack", "image") as update:
        until = time.monotonic() + 30
        while "attack: still working after 0 s\n" not in seen and time.monotonic() < until:
            seen += capfd.readouterr().err
        update(50, 100)
        while "attack: 50% done, about " not in seen and time.monotonic() < until:
            seen += capfd.readouterr().err
    assert time.monotonic() < until
    threads = {thread.name for thread in threading.enumerate()}
    assert not any("_beat" in name for name in threads)
