"""`winnrobust attack --data` on pictures as people have them."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import assert_one_line, winnrobust, work_in
from tests.external.nets import write_huggingface
from winnrobust import read_outcomes

CODE = """
import torch
from torch import nn


class Bright(nn.Module):
    def __init__(self, classes=10, dark=2, bright=5):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(50.0))
        self.classes, self.dark, self.bright = classes, dark, bright

    def forward(self, images):
        score = self.scale * (images.mean((1, 2, 3)) - 0.5)
        logits = torch.zeros(len(images), self.classes) - 100 + 0 * score[:, None]
        logits[:, self.dark], logits[:, self.bright] = -score, score
        return logits
"""
"""Says `dark` of dark images and `bright` of bright ones."""

TYPED = ["--model", "net=brights:Bright", "--data", "pictures", "--attacks", "fgsm"]
TYPED += ["--no-diagnose", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder with brights.py, and eight pictures in pictures/2 and pictures/5."""
    work_in(tmp_path, monkeypatch, "brights", CODE)
    for name, value in (("2", 60), ("5", 190)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("RGB", (12, 10), (value + number,) * 3)
            picture.save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path


def attack(*typed, out="out"):
    """Attack; returns what was printed and the clean rows."""
    result = winnrobust("attack", *TYPED, *typed, "--out", out)
    assert result.exit_code == 0, result.output
    outcomes = read_outcomes(out)
    return result.output, outcomes[outcomes.source.isna()]


def test_folders_called_by_numbers_are_the_model_s_classes(folder):
    output, clean = attack()
    assert clean.label.tolist() == [2, 5] * 4
    assert clean.correct.all()
    assert "which class each folder is" not in output  # its name says so


def test_numbers_beyond_the_model_s_classes_are_refused(folder):
    (folder / "pictures" / "5").rename(folder / "pictures" / "967")
    assert_one_line(winnrobust("attack", *TYPED), "labels go up to 967", "only the classes 0 to 9")


def test_names_are_asked_for_and_matched(folder):
    (folder / "pictures" / "2").rename(folder / "pictures" / "n02000000")
    (folder / "pictures" / "5").rename(folder / "pictures" / "Bright things")
    assert_one_line(
        winnrobust("attack", *TYPED),
        "the folders Bright things, n02000000 do not say",
        "--classes FILE",
        "--classes by-name",
    )
    lines = ["a", "b", "n02000000 dark, dim", "c", "d", "bright_things, light"]
    (folder / "names.txt").write_text("\n".join(lines))
    output, clean = attack("--classes", "names.txt")
    assert clean.correct.all()
    assert "which class each folder is: n02000000 is 2, Bright things is 5" in output
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["data"]["classes"] == {"2": "n02000000", "5": "Bright things"}
    _, clean = attack("--classes", "by-name", out="by-name")
    assert clean.label.tolist() == [0, 1] * 4
    (folder / "names.txt").write_text("\n".join(lines[:5]))
    refused = winnrobust("attack", *TYPED, "--classes", "names.txt")
    assert_one_line(refused, "no class is called Bright things in the 5 names that were given")


def test_mixed_pictures_are_scaled_and_cut(folder):
    Image.new("L", (40, 30), 70).save(folder / "pictures" / "2" / "gray.png")
    Image.new("RGBA", (9, 30), (200, 200, 200, 0)).save(folder / "pictures" / "5" / "alpha.png")
    assert_one_line(winnrobust("attack", *TYPED), "all images must have the same size", "--resize")
    output, clean = attack("--resize", 8, "--crop", "6x5", "--interpolation", "bicubic")
    assert len(clean) == 10
    assert clean.correct.all()
    assert "1 of 10 pictures looked at have an alpha channel, which is left out" in output
    told = json.loads((folder / "out" / "manifest.json").read_text())["data"]["pictures"]
    assert told["geometry"] == {"resize": 8, "crop": [5, 6], "interpolation": "bicubic"}
    with np.load(next((folder / "out" / "examples").glob("*.npz"))) as kept:
        assert kept["images"].shape[1:] == (3, 5, 6)


def test_gray_with_an_alpha_channel_stays_gray_however_it_was_saved(folder):
    for number, mode in enumerate(["RGBA", "LA", "L", "RGBA"]):
        for name, value in (("2", 60), ("5", 190)):
            picture = Image.new("L", (12, 10), value + number).convert(mode)
            if mode != "L":
                picture.putalpha(number)
            picture.save(folder / "pictures" / name / f"{number}.png")
    output, clean = attack()
    assert clean.correct.all()
    assert "6 of 8 pictures looked at have an alpha channel, which is left out" in output
    with np.load(next((folder / "out" / "examples").glob("*.npz"))) as kept:
        assert kept["images"].shape[1:] == (1, 10, 12)
        assert (kept["images"][:, 0, 0, 0] * 255).round().tolist() == [
            60, 190, 61, 191, 62, 192, 63, 193
        ]  # fmt: skip
    Image.new("RGBA", (12, 10), (190, 191, 190, 255)).save(folder / "pictures" / "5" / "3.png")
    attack(out="color")
    with np.load(next((folder / "color" / "examples").glob("*.npz"))) as kept:
        assert kept["images"].shape[1] == 3


def test_one_class_alone_is_said(folder):
    shutil.rmtree(folder / "pictures" / "5")
    output, _ = attack()
    assert "these 4 images of pictures are all of the same class" in output


def test_pictures_that_are_black_but_for_ones_are_told(folder):
    for path in (folder / "pictures").rglob("*.png"):
        Image.new("L", (12, 10), 1).save(path)
    output, _ = attack()
    assert "the first 8 images hold only 0 and 1, where 255 is white" in output


def test_damaged_pictures_end_it_or_are_skipped_counted_and_named(folder):
    name = folder / "pictures" / "5" / "2.png"
    name.write_bytes(name.read_bytes()[:45])
    refused = winnrobust("attack", *TYPED)
    assert_one_line(refused, "pictures/5/2.png is not an image", "--skip-damaged")
    output, clean = attack("--skip-damaged")
    assert len(clean) == 7
    assert "note: 1 damaged picture is left out: 5/2.png" in output
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["data"]["skipped"] == ["5/2.png"]


def test_an_interrupted_evaluation_goes_on_only_with_the_same_pictures(folder, monkeypatch):
    from tests.cli.conftest import stopped_once

    typed = ["attack", *TYPED, "--batch-size", 2, "--out", "out"]
    with stopped_once(folder / "out" / "outcomes", "*.parquet"):
        winnrobust(*typed)
    Image.new("RGB", (12, 10)).save(folder / "pictures" / "2" / "new.png")
    assert_one_line(winnrobust(*typed), "interrupted evaluation with other data")
    (folder / "pictures" / "2" / "new.png").unlink()
    result = winnrobust(*typed)
    assert result.exit_code == 0, result.output
    assert len(read_outcomes("out")) == 16


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        (["--resize", "big"], ["'bigxbig' is not a size; write 320x200"]),
        (["--crop", "0"], ["from 1 to 8192 pixels"]),
        (["--interpolation", "magic"], ["'magic' is not one of"]),
        (["--classes", "none.txt"], ["none.txt does not exist"]),
    ],
)
def test_mistakes_end_in_one_line(folder, typed, parts):
    assert_one_line(winnrobust("attack", *TYPED, *typed), *parts)


def test_what_is_for_pictures_is_refused_elsewhere(folder):
    images = np.zeros((2, 3, 4, 4), np.float32)
    np.savez("data.npz", images=images, labels=np.array([2, 2]))
    typed = ["attack", *TYPED[:2], "--no-diagnose"]
    refused = winnrobust(*typed, "--data", "data.npz", "--resize", 8)
    assert_one_line(refused, "--resize and --crop are for folders of pictures, not for data.npz")
    refused = winnrobust(*typed, "--dataset", "mnist5k", "--skip-damaged")
    assert_one_line(refused, "are for the pictures of --data")


def test_a_model_s_own_transforms_normalization_and_names_are_used(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_huggingface("net", ["emu", "bright", "dark, dim"], (40, 32))
    for old, new in (("2", "dim"), ("5", "bright")):
        (folder / "pictures" / old).rename(folder / "pictures" / new)
    typed = ["attack", "--model", "net=hf:net", *TYPED[2:], "--out", "out"]
    result = winnrobust(*typed)
    assert result.exit_code == 0, result.output
    assert "pictures are scaled to 32x40 (bilinear), as model 'net' asks for" in result.output
    assert "which class each folder is: bright is 1, dim is 2" in result.output
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["data"]["pictures"]["geometry"]["resize"] == [40, 32]
    loaded = manifest["models"]["net"]["loaded"]["preprocessing"]
    assert (loaded["mean"], loaded["std"]) == ([0.5] * 3, [0.25] * 3)
    other = winnrobust(*typed[:-1], "other", "--mean", "0.1", "--crop", 8)
    assert other.exit_code == 0, other.output
    manifest = json.loads((folder / "other" / "manifest.json").read_text())
    assert manifest["data"]["pictures"]["geometry"]["crop"] == [8, 8]
    loaded = manifest["models"]["net"]["loaded"]["preprocessing"]
    assert (loaded["mean"], loaded["std"]) == ([0.1], [0.25] * 3)


def test_arrays_may_have_four_channels_and_one_hot_labels(folder):
    values = np.linspace(0.1, 0.9, 4, dtype=np.float32)
    images = np.broadcast_to(values[:, None, None, None], (4, 6, 6, 4))
    np.savez("four.npz", images=images, labels=np.eye(10)[[2, 2, 5, 5]])
    typed = ["attack", *TYPED, "--data", "four.npz", "--out", "out"]
    result = winnrobust(*typed)
    assert result.exit_code == 0, result.output
    outcomes = read_outcomes("out")
    assert outcomes[outcomes.source.isna()].correct.all()
