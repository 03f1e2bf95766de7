"""Checks at the edge: what a caller gives is usable, or one line says why not."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

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
                    f"model '{name}' has lazy layers that saw no image yet; call it once first"
                )
            if tensor.device.type == "meta":
                raise InputError(
                    f"model '{name}' is on the meta device: its weights have no values"
                )
    return dict(models)


def as_floats(images: Tensor) -> Tensor:
    """Return checked images as float32 in [0, 1]; those that are so already are not copied."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
