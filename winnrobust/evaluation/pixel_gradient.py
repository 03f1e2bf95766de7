"""The gradient of a convolution that sees few channels: a matrix product instead of a convolution.

PyTorch's CPU kernels compute the gradient of an image by a convolution from many channels to one
or three, which wastes most of their width. Multiplying by the transposed weights and adding up the
patches (`fold`) is the same sum in another order, up to five times as fast.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import loss_gradient
from winnrobust.devices import device_of

FEW_CHANNELS = 4
"""Images have 1, 3 or 4."""

PATCH_PER_OUTPUT = 3
"""Above this many entries of a patch per output channel the sums cost more than they save."""

TOLERANCE = 1e-3
"""How far a gradient may move, relative to its largest entry; float32 sums in another order."""


def use_matrix_products(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Make the gradients of the model's images cheaper, where it is on a CPU and this works.

    Nobody needs to undo this for a model that is held by `frozen`.

    Args:
        model: held by `frozen`.
        images: (N, C, H, W) in [0, 1], a few to try it on.
        labels: (N,) int64.
    """
    chosen = [module for module in model.modules() if _gains(module)]
    if device_of(model).type != "cpu" or not chosen:
        return
    try:
        before = loss_gradient(model, images, labels).gradient
        for module in chosen:
            module.forward = _forward(cast(nn.Conv2d, module))
        after = loss_gradient(model, images, labels).gradient
        same = torch.allclose(after, before, rtol=0, atol=TOLERANCE * float(before.abs().max()))
    except Exception:  # anyone's module may raise anything; the attack will say what is wrong
        same = False
    if not same:
        for module in chosen:
            module.__dict__.pop("forward", None)


def _gains(module: nn.Module) -> bool:
    # Not isinstance: who derives from Conv2d may compute something else.
    return (
        type(module) is nn.Conv2d
        and "forward" not in module.__dict__
        and module.in_channels <= FEW_CHANNELS
        and module.weight[0].numel() <= PATCH_PER_OUTPUT * module.out_channels
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _forward(module: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    plain = module.forward

    def forward(images: Tensor) -> Tensor:
        batch = images.ndim == 4 and images.requires_grad and torch.is_grad_enabled()
        if not batch or module.weight.requires_grad or torch.compiler.is_compiling():
            return plain(images)
        return cast(Tensor, _Convolution.apply(images, module, plain))

    return forward


class _Convolution(torch.autograd.Function):
    """A convolution whose weights need no gradient."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, module: nn.Conv2d, plain: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ctx.module = module
        ctx.size = images.shape[2:]
        ctx.save_for_backward(module.weight)
        return plain(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (weight,), module = gradients, ctx.saved_tensors, ctx.module
        # (entries of a patch, out channels) times (N, out channels, places)
        patches = weight.flatten(1).T @ gradient.flatten(2)
        pixels = F.fold(
            patches, ctx.size, module.kernel_size, module.dilation, module.padding, module.stride
        )
        return pixels, None, None
