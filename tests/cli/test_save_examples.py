"""`winnrobust attack --save-examples`: arrays and pictures that other programs read."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.cli.conftest import assert_one_line, winnrobust, work_in
from tests.cli.nets import FIRST, SECOND, write_images
from winnrobust import read_outcomes
from winnrobust.evaluation.examples import read_examples, stored_adversarial

ROWS = [(0.9, 0.4, 1), (0.8, 0.9, 1), (0.6004, 0.9, 1), (0.1, 0.1, 0), (0.56, 0.6, 1)]
"""At 0.1 a net with a border at 0.5005 loses the third, and in 8 bits gets it back: 0.5004 is
128 / 255 there. It loses the last one for good."""
BORDER = """
import torch


class Border(torch.nn.Module):
    def forward(self, images):
        score = images.flatten(1)[:, 0] - 0.5005
        return torch.stack([-score, score], 1)
"""
TYPED = ["--data", "images.npz", "--attacks", "fgsm", "--eps", "0.1", "--no-diagnose"]
TYPED += ["--device", "cpu", "--batch-size", "2", "--out", "out"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    work_in(tmp_path, monkeypatch, "border", BORDER)
    write_images(tmp_path / "images.npz", ROWS)
    return tmp_path


def test_all_adversarial_examples_are_written_and_judged_again_in_8_bits(folder):
    model = ("--model", "net=border:Border")
    result = winnrobust("attack", *model, *TYPED, "--save-examples", "all")
    assert result.exit_code == 0, result.output
    assert "Saved adversarial examples" in result.stdout
    saved = folder / "out" / "saved"
    row = pd.read_csv(saved / "saved.csv").iloc[0]
    assert (row.images, row.adversarial_8_bits) == (2, 1)
    with np.load(saved / f"{row.folder}.npz") as arrays:
        images, labels, numbers = arrays["images"], arrays["labels"], arrays["numbers"]
    assert images.dtype == np.float32
    assert (labels.tolist(), numbers.tolist()) == ([1, 1], [2, 4])
    clean = np.array(ROWS, np.float32)[numbers, None, None, :2]
    assert np.abs(images - clean).max() <= 0.1 + 1e-6
    pictures = sorted((saved / row.folder).iterdir())
    named = ["000002-label1-seen1.png", "000004-label1-seen0.png"]
    assert [path.name for path in pictures] == named
    for path, image in zip(pictures, images, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), (image[0] * 255).round())


def test_the_model_is_wrong_about_all_that_was_saved(folder):
    assert winnrobust("attack", *FIRST, *TYPED, "--save-examples", "all").exit_code == 0
    (arrays,) = (folder / "out" / "saved").glob("*.npz")
    typed = ("attack", *FIRST, *TYPED, "--data", arrays, "--eps", "0", "--out", "again")
    result = winnrobust(*typed)
    assert result.exit_code == 0, result.output
    again, before = read_outcomes("again"), read_outcomes("out")
    clean = again[again.source.isna()]
    assert len(clean) == (~before[before.attack == "fgsm"].correct).sum() == 1
    assert not clean.correct.any()


def test_the_first_ones_of_several_models_and_attacks(folder):
    rows = [(0.9, 0.9, 1), *[(0.55, 0.9, 1), (0.9, 0.55, 1), (0.1, 0.9, 1)] * 4]
    write_images(folder / "images.npz", rows)  # about the last of each three the first is wrong
    attacks = ("--attacks", "fgsm,deepfool")
    result = winnrobust("attack", *FIRST, *SECOND, *TYPED, *attacks, "--save-examples", 3)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(folder / "out" / "saved" / "saved.csv")
    assert set(zip(table.attack, table.source, strict=True)) == {
        (attack, source) for attack in ("fgsm", "deepfool") for source in ("first", "second")
    }
    assert set(table.images) == {3}
    for row in table[table.attack == "fgsm"].itertuples():
        files = sorted((folder / "out" / "saved" / row.folder).iterdir())
        start = 1 if row.source == "first" else 2
        assert [int(path.name[:6]) for path in files] == [start, start + 3, start + 6]


def test_no_more_is_kept_than_is_saved(folder):
    write_images(folder / "images.npz", [(0.55, 0.9, 1)] * 12)
    assert winnrobust("attack", *FIRST, *TYPED, "--save-examples", 3).exit_code == 0
    kept = [len(each.labels) for each in stored_adversarial(folder / "out")]
    assert kept == [2, 1]


def test_where_nothing_breaks_nothing_is_saved(folder):
    typed = ("attack", *FIRST, *TYPED, "--eps", "0", "--save-examples", "all")
    write_images(folder / "images.npz", [(0.9, 0.9, 1), (0.1, 0.9, 1)])  # wrong already
    result = winnrobust(*typed)
    assert result.exit_code == 0, result.output
    assert set(pd.read_csv(folder / "out" / "saved" / "saved.csv").images) == {0}
    assert [path.name for path in (folder / "out" / "saved").iterdir()] == ["saved.csv"]


def test_figures_are_of_the_first_images_whatever_is_saved(folder):
    assert winnrobust("attack", *FIRST, *TYPED, "--save-examples", "all").exit_code == 0
    assert len(read_examples(folder / "out").labels) == 5
    assert len(read_examples(folder / "out", 3).labels) == 3


@pytest.mark.parametrize("count", ["0", "-1", "some", "1.5", "9" * 30])
def test_a_number_that_is_none_is_refused(folder, count):
    refused = winnrobust("attack", *FIRST, *TYPED, "--save-examples", count)
    assert_one_line(refused, "must be a number from 1 on, or all")
