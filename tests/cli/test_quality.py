"""`winnrobust quality` as a user types it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import assert_one_line, winnrobust
from winnrobust.data.datasets import load_dataset


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Forty training images as samples, half of them with a wrong class."""
    split = load_dataset("mnist5k").train.first(40)
    labels = np.where(np.arange(40) < 20, split.labels, (split.labels + 1) % 10)
    path = tmp_path_factory.mktemp("quality") / "samples.npz"
    np.savez(path, images=split.images, labels=labels)
    return path


def test_copies_are_found_out(runs, copies, tmp_path):
    out = tmp_path / "quality"
    result = winnrobust("quality", copies, "--classifier", runs / "baseline", "--out", out)
    assert result.exit_code == 0, result.output
    assert "40 samples" in result.output
    assert "seen as what it was made as" in result.output
    found = json.loads((out / "quality.json").read_text())["quality"]
    assert found["nearest"] == 0 < found["real_nearest"]
    assert found["n"] == 40
    assert Image.open(out / "neighbors.png").size == (20 * 30 + 2, 4 * 30 + 2)
    pixels = np.asarray(Image.open(out / "neighbors.png"))
    for top in (0, 60):
        copy, original = (pixels[top + row : top + row + 28] for row in (2, 32))
        assert (copy == original).all(), "each copy above its original"


def test_a_network_scores_neither_its_own_samples_nor_other_data_unnoticed(runs, tmp_path):
    own = tmp_path / "own.npz"
    assert winnrobust("synthesize", runs / "winn", "--n", 20, "--out", own).exit_code == 0
    result = winnrobust("quality", own, "--classifier", runs / "winn")
    assert "looks like the network that made the samples" in result.output
    result = winnrobust("quality", own, "--classifier", runs / "baseline")
    assert "note:" not in result.output
    other = tmp_path / "other.npz"
    provenance = np.array(json.dumps({"header": {"num_classes": 10, "dataset": "fashion-mnist"}}))
    with np.load(own) as arrays:
        np.savez(other, images=arrays["images"], labels=arrays["labels"], provenance=provenance)
    result = winnrobust("quality", other, "--classifier", runs / "baseline")
    assert result.exit_code == 0, result.output
    assert "like fashion-mnist, the classifier and the images beside them are of mnist5k" in (
        result.output
    )


def test_samples_without_classes_are_not_asked_for_them(runs, copies, tmp_path):
    path = tmp_path / "samples.npz"
    provenance = np.array(json.dumps({"header": {"num_classes": 1}}))
    with np.load(copies) as arrays:
        np.savez(path, images=arrays["images"], labels=0 * arrays["labels"], provenance=provenance)
    result = winnrobust("quality", path, "--classifier", runs / "baseline")
    assert result.exit_code == 0, result.output
    assert "seen as" not in result.output


def test_of_more_samples_than_test_images_the_first_are_scored(
    runs, copies, digits, tmp_path, monkeypatch
):
    few = replace(digits, train=digits.train.first(50), test=digits.test.first(30))
    monkeypatch.setattr("winnrobust.workflows.quality.load_data", lambda name, root: few)
    result = winnrobust("quality", copies, "--classifier", runs / "baseline")
    assert result.exit_code == 0, result.output
    assert "the first of 40, as many as there are test images" in result.output
    assert "30 samples" in result.output


def test_bad_input_ends_in_one_line(runs, copies, tmp_path):
    classifier = ("--classifier", runs / "baseline")
    few = tmp_path / "few.npz"
    np.savez(few, images=np.zeros((5, 28, 28), np.uint8), labels=np.zeros(5, int))
    wide = tmp_path / "wide.npz"
    np.savez(wide, images=np.zeros((30, 32, 32), np.uint8), labels=np.zeros(30, int))
    assert_one_line(winnrobust("quality", few, *classifier), "5 samples; 20 to 1000 can be scored")
    assert_one_line(winnrobust("quality", wide, *classifier), "have the shape (1, 32, 32)")
    assert_one_line(winnrobust("quality", tmp_path, *classifier), "must be an .npz file")
    (tmp_path / "bad.npz").write_text("no arrays")
    assert_one_line(winnrobust("quality", tmp_path / "bad.npz", *classifier), "not a whole .npz")
    result = winnrobust("quality", copies, "--classifier", tmp_path / "none")
    assert_one_line(result, "does not exist")
    assert_one_line(winnrobust("quality", copies, *classifier, "--out", runs), "already exists")


def test_the_inception_score_says_what_it_needs(runs, copies, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    result = winnrobust("quality", copies, "--classifier", runs / "baseline", "--inception")
    assert_one_line(result, "pip install 'winnrobust[quality]'")


def test_the_inception_score_comes_from_torch_fidelity(runs, copies, monkeypatch):
    class Fidelity:
        @staticmethod
        def calculate_metrics(input1, input2, **settings):
            assert (len(input1), len(input2)) == (40, 3500)
            assert input1[0].shape == (3, 28, 28)
            assert settings["samples_shuffle"] is False
            return {
                "inception_score_mean": 2.5,
                "inception_score_std": 0.25,
                "frechet_inception_distance": 31.0,
            }

    monkeypatch.setitem(sys.modules, "torch_fidelity", Fidelity)
    result = winnrobust("quality", copies, "--classifier", runs / "baseline", "--inception")
    assert result.exit_code == 0, result.output
    assert "2.50 ± 0.25" in result.output
    assert "31.00" in result.output


def test_a_network_that_cannot_be_fetched_is_named(runs, copies, monkeypatch):
    class Fidelity:
        @staticmethod
        def calculate_metrics(**settings):
            raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "torch_fidelity", Fidelity)
    result = winnrobust("quality", copies, "--classifier", runs / "baseline", "--inception")
    assert_one_line(result, "no route to host", "leave out --inception")
