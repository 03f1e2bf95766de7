"""What images and labels a user may give, wherever they come from: accepted where it is clear what
is meant, else refused in one line that says what to do."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import check_tensor

CHANNELS = (1, 3, 4)
"""Numbers of channels by which their axis is recognized, the surest ones first."""

TOLERANCE = 1e-6
"""So far outside [0, 1] rounding puts images; they are clamped."""

BYTES_FROM = 16
"""From such a value on, no image is meant to be in [0, 1] or normalized, but in 0 .. 255."""


Range = Literal[1, 255]
"""What white is to images of floats."""


def checked_images(value: Any, name: str = "images", white: Range | None = None) -> Tensor:
    """Return images (N, C, H, W), uint8 or floating point in [0, 1], not copied where possible.

    Grey ones may come as (N, H, W), others with their channels last; integers and whole floats may
    be in 0 .. 255, and so may other floats that reach well above 1.

    Args:
        value: a tensor or an array.
        name: what messages call it.
        white: what `range_of` says of others that they belong to; None: there are no others.

    Raises:
        InputError: it is not clear what is meant, there are none, or values make no sense.

    >>> checked_images(np.full((2, 8, 9, 3), 255.0)).shape
    torch.Size([2, 3, 8, 9])
    >>> checked_images(torch.ones(2, 8, 9)).shape
    torch.Size([2, 1, 8, 9])
    """
    images = _in_order(_as_tensor(value, name), name)
    if images.dtype == torch.uint8:
        if white is None and images.max() == 1:
            raise InputError(
                f"{name} are uint8 and hold only 0 and 1, where 255 is white, so all are black; if"
                " 1 is white give them as floats, if they are that dark as floats divided by 255"
            )
        return images
    if images.dtype == torch.bool:
        return images.float()
    if images.is_complex():
        raise InputError(f"{name} must be uint8, or floating point in [0, 1], not complex")
    if images.dtype in (torch.uint16, torch.uint32, torch.uint64):
        images = images.long()
    low, high = (bound.item() for bound in torch.aminmax(images.detach()))
    if not images.is_floating_point():
        if low < 0 or not (high > 1 or white == 255) or high > 255:
            raise InputError(
                f"{name} of integers must lie in 0 .. 255; these range from {low} to {high}; give"
                " them as uint8 in 0 .. 255, or as floats in [0, 1]"
            )
        return images.to(torch.uint8)
    if not (low == low and high == high):
        raise InputError(f"{name} contain NaN; every pixel must be a number in [0, 1]")
    if white != 255 and low >= -TOLERANCE and high <= 1 + TOLERANCE:
        return images if low >= 0 and high <= 1 else images.clamp(0, 1)
    if white == 1 and low >= 0:
        raise InputError(
            f"{name} of floats lay in [0, 1] so far; these range from {low:g} to {high:g}; give all"
            " of them in one range"
        )
    if low >= 0 and high <= 255:
        if bool((images == images.round()).all()):
            return images.to(torch.uint8)
        if white == 255 or high >= BYTES_FROM:
            return images / 255
    raise InputError(
        f"{name} of floats must lie in [0, 1]; these range from {low:g} to {high:g}; undo their"
        " normalization (images * std + mean; the model's goes into the model, or into mean and std"
        " where it is loaded)"
    )


def range_of(images: Tensor | np.ndarray) -> Range | None:
    """Return what white is to images that `checked_images` takes; None where their dtype says it.

    >>> range_of(np.array([0.0, 200.0])), range_of(np.array([0.0, 0.7]))
    (255, 1)
    """
    if str(images.dtype).removeprefix("torch.") in ("uint8", "bool"):
        return None
    return 255 if images.max() > 1 + TOLERANCE else 1


def _in_order(images: Tensor, name: str) -> Tensor:
    """Return images as (N, C, H, W)."""
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim != 4:
        raise InputError(
            f"{name} must have the shape (N, C, H, W), (N, H, W, C) or, if gray, (N, H, W), not"
            f" {tuple(images.shape)}"
            + ("; one image is images[None]" if images.ndim in (1, 2) else "")
        )
    if images.numel() == 0:
        raise InputError(f"there are no {name} (shape {tuple(images.shape)})")
    first, last = images.shape[1], images.shape[3]
    for likely in (CHANNELS[:2], CHANNELS):
        if first in likely:
            return images
        if last in likely:
            return images.permute(0, 3, 1, 2)
    return images


def checked_labels(value: Any, count: int, name: str = "labels") -> Tensor:
    """Return the labels (N,) int64, on the CPU, of `count` images.

    They may come as a list, as whole floats, as (N, 1), or one-hot as (N, K).

    Args:
        value: a tensor, an array or a list.
        count: number of images.
        name: what messages call it.

    Raises:
        InputError: it is not clear what is meant, or one is negative.

    >>> checked_labels([[0, 0, 1], [1, 0, 0]], 2)
    tensor([2, 0])
    """
    labels = _as_tensor(value, name).cpu()
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and len(labels) == count:
        hot = (labels == 1).sum(1)
        if not ((hot == 1).all() and ((labels == 0) | (labels == 1)).all()):
            raise InputError(
                f"{name} of shape {tuple(labels.shape)} are neither class numbers nor one-hot; if"
                f" they are scores of classes, give {name}.argmax(1)"
            )
        labels = labels.to(torch.int8).argmax(1)
    if labels.shape != (count,):
        raise InputError(
            f"{name} must be {count} integers (class numbers), one for each image, not"
            f" {_dtype(labels)} of shape {tuple(labels.shape)}"
        )
    if labels.is_complex() or (labels.is_floating_point() and not (labels == labels.round()).all()):
        raise InputError(
            f"{name} must be {count} integers (class numbers), one for each image, not"
            f" {_dtype(labels)} such as {labels[labels != labels.round()][0].item():g}"
            if labels.is_floating_point()
            else f"{name} must be integers, not {_dtype(labels)}"
        )
    labels = labels.long()
    if labels.min() < 0:
        raise InputError(
            f"{name} must be 0 or more; the lowest is {int(labels.min())}; leave images without a"
            " class out"
        )
    return labels


def _as_tensor(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        check_tensor(name, value)
        return value.detach()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        try:
            value = np.asarray(value)
        except (TypeError, ValueError):
            raise InputError(f"{name} must hold plain numbers in one shape") from None
    if not isinstance(value, np.ndarray):
        raise InputError(
            f"{name} must be a torch tensor or a numpy array, not {type(value).__name__}"
        )
    if not value.flags.writeable or any(stride < 0 for stride in value.strides):
        value = value.copy(order="C")  # torch cannot take such an array
    try:
        return torch.from_numpy(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold plain numbers, not {value.dtype}") from None


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
