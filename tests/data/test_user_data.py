"""Image folders and .npz files that a user brings."""

import numpy as np
import pytest
import torch
from PIL import Image

from winnrobust.data.datasets import to_unit
from winnrobust.data.folders import load_pictures, load_user_data
from winnrobust.runtime.errors import InputError


def save_image(path, value, mode="L", size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).convert(mode).save(path)


def test_class_folders_are_numbered_by_name_and_take_turns(tmp_path):
    for name, values in (("cat", [1, 2, 3]), ("ant", [11, 12]), ("dog", [21])):
        for value in values:
            save_image(tmp_path / name / f"{value:03d}.png", value)
    data = load_user_data(tmp_path)
    assert data.classes == ["ant", "cat", "dog"]
    assert data.total == 6
    assert data.images.images.shape == (6, 1, 3, 4)
    assert data.images.images[:, 0, 0, 0].tolist() == [11, 1, 21, 12, 2, 3]
    assert data.images.labels.tolist() == [0, 1, 2, 0, 1, 1]
    first = load_user_data(tmp_path, limit=4)
    assert torch.equal(first.images.images, data.images.images[:4])
    assert first.total == 6


def test_one_coloured_image_makes_all_have_three_channels(tmp_path):
    save_image(tmp_path / "a" / "1.png", 7)
    save_image(tmp_path / "b" / "2.png", 9, "RGBA")
    images = load_user_data(tmp_path).images.images
    assert images.dtype == torch.uint8
    assert images[:, :, 0, 0].tolist() == [[7, 7, 7], [9, 9, 9]]


def test_an_image_of_another_size_is_named(tmp_path):
    save_image(tmp_path / "a" / "1.png", 7)
    save_image(tmp_path / "b" / "odd.png", 9, size=(5, 3))
    with pytest.raises(InputError, match=r"b/odd.png has 5x3 pixels, .*a/1.png has 4x3; all im"):
        load_user_data(tmp_path)


def test_images_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(InputError, match="cannot be used as images: Couldn't find any class fol"):
        load_user_data(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="cannot be used as images: Found no valid file"):
        load_user_data(tmp_path)
    (tmp_path / "a" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a/1.png is not an image"):
        load_user_data(tmp_path)
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(InputError, match=r"a/1.png has pixels of the kind I;16; they must have 8"):
        load_user_data(tmp_path)
    save_image(tmp_path / "a" / "1.png", 7, size=(40, 40))
    whole = (tmp_path / "a" / "1.png").read_bytes()
    (tmp_path / "a" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a/1.png is not an image"):
        load_user_data(tmp_path)


@pytest.mark.parametrize(
    "shape", [(2, 3, 4, 5), (2, 4, 5, 3), (2, 1, 4, 5), (2, 4, 5, 1), (2, 4, 5)]
)
def test_arrays_may_have_their_channels_first_or_last(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.savez(tmp_path / "data.npz", images=pixels, labels=np.array([3, 4], np.int32))
    data = load_user_data(tmp_path / "data.npz")
    expected = {3: pixels[:, None] if pixels.ndim == 3 else pixels}.get(shape[1], pixels)
    if pixels.ndim == 3:
        expected = pixels[:, None]
    elif shape[3] in (1, 3):
        expected = np.moveaxis(pixels, 3, 1)
    assert np.array_equal(data.images.images.numpy(), expected)
    assert data.images.labels.tolist() == [3, 4]
    assert data.images.labels.dtype == torch.int64
    assert (data.total, data.classes) == (2, [])
    assert len(load_user_data(tmp_path / "data.npz", limit=1).images) == 1


def test_floating_point_arrays_keep_their_values(tmp_path):
    pixels = np.random.default_rng(0).random((2, 1, 4, 5))
    np.savez(tmp_path / "data.npz", images=pixels, labels=np.array([0, 1]))
    images = to_unit(load_user_data(tmp_path / "data.npz").images.images)
    assert images.dtype == torch.float32
    assert np.array_equal(images.numpy(), pixels.astype(np.float32))


GOOD = np.zeros((2, 4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": GOOD}, "must have the arrays 'images' and 'labels'; it has images"),
        ({}, "it has none"),
        ({"images": GOOD, "labels": np.zeros(3, int)}, "'labels' must be 2 integers"),
        ({"images": GOOD, "labels": np.zeros(2)}, "'labels' must be 2 integers"),
        ({"images": GOOD, "labels": np.array([0, -1])}, "must be 0 or more; the lowest is -1"),
        ({"images": GOOD.astype(int), "labels": np.zeros(2, int)}, "must be uint8, or floating"),
        ({"images": GOOD[..., :2], "labels": np.zeros(2, int)}, "neither 1 nor 3 channels"),
        ({"images": GOOD[0, 0], "labels": np.zeros(2, int)}, "must have the shape"),
        ({"images": GOOD[:0], "labels": np.zeros(0, int)}, "must have the shape"),
        ({"images": GOOD - 1.5, "labels": np.zeros(2, int)}, "must lie in [0, 1], these reach"),
        ({"images": GOOD * np.nan, "labels": np.zeros(2, int)}, "must lie in [0, 1]"),
        ({"images": np.array([[{}]]), "labels": np.zeros(1, int)}, "holds pickled objects"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_used_end_in_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(InputError) as caught:
        load_user_data(tmp_path / "data.npz")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "skipped", "byte"),
    [
        (b"images.npy", 20, b"\xff"),  # the first block of the deflated array is of no known type
        (b"PK\x01\x02", 4, b"\x01"),  # the member is said to be encrypted
    ],
)
def test_a_damaged_archive_ends_in_one_line(tmp_path, before, skipped, byte):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, images=np.zeros((2, 4, 4), np.uint8), labels=np.array([0, 1]))
    content = path.read_bytes()
    place = content.index(before) + len(before) + skipped
    path.write_bytes(content[:place] + byte + content[place + 1 :])
    with pytest.raises(InputError, match=r"is not a whole \.npz file"):
        load_user_data(path)


def test_a_single_array_is_no_archive(tmp_path):
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(InputError, match=r"not a whole \.npz file"):
        load_user_data(tmp_path / "data.npz")


def test_what_is_neither_is_refused(tmp_path):
    (tmp_path / "data.npz").write_bytes(b"PK broken")
    with pytest.raises(InputError, match=r"not a whole \.npz file"):
        load_user_data(tmp_path / "data.npz")
    for path in (tmp_path / "none", tmp_path / "data.csv"):
        with pytest.raises(InputError, match="is neither a folder"):
            load_user_data(path)


def test_pictures_of_any_size_are_cut_to_their_middle_and_scaled(tmp_path):
    """A red square between two blue stripes, 40x60 or 120x80 pixels large."""
    for number in range(12):
        wide, high = (40, 60) if number % 2 else (120, 80)
        picture = Image.new("RGB", (wide, high), "blue")
        side = min(wide, high)
        picture.paste("red", ((wide - side) // 2, (high - side) // 2, (wide + side) // 2,
                              (high + side) // 2))  # fmt: skip
        folder = tmp_path / ("a" if number < 6 else "b")
        folder.mkdir(exist_ok=True)
        picture.save(folder / f"{number:02d}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    data = load_pictures(tmp_path, 16, "reds")
    assert (data.name, data.num_classes, data.image_size) == ("reds", 1, 16)
    assert (len(data.train), len(data.valid), len(data.test)) == (10, 2, 0)
    red = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]
    assert (data.train.images == red).all()


def test_pictures_that_cannot_be_trained_on_are_named(tmp_path):
    with pytest.raises(InputError, match="is not a folder of pictures"):
        load_pictures(tmp_path / "none", 16, "none")
    with pytest.raises(InputError, match="holds 0 pictures, too few"):
        load_pictures(tmp_path, 16, "none")
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"b\.png is not an image"):
        load_pictures(tmp_path, 16, "none")
