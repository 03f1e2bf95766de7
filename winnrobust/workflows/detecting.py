"""`winnrobust detect`, and the same from Python for anyone's models and images: models, real and
other images in, areas under ROC curves out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from winnrobust.attacks import Attack
from winnrobust.attacks.norms import epsilon_text
from winnrobust.data.checks import checked_images
from winnrobust.data.classes import BY_NAME
from winnrobust.data.datasets import DATASETS, Dataset, ImageSplit, to_unit
from winnrobust.data.folders import load_user_data
from winnrobust.data.streams import open_stream
from winnrobust.evaluation.settings import checked_epsilons, find_attacks
from winnrobust.evaluation.threats import defaults_for
from winnrobust.generation import detection
from winnrobust.generation.detection import (
    ADAPTIVE,
    STEPS,
    Detector,
    Trial,
    energy,
    largest_probability,
)
from winnrobust.models import IntrospectiveNetwork
from winnrobust.reporting.table import MISSING, Table, to_csv
from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.devices import device_of, resolve_device
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import check_free, write_json, write_text
from winnrobust.runtime.progress import log, show_progress
from winnrobust.workflows.candidates import Candidate, load_candidates
from winnrobust.workflows.given import (
    AnyAttack,
    as_attacks,
    labelled,
    modules_of,
    shown_progress,
)
from winnrobust.workflows.loading import is_ours
from winnrobust.workflows.shared import load_data, results_folder

CRITIC, PROBABILITY, ENERGY = "critic", "softmax", "energy"

TRAIN_THE_CRITIC = ("winn",)
"""Methods with labels whose critic means something."""

MOST = 2000
"""Images that are taken, unless more are asked for."""

FEWEST = 20
"""Real images, half of which are attacked."""


@dataclass(frozen=True)
class DetectionSettings:
    """What detectors are tried on: attacks by name, and others' images by data set or path.

    Without an epsilon the first is taken that is usual for the data set.
    """

    attacks: Sequence[str]
    epsilon: float | None
    others: Sequence[str] = ()
    steps: int = STEPS
    limit: int | None = None
    seed: int = 0


def detect_others(
    paths: Sequence[Path],
    settings: DetectionSettings,
    device: torch.device,
    *,
    data_root: Path | None = None,
    out: Path | None = None,
) -> pd.DataFrame:
    """Measure how well models tell the test images of their data from others.

    Args:
        paths: run folders or model files of classifiers of ours, trained on the same data.
        settings: the images and the attacks.
        out: a folder that does not exist yet, for detection.csv and manifest.json.

    Raises:
        InputError: the models or images cannot be used, or `out` exists.
    """
    if out is not None and distributed.is_main_process():
        check_free(out)
    attacks, candidates = _attacks(settings.attacks), load_candidates(paths)
    dataset = _dataset(candidates, data_root)
    test = dataset.test.first(settings.limit)
    others = _others(dataset.name, test, settings, data_root)
    usual = defaults_for(dataset.name, test.images.shape[1:])
    epsilon = settings.epsilon
    if epsilon is None:
        epsilon = usual.epsilons["linf"][0]
        log(usual.explained({"linf": [epsilon]}, "--eps"))
    how = epsilon, settings.steps, settings.seed
    trial = Trial(to_unit(test.images), test.labels, others, attacks, *how)
    log(f"detecting others than {len(test)} test images of {dataset.name} ({device})")
    with show_progress("detect", "image") as progress:
        table = detection.detect(
            {candidate.name: candidate.module for candidate in candidates},
            {candidate.name: _detectors(candidate) for candidate in candidates},
            trial,
            device=device,
            progress=progress,
        )
    if out is not None:
        with results_folder(out) as folder:
            if distributed.is_main_process():
                manifest = provenance.describe(device) | {
                    "models": {each.name: each.provenance for each in candidates},
                    "data": {"name": dataset.name, "n": len(test), "sha256": test.sha256()},
                    "out_of_distribution": {name: len(images) for name, images in others.items()},
                    "epsilon": epsilon,
                    "steps": settings.steps,
                    "seed": settings.seed,
                }
                write_json(folder / "manifest.json", manifest)
                write_text(folder / "detection.csv", to_csv(table))
    return table


def detect(
    models: Any,
    images: Any,
    labels: Any = None,
    *,
    others: Mapping[str, Any] | None = None,
    attacks: Sequence[AnyAttack] | Mapping[str, AnyAttack] = ("fgsm", "pgd"),
    epsilon: float | None = None,
    detectors: Mapping[str, Detector] | None = None,
    steps: int = STEPS,
    limit: int | None = MOST,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> pd.DataFrame:
    """Measure how well a model's answers tell real images from adversarial and other ones.

    Half of the images are the real ones, the other half is attacked; besides by the attacks named
    by one that knows each detector, "adaptive". An adversarial example counts where the model is
    right without and wrong with the attack.

    Args:
        models, images, labels: as for `evaluate`; a run folder or `zoo:NAME` of a WINN brings its
            critic along, another detector.
        others: name -> images of other data, (M, C, H, W), or what `evaluate` takes for images.
        attacks: as for `evaluate`, in L-infinity.
        epsilon: their bound; None: that of images of this size (`evaluation.threats`).
        detectors: name -> function from logits (N, K) to scores (N,), high for real images. None:
            the largest softmax probability, and the energy.
        steps: of the adaptive attack, on each of its five paths.
        limit: take the first so many images only.
        seed: of the attacks' random numbers.
        device: where to compute; None leaves every model where it is.
        progress: True shows a bar; or what is called with (done, total).

    Returns:
        A row per model, detector and kind of other images: the area under the ROC curve (0.5 is
        chance), with DeLong's 95 % interval, and how many images there were.

    Raises:
        InputError: an argument or a model cannot be used.

    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)  # says which pixel is brighter
    >>> images = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).repeat(10, 1).view(20, 1, 1, 2)
    >>> found = winnrobust.detect(
    ...     model, images, torch.tensor([0, 1] * 10), others={"grey": images * 0 + 0.5}, attacks=[]
    ... )
    >>> found[["detector", "against", "auroc"]].head(1)
      detector against  auroc
    0  softmax    grey    1.0
    """
    nets = modules_of(models)
    data = labelled(images, labels, limit)
    if len(data) < FEWEST:
        raise InputError(f"there must be at least {FEWEST} images; half of them are attacked")
    chosen = {PROBABILITY: largest_probability, ENERGY: energy} if detectors is None else detectors
    of_each = {name: {**_critic_of(models, name), **chosen} for name in nets}
    real = data.batch(0, len(data))
    usual = defaults_for(None, real.images.shape[1:]).epsilons["linf"]
    bound, *_ = usual if epsilon is None else checked_epsilons([epsilon], "linf", "epsilon")
    trial = Trial(
        to_unit(real.images),
        real.labels,
        _other_images(others or {}, real.images, limit),
        _attacks(as_attacks(attacks)),
        bound,
        steps,
        seed,
    )
    place = None if device is None else resolve_device(str(device))
    with shown_progress(progress, "detect") as tell:
        return detection.detect(
            nets, of_each, trial, device=place, progress=tell or (lambda done, total: None)
        )


def _critic_of(models: Any, name: str) -> dict[str, Detector]:
    """Return the critic of a model of ours that was given by its path."""
    given = models[name] if isinstance(models, Mapping) else models
    if not isinstance(given, str | Path) or not is_ours(given):
        return {}
    (candidate,) = load_candidates([Path(given)])
    return {key: of for key, of in _detectors(candidate).items() if key == CRITIC}


def _other_images(others: Mapping[str, Any], real: Tensor, limit: int | None) -> dict[str, Tensor]:
    found = {}
    for name, given in others.items():
        if isinstance(given, Tensor | np.ndarray):
            images = checked_images(given, f"images of {name}")[:limit]
        else:
            stream = open_stream(given)
            images = stream.batch(0, len(stream) if limit is None else limit).images
        _check_shape(name, images, "the others", real)
        found[name] = to_unit(images)
    return found


def _check_shape(name: str, images: Tensor, other_name: str, others: Tensor) -> None:
    if images.shape[1:] != others.shape[1:]:
        raise InputError(
            f"the images of {name} have the shape {tuple(images.shape[1:])}, those of"
            f" {other_name} {tuple(others.shape[1:])}"
        )


def _attacks(names: Sequence[str | Attack]) -> list[Attack]:
    chosen = find_attacks(names) if names else []
    for attack in chosen:
        if attack.norm != "linf" or attack.access == "transfer":
            raise InputError(
                f"attack {attack.name} cannot be used here; attacks must be in the L-infinity"
                " norm and need no other model"
            )
    return chosen


def _dataset(candidates: Sequence[Candidate], data_root: Path | None) -> Dataset:
    """The data set that all models were trained on."""
    (name, *more) = {candidate.dataset for candidate in candidates}
    if more or name is None:
        raise InputError("the models must be trained on one data set")
    return load_data(name, data_root)


def _others(
    dataset: str, test: ImageSplit, settings: DetectionSettings, data_root: Path | None
) -> dict[str, Tensor]:
    """The images of other data, by what they are called."""
    if len(test) < FEWEST:
        raise InputError(f"--limit must be at least {FEWEST}; half of the images are attacked")
    others = {}
    for name in settings.others:
        if name in DATASETS:
            images = load_data(name, data_root).test.first(settings.limit).images
        else:
            given = load_user_data(Path(name), settings.limit, classes=BY_NAME).images
            images = given.batch(0, len(given)).images
            name = Path(name).resolve().stem
        _check_shape(name, images, dataset, test.images)
        others[name] = to_unit(images)
    return others


def _detectors(candidate: Candidate) -> dict[str, Detector]:
    """What a model detects with: its critic, if it trained one, and what its logits give."""
    found: dict[str, Detector] = {PROBABILITY: largest_probability, ENERGY: energy}
    network = candidate.module
    if candidate.metadata["method"] not in TRAIN_THE_CRITIC or not isinstance(
        network, IntrospectiveNetwork
    ):
        return found

    def critic(logits: Tensor) -> Tensor:
        values: Tensor = network.critic(logits.to(device_of(network.critic)))
        return values.squeeze(1).to(logits.device)

    return {CRITIC: critic, **found}


def detection_table(table: pd.DataFrame) -> Table:
    """The areas, a row for each model and detector, a column for each kind of other images."""
    kinds = list(dict.fromkeys(zip(table.against, table.epsilon, strict=True)))
    header = ["model", "detector", *(_kind(*kind) for kind in kinds)]
    rows = []
    for (model, detector), own in table.groupby(["model", "detector"], sort=False):
        cells = own.set_index(["against", "epsilon"])
        rows.append([model, detector, *(_cell(cells.loc[kind]) for kind in kinds)])
    note = (
        "Area under the ROC curve, in %, with 95 % intervals (DeLong): 50 is chance, below it"
        " the others look more real than the real ones. Adversarial examples count where they broke"
        " the model; the number in brackets says how many did. The adaptive attack knows the"
        " detector, and looks for errors that it takes for real images."
    )
    return Table("Are others noticed?", header, rows, note)


def _kind(against: str, epsilon: float) -> str:
    if against in (ADAPTIVE, "knowing"):  # the latter in files of version 0.1
        return f"adaptive attack {epsilon_text(epsilon)}"
    return against if epsilon == 0 else f"{against} {epsilon_text(epsilon)}"


def _cell(row: pd.Series) -> str:
    if row.auroc != row.auroc:
        return MISSING
    low, value, high = (f"{100 * row[name]:.1f}" for name in ("auroc_low", "auroc", "auroc_high"))
    return f"{value} [{low}, {high}] ({row.n_other:.0f})"
