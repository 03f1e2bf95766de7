"""Attacks by name. A new one is one file with an `Attack`, named here."""

from winnrobust.attacks.attack import (
    NO_GRADIENTS,
    Attack,
    AttackFunction,
    AttackResult,
    GradientStatistics,
)
from winnrobust.attacks.fgsm import FGSM
from winnrobust.attacks.pgd import PGD
from winnrobust.attacks.target import LossGradient, Target, logits_of, loss_gradient

ATTACKS: dict[str, Attack] = {attack.name: attack for attack in (FGSM, PGD)}
"""Name -> attack."""

__all__ = [
    "ATTACKS",
    "NO_GRADIENTS",
    "Attack",
    "AttackFunction",
    "AttackResult",
    "GradientStatistics",
    "LossGradient",
    "Target",
    "logits_of",
    "loss_gradient",
]
