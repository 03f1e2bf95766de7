"""What an attack is and what it returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from winnrobust.attacks.target import Target

TINY = 1e-10
"""A gradient whose largest entry is at most this is drowned by float32 rounding."""


class GradientStatistics(NamedTuple):
    """How much of the gradients that an attack followed was exactly zero.

    A softmax that is saturated in float32 has a gradient of exact zeros. The attack then stands
    still and the model only looks robust, so these counts belong beside every adversarial error.

    Attributes:
        entries: number of gradient entries (pixels times channels) computed.
        zero_entries: how many of them were exactly 0.
        images: number of image gradients computed.
        zero_images: how many of them were 0 in every entry.
        tiny_images: how many had no entry above `TINY`, the zero ones among them.
        nonfinite_images: how many had a NaN or an infinity among their entries.
    """

    entries: int
    zero_entries: int
    images: int
    zero_images: int
    tiny_images: int = 0
    nonfinite_images: int = 0

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
        distances: (N,) for a minimum-norm attack, the norm of the smallest perturbation found
            that the model gets wrong: 0 where it is wrong anyway, infinite where none was found.
    """

    adversarials: list[Tensor]
    gradients: GradientStatistics
    distances: Tensor | None = None


class Budget(NamedTuple):
    """What an attack may spend, and what it aims at; None leaves the attack its own default.

    Attributes:
        steps: iterations of an iterative attack.
        restarts: random starts of an attack that has them.
        queries: images that a black-box attack may ask the model about, for each image attacked.
        eot: gradients averaged in every step, for models that answer at random (expectation over
            transformation; Athalye, Engstrom, Ilyas, Kwok 2018).
    """

    steps: int | None = None
    restarts: int | None = None
    queries: int | None = None
    eot: int = 1


DEFAULT_BUDGET = Budget()

AttackFunction = Callable[[Target, Sequence[float], Budget], AttackResult]
"""A pure function of (target, epsilons, budget).

Epsilons are in the units of the images, in the attack's norm. Nothing of the target is changed:
not its tensors, not its model's mode, parameters or their gradients. An attack that can run long
asks `target.out_of_time()` between steps and then returns what it has.
"""

Norm = Literal["Linf", "L2"]
Access = Literal["none", "white-box", "black-box", "transfer"]


@dataclass(frozen=True)
class Attack:
    """An attack and its threat model.

    Attributes:
        name: what users call it.
        norm: the norm that epsilon bounds.
        access: what the attacker sees: nothing (a control), gradients, answers, another model.
        cost: what an image costs, such as "20 gradients".
        summary: one sentence for reports: what the attacker knows and does.
        source: where it was published.
        function: the attack itself.
        uses_clean_gradient: whether it asks for `Target.clean`; the evaluation then counts clean
            errors from that pass instead of making another one.
        minimum_norm: whether it looks for the smallest perturbation, and returns distances.
        can_aim: whether it heeds `Target.aims`.
    """

    name: str
    norm: Norm
    access: Access
    cost: str
    summary: str
    source: str
    function: AttackFunction
    uses_clean_gradient: bool = False
    minimum_norm: bool = False
    can_aim: bool = False


def gradient_statistics(gradient: Tensor) -> GradientStatistics:
    """Count the exact zeros in the gradient (N, C, H, W) of a batch."""
    largest = gradient.abs().flatten(1).amax(1)
    return GradientStatistics(
        entries=gradient.numel(),
        zero_entries=int((gradient == 0).sum()),
        images=len(gradient),
        zero_images=int((largest == 0).sum()),
        tiny_images=int((largest <= TINY).sum()),
        nonfinite_images=int((~largest.isfinite()).sum()),
    )
