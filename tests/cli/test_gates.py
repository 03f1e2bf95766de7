"""`winnrobust attack` in continuous integration: bounds, and what has changed since."""

import json

import pandas as pd
import pytest

from tests.cli.conftest import assert_one_line, winnrobust
from tests.cli.nets import FIRST, SECOND, write_images

ROWS = [(0.9, 0.4, 1), (0.8, 0.9, 1), (0.55, 0.9, 1), (0.1, 0.1, 0), (0.2, 0.6, 0)]
"""The first net is right about all, and loses the third at 0.1; the second, by the other pixel, is
wrong about the first and the last one."""
TYPED = ["--data", "images.npz", "--attacks", "fgsm", "--eps", "0.1", "--no-diagnose"]
TYPED += ["--device", "cpu"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npz", ROWS)
    return tmp_path


def attack(*typed, out="out"):
    return winnrobust("attack", *typed, *TYPED, "--out", out)


def test_a_bound_that_holds_ends_with_exit_code_1_and_says_so(folder):
    result = attack(*FIRST, "--fail-if", "robust_accuracy < 0.9 at linf:1/10")
    assert result.exit_code == 1, result.output
    assert "FAILED: robust_accuracy of first at linf:0.1 is 0.8000 < 0.9" in result.stdout
    assert result.stderr == ""
    assert json.loads((folder / "out" / "results.json").read_text())["status"] == "complete"


def test_a_bound_that_does_not_hold_ends_well(folder):
    bounds = ("robust_accuracy < 0.8 at linf:0.1", "clean_accuracy < 1")
    result = attack(*FIRST, "--fail-if", bounds[0], "--fail-if", bounds[1])
    assert result.exit_code == 0, result.output
    assert "passed: robust_accuracy of first at linf:0.1 is 0.8000, not < 0.8" in result.stdout
    assert "passed: clean_accuracy of first is 1.0000, not < 1\n" in result.stdout


@pytest.mark.parametrize("written", ["8e-1", "+0.8", "0.8 at linf:1e-1", ".8 at linf:1E-1"])
def test_numbers_are_written_as_anywhere(folder, written):
    metric = "robust_accuracy" if "at" in written else "clean_accuracy"
    result = attack(*FIRST, "--fail-if", f"{metric} < {written}")
    assert result.exit_code == 0, result.output
    assert f"passed: {metric} of first" in result.stdout
    assert result.stdout.rstrip().endswith("not < 0.8")


def test_every_model_must_pass_unless_one_is_named(folder):
    typed = (*FIRST, *SECOND, "--fail-if")
    result = attack(*typed, "clean_accuracy <= 0.6")
    assert result.exit_code == 1
    assert "FAILED: clean_accuracy of second is 0.6000 <= 0.6" in result.stdout
    assert "FAILED: clean_accuracy of first" not in result.stdout
    result = attack(*typed, "clean_accuracy <= 0.6 of first", out="other")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("bound", "part"),
    [
        ("robust_accuracy < 0.4", "must be written like 'robust_accuracy < 0.4 at linf:8/255'"),
        ("robust_accuracy < 40 at linf:0.1", "with a share from 0 to 1"),
        ("error > 0.4 at linf:0.1", "must be written like"),
        ("clean_accuracy < nan", "must be written like"),
        ("clean_accuracy < 0..4", "must be written like"),
        ("robust_accuracy < 0.4 at linf:0.1,0.2", "must be written like"),
        ("robust_accuracy < 0.4 at linf:1/0", "must be written like"),
        ("robust_accuracy < 0.4 at linf:8/255", "nothing is attacked there, only at linf:0.1"),
        ("clean_accuracy < 0.9 of nobody", "there is no model 'nobody'; there are first"),
        ("robust_accuracy < 0.4 at l2:0.1", "nothing is attacked there, only at linf:0.1"),
    ],
)
def test_bounds_that_make_no_sense_are_refused_before_the_attack(folder, bound, part):
    assert_one_line(attack(*FIRST, "--fail-if", bound), part)
    assert not (folder / "out").exists()


def test_what_has_changed_is_said_image_by_image(folder):
    assert attack(*FIRST, out="old").exit_code == 0
    now = ("--model", "first=tests.cli.nets:second")
    result = attack(*now, "--baseline", "old")
    assert result.exit_code == 0, result.output
    assert "Changes on the same 5 images" in result.stdout
    summary = pd.read_csv(folder / "out" / "changes.csv").fillna({"epsilon": 0})
    clean, fgsm = summary.itertuples()
    assert (clean.errors_before, clean.errors_now) == (0, 2)
    assert (clean.newly_wrong, clean.newly_right, clean.p_value) == (2, 0, 0.5)
    assert (fgsm.attack, fgsm.epsilon, fgsm.errors_before) == ("fgsm", 0.1, 1)
    assert (fgsm.newly_wrong, fgsm.newly_right) == (2, 1)
    images = pd.read_csv(folder / "out" / "changed-images.csv")
    changed = images[images.attack == "fgsm"].set_index("image")
    assert changed.now.to_dict() == {0: "wrong", 4: "wrong", 2: "right"}
    assert set(images[images.attack != "fgsm"].image) == {0, 4}


def test_a_single_model_may_have_another_name_and_several_may_not(folder):
    assert attack(*FIRST, out="old").exit_code == 0
    assert attack(*SECOND, "--baseline", "old").exit_code == 0
    both = ("--model", "a=tests.cli.nets:first", "--model", "b=tests.cli.nets:second")
    refused = attack(*both, "--baseline", "old", out="new")
    assert_one_line(refused, "has the models first, and now there are a, b", "the same name")
    assert not (folder / "new").exists()


def test_other_images_are_refused_before_the_attack(folder):
    assert attack(*FIRST, out="old").exit_code == 0
    assert_one_line(attack(*FIRST, "--baseline", "old", "--limit", 4), "is of other images")
    write_images(folder / "images.npz", [*ROWS[:4], (0.3, 0.6, 0)])
    assert_one_line(attack(*FIRST, "--baseline", "old"), "--baseline old is of other images (5 of")
    assert_one_line(attack(*FIRST, "--baseline", "none"), "none")
    assert not (folder / "out").exists()
