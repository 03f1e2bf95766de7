"""`winnrobust attack`: models and images in, a results folder out."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.evaluation import EvaluationSettings, run
from winnrobust.evaluation.diagnosis import diagnose
from winnrobust.evaluation.settings import check_surrogates
from winnrobust.reporting import Metadata, Model, read_diagnosis, write_diagnosis, write_results
from winnrobust.runtime import distributed
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
from winnrobust.workflows.images import Images, ImageSource, images_for
from winnrobust.workflows.preflight import check_fit

TEST_IMAGES = ImageSource()
"""Those of the data set that the models were trained on."""

DIAGNOSED = 256
"""False robustness is looked for on the first so many images."""

DIAGNOSED_EPSILON = 0.125
"""Where it is looked for if the attacks have no L-infinity bound above 0."""


def attack_runs(
    paths: Sequence[Path],
    out: Path,
    settings: EvaluationSettings,
    device: torch.device,
    *,
    external: Sequence[ExternalModel] = (),
    source: ImageSource = TEST_IMAGES,
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
    test = images_for(candidates, source)
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
            _diagnose(out, modules, test.split.batch(0, DIAGNOSED), settings, device)
        rounds = len(settings.attacks) * len(modules)
        with show_progress("attack", "image", done * rounds) as progress:
            run(
                modules,
                test.split,
                None,
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
