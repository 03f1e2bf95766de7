"""The gradient of a convolution that sees few channels: a matrix product instead of a convolution.

PyTorch's CPU kernels compute the gradient of an image by a convolution from many channels to one
or three, which wastes most of their width. Multiplying by the transposed weights and adding up the
patches (`fold`) is the same sum in another order, up to five times as fast.
"""

import math
from types import MethodType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.evaluation.speed import Change

FEW_CHANNELS = 4
"""Images have 1, 3 or 4."""

PATCH_PER_OUTPUT = 3
"""Above this many entries of a patch per output channel the sums cost more than they save."""


def matrix_products(model: nn.Module) -> Change | None:
    """Make the gradients of the model's images cheaper.

    A module that takes such a gradient in a way of its own (`torch.func`) may not bear that.
    """
    chosen = [module for module in model.modules() if _gains(module)]
    if not chosen:
        return None

    def apply() -> None:
        for module in chosen:
            # A bound method: a copy of the module gets one that is bound to the copy.
            module.forward = MethodType(_forward, module)

    def undo() -> None:
        for module in chosen:
            module.__dict__.pop("forward", None)

    return Change(apply, undo)


def _gains(module: nn.Module) -> bool:
    # Not isinstance: who derives from Conv2d may compute something else.
    return (
        type(module) is nn.Conv2d
        and "forward" not in module.__dict__
        and module.in_channels <= FEW_CHANNELS
        and math.prod(module.weight.shape[1:]) <= PATCH_PER_OUTPUT * module.out_channels
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _forward(self: nn.Conv2d, images: Tensor) -> Tensor:
    usual = (
        images.ndim != 4
        or images.dtype != self.weight.dtype
        or not (images.requires_grad and torch.is_grad_enabled())
        or any(parameter.requires_grad for parameter in self.parameters())
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
    )
    if usual:
        return nn.Conv2d.forward(self, images)
    return cast(Tensor, _Convolution.apply(images, self))


class _Convolution(torch.autograd.Function):
    """A convolution whose weights need no gradient."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, module: nn.Conv2d) -> Tensor:
        ctx.module = module
        ctx.size = images.shape[2:]
        ctx.save_for_backward(module.weight)
        return nn.Conv2d.forward(module, images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (weight,), module = gradients, ctx.saved_tensors, ctx.module
        # (entries of a patch, out channels) times (N, out channels, places)
        patches = weight.flatten(1).T @ gradient.flatten(2)
        pixels = F.fold(
            patches, ctx.size, module.kernel_size, module.dilation, module.padding, module.stride
        )
        return pixels, None
