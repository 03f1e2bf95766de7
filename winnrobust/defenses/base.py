"""What a false defense is, and the few ways in which one is built around a network."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU)


@dataclass(frozen=True)
class Defense:
    """A way to make a network look robust without making it robust.

    Attributes:
        name: what it is called.
        kind: what it does to attacks; one of `KINDS`.
        build: (network) -> the defended module, which shares the network's weights or copies them.
            The network takes (N, C, H, W) in [0, 1] and returns logits (N, K).
        summary: one sentence, what it is and why it misleads.
        broken_by: what gets around it.
        source: where it was proposed or broken.

    >>> import torch, winnrobust
    >>> defense = winnrobust.defenses.DEFENSES["label-only"]
    >>> defense.kind, defense.broken_by
    ('saturated', 'the logits inside (BPDA), or a margin loss')
    >>> masked = defense.build(torch.nn.Flatten())  # around a network whose logits are the pixels
    >>> masked(torch.tensor([[[[0.25, 0.75]]]]))
    tensor([[0., 1.]])
    """

    name: str
    kind: str
    build: Callable[[nn.Module], nn.Module]
    summary: str
    broken_by: str
    source: str


class Around(nn.Module):
    """A network with something done to its images before, and to its logits after.

    >>> import torch
    >>> from winnrobust.defenses import Around
    >>> halved = Around(torch.nn.Flatten(), before=lambda images: images / 2)
    >>> halved(torch.ones(1, 1, 1, 2))
    tensor([[0.5000, 0.5000]])
    """

    def __init__(
        self,
        network: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda images: images,
        after: Callable[[Tensor], Tensor] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(logits_of(self.network(self.before(images))))


def logits_of(output: Any) -> Tensor:
    """Return the logits in what a network returns: a tensor, or an object that has `.logits`."""
    return output if isinstance(output, Tensor) else output.logits


class Lambda(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        return self.function(values)


def with_layers(
    network: nn.Module, kinds: tuple[type[nn.Module], ...], make: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    """Return a copy of a network in which `make(layer)` stands for every layer of these kinds.

    >>> from torch import nn
    >>> from winnrobust.defenses import with_layers
    >>> with_layers(nn.Sequential(nn.Flatten(), nn.ReLU()), (nn.ReLU,), lambda layer: nn.Tanh())
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Tanh()
    )
    """
    copied = copy.deepcopy(network)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kinds):
                setattr(module, name, make(child))
    return copied


def gradient_from(
    forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return a function whose gradient is made up.

    Args:
        forward: what it computes.
        backward: (its input, the gradient at its output) -> the gradient that it claims.
    """

    class Claimed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Tensor) -> Tensor:
            ctx.save_for_backward(values)
            return forward(values)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return backward(ctx.saved_tensors[0], gradient)

    return lambda values: Claimed.apply(values)
