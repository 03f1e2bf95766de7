"""Labelled images that are read when they are needed, from whatever a user has them in.

An evaluation asks for them batch after batch, and for the first ones more than once; no more than
a few batches are in memory. What can only be read once, from its beginning, is kept on disk.
"""

import shutil
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from winnrobust.data.checks import Range, checked_images, checked_labels, range_of
from winnrobust.data.datasets import ImageSplit
from winnrobust.data.folders import load_user_data
from winnrobust.data.geometry import Geometry, Size
from winnrobust.data.pictures import ALPHA, GRAY_MODES, eight_bits, has_alpha
from winnrobust.runtime.errors import InputError, brief, warn
from winnrobust.runtime.randomness import stream as random_stream

IMAGES = ("image", "img", "pixel_values", "images")
LABELS = ("label", "labels", "fine_label", "target")
"""What images and labels are called where they come in dicts, the most usual name first."""

AT_ONCE = 64
"""Images in a file of what is kept on disk, where they come one by one."""


class ImageStream(Protocol):
    """N labelled images of one shape, always in the same order."""

    @property
    def labels(self) -> Tensor | None:
        """All labels (N,) int64, or None if they are known only by reading the images."""

    def __len__(self) -> int:
        """Return how many there are."""

    def batch(self, start: int, stop: int) -> ImageSplit:
        """Read the images numbered start, ..., stop - 1, as far as there are some."""

    def identity(self) -> Any:
        """Return what tells these images from others, as JSON takes it, without reading all."""


def open_stream(data: Any) -> ImageStream:
    """Return the labelled images in `data`.

    Args:
        data: a torch `Dataset` or `DataLoader`, or any iterable of (image, label) or of batches of
            them; a Hugging Face dataset; the path of a folder or an `.npz` file as
            `load_user_data` takes it; or a stream. Images are uint8, or floating point in [0, 1],
            channels first, or Pillow's; dicts have the names of `IMAGES` and `LABELS`.

    Raises:
        InputError: it is something else, or cannot be read.
    """
    if isinstance(data, str | Path):
        return open_images(data)
    if hasattr(data, "batch") and hasattr(data, "identity"):
        return data
    if isinstance(data, DataLoader):
        return ReadOnce(data, _length(data))
    has_items = hasattr(data, "__getitem__") and not isinstance(data, IterableDataset)
    if has_items and hasattr(data, "__len__") and not _is_plain(data):
        return Items(data)
    if isinstance(data, Iterable) and not _is_plain(data):
        return ReadOnce(data)
    parts = f"; give one of its parts, {', '.join(map(str, data))}" if _has_parts(data) else ""
    raise InputError(
        f"images must be a tensor or an array with its labels, a Dataset, a DataLoader, a folder"
        f" or an .npz file, not {type(data).__name__}{parts}"
    )


def open_images(
    path: Path | str,
    *,
    limit: int | None = None,
    classes: Sequence[str] | str | None = None,
    resize: int | Size | None = None,
    crop: int | Size | None = None,
    interpolation: str = "bilinear",
    skip_damaged: bool = False,
) -> ImageStream:
    """Open a folder of pictures, or an `.npz` file, as `winnrobust attack --data` does.

    Pictures are read when they are needed, a batch at a time.

    Args:
        path: a folder with a folder for each class, or a file with `images` and `labels`.
        limit: take the first so many only; classes take turns.
        classes: the names of the model's classes in the order of its logits, or "by-name": folders
            are numbered in the order of their names. None: folders are called by numbers.
        resize: scale, so that the shorter side has so many pixels, or to (height, width).
        crop: then cut out the middle, a side or (height, width).
        interpolation: how pictures are scaled, a name of Pillow's.
        skip_damaged: read all pictures beforehand, and leave out those that are damaged.

    Returns:
        What `evaluate` takes for images, with their labels. What there is to be said of them is an
        `EvaluationWarning`.

    Raises:
        InputError: they cannot be used, or it is not clear which classes are meant.

    >>> from tempfile import TemporaryDirectory
    >>> import numpy, winnrobust
    >>> with TemporaryDirectory() as folder:
    ...     images, labels = numpy.zeros((5, 8, 8), numpy.uint8), numpy.arange(5)
    ...     numpy.savez(f"{folder}/mine.npz", images=images, labels=labels)
    ...     len(winnrobust.open_images(f"{folder}/mine.npz", limit=3))
    3
    """
    cut = (crop, crop) if isinstance(crop, int) else crop
    geometry = Geometry(resize, cut, interpolation)
    given = load_user_data(
        Path(path), limit, classes=classes, geometry=geometry, skip_damaged=skip_damaged
    )
    for note in given.notes:
        warn(note)
    return given.images


def _length(loader: DataLoader) -> int | None:
    """Return how many images a loader has, None where it does not say."""
    ours = loader.batch_sampler is not None and loader.batch_size is None
    if isinstance(loader.dataset, IterableDataset) or ours:
        return None
    return len(loader) * (loader.batch_size or 1) if loader.drop_last else len(loader.sampler)  # type: ignore[arg-type]


def _has_parts(data: object) -> bool:
    """Tell whether it is a dict of data sets, as Hugging Face has them by split."""
    return isinstance(data, Mapping) and all(hasattr(part, "__len__") for part in data.values())


def _is_plain(data: object) -> bool:
    return isinstance(data, list | tuple | Mapping | bytes)


class OneRange:
    """Checks the images of one stream: the first ones tell whether all floats are in [0, 1] or in
    0 .. 255, so that a dark batch is none of another range."""

    def __init__(self) -> None:
        self._white: Range | None = None

    def checked(self, images: Any, name: str = "images") -> Tensor:
        """Return what `checked_images` does; raises InputError as it, or where ranges differ."""
        # Others of a stream are not known yet: these may be the dark ones among bytes.
        is_bytes = str(getattr(images, "dtype", "")).endswith("uint8")
        found = checked_images(images, name, 255 if is_bytes else self._white)
        self._white = self._white or range_of(images)
        return found

    def batch(self, images: Any, labels: Any) -> ImageSplit:
        """Return images, in one block on the CPU, with their labels."""
        pixels = self.checked(images, "images of the data").cpu().contiguous()
        return ImageSplit(pixels, checked_labels(labels, len(pixels), "labels of the data"))


class Items:
    """A sequence of (image, label), or of dicts, each read when it is asked for."""

    labels: Tensor | None = None

    def __init__(self, items: Any) -> None:
        self.items = items
        self._range = OneRange()
        self._told = False

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, start: int, stop: int) -> ImageSplit:
        """Read some of the items."""
        stop = min(stop, len(self))
        pairs = []
        for number in range(start, stop):
            image, label = _pair(self._item(number), number)
            self._told = _tell_of_alpha(image, self._told)
            pairs.append((_pixels(image, number), label))
        return self._range.batch(*_stacked(pairs))

    def _item(self, number: int) -> Any:
        try:
            return self.items[number]
        except (InputError, MemoryError):
            raise
        except Exception as error:  # anyone's code may raise anything
            raise _unreadable(number, error) from error

    def identity(self) -> Any:
        """Return their number, and a checksum of the first ones."""
        return [len(self), self.batch(0, 2).identity()]


class ReadOnce:
    """What is read in the order in which it comes, once, and kept in temporary files for later.

    Args:
        source: an iterable of (image, label), or of batches of them.
        n: how many images there are; None reads all at once to know it.
    """

    labels: Tensor | None = None

    def __init__(self, source: Iterable, n: int | None = None) -> None:
        self._folder = Path(mkdtemp(prefix="winnrobust-images-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._source = _batches(source)
        self._range = OneRange()
        self._starts: list[int] = []
        self._read = 0
        if n is None:
            self._read_until(None)
        self._n = self._read if n is None else n

    def __len__(self) -> int:
        return self._n

    def batch(self, start: int, stop: int) -> ImageSplit:
        """Return some of the images, read now or before."""
        stop = min(stop, self._n)
        self._read_until(stop)
        found = []
        for number, first in enumerate(self._starts):
            after = self._starts[number + 1] if number + 1 < len(self._starts) else self._read
            if first < stop and after > start:
                stored = np.load(self._path(number))
                part = slice(max(start - first, 0), stop - first)
                found.append((stored["images"][part], stored["labels"][part]))
        images, labels = zip(*found, strict=True)
        pixels = _joined([torch.from_numpy(each) for each in images])
        return ImageSplit(pixels, torch.from_numpy(np.concatenate(labels)))

    def identity(self) -> Any:
        """Return their number, and a checksum of the first ones."""
        return [len(self), self.batch(0, 2).identity()]

    def _read_until(self, stop: int | None) -> None:
        while stop is None or self._read < stop:
            read = next(self._source, None)
            if read is None:
                if stop is None:
                    return
                raise InputError(f"there are {self._read} images, not {self._n} as was said")
            part = self._range.batch(*read)
            images = _as_bytes(part.images.numpy())
            np.savez(self._path(len(self._starts)), images=images, labels=part.labels.numpy())
            self._starts.append(self._read)
            self._read += len(part)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.npz"


class First:
    """The first `n` images of a stream."""

    def __init__(self, stream: ImageStream, n: int) -> None:
        self.stream, self.n = stream, min(n, len(stream))

    @property
    def labels(self) -> Tensor | None:
        """Their labels, where those are known."""
        return None if self.stream.labels is None else self.stream.labels[: self.n]

    def __len__(self) -> int:
        return self.n

    def batch(self, start: int, stop: int) -> ImageSplit:
        """Read some of them."""
        return self.stream.batch(start, min(stop, self.n))

    def identity(self) -> Any:
        """Return the stream's, and their number."""
        return [self.n, self.stream.identity()]


class Shuffled:
    """All images of a stream, in a random order.

    Attributes:
        numbers: (N,) int64, the images' numbers in the stream, as `random_order` says.

    Raises:
        InputError: the stream can only be read from its beginning.
    """

    def __init__(self, stream: ImageStream, seed: int) -> None:
        inner: Any = stream
        while not isinstance(inner, ReadOnce) and hasattr(inner, "stream"):
            inner = inner.stream
        if isinstance(inner, ReadOnce):
            raise InputError(
                "images that come one by one cannot be drawn at random: give an array, a"
                " Dataset (a DataLoader has one) or a folder, or leave out precision and"
                " until_decided"
            )
        self.stream, self.numbers = stream, random_order(len(stream), seed)

    @property
    def labels(self) -> Tensor | None:
        """All labels, where they are known without reading the images."""
        return None if self.stream.labels is None else self.stream.labels[self.numbers]

    def __len__(self) -> int:
        return len(self.stream)

    def batch(self, start: int, stop: int) -> ImageSplit:
        """Read the images that come at these places of the order."""
        numbers = self.numbers[start:stop]
        if isinstance(self.stream, ImageSplit):
            return ImageSplit(self.stream.images[numbers], self.stream.labels[numbers])
        read = [self.stream.batch(number, number + 1) for number in numbers.tolist()]
        return ImageSplit(
            _joined([each.images for each in read]), torch.cat([each.labels for each in read])
        )

    def identity(self) -> Any:
        """Return the stream's."""
        return self.stream.identity()


def random_order(n: int, seed: int) -> Tensor:
    """Return the numbers 0, ..., n - 1 (n,) int64, each order as likely as any other.

    >>> random_order(5, seed=0).sort().values.tolist()
    [0, 1, 2, 3, 4]
    """
    return torch.randperm(n, generator=random_stream(seed, "order"))


class Checked:
    """A stream whose images and labels are checked when they are read."""

    def __init__(self, stream: ImageStream) -> None:
        self.stream = stream
        self._range = OneRange()

    @property
    def labels(self) -> Tensor | None:
        """All labels, where they are known without reading the images."""
        return self.stream.labels

    def __len__(self) -> int:
        return len(self.stream)

    def batch(self, start: int, stop: int) -> ImageSplit:
        """Read some images; raises InputError as `checked_images` and `checked_labels`."""
        read = self.stream.batch(start, stop)
        images = self._range.checked(read.images)
        return ImageSplit(images, checked_labels(read.labels, len(images)))

    def identity(self) -> Any:
        """Return the stream's."""
        return self.stream.identity()


def checked_data(
    images: Tensor | np.ndarray | ImageStream, labels: Tensor | np.ndarray | None
) -> ImageStream:
    """Return images with their labels as a stream that yields only what is usable.

    Args:
        images: all of them, or a stream that has its labels.
        labels: (N,), if it has not.

    Raises:
        InputError: as `checked_images` and `checked_labels`; or labels are missing, or given twice.
    """
    if labels is not None or isinstance(images, Tensor | np.ndarray):
        if labels is None:
            raise InputError("labels are missing; give the true class of every image")
        if not isinstance(images, Tensor | np.ndarray | Sequence):
            raise InputError(
                f"the labels of a {type(images).__name__} come with its images; leave labels out"
            )
        pixels = checked_images(images)
        return ImageSplit(pixels, checked_labels(labels, len(pixels)))
    if isinstance(images, ImageSplit):
        return checked_data(images.images, images.labels)
    if not len(images):
        raise InputError("there are no images to evaluate")
    return Checked(images)


# --- from what comes to tensors -----------------------------------------------------------------


def _batches(source: Iterable) -> Iterator[tuple[Any, Any]]:
    """Yield batches from what comes in batches or one by one."""
    waiting: list[tuple[Tensor, int]] = []
    told = False
    for number, item in enumerate(_items(source)):
        image, label = _pair(item, number)
        told = _tell_of_alpha(image, told)
        if isinstance(image, Tensor | np.ndarray) and image.ndim == 4:
            yield image, label
            continue
        waiting.append((_pixels(image, number), label))
        if len(waiting) == AT_ONCE:
            yield _stacked(waiting)
            waiting = []
    if waiting:
        yield _stacked(waiting)


def _items(source: Iterable) -> Iterator[Any]:
    """Yield what there is; raises InputError for what goes wrong in the caller's code."""
    number = 0
    try:
        for item in source:
            yield item
            number += 1
    except (InputError, MemoryError):
        raise
    except Exception as error:  # anyone's code may raise anything
        raise _unreadable(number, error) from error


def _unreadable(number: int, error: Exception) -> InputError:
    return InputError(
        f"item {number} of the data cannot be read: {type(error).__name__}: {brief(error)}"
    )


def _pair(item: Any, number: int) -> tuple[Any, Any]:
    """Return the image and the label of an item, or those of a batch."""
    if isinstance(item, Mapping):
        image, label = (next((n for n in names if n in item), None) for names in (IMAGES, LABELS))
        if image is None or label is None:
            raise InputError(
                f"item {number} of the data has {', '.join(map(str, item))}; it must have an image"
                f" ({', '.join(IMAGES)}) and a label ({', '.join(LABELS)})"
            )
        return item[image], item[label]
    if isinstance(item, list | tuple) and len(item) >= 2:
        return item[0], item[1]
    raise InputError(
        f"item {number} of the data is {type(item).__name__}; it must be (image, label), or a dict"
        " with both"
    )


def _pixels(image: Any, number: int) -> Tensor:
    """Return an image as (C, H, W)."""
    if isinstance(image, Image.Image):
        image = np.array(_usual(image, number))
    if isinstance(image, np.ndarray):
        last = image.ndim == 3 and image.shape[2] in (1, 3) and image.shape[0] not in (1, 3)
        image = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1) if last else image))
    if not isinstance(image, Tensor) or image.ndim not in (2, 3):
        shape = f" of shape {tuple(image.shape)}" if isinstance(image, Tensor) else ""
        raise InputError(
            f"image {number} of the data is {type(image).__name__}{shape}; it must be a tensor or"
            " an array (C, H, W), or a picture of Pillow's"
        )
    return image.detach().cpu() if image.ndim == 3 else image.detach().cpu().unsqueeze(0)


def _usual(picture: Image.Image, number: int) -> Image.Image:
    """Return a picture in 8 bits, as a folder's come: gray or RGB."""
    if picture.mode.startswith("I"):
        try:
            return eight_bits(picture)
        except ValueError as error:
            raise InputError(f"image {number} of the data: {error}") from None
    if picture.mode == "F":
        raise InputError(f"image {number} of the data has pixels of mode F; give an array")
    mode = "L" if picture.mode in GRAY_MODES else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _tell_of_alpha(image: Any, told: bool) -> bool:
    """Warn of an alpha channel, once for all pictures; returns whether that has been done."""
    if told or not isinstance(image, Image.Image) or not has_alpha(image):
        return told
    warn(f"pictures of the data {ALPHA}")
    return True


def _stacked(pairs: list[tuple[Tensor, Any]]) -> tuple[Tensor, list[Any]]:
    """Return images (N, C, H, W) and labels in place of N pairs."""
    shapes = {tuple(image.shape) for image, _ in pairs}
    if len(shapes) > 1:
        one, other = sorted(shapes)[:2]
        remedy = "crop or resize them to one" if one[0] == other[0] else "convert all to RGB"
        raise InputError(
            f"images of the data have different shapes, such as {one} and {other}; {remedy}"
        )
    return torch.stack([image for image, _ in pairs]), [label for _, label in pairs]


def _as_bytes(images: np.ndarray) -> np.ndarray:
    """Return floating-point images that were made of bytes as bytes again, others as they are."""
    if images.dtype != np.float32:
        return images
    with np.errstate(invalid="ignore"):
        found = np.rint(images * 255).clip(0, 255).astype(np.uint8)
    return found if np.array_equal(_as_floats(found), images) else images


def _joined(parts: list[Tensor]) -> Tensor:
    """Return one block of images, in floats where some of them are."""
    if len({part.dtype for part in parts}) > 1:
        parts = [torch.from_numpy(_as_floats(part.numpy())) for part in parts]
    return torch.cat(parts)


def _as_floats(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
