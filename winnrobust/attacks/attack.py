"""What an attack is and what it returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from winnrobust.attacks.target import Target


class GradientStatistics(NamedTuple):
    """How much of the gradients that an attack followed was exactly zero.

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


NO_GRADIENTS = GradientStatistics(0, 0, 0, 0)


class AttackResult(NamedTuple):
    """What an attack made of one batch.

    Attributes:
        adversarials: for each epsilon, in the order given, (N, C, H, W) in [0, 1].
        gradients: the gradients that led there.
    """

    adversarials: list[Tensor]
    gradients: GradientStatistics


AttackFunction = Callable[[Target, Sequence[float]], AttackResult]
"""A pure function of (target, epsilons).

Epsilons are in the units of the images, in the attack's norm. Nothing of the target is changed:
not its tensors, not its model's mode, parameters or their gradients.
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
        uses_clean_gradient: whether it asks for `Target.clean`; the evaluation then counts clean
            errors from that pass instead of making another one.
    """

    name: str
    norm: str
    summary: str
    source: str
    function: AttackFunction
    uses_clean_gradient: bool = False


def gradient_statistics(gradient: Tensor) -> GradientStatistics:
    """Count the exact zeros in the gradient (N, C, H, W) of a batch."""
    zero = gradient == 0
    return GradientStatistics(
        entries=zero.numel(),
        zero_entries=int(zero.sum()),
        images=len(zero),
        zero_images=int(zero.flatten(1).all(1).sum()),
    )
