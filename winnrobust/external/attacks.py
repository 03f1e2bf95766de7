"""Attacks of other libraries, as they were made, in our evaluation.

A library's attack is known by the module that its class comes from; no library is imported unless
one of its attacks is there. It gets the model under attack in place of its own, and the epsilon
under test in place of its own. What it returns is checked and judged as any other attack's.
"""

import copy
import importlib
import math
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.attacks import Attack, NormName, as_attack
from winnrobust.attacks.gradients import logits
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError

NORM_OF: dict[Any, NormName] = {
    math.inf: "linf", "inf": "linf", "Linf": "linf", "linf": "linf",
    2: "l2", "2": "l2", "L2": "l2", "l2": "l2",
}  # fmt: skip


def library_attack(given: object) -> Attack | None:
    """Return an attack of foolbox's, torchattacks' or ART's as one of ours, None for another.

    Raises:
        InputError: it bounds a norm that is not ours, or is made in a way that is not ours.
    """
    for kind in type(given).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in MAKERS and kind is not object:
            return MAKERS[library](given)
    return None


def _called(library: str, given: object) -> str:
    return f"{library}-{type(given).__name__}"


def _settings(given: object) -> str:
    """Return what an attack says of itself, its settings among it, without addresses in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(given).__module__}: {given!r}")


def _norm(name: str, given: Any) -> NormName:
    try:
        return NORM_OF[given]
    except (KeyError, TypeError):
        raise InputError(
            f"attack '{name}' bounds the norm {given}; only L-infinity and L2 can be evaluated"
        ) from None


# --- foolbox ------------------------------------------------------------------------------------


def _of_foolbox(given: Any) -> Attack:
    name = _called("foolbox", given)
    if not hasattr(given, "distance"):
        raise InputError(f"attack '{name}' has no distance, so it is not an attack of foolbox 3")
    norm = _norm(name, getattr(given.distance, "p", str(given.distance)))

    def attack(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
        foolbox = importlib.import_module("foolbox")
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        criterion = foolbox.criteria.Misclassification(labels)
        bound = None if epsilon == math.inf else epsilon
        _, examples, _ = given(wrapped, images, criterion, epsilons=bound)
        return examples

    nearest = any(kind.__name__ == "MinimizationAttack" for kind in type(given).__mro__)
    return as_attack(attack, name, norm, minimum_norm=nearest, source=_settings(given))


# --- torchattacks -------------------------------------------------------------------------------

OTHER_NORMS = {"EADL1": "L1", "EADEN": "L1", "OnePixel": "L0", "Pixle": "L0", "SparseFool": "L0",
               "JSMA": "L0"}  # fmt: skip


def _of_torchattacks(given: Any) -> Attack:
    name, kind = _called("torchattacks", given), type(given).__name__
    nearest = not hasattr(given, "eps")
    stated = getattr(given, "norm", None)
    guessed = "L2" if kind.endswith("L2") or kind in ("CW", "DeepFool") else "Linf"
    norm = _norm(name, OTHER_NORMS.get(kind, stated or guessed))

    def attack(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
        # Every part of the copy has the model under attack where it had its own.
        mine = copy.deepcopy(given, {id(given.model): model})
        for part in _parts(mine):
            vars(part)["device"] = images.device
            if hasattr(part, "eps") and epsilon < math.inf:
                vars(part)["eps"] = epsilon
        return mine(images, labels)

    return as_attack(attack, name, norm, minimum_norm=nearest, source=_settings(given))


def _parts(attack: Any) -> list[Any]:
    """Return an attack of torchattacks and all attacks inside it."""
    found: list[Any] = []
    waiting = [attack]
    while waiting:
        each = waiting.pop()
        if any(each is other for other in found):
            continue
        if isinstance(each, list | tuple):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
        elif type(each).__module__.partition(".")[0] == "torchattacks":
            found.append(each)
            waiting += vars(each).values()
    return found


# --- ART ----------------------------------------------------------------------------------------


def _of_art(given: Any) -> Attack:
    name = _called("art", given)
    if not hasattr(given, "generate") or not hasattr(given, "estimator"):
        raise InputError(f"attack '{name}' is not an evasion attack of ART")
    kind = type(given).__name__
    guessed = "inf" if kind in ("CarliniLInfMethod",) else 2
    nearest = not hasattr(given, "eps")
    norm = _norm(name, getattr(given, "norm", guessed if nearest else "inf"))

    def attack(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> np.ndarray:
        classification = importlib.import_module("art.estimators.classification")
        classifier = classification.PyTorchClassifier(
            model=model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=logits(model, images[:1]).shape[1],
            clip_values=(0.0, 1.0),
            device_type="gpu" if device_of(model).type == "cuda" else "cpu",
        )
        mine = copy.deepcopy(given, {id(given.estimator): classifier})
        if not nearest:
            mine.set_params(eps=epsilon)
        with torch.enable_grad():
            return mine.generate(x=images.cpu().numpy(), y=labels.cpu().numpy())

    return as_attack(attack, name, norm, minimum_norm=nearest, source=_settings(given))


MAKERS = {"foolbox": _of_foolbox, "torchattacks": _of_torchattacks, "art": _of_art}
