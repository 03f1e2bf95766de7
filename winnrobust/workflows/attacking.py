"""`winnrobust attack`: models and images in, a results folder out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from winnrobust import zoo
from winnrobust.attacks import DEFAULT_BUDGET, Budget
from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.data.folders import load_user_data
from winnrobust.evaluation import Evaluation
from winnrobust.evaluation import run as evaluate_models
from winnrobust.evaluation.diagnosis import diagnose
from winnrobust.evaluation.inputs import check_sources, checked_attacks, checked_seconds
from winnrobust.reporting import write_results
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import check_free
from winnrobust.runtime.progress import log, show_progress
from winnrobust.workflows.candidates import (
    Candidate,
    ExternalModel,
    load_candidates,
    say_what_differs,
)
from winnrobust.workflows.preflight import check_fit
from winnrobust.workflows.shared import load_data, results_folder
from winnrobust.workflows.unfinished import Unfinished, resumable

DIAGNOSED = 256
"""False robustness is looked for on the first so many images."""

DIAGNOSED_EPSILON = 0.125
"""Where it is looked for if the attacks have no L-infinity bound above 0."""


@dataclass(frozen=True)
class AttackSettings:
    """What is done to the models; see `winnrobust.evaluation.run`.

    Attributes:
        diagnose: whether false robustness is looked for, too.
    """

    attacks: Sequence[str] = ("fgsm",)
    epsilons: Sequence[float] = (0.125,)
    epsilons_l2: Sequence[float] = (1.5,)
    budget: Budget = DEFAULT_BUDGET
    aim: str | None = None
    seconds: float | None = None
    seed: int = 0
    batch_size: int | None = None
    diagnose: bool = True


@dataclass(frozen=True)
class Images:
    """What the models are attacked on.

    Attributes:
        name: what results call the data.
        split: the images.
        whole: whether these are all that there are.
        origin: what the manifest says besides.
    """

    name: str
    split: ImageSplit
    whole: bool
    origin: dict[str, Any]


def attack_runs(
    paths: Sequence[Path],
    out: Path,
    settings: AttackSettings,
    device: torch.device,
    *,
    external: Sequence[ExternalModel] = (),
    dataset: str | None = None,
    data: Path | None = None,
    data_root: Path | None = None,
    limit: int | None = None,
    place: Path | None = None,
    again: str | None = None,
) -> Evaluation:
    """Attack models with each other as judges and write the results to `out`.

    What an interrupted call finished is kept; the same call goes on from there.

    Args:
        paths: run folders or model files of ours.
        external: models from elsewhere.
        dataset: name of a data set whose test images are attacked; None for that trained on.
        data: a folder or file with images of the user's own instead.
        limit: how many of the first images; None for all.
        place: what is finished is kept beside it; None for `out`.
        again: as for `resumable`.

    Raises:
        InputError: models or data cannot be used, or `out` exists; before any long work.
    """
    attacks = checked_attacks(settings.attacks, settings.aim)
    checked_seconds(settings.seconds)
    if distributed.is_main_process():
        check_free(out)
    candidates = load_candidates(paths, external)
    modules = {candidate.name: candidate.module for candidate in candidates}
    check_sources(attacks, modules)
    test = _test_images(candidates, dataset, data, data_root, limit)
    say_what_differs(candidates)
    check_fit(candidates, attacks, test.split, device)
    what = _what(candidates, test, settings)
    with resumable(place or out, what, device, again) as unfinished, results_folder(out) as folder:
        told = ", ".join(f"{candidate.name} ({candidate.path})" for candidate in candidates)
        log(f"attacking {told} on {len(test.split)} test images of {test.name} ({device})")
        done = distributed.broadcast(unfinished.images())
        if done:
            log(f"going on after {done} of them")
        images, labels = to_unit(test.split.images), test.split.labels
        diagnosis = (
            _diagnosis(modules, images, labels, settings, device, unfinished)
            if settings.diagnose
            else None
        )
        with show_progress("attack", "image", done * len(attacks) * len(modules)) as progress:
            evaluation = evaluate_models(
                modules,
                images,
                labels,
                attacks=settings.attacks,
                epsilons=settings.epsilons,
                batch_size=settings.batch_size,
                device=device,
                seed=settings.seed,
                progress=progress,
                epsilons_l2=settings.epsilons_l2,
                budget=settings.budget,
                aim=settings.aim,
                seconds=settings.seconds,
                unfinished=unfinished.folder,
            )
        if distributed.is_main_process():
            write_results(
                folder,
                evaluation,
                [candidate.told for candidate in candidates],
                _manifest(candidates, test, evaluation, unfinished.sessions),
                test.name,
                None if test.whole else limit,
                diagnosis=diagnosis,
                settings=_told(settings),
            )
    return evaluation


def _diagnosis(
    modules: dict[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    settings: AttackSettings,
    device: torch.device,
    unfinished: Unfinished,
) -> pd.DataFrame:
    """Look for false robustness, unless an interrupted evaluation did."""
    diagnosis = unfinished.load_diagnosis()
    if diagnosis is not None:
        return diagnosis
    epsilon = _diagnosed_epsilon(settings.epsilons)
    log(
        f"looking for false robustness on {len(labels[:DIAGNOSED])} of them around epsilon"
        f" {epsilon:g} (--no-diagnose leaves that out)"
    )
    with show_progress("diagnose", "image") as progress:
        diagnosis = diagnose(
            modules,
            images[:DIAGNOSED],
            labels[:DIAGNOSED],
            epsilon=epsilon,
            seed=settings.seed,
            batch_size=settings.batch_size,
            device=device,
            progress=progress,
        )
    unfinished.save_diagnosis(diagnosis)
    return diagnosis


def _diagnosed_epsilon(epsilons: Sequence[float]) -> float:
    """The middle one: where an attack breaks nothing, or everything, it hides how weak it is."""
    above = sorted(epsilon for epsilon in epsilons if epsilon > 0)
    return above[len(above) // 2] if above else DIAGNOSED_EPSILON


def _test_images(
    candidates: Sequence[Candidate],
    dataset: str | None,
    data: Path | None,
    data_root: Path | None,
    limit: int | None,
) -> Images:
    """Load what the models are to be attacked on.

    Raises:
        InputError: nobody knows what that is, or it cannot be used.
    """
    if data is not None:
        return _user_images(data, limit)
    trained_on = list(dict.fromkeys(filter(None, (each.dataset for each in candidates))))
    if dataset is None and len(trained_on) != 1:
        known = (
            f"the models were trained on {' and '.join(trained_on)}"
            if trained_on
            else ("nobody knows what these models were trained on")
        )
        raise InputError(
            f"{known}; say with --dataset which test images to attack, or give your own with --data"
        )
    loaded = load_data(dataset or trained_on[0], data_root)
    if loaded.name == zoo.EMBEDDED and zoo.DATASET in trained_on:
        log("note: mnist5k's images are among the training images of mnist, so errors look low")
    split = loaded.test.first(limit)
    return Images(loaded.name, split, len(split) == len(loaded.test), {})


def _user_images(path: Path, limit: int | None) -> Images:
    given = load_user_data(path, limit)
    found = len(given.images.labels.unique())
    if given.classes:
        log(f"note: classes are numbered by name: {_numbered(given.classes)}")
    elif found == 1:
        log(f"note: these {len(given.images)} images of {path} are all of the same class")
    origin = {"path": str(path), "classes": given.classes}
    return Images(path.resolve().stem, given.images, len(given.images) == given.total, origin)


def _numbered(classes: Sequence[str]) -> str:
    shown = ", ".join(f"{number} {name}" for number, name in enumerate(classes[:12]))
    return shown + (", ..." if len(classes) > 12 else "")


def _manifest(
    candidates: Sequence[Candidate],
    test: Images,
    evaluation: Evaluation,
    sessions: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    return sessions[0] | {
        "resumed": list(sessions[1:]),
        "data": _data(test),
        "batch_size": evaluation.batch_size,
        "models": {candidate.name: candidate.provenance for candidate in candidates},
    }


def _data(test: Images) -> dict[str, Any]:
    return {
        "name": test.name,
        "split": "test",
        "n": len(test.split),
        "sha256": test.split.sha256(),
        **test.origin,
    }


def _what(
    candidates: Sequence[Candidate], test: Images, settings: AttackSettings
) -> dict[str, Any]:
    """All that decides the results: an interrupted evaluation goes on only if it is the same."""
    models = {
        candidate.name: [candidate.told["weights_sha256"], candidate.provenance.get("loaded")]
        for candidate in candidates
    }
    return {
        "models": models,
        "data": _data(test),
        "attacks": list(settings.attacks),
        "settings": _told(settings),
    }


def _told(settings: AttackSettings) -> dict[str, Any]:
    """What results say of the settings, as schema.json has it."""
    return {
        "epsilons": list(settings.epsilons),
        "epsilons_l2": list(settings.epsilons_l2),
        "budget": settings.budget._asdict(),
        "aim": settings.aim,
        "seconds": None if settings.seconds == math.inf else settings.seconds,
        "seed": settings.seed,
    }
