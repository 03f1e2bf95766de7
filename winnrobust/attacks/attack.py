"""What an attack is and what it returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from winnrobust.attacks.passes import GradientStatistics
from winnrobust.attacks.target import Target


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
