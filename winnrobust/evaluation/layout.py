"""The order of pixels in memory: channels last makes convolutions faster on a CPU."""

import torch
from torch import Tensor, nn

from winnrobust.attacks import logits, loss_gradient
from winnrobust.devices import device_of

TOLERANCE = 1e-3
"""How far logits may move, relative to their size; float32 sums in another order."""


def use_channels_last(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Turn the model's convolutions to channels last, where it is on a CPU and can take it.

    A module that reads its convolutions' results as one block of memory (`view`) cannot: it fails,
    or answers differently, and stays as it is. Nobody needs to undo this for a model that is held
    by `frozen`.

    Args:
        model: held by `frozen`.
        images: (N, C, H, W) in [0, 1], a few to try it on.
        labels: (N,) int64.
    """
    convolves = any(parameter.ndim == 4 for parameter in model.parameters())
    if device_of(model).type != "cpu" or not convolves:
        return
    with torch.inference_mode(False):  # tensors made in inference mode cannot carry a gradient
        before = logits(model, images)
        try:
            model.to(memory_format=torch.channels_last)
            after = loss_gradient(model, images, labels).logits
            same = torch.allclose(after, before, rtol=TOLERANCE, atol=TOLERANCE)
        except Exception:  # anyone's module may raise anything; the attack will say what is wrong
            same = False
        if not same:
            model.to(memory_format=torch.contiguous_format)
