"""`winnrobust attack --adapt` and `--bpda`: attacks that suit what hides a model's gradients."""

import json

import pytest

from tests.cli.conftest import assert_one_line, winnrobust, work_in
from tests.cli.nets import write_images
from winnrobust import read_outcomes
from winnrobust.cli.options import names
from winnrobust.evaluation import outcomes
from winnrobust.workflows import attacking

CODE = """
import torch
from torch import nn

class Front(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change
    def forward(self, images):
        return self.change(images)

class Score(nn.Module):
    def __init__(self):
        super().__init__()
        self.flat, self.answer = nn.Flatten(), nn.Linear(2, 2, bias=False)
        self.answer.weight.data.copy_(10 * nn.init.eye_(self.answer.weight.data))
    def forward(self, images):
        return self.answer(self.flat(images))

def behind(change):
    net = nn.Sequential()
    net.add_module("front", Front(change))
    net.add_module("score", Score())
    return net.eval()

def honest():
    return behind(lambda images: images)

def random():
    return behind(lambda images: images + 0.05 * torch.randn_like(images))

def rounded():
    return behind(lambda images: (20 * images).round() / 20)

def detached():
    return behind(lambda images: images.detach())
"""
ROWS = [(0.5 + 0.001 * k, 0.38, 0) for k in range(40)]
"""The first pixel is the brighter one, by less than 0.1 on each turns round."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    work_in(tmp_path, monkeypatch, "masked", CODE)
    write_images(tmp_path / "images.npz", ROWS)
    return tmp_path


def attack(*arguments):
    typed = ("--data", "images.npz", "--device", "cpu", "--out", "out", "--eps", 0.1)
    return winnrobust("attack", *typed, *arguments)


def errors():
    """Attack -> how many images it breaks."""
    outcomes = read_outcomes("out")
    attacked = outcomes[outcomes.source.notna()]
    return (~attacked.correct).groupby(attacked.attack, observed=True).sum().to_dict()


def test_adapt_adds_the_attack_that_suits_and_names_it(folder):
    result = attack("--model", "net=masked:rounded", "--attacks", "pgd", "--adapt")
    assert result.exit_code == 0, result.output
    (added,) = [line for line in result.output.splitlines() if line.startswith("adapting: ")]
    assert "bpda:auto:aa-fast" in added
    found = errors()
    assert found["bpda:auto:aa-fast"] > 35 > 10 > found["pgd"]
    stored = json.loads((folder / "out" / "results.json").read_text())
    assert {"pgd", "bpda:auto:aa-fast"} <= set(stored["settings"]["attacks"])
    diagnosis = json.loads((folder / "out" / "diagnosis.json").read_text())
    assert all(row["wrong"] > 35 and row["of"] == 40 for row in diagnosis)


def test_where_no_attacks_are_named_those_that_suit_are_added_unasked(folder):
    result = attack("--model", "net=masked:rounded")
    assert result.exit_code == 0, result.output
    assert "adapting: added: bpda:auto:aa-fast" in result.output
    assert errors()["bpda:auto:aa-fast"] > 35
    text = " ".join(result.output.split())
    assert "NEXT" not in text
    # The strongest error known is the headline.
    assert "net has a robust accuracy of 0.0 %" in text


@pytest.mark.parametrize("left_out", ["--no-adapt", "--no-diagnose"])
def test_what_is_added_unasked_can_be_left_out(folder, left_out):
    result = attack("--model", "net=masked:rounded", left_out)
    assert result.exit_code == 0, result.output
    assert "adapting" not in result.output
    assert set(errors()) == {"fgsm", "aa-fast"}


def test_an_evaluation_that_was_adapted_goes_on_without_another_diagnosis(folder, monkeypatch):
    arguments = ("--model", "net=masked:rounded", "--batch-size", 10)
    with monkeypatch.context() as patch:
        patch.setattr(attacking, "_with_first_figure", stop_after_a_batch)
        stopped = attack(*arguments)
    assert "10 images are done" in stopped.output
    result = attack(*arguments)
    assert result.exit_code == 0, result.output
    assert "looking for false robustness" not in result.output
    assert "going on after 10 of them" in result.output
    assert errors()["bpda:auto:aa-fast"] > 35


def stop_after_a_batch(progress, out):
    def update(done, total):
        if outcomes.parts(out):
            raise KeyboardInterrupt
        progress(done, total)

    return update


def test_a_sign_says_what_to_type_next(folder):
    result = attack("--model", "net=masked:rounded", "--attacks", "pgd")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("NEXT: net: ")]
    assert line.startswith("NEXT: net: type: --adapt, or --attacks ")
    assert "bpda:auto:aa-fast" in names(line.split('"')[1])


def test_what_is_to_be_typed_stays_in_one_line(folder):
    name = "a-model-with-a-rather-long-name-of-its-own"
    result = attack("--model", f"{name}=masked:random", "--attacks", "pgd", "--eot", 1)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("NEXT: ")]
    assert len(line) > 100
    assert {"pgd(steps=100, loss='margin')"} <= set(names(line.split('"')[1]))


def test_adapt_adds_nothing_to_an_honest_model(folder):
    result = attack("--model", "net=masked:honest", "--attacks", "pgd", "--adapt")
    assert result.exit_code == 0, result.output
    assert "adapting: added: nothing" in result.output
    assert set(errors()) == {"pgd"}


def test_adapt_leaves_out_what_a_model_without_gradients_cannot_take(folder):
    result = attack("--model", "net=masked:detached", "--attacks", "fgsm", "--adapt")
    assert result.exit_code == 0, result.output
    assert "adapting: no gradient in net; left out: fgsm" in result.output
    found = errors()
    assert "fgsm" not in found
    assert found["bpda:auto:aa-fast"] > 35


def test_bpda_through_a_layer_by_name(folder):
    typed = ("--model", "net=masked:rounded", "--attacks", "pgd,square", "--no-diagnose")
    result = attack(*typed, "--bpda", "front", "--bpda", "auto", "--queries", 5)
    assert result.exit_code == 0, result.output
    found = errors()
    assert set(found) == {"pgd", "square", "bpda:front:pgd", "bpda:auto:pgd"}
    assert found["bpda:front:pgd"] == found["bpda:auto:pgd"] > 35 > 10 > found["pgd"]


def test_what_bpda_cannot_do_is_one_line(folder):
    typed = ("--model", "net=masked:rounded", "--no-diagnose")
    result = attack(*typed, "--bpda", "frint")
    assert_one_line(result, "the model has no layer 'frint'; it has front, score")
    assert "attacking" not in result.output
    assert_one_line(attack(*typed, "--attacks", "square", "--bpda", "auto"), "there is none")


@pytest.mark.parametrize("threat", ["l2:0.1", "l1:0.2", "spatial:10", "patch:1"])
def test_the_default_attacks_need_not_fit_all_threats(folder, threat):
    typed = ("--data", "images.npz", "--device", "cpu", "--out", "out", "--threat", threat)
    result = winnrobust("attack", "--model", "net=masked:rounded", *typed)
    assert result.exit_code == 0, result.output
    norm = threat.partition(":")[0]
    assert "fgsm" not in errors()
    if norm in ("spatial", "patch"):  # what cannot be made in any of the threats is not named
        assert "adapting: added: nothing" in result.output
    assert "NEXT" not in result.output


def test_adapt_keeps_what_already_goes_straight_through(folder):
    result = attack("--model", "net=masked:detached", "--attacks", "bpda:front:pgd", "--adapt")
    assert result.exit_code == 0, result.output
    assert errors()["bpda:front:pgd"] > 35
