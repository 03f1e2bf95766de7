"""The order of pixels in memory: channels last makes convolutions faster on a CPU."""

import torch
from torch import nn

from winnrobust.evaluation.speed import Change


def channels_last(model: nn.Module) -> Change | None:
    """Turn the model's convolutions to channels last.

    A module that reads its convolutions' results as one block of memory (`view`) cannot take that:
    it fails, or answers differently.
    """
    if not any(parameter.ndim == 4 for parameter in model.parameters()):
        return None

    def turn(order: torch.memory_format) -> None:
        with torch.inference_mode(False):  # tensors made in inference mode can carry no gradient
            model.to(memory_format=order)

    return Change(lambda: turn(torch.channels_last), lambda: turn(torch.contiguous_format))
