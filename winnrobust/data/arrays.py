"""Images and labels in an `.npz` file."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import read_npz


def load_arrays(path: Path) -> tuple[Tensor, Tensor]:
    """Read images (N, C, H, W), uint8 or float32 in [0, 1], and labels (N,) int64.

    The file holds `images`, channels first or last, and `labels`.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    images, labels = read_npz(path, ("images", "labels")).values()
    return _as_images(images, path), _as_labels(labels, len(images), path)


def _as_images(images: np.ndarray, path: Path) -> Tensor:
    """Return images (N, C, H, W), uint8 or float32 in [0, 1]."""
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or not images.size:
        raise InputError(
            f"{path}: 'images' must have the shape (N, H, W, C) or (N, C, H, W), not {images.shape}"
        )
    if images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.shape[1] not in (1, 3):
        raise InputError(
            f"{path}: 'images' of shape {images.shape} have neither 1 nor 3 channels, first or last"
        )
    if images.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(images))
    if not np.issubdtype(images.dtype, np.floating):
        raise InputError(
            f"{path}: 'images' must be uint8, or floating point in [0, 1], not {images.dtype}"
        )
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # so NaN is refused, too
        raise InputError(
            f"{path}: floating-point 'images' must lie in [0, 1], these reach from {low:g} to"
            f" {high:g}; undo their normalisation (the model's goes into --mean and --std)"
        )
    return torch.from_numpy(np.ascontiguousarray(images, np.float32))


def _as_labels(labels: np.ndarray, count: int, path: Path) -> Tensor:
    """Return labels (N,) int64."""
    if labels.shape not in ((count,), (count, 1)) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{path}: 'labels' must be {count} integers (class numbers), one for each image, not"
            f" {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0:
        raise InputError(f"{path}: 'labels' must be 0 or more; the lowest is {labels.min()}")
    return torch.from_numpy(labels.reshape(-1).astype(np.int64))
