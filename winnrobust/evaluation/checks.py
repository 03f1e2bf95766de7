"""Checks at the edge: what a caller gives is usable, or one line says why not."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from winnrobust.data.datasets import ImageSplit
from winnrobust.data.streams import ImageStream
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import check_tensor


def checked_models(models: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the models as a dict of their own.

    Raises:
        InputError: not a mapping from names to modules, or empty.
    """
    if not isinstance(models, Mapping):
        raise InputError(
            f"models must be a dict from name to torch.nn.Module, not {type(models).__name__}"
        )
    if not models:
        raise InputError("there are no models to evaluate; give at least one")
    for name, model in models.items():
        if not isinstance(name, str) or not name:
            raise InputError(f"a model's name must be a non-empty string, not {name!r}")
        if not isinstance(model, nn.Module):
            raise InputError(
                f"model '{name}' must be a torch.nn.Module, not {type(model).__name__}"
            )
        for tensor in (*model.parameters(), *model.buffers()):
            if is_lazy(tensor):
                raise InputError(
                    f"model '{name}' has lazy layers that never saw an image; call it once first"
                )
            if tensor.device.type == "meta":
                raise InputError(
                    f"model '{name}' is on the meta device: its weights have no values"
                )
    return dict(models)


def checked_images(images: Tensor | np.ndarray) -> Tensor:
    """Return images (N, C, H, W), uint8 or floating point in [0, 1], not copied where possible.

    Raises:
        InputError: another type, dtype or shape, none at all, or values outside [0, 1].
    """
    tensor = _as_tensor("images", images)
    if not tensor.is_floating_point() and tensor.dtype != torch.uint8:
        raise InputError(
            f"images must be uint8, or floating point in [0, 1], not {_dtype_name(tensor)}"
        )
    if tensor.ndim != 4:
        raise InputError(
            f"images must have the shape (N, C, H, W), not {tuple(tensor.shape)}; a grey image"
            " has C = 1"
        )
    if tensor.numel() == 0:
        raise InputError(f"there are no images to evaluate (shape {tuple(tensor.shape)})")
    if tensor.dtype == torch.uint8:
        return tensor
    low, high = (bound.item() for bound in torch.aminmax(tensor))
    if math.isnan(low):
        raise InputError("images contain NaN; every pixel must be a number in [0, 1]")
    if low < 0 or high > 1:
        raise InputError(
            f"images must lie in [0, 1], these reach from {low:g} to {high:g}; rescale them and"
            " do any normalization inside the model"
        )
    return tensor


class Checked:
    """A stream whose images and labels are checked when they are read."""

    def __init__(self, stream: ImageStream) -> None:
        self.stream = stream

    @property
    def labels(self) -> Tensor | None:
        """All labels, where they are known without reading the images."""
        return self.stream.labels

    def __len__(self) -> int:
        return len(self.stream)

    def batch(self, start: int, stop: int) -> ImageSplit:
        """Read some images; raises InputError as `checked_images` and `checked_labels`."""
        read = self.stream.batch(start, stop)
        images = checked_images(read.images)
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
        pixels = checked_images(images)  # type: ignore[arg-type]
        return ImageSplit(pixels, checked_labels(labels, len(pixels)))
    if isinstance(images, ImageSplit):
        return checked_data(images.images, images.labels)
    if not len(images):
        raise InputError("there are no images to evaluate")
    return Checked(images)


def as_floats(images: Tensor) -> Tensor:
    """Return checked images as float32 in [0, 1]; those that are so already are not copied."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def checked_labels(labels: Tensor | np.ndarray, count: int) -> Tensor:
    """Return labels (N,) as int64 on the CPU.

    Raises:
        InputError: another type or dtype, not `count` of them, or a negative one.
    """
    tensor = _as_tensor("labels", labels)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(f"labels must be integers (class numbers), not {_dtype_name(tensor)}")
    if tensor.shape != (count,):
        raise InputError(
            f"labels must have the shape ({count},), one per image, not {tuple(tensor.shape)}"
        )
    tensor = tensor.cpu().long()
    if tensor.min() < 0:
        raise InputError(f"labels must be 0 or more; the lowest is {int(tensor.min())}")
    return tensor


def _as_tensor(name: str, value: Tensor | np.ndarray) -> Tensor:
    if isinstance(value, Tensor):
        check_tensor(name, value)
        return value.detach()
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


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
