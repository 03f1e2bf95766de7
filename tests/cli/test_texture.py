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
    run = place / "texture-my-cnn64-seed0"
    before = (run / "model.safetensors").read_bytes()
    result = winnrobust("texture", "--source", place / "my.png", "--runs", place,
                        "--out", tmp_path / "b.png", *SMALL)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "is complete" in result.output
    assert (run / "model.safetensors").read_bytes() == before
    out = tmp_path / "c.png"
    result = winnrobust("texture", run, "--size", "40x24", "--draw", 1, "--out", out)
    assert result.exit_code == 0, result.output
    assert out.read_bytes() != (place / "a.png").read_bytes()


def test_bad_input_ends_in_one_line(place, runs, tmp_path):
    out = tmp_path / "x.png"
    run = place / "texture-my-cnn64-seed0"
    for arguments, message in (
        ([], "name a RUN, or a picture with --source"),
        ([run, "--source", "grass"], "name a RUN, or a picture with --source"),
        ([run, "--size", "40"], "'40' is no size; write 320x200"),
        ([run, "--size", "0x40"], "must be from 1 to 8192 pixels"),
        ([run, "--lr", "1"], "RUN has its own settings"),
        ([runs / "winn"], "is a classifier; textures come from runs without labels"),
        ([tmp_path], "holds no model.safetensors"),
        (["--source", "marble"], "neither a picture nor one of the embedded"),
    ):
        assert_one_line(winnrobust("texture", *arguments, "--out", out), message)
    assert_one_line(winnrobust("texture", run, "--out", tmp_path / "x.jpg"), "must end in .png")
    assert_one_line(winnrobust("texture", run, "--out", place / "a.png"), "already exists")
    assert not out.exists()
