"""From a file with a picture to pixels of 8 bits, the way up that it was taken."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import opened_image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
COLOR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Pillow's names for kinds of pixels."""

ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
ALPHA = "have an alpha channel, which is left out (colors stay as they are)"
"""What is said of pictures that have one."""
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""EXIF's number for how a picture was held, and the values at which height and width change places.
"""

LARGEST_16 = 2**16 - 1


class Header:
    """What a file says of its picture before the pixels: cheap to read.

    Attributes:
        size: (height, width), the right way up.
        mode: Pillow's name of the kind of pixels.
    """

    def __init__(self, file: Path) -> None:
        """Read it.

        Raises:
            InputError: it is no picture, or of a kind that cannot be used.
        """
        self.file = file
        with opened_image(file) as picture:
            self.mode = picture.mode
            high, wide = picture.height, picture.width
            # Of a PNG without any, getexif reads all pixels to look behind them.
            known = "exif" in picture.info or picture.format == "TIFF"
            turned = known and picture.getexif().get(ORIENTATION) in SIDEWAYS
            self.has_alpha = has_alpha(picture)
        self.size = (wide, high) if turned else (high, wide)
        if self.mode not in GRAY_MODES + COLOR_MODES:
            raise InputError(f"{file} has pixels of mode {self.mode}; they must have 8 bits")

    @cached_property
    def is_gray(self) -> bool:
        """Tell whether it has no colors; see `is_gray`."""
        if not self.has_alpha:
            return self.mode in GRAY_MODES
        with opened_image(self.file) as picture:
            return is_gray(picture)


def has_alpha(picture: Image.Image) -> bool:
    """Tell whether a picture says what is transparent."""
    return picture.mode in ALPHA_MODES or "transparency" in picture.info


def is_gray(picture: Image.Image) -> bool:
    """Tell whether a picture has no colors.

    Its kind of pixels says so; but most programs know gray with an alpha channel only as RGBA, so
    there the pixels do.

    >>> gray, blue = Image.new("RGBA", (8, 8), (9, 9, 9, 0)), Image.new("RGBA", (8, 8), "blue")
    >>> is_gray(gray), is_gray(blue), is_gray(gray.convert("RGB"))
    (True, False, False)
    """
    if picture.mode in GRAY_MODES or not has_alpha(picture):
        return picture.mode in GRAY_MODES
    pixels = np.asarray(picture.convert("RGB"))
    return bool((pixels == pixels[..., :1]).all())


def read_pixels(
    file: Path, gray: bool, shaped: Callable[[Image.Image], Image.Image] = lambda picture: picture
) -> np.ndarray:
    """Read a picture as (C, H, W) uint8, with one channel or three.

    It is turned as its EXIF data say. An alpha channel is left out: colors stay as they are under
    it. Grey values of 16 bits are rounded to 8.

    Args:
        gray: whether one channel is wanted.
        shaped: what is done to it before, such as scaling.

    Raises:
        InputError: it is damaged, of a kind that cannot be used, or in color where it must not be.
    """
    with opened_image(file) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.mode not in GRAY_MODES + COLOR_MODES:
            raise InputError(f"{file} has pixels of mode {picture.mode}; they must have 8 bits")
        if gray and not is_gray(picture):
            raise InputError(
                f"{file} is in color, and the others are gray; convert one or the other"
            )
        if picture.mode.startswith("I"):
            picture = eight_bits(picture)
        try:
            pixels = np.asarray(shaped(picture.convert("L" if gray else "RGB")))
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
    return pixels[None] if gray else pixels.transpose(2, 0, 1)


def eight_bits(picture: Image.Image) -> Image.Image:
    """Round grey values of 16 bits to 8; raises ValueError where they have more."""
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > LARGEST_16:
        raise ValueError(f"its gray values range from {values.min()} to {values.max()}")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
