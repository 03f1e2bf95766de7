"""Anyone's images: a folder with a folder for each class, or a file of arrays."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from winnrobust.arrays import load_arrays
from winnrobust.data import ImageSplit
from winnrobust.errors import InputError, brief
from winnrobust.progress import bar

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


def _load_folder(path: Path, limit: int | None) -> UserData:
    """Load class folders as torchvision's ImageFolder does: classes are numbered by name.

    Classes take turns, so that the first N images are balanced. Where all images are grey, they
    have one channel, else three.
    """
    try:
        found = ImageFolder(str(path))
    except (FileNotFoundError, OSError) as error:
        raise InputError(f"{path} cannot be used as images: {brief(error)}") from None
    turns: dict[int, int] = {}
    numbered = []
    for file, label in found.samples:
        turns[label] = turns.get(label, -1) + 1
        numbered.append((turns[label], label, Path(file)))
    chosen = sorted(numbered)[:limit]
    files = [file for _, _, file in chosen]
    mode = _common_mode(files)
    with bar(len(files), "read images", unit="image") as status:
        pixels = []
        for file in files:
            pixels.append(_pixels(file, mode))
            status.update()
    images = torch.from_numpy(np.stack(pixels))
    images = images.unsqueeze(1) if mode == "L" else images.permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor([label for _, label, _ in chosen])
    return UserData(ImageSplit(images, labels), len(found.samples), found.classes)


def _common_mode(files: list[Path]) -> str:
    """Check by their headers that all images have one size; return "L" if all are grey."""
    size, grey = None, True
    for file in files:
        try:
            with Image.open(file) as image:
                found, mode = image.size, image.mode
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{file} cannot be read as an image ({brief(error)})") from None
        if mode not in GREY_MODES + COLOUR_MODES:
            raise InputError(f"{file} has pixels of the kind {mode}; they must have 8 bits")
        size = size or found
        if found != size:
            raise InputError(
                f"{file} has {found[0]}x{found[1]} pixels, {files[0]} has {size[0]}x{size[1]}; all"
                " images must have the same size, so crop or resize them first"
            )
        grey = grey and mode in GREY_MODES
    return "L" if grey else "RGB"


def _pixels(file: Path, mode: str) -> np.ndarray:
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises the last for a broken PNG
        raise InputError(f"{file} cannot be read as an image ({brief(error)})") from None
