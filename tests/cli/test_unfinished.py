"""Going on with an interrupted evaluation: with the same one only, whatever lies there."""

import json
import shutil
import sys

import pytest

from tests.cli.conftest import SMALL, assert_one_line, winnrobust
from winnrobust.evaluation import harness

CODE = """
import torch

def fixed(seed):
    torch.manual_seed(seed)
    return drawn()

def drawn():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))

def one():
    return fixed(1)

def two():
    return fixed(2)
"""
ONE, TWO = ("--model", "one=nets_of_mine:one"), ("--model", "two=nets_of_mine:two")
IMAGES = ("--dataset", "mnist5k", "--limit", 30, "--batch-size", 10)
OTHER_MODELS = "an interrupted evaluation with other models"


def stopped_after(batches):
    """A stand-in for the harness's `_judge_batch` that is interrupted after so many."""
    judge = harness._judge_batch

    def interrupted(*batch):
        nonlocal batches
        if not batches:
            raise KeyboardInterrupt
        batches -= 1
        return judge(*batch)

    return interrupted


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with nets_of_mine.py in it."""
    (tmp_path / "nets_of_mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nets_of_mine", raising=False)
    return tmp_path


@pytest.fixture
def interrupt(folder, monkeypatch):
    """Types an attack, which is interrupted when 20 images are done; returns what that left."""

    def type_(*arguments):
        with monkeypatch.context() as patched:
            patched.setattr(harness, "_judge_batch", stopped_after(2))
            result = attack(*arguments)
        assert result.exit_code == 130, result.output
        return folder / ".out.unfinished"

    return type_


def attack(*arguments, out="out"):
    return winnrobust("attack", *arguments, *IMAGES, "--no-diagnose", "--out", out)


def test_models_in_another_order_are_other_models(interrupt):
    """Batches hold the models by their place."""
    interrupt(*ONE, *TWO)
    assert_one_line(attack(*TWO, *ONE), OTHER_MODELS)
    assert attack(*ONE, *TWO).exit_code == 0


def test_a_factory_that_draws_its_weights_makes_another_model_each_time(interrupt):
    drawn = ("--model", "drawn=nets_of_mine:drawn")
    interrupt(*drawn)
    assert_one_line(attack(*drawn), OTHER_MODELS)


@pytest.mark.parametrize("content", ["{", "[]", '{"what": {}, "sessions": []}'])
def test_if_nobody_knows_what_was_evaluated_it_says_so(interrupt, content):
    left = interrupt(*ONE)
    (left / "evaluation.json").write_text(content)
    assert_one_line(attack(*ONE), "evaluation.json is damaged", "remove the folder")
    assert len(list(left.glob("*.npz"))) == 2


def test_batches_of_nobody_knows_what_do_not_count(interrupt, folder):
    left = interrupt(*ONE)
    (left / "evaluation.json").unlink()
    assert attack(*ONE, "--eps", "0.3").exit_code == 0
    assert attack(*ONE, "--eps", "0.3", out="undisturbed").exit_code == 0
    assert (folder / "out/results.csv").read_text() == (
        folder / "undisturbed/results.csv"
    ).read_text()


@pytest.mark.parametrize("content", ["", '[{"model": "one"}]'])
def test_a_damaged_diagnosis_is_named(interrupt, content):
    left = interrupt(*ONE)
    (left / "diagnosis.json").write_text(content)
    result = winnrobust("attack", *ONE, *IMAGES, "--out", "out")
    assert_one_line(result, "diagnosis.json is damaged; remove it")


def test_going_on_with_another_version_is_noted(interrupt):
    left = interrupt(*ONE, "--time-budget", "inf")
    stored = json.loads((left / "evaluation.json").read_text())
    stored["sessions"][0]["commit"] = "0123abc"
    (left / "evaluation.json").write_text(json.dumps(stored))
    result = attack(*ONE, "--time-budget", "inf")
    assert result.exit_code == 0, result.output
    assert "another version of winnrobust (commit 0123abc)" in result.output


def test_a_diagnosis_alone_is_kept_too(folder, monkeypatch):
    monkeypatch.setattr(harness, "_judge_batch", stopped_after(0))
    result = winnrobust("attack", *ONE, "--dataset", "mnist5k", "--limit", 2, "--out", "out")
    assert result.exit_code == 130
    assert "the diagnosis is done: the same command with --out out goes on" in result.output
    assert (folder / ".out.unfinished" / "diagnosis.json").exists()


@pytest.mark.parametrize("out", [".", ".."])
def test_results_need_a_name(folder, out):
    assert_one_line(attack(*ONE, out=out), "choose another --out")


def test_an_interrupted_comparison_keeps_what_is_attacked(runs, tmp_path, monkeypatch):
    for method in ("baseline", "winn"):
        shutil.copytree(runs / method, tmp_path / "runs" / f"mnist5k-vanilla-{method}-seed0")
    out = tmp_path / "report"
    arguments = ("compare", *SMALL[1:], "--no-diagnose", "--runs", tmp_path / "runs", "--out", out)
    monkeypatch.setattr("winnrobust.evaluation.harness.fastest_batch_size", lambda *_: 400)
    with monkeypatch.context() as patched:
        patched.setattr(harness, "_judge_batch", stopped_after(1))
        result = winnrobust(*arguments)
    assert result.exit_code == 130
    assert f"400 images are done: the same command with --out {out} goes on" in result.stdout
    result = winnrobust(*arguments)
    assert result.exit_code == 0, result.output
    assert "going on after 400 of them" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "report"}
