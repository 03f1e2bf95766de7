import pickle

import numpy as np
import pytest
import torch
import torchvision
from scipy.io import savemat

from winnrobust.data import datasets as data
from winnrobust.data.datasets import (
    DATA_ROOT_VARIABLE,
    ImageSplit,
    default_data_root,
    first_of_each_class,
    load_dataset,
    to_unit,
)
from winnrobust.runtime.errors import InputError


def test_embedded_digits_have_a_fixed_stratified_split(digits):
    sizes = {"train": 350, "valid": 50, "test": 100}
    for part, per_class in sizes.items():
        split = getattr(digits, part)
        assert split.images.shape == (10 * per_class, 1, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.labels.bincount().tolist() == [per_class] * 10
    assert digits.num_classes == 10
    assert (digits.channels, digits.image_size) == (1, 28)


def test_embedded_splits_share_no_image(digits):
    parts = [digits.train, digits.valid, digits.test]
    keys = [{image.numpy().tobytes() for image in part.images} for part in parts]
    assert len(set.union(*keys)) == sum(len(part) for part in parts) == 5000


def test_more_or_fewer_images_can_be_held_out(digits):
    held = digits.holding_out(100)
    assert (len(held.train), len(held.valid)) == (3_900, 100)
    for both in (held, digits.holding_out(3_999)):
        images = torch.cat([both.train.images, both.valid.images])
        assert torch.equal(images, torch.cat([digits.train.images, digits.valid.images]))
        assert torch.equal(both.test.images, digits.test.images)
    with pytest.raises(InputError, match=r"--hold-out must be less than 4000, .*, not 4000"):
        digits.holding_out(4_000)


def test_embedded_split_is_this_very_one(digits):
    """The identity of the data behind every published figure on mnist5k."""
    assert digits.test.sha256() == EMBEDDED_TEST_SHA256
    assert load_dataset("mnist5k").test.sha256() == digits.test.sha256()


EMBEDDED_TEST_SHA256 = "b7b2c507d270981b4370bab18a77b8e7651777a2eebc3ba0843b9c548ffe6203"


def test_the_first_images_of_a_split_are_balanced(digits):
    assert digits.train.first(20).labels.bincount().tolist() == [2] * 10


def test_hash_tells_pixels_and_labels_apart(blank_split):
    other_pixel = blank_split.images.clone()
    other_pixel[0, 0, 0, 0] = 1
    hashes = {
        blank_split.sha256(),
        type(blank_split)(other_pixel, blank_split.labels).sha256(),
        type(blank_split)(blank_split.images, blank_split.labels.flip(0)).sha256(),
    }
    assert len(hashes) == 3


def test_to_unit_maps_bytes_to_zero_one():
    assert to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx(
        [0.0, 0.2, 1.0]
    )


def write_idx(path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(
        size.to_bytes(4, "big") for size in values.shape
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_mnist_like_files_are_split_in_file_order(tmp_path, name, folder):
    """60 training images stand for 60,000; the split is by the last 15,000, so make 15,060."""
    raw = tmp_path / folder / "raw"
    labels = np.arange(15_060) % 10
    images = np.zeros((15_060, 28, 28), np.uint8)
    images[:, 0, 0] = labels
    write_idx(raw / "train-images-idx3-ubyte", images)
    write_idx(raw / "train-labels-idx1-ubyte", labels)
    write_idx(raw / "t10k-images-idx3-ubyte", images[:20])
    write_idx(raw / "t10k-labels-idx1-ubyte", labels[:20])
    dataset = load_dataset(name, tmp_path)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (60, 15_000, 20)
    assert torch.equal(dataset.train.images[:, 0, 0, 0].long(), dataset.train.labels)
    assert dataset.valid.labels[0] == 0
    assert dataset.train.labels.dtype == torch.int64


def test_truncated_files_are_named(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(10))
        write_idx(raw / f"{part}-images-idx3-ubyte", np.zeros((10, 28, 28)))
    path = raw / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"'mnist'.*cannot be read.*mnist5k"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((15_010, 28, 28)), np.arange(15_000) % 10),  # too few labels
        (np.zeros((15_010, 28, 28)), np.arange(15_010) % 11),  # a class too many
        (np.zeros((15_010, 14, 56)), np.arange(15_010) % 10),  # not square
    ],
)
def test_whole_files_of_something_else_are_named(tmp_path, images, labels):
    raw = tmp_path / "MNIST" / "raw"
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels)
    with pytest.raises(InputError, match="not the original ones"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"garbage" * 20])
def test_files_that_are_not_idx_are_named(tmp_path, content):
    raw = tmp_path / "MNIST" / "raw"
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(10))
        write_idx(raw / f"{part}-images-idx3-ubyte", np.zeros((10, 28, 28)))
    (raw / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(InputError, match=r"'mnist'.*cannot be read"):
        load_dataset("mnist", tmp_path)


def test_far_too_few_images_are_refused(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(10))
        write_idx(raw / f"{part}-images-idx3-ubyte", np.zeros((10, 28, 28)))
    with pytest.raises(InputError, match="only 10 training images"):
        load_dataset("mnist", tmp_path)


@pytest.fixture
def any_svhn(monkeypatch):
    """Files in SVHN's format, of whatever content, pass for the original ones."""
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)


def write_svhn(folder, count: int) -> None:
    """Images whose first pixel is (label, 100, 200); the file calls the digit 0 class 10."""
    for part in ("train", "test"):
        labels = np.arange(count) % 10
        images = np.zeros((32, 32, 3, count), np.uint8)
        images[0, 0, 0], images[0, 0, 1], images[0, 0, 2] = labels, 100, 200
        digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(folder / f"{part}_32x32.mat", {"X": images, "y": digits})


def test_svhn_is_split_in_file_order_and_has_no_extra_images(tmp_path, any_svhn):
    write_svhn(tmp_path, 40)
    dataset = load_dataset("svhn", tmp_path)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (36, 4, 40)
    assert dataset.train.images.shape == (36, 3, 32, 32)
    assert dataset.train.images.dtype == torch.uint8
    assert torch.equal(dataset.train.images[:, 0, 0, 0].long(), dataset.train.labels)
    assert dataset.train.images[5, :, 0, 0].tolist() == [5, 100, 200]
    assert dataset.valid.labels.tolist() == [6, 7, 8, 9]


def test_damaged_svhn_files_are_named(tmp_path, any_svhn):
    write_svhn(tmp_path, 20)
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"'svhn'.*cannot be read.*train_32x32"):
        load_dataset("svhn", tmp_path)


def cifar_like(count: int) -> ImageSplit:
    """Images whose red is the label at the second pixel of the first row, green 9 at the first."""
    labels = torch.arange(count) % 10
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 1], images[:, 1, 0, 0] = labels, 9
    return ImageSplit(images, labels)


def test_cifar10_is_read_row_by_row_and_split_in_file_order(tmp_path, monkeypatch):
    """Its files hold an image as 1,024 red values, then the green, then the blue ones."""
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    labels = np.arange(1_010) % 10
    pixels = np.zeros((1_010, 3 * 1024), np.uint8)
    pixels[:, 1], pixels[:, 1024] = labels, 9
    batch = pickle.dumps({"data": pixels, "labels": labels.tolist()})
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(batch)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": []}))
    dataset = load_dataset("cifar10", tmp_path)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (50, 5_000, 1_010)
    for split in (dataset.train, dataset.valid, dataset.test):
        assert torch.equal(split.images, cifar_like(len(split)).images)
        assert torch.equal(split.labels, cifar_like(len(split)).labels)


def test_the_cifar10_subset_comes_from_its_files(tmp_path):
    for name, count in (("train_20k", 2_030), ("test", 20)):
        split = cifar_like(count)
        pixels = split.images.permute(0, 2, 3, 1).numpy()
        np.savez(tmp_path / f"cifar10_{name}.npz", images=pixels, labels=split.labels.numpy())
    dataset = load_dataset("cifar10-20k", tmp_path)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (30, 2_000, 20)
    assert (dataset.name, dataset.channels, dataset.image_size) == ("cifar10-20k", 3, 32)
    assert torch.equal(dataset.train.images, cifar_like(30).images)
    assert torch.equal(dataset.train.labels, cifar_like(30).labels)


def test_the_cifar10_subset_comes_out_of_cifar10_where_it_has_no_files(tmp_path, monkeypatch):
    whole = cifar_like(20_100)
    monkeypatch.setattr(
        data, "_cifar10_part", lambda root, train: whole if train else whole.first(7)
    )
    dataset = load_dataset("cifar10-20k", tmp_path)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (18_000, 2_000, 7)


def test_the_first_of_each_class_stay_in_order():
    images = torch.arange(7, dtype=torch.uint8).reshape(7, 1, 1, 1)
    found = first_of_each_class(ImageSplit(images, torch.tensor([2, 0, 2, 2, 1, 0, 0])), 2)
    assert found.images.flatten().tolist() == [0, 1, 2, 4, 5]
    assert found.labels.tolist() == [2, 0, 2, 1, 0]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "svhn", "cifar10", "cifar10-20k"])
def test_data_that_cannot_be_fetched_says_what_to_do(tmp_path, monkeypatch, name):
    import urllib.error
    import urllib.request

    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(InputError) as error:
        load_dataset(name, tmp_path)
    message = str(error.value)
    assert "\n" not in message
    for part in (
        name.removesuffix("-20k"),
        str(tmp_path),
        "put ",
        "--data-root",
        DATA_ROOT_VARIABLE,
        "mnist5k",
    ):
        assert part in message


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(InputError, match="unknown data set 'minst'; known are mnist, fashion"):
        load_dataset("minst")


def test_data_root_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(tmp_path))
    assert default_data_root() == tmp_path
    monkeypatch.delenv(DATA_ROOT_VARIABLE)
    assert default_data_root().name == "data"
