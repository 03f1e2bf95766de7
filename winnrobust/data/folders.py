"""Anyone's images: a folder with a folder for each class, or a file of arrays."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from winnrobust.data.arrays import load_arrays
from winnrobust.data.classes import number_folders
from winnrobust.data.datasets import Dataset, ImageSplit
from winnrobust.data.geometry import Geometry, Size
from winnrobust.data.pictures import ALPHA, SUFFIXES, Header, read_pixels
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import progress_bar
from winnrobust.runtime.readers import DamagedError

HEADERS = 256
"""Of so many pictures, spread over all, size and colors are looked at beforehand."""


@dataclass(frozen=True)
class Pictures:
    """Pictures in files, which are read when they are asked for.

    Attributes:
        root: the folder that they are in.
        files: their paths below it.
        labels: (N,) int64.
        geometry: how they come to their size.
        gray: whether they have one channel; else three.
        size: (height, width) that all must come out in; None if nobody has looked yet.
    """

    root: Path
    files: Sequence[str]
    labels: Tensor
    geometry: Geometry = field(default_factory=Geometry)
    gray: bool = False
    size: Size | None = None

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, start: int, stop: int) -> ImageSplit:
        """Read the pictures numbered start, ..., stop - 1, as far as there are some.

        Raises:
            InputError: one is damaged, or comes out in another size than the first one.
        """
        pixels = [self.read(name) for name in self.files[start:stop]]
        if not pixels:
            return ImageSplit(torch.zeros(0, 1, 1, 1, dtype=torch.uint8), self.labels[:0])
        expected = self.size or pixels[0].shape[1:]
        for name, found in zip(self.files[start:stop], pixels, strict=True):
            if found.shape[1:] != expected:
                raise self.sizes_differ(name, found.shape[1:], self.files[0], expected)
        return ImageSplit(torch.from_numpy(np.stack(pixels)), self.labels[start:stop])

    def sizes_differ(
        self, name: str, size: Sequence[int], other: str, other_size: Sequence[int]
    ) -> InputError:
        """Return the error that says of two of the pictures that they have different sizes."""
        (one, first), (two, second) = (
            (self.root / each, f"{wide}x{high}")
            for each, (high, wide) in ((name, size), (other, other_size))
        )
        return InputError(
            f"{one} has {first} pixels, {two} has {second}; all images must have the same size:"
            " scale and cut them, as with --resize 256 --crop 224, in Python resize=256, crop=224"
        )

    def read(self, name: str) -> np.ndarray:
        """Read one of them as (C, H, W) uint8."""
        with _told_of_skipping():
            return read_pixels(self.root / name, self.gray, self.geometry.apply)

    def header(self, name: str) -> Header:
        """Look at the size and colors of one of them."""
        with _told_of_skipping():
            return Header(self.root / name)

    def first(self, count: int | None) -> "Pictures":
        """Return the first `count`, all of them for None."""
        return self.chosen(range(len(self))[:count])

    def chosen(self, numbers: Sequence[int]) -> "Pictures":
        """Return those of these numbers."""
        files = [self.files[number] for number in numbers]
        return replace(self, files=files, labels=self.labels[list(numbers)])

    def identity(self) -> dict[str, Any]:
        """Return what tells them from others without reading them: names, sizes, labels."""
        digest = hashlib.sha256()
        for name, label in zip(self.files, self.labels.tolist(), strict=True):
            size = (self.root / name).stat().st_size
            digest.update(os.fsencode(name) + f"\0{size} {label}\n".encode())
        made = {"geometry": asdict(self.geometry), "gray": self.gray}
        return {"n": len(self), "names_and_sizes_sha256": digest.hexdigest()} | made


@contextmanager
def _told_of_skipping() -> Iterator[None]:
    """Say in a `with` block what to do about a damaged picture."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(
            f"{error}; --skip-damaged, in Python skip_damaged=True, leaves out such pictures"
        ) from None


@dataclass(frozen=True)
class UserData:
    """What a user gave as data.

    Attributes:
        images: with their labels, as many as were asked for; read when they are needed.
        total: how many there are.
        classes: the folders' names by the number of their class; none where there are only numbers.
        notes: what the user should know of it, a sentence each.
        skipped: damaged pictures that were left out.
    """

    images: ImageSplit | Pictures
    total: int
    classes: dict[int, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    skipped: Sequence[str] = ()


def load_user_data(
    path: Path,
    limit: int | None = None,
    *,
    classes: Sequence[str] | str | None = None,
    own: Sequence[str] = (),
    geometry: Geometry | None = None,
    skip_damaged: bool = False,
) -> UserData:
    """Open an image folder, or load an `.npz` file.

    In a folder, classes take turns, so that the first N images are balanced. Where all pictures are
    gray, images have one channel, else three.

    Args:
        limit: how many of the first images are wanted; None for all.
        classes, own: as for `number_folders`.
        geometry: how pictures come to one size; None: they have one.
        skip_damaged: read all pictures beforehand, and leave out what cannot be read.

    Raises:
        InputError: the data cannot be used; the message says why.
    """
    if path.is_dir():
        return _open_folder(path, limit, classes, own, geometry or Geometry(), skip_damaged)
    if path.suffix.lower() == ".npz" and path.is_file():
        images = ImageSplit(*load_arrays(path))
        return UserData(images.first(limit), len(images))
    raise InputError(
        f"{path} is neither a folder (with a folder of images for each class) nor an .npz file"
        " (with the arrays 'images' and 'labels')"
    )


def _open_folder(
    path: Path,
    limit: int | None,
    classes: Sequence[str] | str | None,
    own: Sequence[str],
    geometry: Geometry,
    skip_damaged: bool,
) -> UserData:
    found = _pictures_by_folder(path)
    numbers = dict(zip(found, number_folders(list(found), classes, own), strict=True))
    names = {number: name for name, number in numbers.items()}
    turns = sorted(
        (turn, folder, name) for folder, listed in found.items() for turn, name in enumerate(listed)
    )
    files = [name for _, _, name in turns]
    labels = torch.tensor([numbers[folder] for _, folder, _ in turns])
    pictures = Pictures(path, files, labels, geometry)
    skipped: list[str] = []
    if skip_damaged:
        pictures, skipped = _whole(pictures, limit)
    pictures = pictures.first(limit)
    pictures, notes = _looked_at(pictures)
    if skipped:
        many = (
            "1 damaged picture is" if len(skipped) == 1 else f"{len(skipped)} damaged pictures are"
        )
        notes.insert(0, f"{many} left out: {', '.join(skipped)}")
    return UserData(pictures, len(files) - len(skipped), names, notes, skipped)


def _pictures_by_folder(path: Path) -> dict[str, list[str]]:
    """Return the paths of all pictures below each folder in `path`, in the order of their names."""
    found: dict[str, list[str]] = {}
    try:
        for folder in sorted(entry.name for entry in os.scandir(path) if entry.is_dir()):
            listed: list[str] = []
            for place, folders, names in os.walk(path / folder, followlinks=True):
                folders.sort()
                below = os.path.relpath(place, path)
                listed += [
                    os.path.join(below, name)
                    for name in sorted(names)
                    if name.lower().endswith(SUFFIXES)
                ]
            if listed:
                found[folder] = listed
    except OSError as error:
        raise InputError(f"{path} cannot be used as images: {error.strerror}") from None
    if not found:
        raise InputError(
            f"{path} holds no folder with pictures; it must have one for each class, with pictures"
            f" that end in {', '.join(SUFFIXES)}"
        )
    return found


def _looked_at(pictures: Pictures) -> tuple[Pictures, list[str]]:
    """Look at the headers of some pictures for their size and colors.

    Returns:
        The pictures with what is known now, and what is to be said of them.

    Raises:
        InputError: they come out in different sizes.
    """
    names = pictures.files[:: max(len(pictures) // HEADERS, 1)]
    headers = [pictures.header(name) for name in names]
    sizes = [pictures.geometry.size_of(header.size) for header in headers]
    for name, size in zip(names, sizes, strict=True):
        if size != sizes[0]:
            raise pictures.sizes_differ(name, size, names[0], sizes[0])
    alphas, deep = (
        sum(has(header) for header in headers)
        for has in (lambda each: each.has_alpha, lambda each: each.mode.startswith("I"))
    )
    among = f"of {len(headers)} pictures looked at"
    notes = []
    if alphas:
        notes.append(f"{alphas} {among} {ALPHA}")
    if deep:
        notes.append(f"{deep} {among} have 16 bits for each pixel, which are rounded to 8")
    gray = all(header.is_gray for header in headers)
    return replace(pictures, gray=gray, size=sizes[0]), notes


def _whole(pictures: Pictures, limit: int | None) -> tuple[Pictures, list[str]]:
    """Read pictures until `limit` of them could be read; return these, and the damaged ones.

    Several processes share the work.
    """
    whole: list[int] = []
    damaged: list[str] = []
    at_once = 64 * distributed.world_size()
    wanted = len(pictures) if limit is None else limit
    with progress_bar(len(pictures), "check pictures", unit="picture") as status:
        for start in range(0, len(pictures), at_once):
            numbers = range(start, min(start + at_once, len(pictures)))
            mine = list(numbers)[distributed.strided_shard(len(numbers))]
            bad = {number for number in mine if _is_damaged(pictures, number)}
            bad = set().union(*distributed.all_gather(bad))
            damaged += [pictures.files[number] for number in sorted(bad)]
            whole += [number for number in numbers if number not in bad]
            status.update(len(numbers))
            if len(whole) >= wanted:
                break
    if not whole:
        raise InputError(f"all pictures in {pictures.root} are damaged, such as {damaged[0]}")
    return pictures.chosen(whole), damaged


def _is_damaged(pictures: Pictures, number: int) -> bool:
    try:
        pictures.read(pictures.files[number])
    except DamagedError:
        return True
    return False


# --- pictures without classes -------------------------------------------------------------------


def load_pictures(path: Path, size: int, name: str) -> Dataset:
    """Load all pictures in a folder and its subfolders as a data set without labels.

    Each is cut to the square in its middle and scaled to `size` pixels; gray ones have one channel
    where all are gray. Every tenth, in the order of their names, validates, at least one.

    Raises:
        InputError: there are less than two, or one cannot be read.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder of pictures")
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES]
    if len(files) < 2:
        raise InputError(
            f"{path} holds {len(files)} pictures, too few to train on; they end in"
            f" {', '.join(SUFFIXES)}"
        )
    gray = all(Header(file).is_gray for file in files)
    pixels = []
    with progress_bar(len(files), "read pictures", unit="picture") as status:
        for file in files:
            pixels.append(read_pixels(file, gray, lambda picture: _square(picture, size)))
            status.update()
    images = torch.from_numpy(np.stack(pixels))
    held_out = torch.arange(len(images)) % min(10, len(images)) == 1
    train, valid = (
        ImageSplit(images[part], torch.zeros(int(part.sum()), dtype=torch.int64))
        for part in (~held_out, held_out)
    )
    return Dataset(name, 1, train, valid, valid.first(0))


def _square(picture: Image.Image, size: int) -> Image.Image:
    """Cut a picture to the square in its middle, and scale that."""
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    cut = picture.crop((left, top, left + side, top + side))
    return cut.resize((size, size), Image.Resampling.LANCZOS)


def load_picture(path: Path) -> Tensor:
    """Load a picture (C, H, W) uint8, of one channel if it is gray, else of three.

    Raises:
        InputError: it cannot be read.
    """
    return torch.from_numpy(read_pixels(path, Header(path).is_gray).copy())
