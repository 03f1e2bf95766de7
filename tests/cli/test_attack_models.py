"""`winnrobust attack` on models of every origin, as a user types it."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from tests.cli.conftest import assert_one_line, winnrobust, work_in
from winnrobust import read_outcomes

CODE = """
import torch
from torch import nn


class Bright(nn.Module):
    def __init__(self, scale=1.0, answer="plain"):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.answer = answer

    def forward(self, images):
        score = self.scale * (images.mean((1, 2, 3)) - 0.5)
        both = torch.stack([-score, score], 1)
        answers = {"plain": both, "dict": {"features": images, "scores": both},
                   "tuple": (images, both), "one": 2 * score}
        return answers[self.answer]
"""
TYPED = ["--data", "squares.npz", "--attacks", "fgsm", "--eps", "0.1", "--no-diagnose"]
TYPED += ["--device", "cpu"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with brights.py and twenty gray squares in it."""
    work_in(tmp_path, monkeypatch, "brights", CODE)
    values = np.linspace(0.05, 0.95, 20, dtype=np.float32)
    images = np.broadcast_to(values[:, None, None, None], (20, 1, 4, 4))
    np.savez("squares.npz", images=images, labels=(values > 0.5).astype(int))
    return tmp_path


def attack(*typed):
    """Attack; returns what was printed, and how many errors the model called net makes."""
    result = winnrobust("attack", *typed, *TYPED, "--out", "out")
    assert result.exit_code == 0, result.output
    outcomes = read_outcomes("out")
    return result.output, int((~outcomes[outcomes.attack == "fgsm"].correct).sum())


def test_factories_get_arguments_and_outputs_are_chosen(folder):
    models = {
        "plain": "brights:Bright(scale=20)",
        "dict": "brights:Bright(20, answer='dict')",
        "tuple": "brights:Bright(20, 'tuple')",
        "one": "brights:Bright(20, 'one')",
    }
    typed = [text for name, spec in models.items() for text in ("--model", f"{name}={spec}")]
    output, errors = attack(*typed, "--output", "dict=scores", "--output", "tuple=1")
    assert errors % 16 == 0  # four models that answer alike, on the examples of all four
    assert errors > 0
    early, late = output.split("attacking ")
    for text in (early, late):  # before the work, and below its result
        assert text.count("odel 'one' returns one number for each image") == 1
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["models"]["dict"]["loaded"]["output"] == "scores"
    assert manifest["models"]["plain"]["loaded"]["model"] == "brights:Bright(scale=20)"


def test_without_an_output_the_parts_are_listed(folder):
    result = winnrobust("attack", "--model", "net=brights:Bright(answer='dict')", *TYPED)
    assert_one_line(result, "model 'net': the model returns a dict of features, scores", "--output")
    result = winnrobust(
        "attack", "--model", "net=brights:Bright(answer='dict')", "--output", "logits", *TYPED
    )
    assert_one_line(result, "model 'net': output logits: it returns dict with features, scores")


@pytest.mark.parametrize("arch", ["net=brights:Bright", "brights:Bright(scale=3)"])
def test_a_state_dict_is_loaded_into_what_arch_makes(folder, arch):
    torch.save({"state_dict": {"module.scale": torch.tensor(20.0)}}, "net.pth")
    _, errors = attack("--model", "net=net.pth", "--arch", arch)
    (folder / "out").rename(folder / "first")
    _, same = attack("--model", "net=brights:Bright(20)")
    assert errors == same > 0
    loaded = json.loads((folder / "first" / "manifest.json").read_text())["models"]["net"]["loaded"]
    assert set(loaded["files_sha256"]) == {"net.pth", str(folder / "brights.py")}
    assert loaded["arch"].startswith("brights:Bright")


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        (["--model", "net=net.pth"], ["if it is a state dict", "--arch NAME="]),
        (["--model", "net=net.pth", "--arch", "lenet"], ["--arch must be one of vanilla", "lenet"]),
        (
            ["--model", "net=net.pth", "--arch", "other=brights:Bright"],
            ["no --model has that name"],
        ),
        (["--arch", "brights:Bright"], ["--arch is for models from elsewhere"]),
        (["--model", "net=brights:Bright(print(1))"], ["its arguments numbers, texts"]),
        (["--model", "net=brights:Bright", "--output", "a b=3"], ["must be a key, or NAME="]),
        (["--model", "net=torchvision:resnet1800"], ["torchvision has no model 'resnet1800'"]),
    ],
)
def test_mistakes_end_in_one_line(folder, typed, parts):
    torch.save(nn.Linear(2, 2).state_dict(), "net.pth")
    assert_one_line(winnrobust("attack", *typed, *TYPED), *parts)


def test_models_of_half_precision_are_attacked_in_it(folder):
    code = CODE + "\n\ndef half():\n    return Bright(20).to(torch.bfloat16)\n"
    (folder / "brights.py").write_text(code)
    _, errors = attack("--model", "net=brights:half", "--input-range", "0,2", "--mean", "0.5")
    assert errors > 0
