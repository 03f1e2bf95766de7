"""`winnrobust texture` as a user types it."""

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import assert_one_line, winnrobust

SMALL = [
    "--epochs", "1", "--start-images", "4", "--iteration-images", "250", "--iteration-passes", "1",
    "--negatives-per-class", "3", "--synthesis-max-steps", "2", "--device", "cpu",
    "--image-size", "16", "--width", "0.125",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a picture, a texture drawn after it, and the run that was needed for that."""
    folder = tmp_path_factory.mktemp("texture")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "my.png")
    result = winnrobust("texture", "--source", folder / "my.png", "--size", "40x24",
                        "--runs", folder, "--out", folder / "a.png", *SMALL)  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder


def test_a_texture_of_the_size_asked_for(place):
    with Image.open(place / "a.png") as picture:
        assert picture.size == (40, 24)
        assert picture.mode == "RGB"


def test_the_training_is_kept_and_not_repeated(place, tmp_path):
    (run,) = place.glob("texture-my-*-cnn64-seed0")
    before = (run / "model.safetensors").read_bytes()
    result = winnrobust("texture", "--source", place / "my.png", "--size", "8x8", "--runs", place,
                        "--out", tmp_path / "b.png", *SMALL)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "is complete" in result.output
    assert (run / "model.safetensors").read_bytes() == before
    out = tmp_path / "c.png"
    result = winnrobust("texture", run, "--size", "40x24", "--draw", 1, "--out", out)
    assert result.exit_code == 0, result.output
    assert out.read_bytes() != (place / "a.png").read_bytes()


def test_pictures_of_one_name_have_runs_of_their_own(place, tmp_path):
    pixels = np.zeros((30, 30), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "my.png")
    result = winnrobust("texture", "--source", tmp_path / "my.png", "--size", "8x8",
                        "--runs", tmp_path, "--out", tmp_path / "d.png", *SMALL)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 steps; the limit of steps came first" in result.output
    names = {run.name for folder in (place, tmp_path) for run in folder.glob("texture-my-*")}
    assert len(names) == 2


def test_help_tells_the_defaults_of_this_command():
    text = " ".join(winnrobust("texture", "--help").output.split())
    assert "[default: cnn64]" in text
    assert "[default: 100]" in text
    text = " ".join(winnrobust("train", "--help").output.split())
    assert "[default: 200; without labels 100]" in text


def test_bad_input_ends_in_one_line(place, runs, tmp_path):
    out = tmp_path / "x.png"
    (run,) = place.glob("texture-my-*-cnn64-seed0")
    for arguments, message in (
        ([], "name a RUN, or a picture with --source"),
        ([run, "--source", "grass"], "name a RUN, or a picture with --source"),
        ([run, "--size", "40"], "'40' is not a size; write 320x200"),
        ([run, "--size", "0x40"], "must be from 1 to 8192 pixels"),
        ([run, "--lr", "1"], "RUN has its own settings"),
        ([runs / "winn"], "is a classifier; textures come from runs without labels"),
        ([tmp_path], "holds no model.safetensors"),
        (["--source", "marble"], "neither a picture nor one of the embedded"),
    ):
        assert_one_line(winnrobust("texture", *arguments, "--out", out), message)
    source = ["--source", place / "my.png", "--runs", tmp_path]
    for arguments, message in (
        ([*source, "--texture", "grass"], "--source says what to train on; leave out --texture"),
        ([*source, "--dataset", "mnist5k"], "leave out --dataset"),
        ([*source, "--no-unsupervised"], "leave out --no-unsupervised"),
        ([*source, "--alpha", 1], "does not use --alpha (of training with labels)"),
    ):
        assert_one_line(winnrobust("texture", *arguments, "--out", out), message)
    for taken, message in (("x.jpg", "must end in .png"), ("my.png/y.png", "is not a folder")):
        result = winnrobust("texture", *source, "--out", place / taken)
        assert_one_line(result, message)
    result = winnrobust("texture", *source, "--out", place / "a.png")
    assert_one_line(result, "already exists")
    assert not list(tmp_path.iterdir()), "found out before the training"
    assert_one_line(winnrobust("texture", run, "--out", tmp_path / "x.jpg"), "must end in .png")
    assert_one_line(winnrobust("texture", run, "--out", place / "a.png"), "already exists")
    assert not out.exists()
