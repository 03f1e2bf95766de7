"""Images and labels in an `.npz` file."""

from pathlib import Path

from torch import Tensor

from winnrobust.data.checks import checked_images, checked_labels
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import read_npz


def load_arrays(path: Path) -> tuple[Tensor, Tensor]:
    """Read images (N, C, H, W), uint8 or floating point in [0, 1], and labels (N,) int64.

    Args:
        path: a file that holds `images` as `checked_images` takes them, and `labels`.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    images, labels = read_npz(path, ("images", "labels")).values()
    try:
        pixels = checked_images(images, "'images'").contiguous()
        if pixels.is_floating_point():
            pixels = pixels.float()
        return pixels, checked_labels(labels, len(pixels), "'labels'")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
