"""What an attack is, what it returns, and how it reads a model's answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from winnrobust.errors import InputError


class GradientStatistics(NamedTuple):
    """How much of the gradient that an attack followed was exactly zero.

    A softmax that is saturated in float32 has a gradient of exact zeros. The attack then stands
    still and the model only looks robust, so these counts belong beside every adversarial error.

    Attributes:
        entries: number of gradient entries (pixels times channels) computed.
        zero_entries: how many of them were exactly 0.
        images: number of image gradients computed.
        zero_images: how many of them were 0 in every entry.
    """

    entries: int
    zero_entries: int
    images: int
    zero_images: int

    def plus(self, other: "GradientStatistics") -> "GradientStatistics":
        """Return the statistics of both together."""
        return GradientStatistics(
            *(mine + theirs for mine, theirs in zip(self, other, strict=True))
        )


class AttackResult(NamedTuple):
    """What an attack made of one batch.

    Attributes:
        adversarials: for each epsilon, in the order given, (N, C, H, W) in [0, 1].
        gradients: the gradients that led there.
    """

    adversarials: list[Tensor]
    gradients: GradientStatistics


AttackFunction = Callable[[nn.Module, Tensor, Tensor, Sequence[float]], AttackResult]
"""A pure function of (model, images, labels, epsilons).

Images are (N, C, H, W), floating point, in [0, 1]; labels (N,) int64; both on the model's device.
Epsilons are in the units of the images, in the attack's norm. Nothing given is changed: not the
tensors, not the model's mode, parameters or their gradients.
"""


@dataclass(frozen=True)
class Attack:
    """An attack and its threat model.

    Attributes:
        name: what users call it.
        norm: the norm that epsilon bounds, such as "Linf".
        summary: one sentence for reports: what the attacker knows and does.
        source: where it was published.
        function: the attack itself.
    """

    name: str
    norm: str
    summary: str
    source: str
    function: AttackFunction


def logits_of(output: object) -> Tensor:
    """Return the logits in a model's answer: a tensor itself, or an object with `.logits`.

    Raises:
        InputError: it is neither.
    """
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise InputError(
            f"the model returns {type(output).__name__}; it must return a tensor of logits or an"
            " object whose .logits is one"
        )
    return logits


def gradient_statistics(gradient: Tensor) -> GradientStatistics:
    """Count the exact zeros in the gradient (N, C, H, W) of a batch."""
    zero = gradient == 0
    return GradientStatistics(
        entries=zero.numel(),
        zero_entries=int(zero.sum()),
        images=len(zero),
        zero_images=int(zero.flatten(1).all(1).sum()),
    )
