"""Attacks by name. A new one is one file with an `Attack`, named here."""

from winnrobust.attacks.attack import (
    DEFAULT_BUDGET,
    NO_GRADIENTS,
    Access,
    Attack,
    AttackFunction,
    AttackResult,
    Budget,
    GradientStatistics,
    Norm,
)
from winnrobust.attacks.fgsm import FGSM
from winnrobust.attacks.pgd import PGD
from winnrobust.attacks.target import LossGradient, Target, logits_of, loss_gradient

ATTACKS: dict[str, Attack] = {attack.name: attack for attack in (FGSM, PGD)}
"""Name -> attack."""

__all__ = [
    "ATTACKS",
    "DEFAULT_BUDGET",
    "NO_GRADIENTS",
    "Access",
    "Attack",
    "AttackFunction",
    "AttackResult",
    "Budget",
    "GradientStatistics",
    "LossGradient",
    "Norm",
    "Target",
    "logits_of",
    "loss_gradient",
]
