"""What a caller from Python gives: models, images and attacks in many forms, each made into one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.attacks import Attack, NormName, as_attack, bpda, code_of, find
from winnrobust.data.streams import First, ImageStream, checked_data, open_stream
from winnrobust.evaluation import EvaluationSettings
from winnrobust.evaluation.checks import as_floats, checked_models
from winnrobust.evaluation.one_attack import MODEL, find_in_norm
from winnrobust.evaluation.prediction import check_classes
from winnrobust.evaluation.state import devices_of, frozen, own_randomness
from winnrobust.external.attacks import library_attack
from winnrobust.external.conventions import check_shape_taken, doubts, doubts_of_images
from winnrobust.external.factory import import_object
from winnrobust.external.preprocessing import Preprocessing
from winnrobust.runtime.errors import InputError, warn
from winnrobust.runtime.progress import show_progress
from winnrobust.runtime.settings import shown
from winnrobust.workflows.loading import load

AnyAttack = str | Attack | Callable[..., Any]
"""A name, an attack, a function (model, images, labels, epsilon) -> images, or an attack of
foolbox's, torchattacks' or ART's."""


def as_attacks(given: Any) -> list[str | Attack]:
    """Turn what a user calls attacks into attacks; names that stand for themselves stay names.

    Args:
        given: a sequence, or a dict by name.

    Raises:
        InputError: one is none.
    """
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise InputError(f"attacks must be a list of names such as ['fgsm'], not {shown(given)}")
    if not isinstance(given, Mapping):
        return [each if isinstance(each, str) else one_attack(each) for each in given]
    return [one_attack(each, name=str(name)) for name, each in given.items()]


def one_attack(given: AnyAttack, norm: NormName | None = None, name: str | None = None) -> Attack:
    """Return one attack, in that norm; None is its own.

    Args:
        name: what it shall be called; None leaves that to it.

    Raises:
        InputError: it is none, or has no version in that norm.
    """
    if isinstance(given, str):
        made = find_in_norm(given, norm)
    elif isinstance(given, Attack):
        made = given
    else:
        made = library_attack(given) or as_attack(given, name, norm or "linf")
    if norm is not None:
        made = made.in_norm(norm)
    return made if name is None else replace(made, name=name)


def imported_attack(name: str, spec: str) -> Attack:
    """Return the attack that a user names on the command line.

    Args:
        name: what it shall be called.
        spec: `package.module:function`, where it may also be an attack, or an attack's name with
            settings.

    Raises:
        InputError: there is none.
    """
    try:
        return one_attack(import_object(spec) if ":" in spec else spec, name=name)  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"attack '{name}': {error}") from None


def through(modules: Sequence[str], attacks: Sequence[str | Attack]) -> list[Attack]:
    """Return those of the attacks that follow gradients, straight through each of the modules.

    Raises:
        InputError: none of them does.
    """
    found = [each if isinstance(each, Attack) else find(each) for each in attacks]
    sighted = [attack for attack in found if attack.access == "white-box"]
    if modules and not sighted:
        raise InputError("--bpda is for attacks that follow gradients; there is none")
    return [bpda.through(module, attack) for module in modules for attack in sighted]


def own_code(settings: EvaluationSettings) -> dict[str, Any]:
    """Return what tells a user's own functions from others of the same names, if there are some."""
    attacks = settings.chosen_attacks()
    found = {each.name: each.source for each in attacks if each.access == "unknown"}
    losses = {each.name: each.settings.get("loss") for each in attacks}
    found |= {f"loss of {name}": code_of(loss) for name, loss in losses.items() if callable(loss)}
    return {"functions": found} if found else {}


def module_of(model: Any) -> nn.Module:
    return load(model) if isinstance(model, str | Path) else model


def modules_of(models: Any) -> dict[str, nn.Module]:
    """Return the modules by name; one that was given without a name is `MODEL`."""
    if isinstance(models, str | Path | nn.Module):
        models = {MODEL: models}
    if isinstance(models, Mapping):
        return checked_models({name: module_of(model) for name, model in models.items()})
    raise InputError(
        f"models must be a torch.nn.Module, or a dict of them by name, not {type(models).__name__}"
    )


def labelled(images: Any, labels: Any, limit: int | None = None) -> ImageStream:
    """Return images with their labels, checked as they are read."""
    if labels is None and isinstance(images, tuple) and len(images) == 2:
        images, labels = images
    if labels is None and not isinstance(images, Tensor | np.ndarray):
        images = open_stream(images)
    data = checked_data(images, labels)
    return data if limit is None else First(data, limit)


@contextmanager
def shown_progress(
    progress: bool | Callable[[int, int], None], what: str = "attack"
) -> Iterator[Any]:
    """Yield what is to be called with (done, total): a bar's function, the caller's, or None."""
    if progress is True:
        with show_progress(what, "image") as bar:
            yield bar
    else:
        yield progress or None


def warn_of_doubts(
    models: Mapping[str, nn.Module], data: ImageStream, device: torch.device | None
) -> None:
    """Warn of what speaks against the way in which models are used.

    Raises:
        InputError: a model does not take the images.
    """
    head = data.batch(0, 2)
    images = as_floats(head.images)
    said = list(doubts_of_images(data))
    with frozen(models.values(), device), own_randomness(devices_of(models), 0, "doubts"):
        for name, model in models.items():
            check_shape_taken(name, model, images[:2])
        check_classes(models, images[:2], head.labels if data.labels is None else data.labels)
        for name, model in models.items():
            said += doubts(name, model, Preprocessing(), data)
    for doubt in said:
        warn(doubt)
