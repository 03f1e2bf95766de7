"""Image folders and .npz files that a user brings."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from winnrobust.data.classes import BY_NAME
from winnrobust.data.datasets import to_unit
from winnrobust.data.folders import load_pictures, load_user_data
from winnrobust.data.geometry import Geometry
from winnrobust.runtime.errors import InputError


def save_image(path, value, mode="L", size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).convert(mode).save(path)


def all_of(data):
    """All images of a folder, read."""
    return data.images.batch(0, len(data.images))


def test_class_folders_take_turns(tmp_path):
    for name, values in (("cat", [1, 2, 3]), ("ant", [11, 12]), ("dog", [21])):
        for value in values:
            save_image(tmp_path / name / f"{value:03d}.png", value)
    data = load_user_data(tmp_path, classes=BY_NAME)
    assert data.classes == {0: "ant", 1: "cat", 2: "dog"}
    assert data.total == 6
    images = all_of(data)
    assert images.images.shape == (6, 1, 3, 4)
    assert images.images[:, 0, 0, 0].tolist() == [11, 1, 21, 12, 2, 3]
    assert images.labels.tolist() == data.images.labels.tolist() == [0, 1, 2, 0, 1, 1]
    first = load_user_data(tmp_path, limit=4, classes=BY_NAME)
    assert torch.equal(all_of(first).images, images.images[:4])
    assert torch.equal(data.images.batch(2, 4).images, images.images[2:4])
    assert (len(first.images), first.total) == (4, 6)


def test_folders_called_by_numbers_are_these_classes(tmp_path):
    for name in ("967", "285", "0652"):
        save_image(tmp_path / name / "a.png", 7)
    data = load_user_data(tmp_path)
    assert sorted(data.images.labels.tolist()) == [285, 652, 967]
    assert data.classes == {285: "285", 652: "0652", 967: "967"}


def test_folders_of_other_names_are_asked_for(tmp_path):
    for name in ("cat", "ant"):
        save_image(tmp_path / name / "a.png", 7)
    with pytest.raises(InputError, match=r"folders ant, cat do not say .*in Python.* FILE"):
        load_user_data(tmp_path)
    given = ["emu", "cat, felis", "n01440764 ant, formica"]
    assert load_user_data(tmp_path, classes=given).images.labels.tolist() == [2, 1]
    assert load_user_data(tmp_path, own=given).images.labels.tolist() == [2, 1]
    with pytest.raises(InputError, match="no class is called ant in the 2 names that were given"):
        load_user_data(tmp_path, classes=given[:2])
    with pytest.raises(InputError, match="in the 2 names that the model brings along"):
        load_user_data(tmp_path, own=given[:2])


def test_one_coloured_image_makes_all_have_three_channels(tmp_path):
    save_image(tmp_path / "0" / "1.png", 7)
    save_image(tmp_path / "1" / "2.png", 9, "RGBA")
    assert all_of(load_user_data(tmp_path)).images[:, :, 0, 0].tolist() == [[7], [9]]
    with Image.open(tmp_path / "1" / "2.png") as picture:
        picture.putpixel((1, 1), (9, 8, 9, 255))
        picture.save(tmp_path / "1" / "2.png")
    data = load_user_data(tmp_path)
    images = all_of(data).images
    assert images.dtype == torch.uint8
    assert images[:, :, 0, 0].tolist() == [[7, 7, 7], [9, 9, 9]]
    assert data.notes == [
        "1 of 2 pictures looked at have an alpha channel, which is left out (colors stay as they"
        " are)"
    ]


def test_alpha_is_left_out(tmp_path):
    (tmp_path / "0").mkdir()
    Image.new("RGBA", (4, 3), (10, 20, 30, 0)).save(tmp_path / "0" / "a.png")
    Image.new("LA", (4, 3), (40, 128)).save(tmp_path / "0" / "b.png")
    images = all_of(load_user_data(tmp_path)).images
    assert images[:, :, 0, 0].tolist() == [[10, 20, 30], [40, 40, 40]]


def test_pictures_are_turned_the_way_up_that_exif_says(tmp_path):
    (tmp_path / "0").mkdir()
    upright = Image.new("L", (2, 3))
    upright.putpixel((0, 0), 200)  # top left
    upright.save(tmp_path / "0" / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "0" / "b.png", exif=exif)
    images = all_of(load_user_data(tmp_path)).images
    assert images.shape == (2, 1, 3, 2)
    assert torch.equal(images[0], images[1])


def test_sixteen_bits_become_eight(tmp_path):
    (tmp_path / "0").mkdir()
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "0" / "a.png")
    data = load_user_data(tmp_path)
    assert all_of(data).images.flatten().tolist() == [0, 0, 1, 1, 128, 255]
    assert "have 16 bits for each pixel, which are rounded to 8" in data.notes[0]


@pytest.mark.parametrize("name", ["Zürich/übung ä.png", "七/图片.png", "emoji/\N{CAT}.png"])
def test_names_may_be_in_any_language(tmp_path, name):
    save_image(tmp_path / name, 7)
    data = load_user_data(tmp_path, classes=[name.partition("/")[0].upper()])
    assert all_of(data).images[0, 0, 0, 0] == 7
    json.dumps(data.images.identity())


def test_names_that_are_no_text_are_files_as_others(tmp_path):
    place = os.path.join(os.fsencode(tmp_path), b"0")
    os.mkdir(place)
    save_image(tmp_path / "x.png", 7)
    os.rename(tmp_path / "x.png", os.path.join(place, b"\xff\xfe.png"))
    data = load_user_data(tmp_path)
    assert all_of(data).images[0, 0, 0, 0] == 7
    json.dumps(data.images.identity()).encode()


def test_an_image_of_another_size_is_named_with_the_remedy(tmp_path):
    save_image(tmp_path / "0" / "1.png", 7)
    save_image(tmp_path / "1" / "odd.png", 9, size=(5, 3))
    with pytest.raises(
        InputError, match=r"1/odd.png has 5x3 pixels, .*0/1.png has 4x3; .*in Python"
    ):
        load_user_data(tmp_path)
    data = load_user_data(tmp_path, geometry=Geometry(8, (8, 8)))
    assert all_of(data).images.shape == (2, 1, 8, 8)


def test_one_among_many_is_named_when_it_is_read(tmp_path):
    for number in range(600):
        save_image(tmp_path / "0" / f"{number:03d}.png", 7, size=(5, 3) if number == 3 else (4, 3))
    data = load_user_data(tmp_path)
    assert len(data.images.batch(4, 600)) == 596
    with pytest.raises(InputError, match=r"0/003.png has 5x3 pixels, .*0/000.png has 4x3"):
        data.images.batch(0, 10)
    save_image(tmp_path / "0" / "003.png", 7, "RGB")
    with pytest.raises(InputError, match=r"003.png is in color, and the others are gray"):
        data.images.batch(0, 10)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(50, 37), (37, 50), (40, 40), (31, 90)])
def test_pictures_are_scaled_and_cut_pixel_by_pixel_as_torchvision_does(tmp_path, name, size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture = Image.fromarray(noise)
    theirs = transforms.Compose(
        [transforms.Resize(32, transforms.InterpolationMode(name)), transforms.CenterCrop(28)]
    )
    ours = Geometry(32, (28, 28), name).apply(picture)
    assert np.array_equal(np.asarray(ours), np.asarray(theirs(picture)))
    both = Geometry((20, 30), None, name).apply(picture)
    assert np.array_equal(
        np.asarray(both),
        np.asarray(transforms.Resize((20, 30), transforms.InterpolationMode(name))(picture)),
    )


def test_what_is_too_small_to_be_cut_is_named(tmp_path):
    save_image(tmp_path / "0" / "a.png", 7)
    data = load_user_data(tmp_path, geometry=Geometry(crop=(8, 8)))
    with pytest.raises(InputError, match=r"a.png: it has 4x3 pixels, too few to cut 8x8 out"):
        data.images.batch(0, 1)


def test_images_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(InputError, match="holds no folder with pictures; it must have one for"):
        load_user_data(tmp_path)
    (tmp_path / "0").mkdir()
    with pytest.raises(InputError, match="holds no folder with pictures"):
        load_user_data(tmp_path)
    (tmp_path / "0" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"0/1.png is not an image"):
        load_user_data(tmp_path)
    Image.fromarray(np.zeros((3, 4), np.float32)).save(tmp_path / "0" / "1.tif")
    (tmp_path / "0" / "1.png").unlink()
    with pytest.raises(InputError, match=r"0/1.tif has pixels of mode F; they must have 8"):
        load_user_data(tmp_path)


@pytest.fixture
def one_is_damaged(tmp_path):
    for number in range(6):
        save_image(tmp_path / "0" / f"{number}.png", number, size=(40, 40))
    whole = (tmp_path / "0" / "2.png").read_bytes()
    (tmp_path / "0" / "2.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def test_a_damaged_picture_is_an_error_when_it_is_read(one_is_damaged):
    data = load_user_data(one_is_damaged)
    assert len(data.images.batch(0, 2)) == 2
    with pytest.raises(InputError, match=r"0/2.png is not an image.*--skip-damaged, in Python"):
        data.images.batch(0, 6)
    (one_is_damaged / "0" / "0.png").write_bytes(b"")  # seen by its header, before pixels are read
    with pytest.raises(InputError, match=r"0/0.png is not an image.*--skip-damaged, in Python"):
        load_user_data(one_is_damaged)


def test_damaged_pictures_are_skipped_counted_and_named_where_that_is_asked_for(one_is_damaged):
    data = load_user_data(one_is_damaged, skip_damaged=True)
    assert all_of(data).images[:, 0, 0, 0].tolist() == [0, 1, 3, 4, 5]
    assert (data.total, data.skipped) == (5, [os.path.join("0", "2.png")])
    assert data.notes == ["1 damaged picture is left out: 0/2.png"]
    few = load_user_data(one_is_damaged, 3, skip_damaged=True)
    assert all_of(few).images[:, 0, 0, 0].tolist() == [0, 1, 3]
    for file in (one_is_damaged / "0").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"all pictures in .* are damaged, such as 0/0.png"):
        load_user_data(one_is_damaged, skip_damaged=True)


def test_pictures_are_told_from_others_by_names_sizes_and_classes(tmp_path):
    save_image(tmp_path / "0" / "a.png", 7)
    save_image(tmp_path / "1" / "b.png", 9)
    before = load_user_data(tmp_path).images.identity()
    assert load_user_data(tmp_path).images.identity() == before
    assert load_user_data(tmp_path, geometry=Geometry(2)).images.identity() != before
    assert load_user_data(tmp_path, 1).images.identity() != before
    (tmp_path / "1").rename(tmp_path / "2")
    assert load_user_data(tmp_path).images.identity() != before


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
    assert (data.total, data.classes) == (2, {})
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
        ({"images": GOOD - 1.5, "labels": np.zeros(2, int)}, "must lie in [0, 1]"),
        ({"images": np.array([[{}]]), "labels": np.zeros(1, int)}, "holds pickled objects"),
    ],
)
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
