"""`winnrobust attack` on anyone's models and anyone's images, as a user types it."""

import json
import re
import shlex
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from tests.cli.conftest import assert_one_line, winnrobust, work_in
from winnrobust import read_outcomes

CODE = """
from torch import nn


def dense():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def colour():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))


def five():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 5))


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = dense()

    def forward(self, images):
        return self.dense(images.detach())
"""
SOON = ["--limit", 20, "--no-diagnose", "--device", "cpu", "--out", "out"]
QUICK = ["--attacks", "fgsm", *SOON]
DIGITS = ["--dataset", "mnist5k", *QUICK]


@pytest.fixture(scope="session")
def weights(digits):
    """Of `dense`, after fifty steps on real digits as uint8 would have them, 0 to 255."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    images, labels = digits.train.images.float() / 255, digits.train.labels
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return network.state_dict()


@pytest.fixture
def folder(tmp_path, monkeypatch, weights):
    """The current folder, with somebodys.py and weights.safetensors in it."""
    work_in(tmp_path, monkeypatch, "somebodys", CODE)
    save_file(weights, tmp_path / "weights.safetensors")
    return tmp_path


MINE = ["--model", "mine=somebodys:dense", "--weights", "mine=weights.safetensors"]


def stored(folder):
    """results.json and manifest.json of the results in `out`."""
    return (
        json.loads((folder / "out" / f"{name}.json").read_text())
        for name in ("results", "manifest")
    )


def test_a_factory_is_attacked_beside_a_run(folder, runs, monkeypatch):
    typed = ["winnrobust", "attack", str(runs / "winn"), *MINE, "--eps", "0.05, 0.1"]
    typed += ["--attacks", "fgsm"]
    monkeypatch.setattr(sys, "argv", typed)
    result = winnrobust(*typed[1:], "--dataset", "mnist5k", *SOON)
    assert result.exit_code == 0, result.output
    results, manifest = stored(folder)
    assert [row["name"] for row in results["models"]] == ["winn", "mine"]
    assert [row["group"] for row in results["models"]] == ["winn", "mine"]
    assert len(read_outcomes("out")) == 20 * (2 + 2 * 2 * 2)
    assert shlex.split(manifest["command"]) == typed
    loaded = manifest["models"]["mine"]["loaded"]
    assert loaded["model"] == "somebodys:dense"
    assert loaded["weights"] == "weights.safetensors"
    assert {len(value) for value in loaded["files_sha256"].values()} == {64}
    assert set(loaded["files_sha256"]) == {"weights.safetensors", str(folder / "somebodys.py")}
    assert results["models"][1]["weights_sha256"] == loaded["files_sha256"]["weights.safetensors"]


def test_seeds_of_an_external_method_are_compared_as_one(folder, weights):
    for seed in range(2):
        noise = torch.Generator().manual_seed(seed)
        moved = {
            name: value + 0.01 * torch.randn(value.shape, generator=noise)
            for name, value in weights.items()
        }
        save_file(moved, f"{seed}.safetensors")
    seeds = [
        text
        for seed in range(2)
        for text in ("--model", f"mine@{seed}=somebodys:dense", "--weights",
                     f"mine@{seed}={seed}.safetensors")
    ]  # fmt: skip
    arguments = (*seeds, "--model", "other=somebodys:dense", "--attacks", "fgsm,transfer:mine@0")
    result = winnrobust("attack", *DIGITS, *arguments)
    assert result.exit_code == 0, result.output
    models = next(stored(folder))["models"]
    assert [row["name"] for row in models] == ["mine@0", "mine@1", "other"]
    assert [row["group"] for row in models] == ["mine", "mine", "other"]
    assert [row["seed"] for row in models] == [0, 1, None]
    assert re.search(r"fgsm 0.125 +\| mine +\| 2 ", (folder / "out" / "table.md").read_text())
    assert "mine" in result.output


def test_models_in_files_err_as_the_factory_does(folder, weights):
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    network.load_state_dict(weights)
    images = torch.zeros(3, 1, 28, 28)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, images).save("mine.pt")
    torch.export.save(torch.export.export(network, (images,)), "mine.pt2")
    models = [*MINE, "--model", "script=mine.pt", "--model", "exported=mine.pt2"]
    result = winnrobust("attack", *DIGITS, *models, "--attacks", "fgsm,pgd", "--steps", 3)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(folder / "out" / "results.csv")
    errors = table.groupby(["attack", "source"]).source_errors.first().unstack()
    assert (errors.mine == errors.script).all()
    assert (errors.mine == errors.exported).all()
    assert errors.loc["pgd", "mine"] > 10


@pytest.mark.slow
def test_an_onnx_file_takes_black_box_attacks_only(folder, weights):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    network.load_state_dict(weights)
    torch.onnx.export(network, (torch.zeros(4, 1, 28, 28),), "mine.onnx", verbose=False)
    models = [*MINE, "--model", "net=mine.onnx"]
    refused = winnrobust("attack", *DIGITS, *models, "--attacks", "square,fgsm,pgd")
    assert_one_line(
        refused, "model 'net': it has no gradient, which fgsm, pgd would follow", "square",
        "transfer:OTHER-MODEL",
    )  # fmt: skip
    own = winnrobust("attack", *DIGITS, *models, "--attacks", "transfer:net")
    assert_one_line(own, "no gradient, which transfer:net would follow")
    assert not (folder / "out").exists()
    attacks = "noise-uniform,square,transfer:mine"
    result = winnrobust(
        "attack", *DIGITS, *models, "--attacks", attacks, "--queries", 5, "--eps", "0.125"
    )
    assert result.exit_code == 0, result.output
    table = pd.read_csv(folder / "out" / "results.csv")
    errors = table.set_index(["attack", "source", "target"]).source_errors
    of_net, of_mine = (errors["transfer:mine", name, name] for name in ("net", "mine"))
    assert of_net == of_mine > 10


def test_a_model_without_a_gradient_is_refused_before_the_attack(folder):
    typed = ["--model", "mine=somebodys:Detached", "--dataset", "mnist5k", *SOON]
    told = "model 'mine': it has no gradient, which fgsm, aa-fast would follow"
    assert_one_line(winnrobust("attack", *typed), told)


def test_a_wrong_range_is_noticed_and_the_proposed_flag_mends_it(folder, digits):
    pixels = digits.test.images.numpy()
    np.savez("digits.npz", images=pixels, labels=digits.test.labels.numpy())
    typed = ["attack", *MINE, "--data", "digits.npz", "--attacks", "fgsm", "--limit", 300]
    typed += ["--no-diagnose"]
    wrong = winnrobust(*typed, "--input-range", "mine=-255,0", "--out", "wrong")
    assert wrong.exit_code == 0, wrong.output
    assert "note: model 'mine' errs on" in wrong.output
    after = wrong.output.partition("a robust accuracy of")[2]  # there it is still on the screen
    assert "Model 'mine' errs on" in " ".join(after.split())
    proposed = re.search(r"but on .*% with (--\S+ \S+);", wrong.output)[1].split()
    right = winnrobust(*typed, *proposed, "--out", "right")
    assert right.exit_code == 0, right.output
    assert "model 'mine' errs" not in right.output.lower()
    manifest = json.loads((folder / "wrong" / "manifest.json").read_text())
    assert manifest["models"]["mine"]["loaded"]["preprocessing"]["low"] == -255


def test_flags_reach_the_model_that_they_name(folder):
    typed = [*MINE, "--model", "other=somebodys:dense", "--input-range", "0,255", "--mean", "3"]
    result = winnrobust("attack", *typed, "--mean", "mine=0.5", "--std", "mine=.25", *DIGITS)
    assert result.exit_code == 0, result.output
    _, manifest = stored(folder)
    told = {name: model["loaded"]["preprocessing"] for name, model in manifest["models"].items()}
    assert told == {
        "mine": {"low": 0, "high": 255, "mean": [0.5], "std": [0.25]},
        "other": {"low": 0, "high": 255, "mean": [3], "std": [1]},
    }


def test_an_image_folder_is_attacked_like_the_data_set(folder, digits):
    for number, (image, label) in enumerate(
        zip(*vars(digits.test.first(40)).values(), strict=True)
    ):
        place = folder / "pictures" / str(int(label))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(place / f"{number:03d}.png")
    typed = ["attack", *MINE, "--attacks", "fgsm", "--eps", "0.125", "--no-diagnose"]
    result = winnrobust(*typed, "--data", "pictures", "--limit", 20, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "which class each folder is" not in result.output
    same = winnrobust(*typed, "--dataset", "mnist5k", "--limit", 20, "--out", "same")
    assert same.exit_code == 0, same.output
    assert (folder / "out" / "results.csv").read_text() == (
        folder / "same" / "results.csv"
    ).read_text()
    results, manifest = stored(folder)
    assert (results["dataset"], results["limit"]) == ("pictures", 20)
    assert manifest["data"]["classes"] == {str(digit): str(digit) for digit in range(10)}
    assert manifest["data"]["pictures"]["n"] == 20
    Image.new("L", (28, 29)).save(folder / "pictures" / "9" / "999.png")
    mixed = winnrobust(*typed, "--data", "pictures", "--out", "mixed")
    assert_one_line(mixed, "9/999.png has 28x29 pixels", "all images must have the same size")
    assert not (folder / "mixed").exists()


def test_what_the_attacks_were_given_is_stored(folder):
    typed = ["--attacks", "pgd,pgd-l2", "--eps", "0.1", "--eps-l2", "0.5,2", "--steps", 2]
    more = ["--restarts", 2, "--queries", 9, "--eot", 2, "--targeted", "random", "--seed", 4]
    result = winnrobust("attack", *DIGITS, *MINE, *typed, *more, "--no-cross", "--fgsm-screen")
    assert result.exit_code == 0, result.output
    results, _ = stored(folder)
    assert results["settings"] == {
        "attacks": ["pgd", "pgd-l2"], "epsilons": {"linf": [0.1], "l2": [0.5, 2]},
        "steps": 2, "restarts": 2, "queries": 9, "fgsm_screen": True, "eot": 2,
        "targeted": "random", "seconds": None, "seed": 4, "cross": False, "judge_draws": 20,
    }  # fmt: skip
    outcomes = read_outcomes("out")
    attacked = outcomes[outcomes.source.notna()]
    assert set(zip(attacked.attack, attacked.norm, attacked.epsilon, strict=True)) == {
        ("pgd", "linf", 0.1), ("pgd", "l2", 0.5), ("pgd", "l2", 2),
    }, "pgd-l2 is pgd in L2, which is there already"  # fmt: skip
    assert set(attacked.seed) == {4}
    assert (attacked.target != attacked.label).all()
    for level in ("Linf 0.1", "L2 0.5", "L2 2"):
        assert f"robust, {level}" in result.output


def test_targets_by_the_old_name_of_the_option_are_the_same(folder):
    for name, out in (("--targeted", "new"), ("--aim", "old")):
        result = winnrobust("attack", *MINE, name, "least-likely", *DIGITS[:-1], out)
        assert result.exit_code == 0, result.output
    old, new = ((folder / out / "results.csv").read_bytes() for out in ("old", "new"))
    assert old == new
    both = ["--targeted", "random", "--aim", "random"]
    assert_one_line(winnrobust("attack", *MINE, *both, *DIGITS), "--aim is the old name of --targ")
    assert "--aim" not in winnrobust("attack", "--help").output


def test_models_are_diagnosed_unless_one_asks_not_to(folder):
    arguments = ["--limit", 16, "--device", "cpu", "--eps", "0,0.05,0.1,0.9", "--out", "out"]
    arguments += ["--attacks", "fgsm"]
    result = winnrobust("attack", *MINE, "--dataset", "mnist5k", *arguments)
    assert result.exit_code == 0, result.output
    assert "around epsilon 0.1 " in result.output
    diagnosis = json.loads((folder / "out" / "diagnosis.json").read_text())
    assert {row["model"] for row in diagnosis} == {"mine"}
    assert {row["verdict"] for row in diagnosis} <= {"ok", "suspicious", "broken", "not tested"}
    assert "Diagnosis of false robustness" in result.output
    report = winnrobust("report", "out", "--out", "page")
    assert report.exit_code == 0, report.output
    assert "Evidence of the diagnosis" in (folder / "page" / "index.html").read_text()
    quiet = winnrobust("attack", *MINE, *DIGITS[:-1], "quiet")
    assert quiet.exit_code == 0, quiet.output
    assert not (folder / "quiet" / "diagnosis.json").exists()
    assert "the diagnosis was skipped" in " ".join(quiet.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*MINE, "--no-diagnose"], "it is not known what these models were trained on; say with"),
        ([*MINE, *DIGITS, "--attacks", "fgsn"], "unknown attack 'fgsn'"),
        (
            [*MINE, *DIGITS, "--attacks", "transfer:his"],
            "'transfer:his' transfers from a model that is not there",
        ),
        ([*MINE, *MINE[:2], *DIGITS], "--model is given twice for mine"),
        ([*MINE, "--mean", "his=0.5", *DIGITS], "--mean names 'his', but no --model has that nam"),
        ([*MINE, "--std", "0", *DIGITS], "--std must be above 0"),
        ([*MINE, "--std", "nan", *DIGITS], "'nan' must be numbers"),
        ([*MINE, "--mean", "1,2", "--std", "1,2,3", *DIGITS], "--mean and --std must have as many"),
        ([*MINE, "--mean", "1,2,3", *DIGITS], "mean has 3 values, but the images have 1 channel"),
        ([*MINE, "--input-range", "1,-1", *DIGITS], "--input-range must be two numbers, the lower"),
        (["--model", "mine", *DIGITS], "'mine' must be written NAME=..."),
        (["--model", "a,b=somebodys:dense", *DIGITS], "must be written NAME=..."),
        (["--weights", "a=weights.safetensors", *DIGITS], "no --model has that name"),
        (["--input-range", "-1,1", *DIGITS], "--input-range is for models from elsewhere"),
        (["--model", "mine=nobodys:net", *DIGITS], "model 'mine': there is no module 'nobodys'"),
        (["--model", "mine=weights.safetensors", *DIGITS], "holds weights alone"),
        (["--model", "mine=somebodys:colour", *DIGITS], "but for example of 3x32x32"),
        (
            ["--model", "mine=somebodys:five", *DIGITS],
            "labels go up to 9, but the models have only",
        ),
        (
            [*MINE, "--model", "b=somebodys:five", *DIGITS],
            "same number of classes, but have: 'mine'",
        ),
        ([*MINE, "--data", "nowhere", *QUICK], "nowhere is neither a folder"),
        ([*MINE, "--data", "x.npz", *DIGITS], "--dataset and --data cannot be combined"),
        ([*MINE, "--time-budget", "0", *DIGITS], "'--time-budget'"),
        ([*MINE, "--time-budget", "nan", *DIGITS], "it must be a number, not nan"),
        ([*MINE, "--eps-l2", "-1", *DIGITS], "epsilon must be 0 or more"),
        (
            [*MINE, *DIGITS, "--targeted", "random", "--attacks", "deepfool"],
            "deepfool cannot be targeted; leave out the targets or this attack",
        ),
        ([*MINE, "--targeted", "near", *DIGITS], "'near' is not one of 'random', 'least-likely'"),
        ([*MINE, "--eot", "0", *DIGITS], "'--eot'"),
        ([*MINE, "--seed", str(2**63), *DIGITS], "is too large"),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_nothing_behind(folder, arguments, message):
    before = sorted(folder.iterdir())
    assert_one_line(winnrobust("attack", *arguments), message)
    left = [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"]
    assert left == before


def test_a_name_that_a_run_has_is_refused(folder, runs):
    result = winnrobust("attack", runs / "winn", "--model", "winn=somebodys:dense", *QUICK)
    assert_one_line(result, "two models are called 'winn'; give the --model another name")


def test_results_that_are_there_are_noticed_before_models_are_loaded(folder):
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("mine")
    result = winnrobust("attack", "--model", "mine=nobodys:net", *DIGITS)
    assert_one_line(result, "already exists and is left untouched")
