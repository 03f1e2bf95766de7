"""Attacks by name. A new one is one file with an `Attack`, named here."""

from winnrobust.attacks.attack import (
    Attack,
    AttackFunction,
    AttackResult,
    GradientStatistics,
    logits_of,
)
from winnrobust.attacks.fgsm import FGSM

ATTACKS: dict[str, Attack] = {attack.name: attack for attack in (FGSM,)}
"""Name -> attack."""

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackFunction",
    "AttackResult",
    "GradientStatistics",
    "logits_of",
]
