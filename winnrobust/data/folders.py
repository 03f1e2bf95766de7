"""Anyone's images: a folder with a folder for each class, or a file of arrays."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from winnrobust.data.arrays import load_arrays
from winnrobust.data.datasets import Dataset, ImageSplit
from winnrobust.runtime.errors import InputError, brief
from winnrobust.runtime.progress import progress_bar
from winnrobust.runtime.readers import opened_image

GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Pillow's names for pixels of 8 bits; others would lose precision."""


@dataclass(frozen=True)
class UserData:
    """What a user gave as data.

    Attributes:
        images: uint8, or float32 in [0, 1], with their labels; as many as were asked for.
        total: how many there are.
        classes: their names in the order of their numbers; none where there are only numbers.
    """

    images: ImageSplit
    total: int
    classes: list[str]


def load_user_data(path: Path, limit: int | None = None) -> UserData:
    """Load an image folder or an `.npz` file.

    Args:
        limit: how many of the first images are wanted; None for all.

    Raises:
        InputError: the data cannot be used; the message says why.
    """
    if path.is_dir():
        return _load_folder(path, limit)
    if path.suffix.lower() == ".npz" and path.is_file():
        images = ImageSplit(*load_arrays(path))
        return UserData(images.first(limit), len(images), [])
    raise InputError(
        f"{path} is neither a folder (with a folder of images for each class) nor an .npz file"
        " (with the arrays 'images' and 'labels')"
    )


def load_pictures(path: Path, size: int, name: str) -> Dataset:
    """Load all pictures in a folder and its subfolders as a data set without labels.

    Each is cut to the square in its middle and scaled to `size` pixels; grey ones have one channel
    where all are grey. Every tenth, in the order of their names, validates, at least one.

    Raises:
        InputError: there are less than two, or one cannot be read.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder of pictures")
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in IMG_EXTENSIONS]
    if len(files) < 2:
        raise InputError(
            f"{path} holds {len(files)} pictures, too few to train on; they end in"
            f" {', '.join(IMG_EXTENSIONS)}"
        )
    mode = _common_mode(files, same_size=False)
    pixels = []
    with progress_bar(len(files), "read pictures", unit="picture") as status:
        for file in files:
            pixels.append(_pixels(file, mode, size))
            status.update()
    images = _channels_first(pixels, mode)
    held_out = torch.arange(len(images)) % min(10, len(images)) == 1
    train, valid = (
        ImageSplit(images[part], torch.zeros(int(part.sum()), dtype=torch.int64))
        for part in (~held_out, held_out)
    )
    return Dataset(name, 1, train, valid, valid.first(0))


def load_picture(path: Path) -> torch.Tensor:
    """Load a picture (C, H, W) uint8, of one channel if it is grey, else of three.

    Raises:
        InputError: it cannot be read.
    """
    mode = _common_mode([path])
    return _channels_first([_pixels(path, mode)], mode)[0]


def _channels_first(pixels: list[np.ndarray], mode: str) -> torch.Tensor:
    images = torch.from_numpy(np.stack(pixels))
    return images.unsqueeze(1) if mode == "L" else images.permute(0, 3, 1, 2).contiguous()


def _load_folder(path: Path, limit: int | None) -> UserData:
    """Load class folders as torchvision's ImageFolder does: classes are numbered by name.

    Classes take turns, so that the first N images are balanced. Where all images are grey, they
    have one channel, else three.
    """
    try:
        found = ImageFolder(str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be used as images: {brief(error)}") from None
    turns: dict[int, int] = {}
    numbered = []
    for file, label in found.samples:
        turns[label] = turns.get(label, -1) + 1
        numbered.append((turns[label], label, Path(file)))
    chosen = sorted(numbered)[:limit]
    files = [file for _, _, file in chosen]
    mode = _common_mode(files)
    with progress_bar(len(files), "read images", unit="image") as status:
        pixels = []
        for file in files:
            pixels.append(_pixels(file, mode))
            status.update()
    images = _channels_first(pixels, mode)
    labels = torch.tensor([label for _, label, _ in chosen])
    return UserData(ImageSplit(images, labels), len(found.samples), found.classes)


def _common_mode(files: list[Path], same_size: bool = True) -> str:
    """Check images by their headers, also for one size if asked; return "L" if all are grey."""
    size, grey = None, True
    for file in files:
        with opened_image(file) as image:
            found, mode = image.size, image.mode
        if mode not in GREY_MODES + COLOUR_MODES:
            raise InputError(f"{file} has pixels of the kind {mode}; they must have 8 bits")
        size = size or found
        if same_size and found != size:
            raise InputError(
                f"{file} has {found[0]}x{found[1]} pixels, {files[0]} has {size[0]}x{size[1]}; all"
                " images must have the same size, so crop or resize them first"
            )
        grey = grey and mode in GREY_MODES
    return "L" if grey else "RGB"


def _pixels(file: Path, mode: str, size: int | None = None) -> np.ndarray:
    """Read an image (H, W) or (H, W, C); with a size, its middle scaled to that."""
    with opened_image(file) as image:
        read = image.convert(mode)
        if size is not None:
            side = min(read.size)
            left, top = ((length - side) // 2 for length in read.size)
            read = read.crop((left, top, left + side, top + side))
            read = read.resize((size, size), Image.Resampling.LANCZOS)
        return np.asarray(read)
