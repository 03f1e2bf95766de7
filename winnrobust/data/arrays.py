"""Arrays in files: images and labels, target classes."""

from pathlib import Path

import numpy as np
from torch import Tensor

from winnrobust.data.checks import checked_images, checked_labels
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import read_npz, read_text, reading


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


def read_targets(path: Path) -> np.ndarray:
    """Read a class for each image (N,) int64: an `.npy` array, or text with one a line.

    The first line may be a heading.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    if path.suffix == ".npy":
        with reading(path, "a whole .npy file"):
            found = np.load(path, allow_pickle=False)
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise InputError(f"{path} must be whole numbers, one for each image")
        return found.astype(np.int64)
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if lines and not lines[0].isdecimal():
        lines = lines[1:]
    wrong = next((line for line in lines if not line.isdecimal() or len(line) > 9), None)
    if wrong is not None or not lines:
        told = "it is empty" if wrong is None else f"not '{wrong[:40]}'"
        raise InputError(f"{path} must have a class on each line, a whole number from 0 on; {told}")
    return np.array(lines, np.int64)
