"""`winnrobust attack`: models and images in, a results folder out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from winnrobust import zoo
from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.data.folders import load_user_data
from winnrobust.evaluation import EvaluationSettings, run
from winnrobust.evaluation.diagnosis import diagnose
from winnrobust.evaluation.settings import check_surrogates
from winnrobust.reporting import Metadata, Model, read_diagnosis, write_diagnosis, write_results
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import log, show_progress
from winnrobust.workflows.candidates import (
    Candidate,
    ExternalModel,
    load_candidates,
    log_differences,
)
from winnrobust.workflows.evaluation_folder import (
    check_place,
    check_unfinished,
    evaluation_folder,
    images_done,
)
from winnrobust.workflows.preflight import check_fit
from winnrobust.workflows.shared import load_data

DIAGNOSED = 256
"""False robustness is looked for on the first so many images."""

DIAGNOSED_EPSILON = 0.125
"""Where it is looked for if the attacks have no L-infinity bound above 0."""


@dataclass(frozen=True)
class ImageSource:
    """Where the attacked images come from: the test images of a data set, by default of that
    trained on, or a folder or file of the user's own; `limit` is how many of the first ones."""

    dataset: str | None = None
    path: Path | None = None
    data_root: Path | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Images:
    """What the models are attacked on; `origin` is what the manifest says of it besides."""

    name: str
    split: ImageSplit
    whole: bool
    origin: dict[str, Any]

    def metadata(self) -> dict[str, Any]:
        """What results and the manifest say of it."""
        n, sha256 = len(self.split), self.split.sha256()
        return {"name": self.name, "split": "test", "n": n, "sha256": sha256} | self.origin


def attack_runs(
    paths: Sequence[Path],
    out: Path,
    settings: EvaluationSettings,
    device: torch.device,
    *,
    external: Sequence[ExternalModel] = (),
    source: ImageSource = ImageSource(),
    with_diagnosis: bool = True,
    resume_with: str | None = None,
) -> None:
    """Attack models with each other as judges and write the results to `out`.

    What an interrupted call finished is kept; the same call goes on from there.

    Args:
        paths: run folders or model files of ours.
        external: models from elsewhere.
        source: the images.
        with_diagnosis: look for false robustness, too.
        resume_with: as for `evaluation_folder`.

    Raises:
        InputError: models or data cannot be used, or `out` exists; before any long work.
    """
    if distributed.is_main_process():
        check_place(out)
    candidates = load_candidates(paths, external)
    modules = {candidate.name: candidate.module for candidate in candidates}
    check_surrogates(settings.chosen_attacks(), list(modules))
    test = _test_images(candidates, source)
    metadata = _metadata(candidates, test, settings)
    if distributed.is_main_process():
        check_unfinished(out, metadata)
    log_differences(candidates)
    check_fit(candidates, settings.chosen_attacks(), test.split, device)
    with evaluation_folder(out, metadata, device, resume_with) as sessions:
        models = ", ".join(f"{candidate.name} ({candidate.path})" for candidate in candidates)
        log(f"attacking {models} on {len(test.split)} test images of {test.name} ({device})")
        done = distributed.broadcast(images_done(out))
        if done:
            log(f"going on after {done} of them")
        if with_diagnosis and distributed.broadcast(read_diagnosis(out)) is None:
            _diagnose(out, modules, test.split.first(DIAGNOSED), settings, device)
        rounds = len(settings.attacks) * len(modules)
        with show_progress("attack", "image", done * rounds) as progress:
            run(
                modules,
                test.split.images,
                test.split.labels,
                settings,
                folder=out,
                device=device,
                progress=progress,
            )
        if distributed.is_main_process():
            manifest = sessions[0] | {
                "resumed": sessions[1:],
                "data": test.metadata(),
                "models": {candidate.name: candidate.provenance for candidate in candidates},
            }
            write_results(out, manifest)
        distributed.barrier()


def _diagnose(
    out: Path,
    modules: dict[str, nn.Module],
    few: ImageSplit,
    settings: EvaluationSettings,
    device: torch.device,
) -> None:
    """Look for false robustness, and keep what was found."""
    # The middle one: where an attack breaks nothing, or everything, it hides how weak it is.
    above = sorted(epsilon for epsilon in settings.epsilons["linf"] if epsilon > 0)
    epsilon = above[len(above) // 2] if above else DIAGNOSED_EPSILON
    log(
        f"looking for false robustness on {len(few)} of them around epsilon {epsilon:g}"
        " (--no-diagnose leaves that out)"
    )
    with show_progress("diagnose", "image") as progress:
        diagnosis = diagnose(
            modules,
            to_unit(few.images),
            few.labels,
            epsilon=epsilon,
            seed=settings.seed,
            batch_size=settings.batch_size,
            device=device,
            progress=progress,
        )
    if distributed.is_main_process():
        write_diagnosis(out, diagnosis)


def _test_images(candidates: Sequence[Candidate], source: ImageSource) -> Images:
    """Load what the models are to be attacked on."""
    if source.path is not None:
        return _user_images(source.path, source.limit)
    trained_on = list(dict.fromkeys(filter(None, (each.dataset for each in candidates))))
    if source.dataset is None and len(trained_on) != 1:
        known = (
            f"the models were trained on {' and '.join(trained_on)}"
            if trained_on
            else "it is not known what these models were trained on"
        )
        raise InputError(
            f"{known}; say with --dataset which test images to attack, or give your own with --data"
        )
    loaded = load_data(source.dataset or trained_on[0], source.data_root)
    if loaded.name == zoo.EMBEDDED and zoo.DATASET in trained_on:
        log("note: mnist5k's images are among the training images of mnist, so errors look low")
    split = loaded.test.first(source.limit)
    return Images(loaded.name, split, len(split) == len(loaded.test), {})


def _user_images(path: Path, limit: int | None) -> Images:
    given = load_user_data(path, limit)
    found = len(given.images.labels.unique())
    if given.classes:
        first = ", ".join(f"{number} {name}" for number, name in enumerate(given.classes[:12]))
        more = ", ..." if len(given.classes) > 12 else ""
        log(f"note: classes are numbered by name: {first}{more}")
    elif found == 1:
        log(f"note: these {len(given.images)} images of {path} are all of the same class")
    origin = {"path": str(path), "classes": given.classes}
    return Images(path.resolve().stem, given.images, len(given.images) == given.total, origin)


def _metadata(
    candidates: Sequence[Candidate], test: Images, settings: EvaluationSettings
) -> Metadata:
    """What results.json says before anything is attacked."""
    decisive = settings.decisive()
    weights = {
        candidate.name: [candidate.metadata["weights_sha256"], candidate.provenance.get("loaded")]
        for candidate in candidates
    }
    return Metadata(
        schema=3,
        status="running",
        dataset=test.name,
        split="test",
        n=len(test.split),
        limit=None if test.whole else len(test.split),
        settings=decisive,
        models=[Model(**candidate.metadata) for candidate in candidates],
        # All that decides the outcomes: an interrupted evaluation goes on only with the same.
        what={"models": weights, "data": test.metadata(), "settings": decisive},
    )
