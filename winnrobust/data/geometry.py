"""How pictures of any size become images of one size: scaled, and cut to their middle."""

from dataclasses import dataclass

from PIL import Image

from winnrobust.runtime.errors import InputError

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Pillow's ways to scale a picture."""

Size = tuple[int, int]
"""(height, width)."""


@dataclass(frozen=True)
class Geometry:
    """Scale a picture, then cut out its middle; as torchvision and timm do it, pixel by pixel.

    Attributes:
        resize: pixels of the shorter side after scaling, or (height, width); None: not scaled.
        crop: (height, width) that is cut out of the middle; None: all of it.
        interpolation: one of `INTERPOLATIONS`.

    >>> Geometry(resize=256, crop=(224, 224)).size_of((500, 400))
    (224, 224)
    >>> Geometry(resize=256).size_of((500, 400))
    (320, 256)
    """

    resize: int | Size | None = None
    crop: Size | None = None
    interpolation: str = "bilinear"

    def __str__(self) -> str:
        """Say it in words.

        >>> str(Geometry(256, (224, 224), "bicubic"))
        'scaled to 256 (bicubic) and cut to 224x224'
        """
        scaled = self.resize if isinstance(self.resize, int) else _text(self.resize)
        steps = [f"scaled to {scaled} ({self.interpolation})"] if self.resize else []
        return " and ".join([*steps, *([f"cut to {_text(self.crop)}"] if self.crop else [])])

    def apply(self, picture: Image.Image) -> Image.Image:
        """Return the picture in its new size; itself where nothing is to be done.

        Raises:
            InputError: it is smaller than what is to be cut out of it.
        """
        high, wide = self._scaled((picture.height, picture.width))
        if (wide, high) != picture.size:
            picture = picture.resize((wide, high), Image.Resampling[self.interpolation.upper()])
        if self.crop is None or self.crop == (high, wide):
            return picture
        cut_high, cut_wide = self.crop
        if cut_high > high or cut_wide > wide:
            raise InputError(
                f"it has {wide}x{high} pixels, too few to cut {cut_wide}x{cut_high} out of them;"
                " scale it first with --resize, in Python resize="
            )
        left, top = round((wide - cut_wide) / 2), round((high - cut_high) / 2)
        return picture.crop((left, top, left + cut_wide, top + cut_high))

    def size_of(self, size: Size) -> Size:
        """Return the (height, width) of what a picture of this (height, width) becomes."""
        return self.crop or self._scaled(size)

    def _scaled(self, size: Size) -> Size:
        if self.resize is None:
            return size
        if not isinstance(self.resize, int):
            return self.resize
        short, long = min(size), max(size)
        longer = int(self.resize * long / short)
        return (longer, self.resize) if size[0] > size[1] else (self.resize, longer)


def _text(size: Size | None) -> str:
    return f"{size[1]}x{size[0]}" if size else "?"
