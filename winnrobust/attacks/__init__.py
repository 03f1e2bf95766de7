"""Attacks by name. A new one is one file with an `Attack`, named here."""

from winnrobust.attacks.apgd import APGD_CE, APGD_T
from winnrobust.attacks.autoattack import AUTOATTACK
from winnrobust.attacks.base import (
    Access,
    Attack,
    AttackFunction,
    AttackResult,
    Run,
    run_attack,
    with_settings,
)
from winnrobust.attacks.checks import check_examples
from winnrobust.attacks.cw import CW_L2
from winnrobust.attacks.ddn import DDN
from winnrobust.attacks.deepfool import DEEPFOOL
from winnrobust.attacks.fab import FAB
from winnrobust.attacks.fgsm import FGSM
from winnrobust.attacks.fmn import FMN
from winnrobust.attacks.gradients import (
    LOSSES,
    Answer,
    CleanPass,
    GradientStatistics,
    Loss,
    LossGradient,
    answer,
    is_compiled,
    logits,
    logits_of,
    loss_gradient,
    two_logits,
)
from winnrobust.attacks.hopskipjump import HOPSKIPJUMP
from winnrobust.attacks.mifgsm import MIFGSM
from winnrobust.attacks.noise import NOISE_GAUSSIAN, NOISE_UNIFORM
from winnrobust.attacks.norms import NORMS, Norm, NormName
from winnrobust.attacks.pgd import BIM, PGD, PGD_L2
from winnrobust.attacks.progress import Nearest, Progress
from winnrobust.attacks.rfgsm import RFGSM
from winnrobust.attacks.square import SQUARE
from winnrobust.attacks.transfer import PREFIX, transfer_from
from winnrobust.runtime.errors import InputError

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        NOISE_UNIFORM,
        NOISE_GAUSSIAN,
        FGSM,
        RFGSM,
        BIM,
        MIFGSM,
        PGD,
        PGD_L2,
        APGD_CE,
        APGD_T,
        FAB,
        SQUARE,
        AUTOATTACK,
        DEEPFOOL,
        CW_L2,
        DDN,
        FMN,
        HOPSKIPJUMP,
    )
}
"""Name -> attack; `transfer:NAME` is made by `find`."""


def find(name: str) -> Attack:
    """Return the attack called `name`: a name in `ATTACKS`, or `transfer:` and a model's name.

    Raises:
        InputError: there is none.
    """
    if name in ATTACKS:
        return ATTACKS[name]
    source = name.removeprefix(PREFIX)
    if source and source != name:
        return transfer_from(source)
    raise InputError(
        f"unknown attack '{name}'; known are {', '.join(ATTACKS)}, {PREFIX}NAME of a model"
    )


__all__ = [
    "ATTACKS",
    "LOSSES",
    "NORMS",
    "PREFIX",
    "Access",
    "Answer",
    "Attack",
    "AttackFunction",
    "AttackResult",
    "CleanPass",
    "GradientStatistics",
    "Loss",
    "LossGradient",
    "Nearest",
    "Norm",
    "NormName",
    "Progress",
    "Run",
    "answer",
    "check_examples",
    "find",
    "is_compiled",
    "logits",
    "logits_of",
    "loss_gradient",
    "run_attack",
    "two_logits",
    "with_settings",
]
