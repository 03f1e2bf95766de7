"""`--precision` and `--until-decided` as typed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import winnrobust as package
from tests.cli.conftest import assert_one_line, winnrobust
from tests.cli.nets import FIRST, SECOND, write_images
from winnrobust.evaluation.outcomes import finished

N = 600


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with images.npz in it: what `second` looks at is nearer to the edge."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, N)
    sides = 2 * labels - 1
    pixels = 0.5 + sides * rng.uniform(0.06, 0.5, N), 0.5 + sides * rng.uniform(0.01, 0.2, N)
    write_images(tmp_path / "images.npz", list(zip(*pixels, labels, strict=True)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


TYPED = ("--data", "images.npz", "--attacks", "fgsm", "--eps", "0.1", "--no-diagnose")
TYPED += ("--device", "cpu", "--out", "out")


def attack(*arguments):
    return winnrobust("attack", *TYPED, *arguments)


def test_until_decided_says_who_and_after_how_many(folder):
    result = attack(*FIRST, *SECOND, "--until-decided")
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "first is more robust than second" in text
    n = json.loads((folder / "out" / "results.json").read_text())["n"]
    assert n < N / 2
    assert f"{n} of {N} images were attacked, drawn at random" in text
    assert "always-valid" in text
    page = winnrobust("report", "out", "--out", "page")
    assert page.exit_code == 0, page.output
    assert (
        "What is settled about the worst case of all 600 images"
        in (folder / "page" / "report.md").read_text()
    )


def test_false_robustness_is_looked_for_on_no_more_images_than_the_question_needs(folder):
    typed = [each for each in TYPED if each != "--no-diagnose"]
    result = winnrobust("attack", *typed, *FIRST, *SECOND, "--until-decided")
    assert result.exit_code == 0, result.output
    n = json.loads((folder / "out" / "results.json").read_text())["n"]
    assert n < 256
    assert f"looking for false robustness on {max(n, 64)} of them" in result.output


def test_of_all_images_intervals_are_as_everywhere(folder):
    assert attack(*FIRST, "--limit", 40).exit_code == 0
    whole = package.read_evaluation(folder / "out")
    sampled = winnrobust("attack", *TYPED[:-1], "drawn", *FIRST, "--limit", 40, "--precision", 1)
    assert sampled.exit_code == 0, sampled.output
    text = " ".join(sampled.output.split())
    assert "40 of 40 images were attacked" in text
    assert "without that being enough to know every error to within 1 %" in text
    assert "always-valid" not in text
    drawn = package.read_evaluation(folder / "drawn")
    columns = ["errors", "error", "error_low", "error_high"]
    assert drawn.results.summary.errors[columns].equals(whole.results.summary.errors[columns])


def test_without_a_threat_the_first_of_the_defaults_is_decided(folder):
    typed = ("--data", "images.npz", "--attacks", "pgd", "--device", "cpu", "--no-diagnose")
    result = winnrobust("attack", *typed, *FIRST, *SECOND, "--until-decided", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "linf:8/255 (as CIFAR-10); --threat chooses others" in result.output
    assert set(package.read_outcomes("out").norm.dropna()) == {"linf"}


def test_one_model_is_refused_before_it_is_diagnosed(folder):
    typed = ("--data", "images.npz", "--eps", "0.1", "--until-decided", "--device", "cpu")
    result = winnrobust("attack", *typed, *FIRST, "--out", "out")
    assert_one_line(result, "until_decided compares models, and there is only first")
    assert "looking for false robustness" not in result.output


def test_precision_is_in_points(folder):
    result = attack(*FIRST, "--precision", "6", "--save-examples", "3")
    assert result.exit_code == 0, result.output
    found = package.read_evaluation(folder / "out")
    assert (found.worst_case.high - found.worst_case.robust_accuracy).max() <= 0.06
    assert found.results.n < N
    saved = sorted(path.name[:6] for path in (folder / "out" / "saved").glob("*/*.png"))
    rows = found.outcomes
    broken = set(rows[rows.attack.notna() & ~rows.correct].image)
    broken -= set(rows[rows.attack.isna() & ~rows.correct].image)
    first = [number for number in package_order(found) if number in broken][:3]
    assert saved == sorted(f"{number:06d}" for number in first)


def package_order(found) -> list[int]:
    from winnrobust.data.streams import random_order

    order = random_order(N, 0).tolist()
    assert sorted(order[: found.results.n]) == sorted(set(found.outcomes.image))
    return order


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--until-decided",), ("compares models", "only first")),
        (("--precision", "2", "--baseline", "old"), ("--baseline", "leave out --precision")),
    ],
)
def test_what_makes_no_sense_is_one_line(folder, arguments, parts):
    if "--baseline" in arguments:
        typed = [each if each != "out" else "old" for each in TYPED]
        assert winnrobust("attack", *typed, *FIRST).exit_code == 0
    assert_one_line(attack(*FIRST, *arguments), *parts)
    assert not (folder / "out").exists()


@pytest.mark.parametrize("points", ["0", "50", "-1", "x"])
def test_points_that_are_none(folder, points):
    result = attack(*FIRST, "--precision", points)
    assert result.exit_code == 2
    assert "--precision" in result.output


@pytest.mark.slow
def test_a_killed_one_goes_on_and_ends_as_an_undisturbed_one(folder):
    typed = [*TYPED, *FIRST, *SECOND, "--attacks", "pgd", "--precision", "4", "--batch-size", "8"]
    path = os.pathsep.join([str(package.__path__[0] + "/.."), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "winnrobust", "attack", *typed],
        env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while len(finished(folder / "out")) < 5 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    if not (folder / "out" / "table.md").exists():
        assert winnrobust("attack", *typed).exit_code == 0
    other = [each if each != "out" else "undisturbed" for each in typed]
    assert winnrobust("attack", *other).exit_code == 0
    found, expected = (package.read_evaluation(each) for each in ("out", "undisturbed"))
    assert found.results.n == expected.results.n < N
    assert found.transfer.equals(expected.transfer)
    assert found.worst_case.equals(expected.worst_case)
