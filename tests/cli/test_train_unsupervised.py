"""`winnrobust train --unsupervised` as a user types it, and what other commands say of its runs."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import assert_one_line, winnrobust

SMALL = [
    "train", "--unsupervised", "--limit-train", "100", "--epochs", "1", "--start-images", "4",
    "--iteration-images", "250", "--iteration-passes", "1", "--negatives-per-class", "3",
    "--synthesis-max-steps", "2", "--device", "cpu",
]  # fmt: skip
DIGITS = [*SMALL, "--dataset", "mnist5k"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a cascade of two."""
    run = tmp_path_factory.mktemp("unsupervised") / "runs" / "winn"
    result = winnrobust(*DIGITS, "--cascades", 2, "--out", run)
    assert result.exit_code == 0, result.output
    assert "kept the networks of epoch 2, the last: no error to select by" in result.output
    return run


def test_samples_are_drawn_through_all_cascades(trained, tmp_path):
    out = tmp_path / "samples.npz"
    result = winnrobust("synthesize", trained, "--n", 5, "--out", out)
    assert result.exit_code == 0, result.output
    with np.load(out) as samples:
        assert samples["images"].shape == (5, 1, 28, 28)
        assert json.loads(str(samples["provenance"]))["header"]["cascades"] == 2
    result = winnrobust("synthesize", trained, "--class", 1, "--out", tmp_path / "a.png")
    assert_one_line(result, "was trained without classes; leave out --class")


def test_inn_draws_samples_without_thresholds(tmp_path):
    run, out = tmp_path / "run", tmp_path / "samples.png"
    assert winnrobust(*DIGITS, "--method", "inn", "--out", run).exit_code == 0
    assert winnrobust("synthesize", run, "--n", 4, "--out", out).exit_code == 0
    assert Image.open(out).size == (2 * 30 + 2, 2 * 30 + 2)


def test_a_folder_of_pictures(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(12):
        pixels = generator.integers(0, 255, (20, 30, 3), dtype=np.uint8)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    run = tmp_path / "run"
    result = winnrobust(*SMALL, "--data", tmp_path / "pictures", "--image-size", 16, "--flip",
                        "--arch", "cnn64", "--width", 0.125, "--out", run)  # fmt: skip
    assert result.exit_code == 0, result.output
    config = json.loads((run / "config.json").read_text())
    assert (config["data"]["dataset"], config["model"]["width"]) == ("pictures", 0.125)
    out = tmp_path / "samples.npz"
    assert winnrobust("synthesize", run, "--n", 2, "--out", out).exit_code == 0
    assert np.load(out)["images"].shape == (2, 3, 16, 16)


def test_runs_without_labels_are_not_attacked(trained, tmp_path, monkeypatch):
    result = winnrobust("attack", trained, "--out", tmp_path / "results")
    assert_one_line(result, "was trained without labels and classifies nothing")
    result = winnrobust("attack", "--runs", trained.parent, "--out", tmp_path / "results")
    assert_one_line(result, "no trained run")
    monkeypatch.chdir(trained.parent.parent)
    result = winnrobust(
        "attack", "--dataset", "mnist5k", "--attacks", "fgsm", "--limit", 10, "--no-diagnose",
        "--out", tmp_path / "shipped",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "no trained run under runs: attacking models that come with" in result.output
    result = winnrobust("compare", "--unsupervised", "--out", tmp_path / "report")
    assert_one_line(result, "without labels there is nothing to attack")


def test_a_report_of_such_a_run(trained, tmp_path):
    out = tmp_path / "report"
    result = winnrobust("report", trained, "--out", out)
    assert result.exit_code == 0, result.output
    assert "no labels" in (out / "report.md").read_text()


def test_cascades_keep_their_length(trained):
    result = winnrobust("train", "--resume", "--out", trained, "--epochs", 5)
    assert_one_line(result, "has 2 cascades of 1 epochs each; that cannot be changed")
    result = winnrobust("train", "--resume", "--out", trained)
    assert "is complete: 2 epochs" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "inn"], "'inn' trains without labels; add --unsupervised"),
        (["--unsupervised", "--data", "x", "--dataset", "mnist5k"], "cannot be combined"),
        (["--cascades", "2"], "--cascades has no effect on training with labels"),
        (["--unsupervised", "--method", "trades"], "method 'trades' needs labels"),
        (["--unsupervised", "--recipe", "fast"], "is for training with labels"),
        (["--unsupervised", "--width", "2"], "--width scales cnn64 and wgan-resnet only"),
        (["--unsupervised", "--data", "nowhere"], "is not a folder of pictures"),
    ],
)
def test_what_does_not_go_together_ends_in_one_line(tmp_path, options, message):
    assert_one_line(winnrobust("train", *options, "--out", tmp_path / "run"), message)
    assert not (tmp_path / "run").exists()
