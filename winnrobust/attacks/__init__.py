"""Attacks by name. A new one is one file with an `Attack`, named here."""

import ast
import re
from dataclasses import replace
from importlib import metadata
from typing import Any

from winnrobust.attacks import bpda
from winnrobust.attacks.aa_fast import AA_FAST
from winnrobust.attacks.apgd import APGD_CE, APGD_T
from winnrobust.attacks.autoattack import AUTOATTACK
from winnrobust.attacks.base import (
    Access,
    Attack,
    AttackFunction,
    AttackResult,
    Run,
    Step,
    run_attack,
    with_settings,
)
from winnrobust.attacks.checks import check_examples, measured
from winnrobust.attacks.corruptions import CORRUPTIONS
from winnrobust.attacks.custom import CustomFunction, as_attack, code_of
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
    answers_by_one_number,
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
from winnrobust.attacks.patch import PATCH
from winnrobust.attacks.pgd import BIM, PGD, PGD_L2
from winnrobust.attacks.progress import Nearest, Progress
from winnrobust.attacks.rfgsm import RFGSM
from winnrobust.attacks.sigma_zero import SIGMA_ZERO
from winnrobust.attacks.spatial import SPATIAL
from winnrobust.attacks.square import SQUARE
from winnrobust.attacks.transfer import PREFIX, transfer_from
from winnrobust.runtime.errors import InputError, brief

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
        AA_FAST,
        DEEPFOOL,
        CW_L2,
        DDN,
        FMN,
        SIGMA_ZERO,
        HOPSKIPJUMP,
    )
}
"""Name -> attack; `transfer:NAME` is made by `find`."""

OF_KINDS: dict[str, tuple[Attack, ...]] = {
    "spatial": (SPATIAL,),
    "patch": (PATCH,),
    "corruptions": CORRUPTIONS,
}
"""Kind of threat that no norm measures -> what is done; nobody need name it."""
BY_KIND = {attack.name: attack for attacks in OF_KINDS.values() for attack in attacks}


WITH_SETTINGS = re.compile(r"([^()]*)\((.*)\)", re.DOTALL)

ENTRY_POINTS = "winnrobust.attacks"
"""The group of entry points by which other packages add attacks: an `Attack`, or a function that
`as_attack` takes."""


def find(name: str) -> Attack:
    """Return the attack called `name`, with the settings that the name gives.

    Args:
        name: one in `ATTACKS`, `transfer:` and a model's name, or an entry point of another
            package; settings stand behind it in brackets.

    Raises:
        InputError: there is none, or it has no such settings.

    >>> from winnrobust.attacks import find
    >>> find("pgd(steps=100, restarts=5)").settings
    {'steps': 100, 'restarts': 5}
    """
    if name in ATTACKS or name in BY_KIND:
        return ATTACKS.get(name) or BY_KIND[name]
    module, _, inner = name.removeprefix(bpda.PREFIX).partition(":")
    if name.startswith(bpda.PREFIX) and module and inner:
        return bpda.through(module, find(inner))
    source = name.removeprefix(PREFIX)
    if source and source != name:  # a model, whose name may have brackets
        return transfer_from(source)
    if found := WITH_SETTINGS.fullmatch(name):
        return find(found[1].strip())(**_settings(name, found[2]))
    for point in metadata.entry_points(group=ENTRY_POINTS, name=name):
        return _load(point)
    others = sorted(metadata.entry_points(group=ENTRY_POINTS).names)
    raise InputError(
        f"unknown attack '{name}'; known are"
        f" {', '.join([*ATTACKS, *others])}, {PREFIX}NAME of a model"
    )


def _settings(name: str, listed: str) -> dict[str, Any]:
    """Read settings as in "steps=100, restarts=5"; nothing is run."""
    try:
        call = ast.parse(f"f({listed})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or not all(keyword.arg for keyword in call.keywords):
            raise ValueError
        return {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    except (SyntaxError, ValueError, AssertionError, MemoryError, RecursionError):
        raise InputError(
            f"attack '{name}' must be written like pgd(steps=100, restarts=5)"
        ) from None


def _load(point: metadata.EntryPoint) -> Attack:
    """Return another package's attack under the name that it registered."""
    try:
        found = point.load()
    except Exception as error:  # anyone's code may raise anything
        raise InputError(
            f"attack '{point.name}' of {point.value} cannot be imported:"
            f" {type(error).__name__}: {brief(error)}"
        ) from error
    if isinstance(found, Attack):
        return replace(found, name=point.name)
    return as_attack(found, point.name)


__all__ = [
    "AA_FAST",
    "APGD_CE",
    "APGD_T",
    "ATTACKS",
    "AUTOATTACK",
    "BIM",
    "CORRUPTIONS",
    "CW_L2",
    "DDN",
    "DEEPFOOL",
    "ENTRY_POINTS",
    "FAB",
    "FGSM",
    "FMN",
    "HOPSKIPJUMP",
    "LOSSES",
    "MIFGSM",
    "NOISE_GAUSSIAN",
    "NOISE_UNIFORM",
    "NORMS",
    "OF_KINDS",
    "PATCH",
    "PGD",
    "PGD_L2",
    "PREFIX",
    "RFGSM",
    "SIGMA_ZERO",
    "SPATIAL",
    "SQUARE",
    "Access",
    "Answer",
    "Attack",
    "AttackFunction",
    "AttackResult",
    "CleanPass",
    "CustomFunction",
    "GradientStatistics",
    "Loss",
    "LossGradient",
    "Nearest",
    "Norm",
    "NormName",
    "Progress",
    "Run",
    "Step",
    "answer",
    "answers_by_one_number",
    "as_attack",
    "check_examples",
    "code_of",
    "find",
    "is_compiled",
    "logits",
    "logits_of",
    "loss_gradient",
    "measured",
    "run_attack",
    "two_logits",
    "with_settings",
]
