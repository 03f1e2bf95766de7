"""Checks at the edge: what a caller gives is usable, or one line says why not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from winnrobust.data.checks import checked_images, checked_labels
from winnrobust.data.datasets import ImageSplit
from winnrobust.data.streams import ImageStream
from winnrobust.runtime.errors import InputError


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
    images: Tensor | np.ndarray | ImageStream, labels: Tensor | np.ndarray | Sequence | None
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
        pixels = checked_images(images)
        return ImageSplit(pixels, checked_labels(labels, len(pixels)))
    if isinstance(images, ImageSplit):
        return checked_data(images.images, images.labels)
    if not len(images):
        raise InputError("there are no images to evaluate")
    return Checked(images)


def as_floats(images: Tensor) -> Tensor:
    """Return checked images as float32 in [0, 1]; those that are so already are not copied."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
