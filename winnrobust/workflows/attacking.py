"""`winnrobust attack`: models and images in, a results folder out."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from winnrobust.attacks import Attack, find
from winnrobust.attacks.corruptions import check_available
from winnrobust.attacks.norms import epsilon_text
from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.data.folders import Pictures
from winnrobust.evaluation import EvaluationSettings, outcomes, run
from winnrobust.evaluation.diagnosis import diagnose
from winnrobust.evaluation.diagnosis.next_steps import SQUARE, has_no_gradient, suitable_attacks
from winnrobust.evaluation.outcomes import CORRUPTIONS, Level
from winnrobust.evaluation.sequential import check_sampled
from winnrobust.evaluation.settings import check_surrogates, find_attacks, fits
from winnrobust.evaluation.threats import Defaults, defaults_for
from winnrobust.reporting import Metadata, Model, read_diagnosis, write_diagnosis, write_results
from winnrobust.runtime import distributed
from winnrobust.runtime.progress import log, remaining, show_progress
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
from winnrobust.workflows.gates import Gate, check_attacked, check_baseline
from winnrobust.workflows.given import own_code
from winnrobust.workflows.images import Images, ImageSource, images_for
from winnrobust.workflows.preflight import check_fit, check_gradients, needs_gradient
from winnrobust.workflows.saving import save_examples, saved_text
from winnrobust.workflows.surrogates import NAME, surrogates_for

TEST_IMAGES = ImageSource()
"""Those of the data set that the models were trained on."""

DIAGNOSED = 256
"""False robustness is looked for on the first so many images."""

DIAGNOSED_SOON = 64
"""At least on so many where few are attacked, because those settle the question."""


SOON = 5.0
"""Seconds that the first figure may wait for a second batch, which tells how long batches take."""


def attack_runs(
    paths: Sequence[Path],
    out: Path,
    settings: EvaluationSettings,
    device: torch.device,
    *,
    external: Sequence[ExternalModel] = (),
    source: ImageSource = TEST_IMAGES,
    with_diagnosis: bool = True,
    adapt: bool = False,
    resume_with: str | None = None,
    baseline: Path | None = None,
    save: int = 0,
    gates: Sequence[Gate] = (),
) -> None:
    """Attack models with each other as judges and write the results to `out`.

    What an interrupted call finished is kept; the same call goes on from there.

    Args:
        paths: run folders or model files of ours.
        external: models from elsewhere.
        source: the images.
        with_diagnosis: look for false robustness, too.
        adapt: look for it first, and add the attacks that suit what is found.
        resume_with: as for `evaluation_folder`.
        baseline: an earlier evaluation that must be of the same images.
        save: how many adversarial examples of each kind to write as files; the settings must have
            kept as many.
        gates: what must be attacked.

    Raises:
        InputError: models or data cannot be used, no attack fits, or `out` exists; before any long
            work.
    """
    if distributed.is_main_process():
        check_place(out)
    candidates = load_candidates(paths, external)
    modules = {candidate.name: candidate.module for candidate in candidates}
    check_surrogates(find_attacks(settings.attacks), [*modules, NAME])
    check_sampled(settings, list(modules))
    test = images_for(candidates, source)
    known = test.name if source.path is None else None
    usual = defaults_for(known, test.split.batch(0, 1).images.shape[1:])
    settings = _with_threats(settings, usual).for_first(None if test.whole else len(test.split))
    doubts = check_fit(candidates, settings, test.split, device)
    for gate in gates:
        check_attacked(gate, settings, list(modules))
    if baseline is not None:
        check_baseline(baseline, _metadata(candidates, test, settings))
    found = None
    if adapt:
        found = distributed.broadcast(read_diagnosis(out))  # of an evaluation to go on with
        if found is None:
            few = DIAGNOSED_SOON if settings.sampled else DIAGNOSED
            found = _diagnose(modules, test.split.batch(0, few), settings, usual, device)
        settings = adapted(settings, found)
    metadata = _metadata(candidates, test, settings)
    if distributed.is_main_process():
        check_unfinished(out, metadata)
    log_differences(candidates)
    check_gradients(modules, settings.chosen_attacks(), test.split, device)
    with evaluation_folder(out, metadata, device, resume_with) as sessions:
        models = ", ".join(f"{candidate.name} ({candidate.path})" for candidate in candidates)
        log(f"attacking {models} on {len(test.split)} test images of {test.name} ({device})")
        if found is not None and distributed.is_main_process():
            write_diagnosis(out, found)
        to_diagnose = with_diagnosis and distributed.broadcast(read_diagnosis(out)) is None
        _attack(modules, test.split, settings, device, out)
        if to_diagnose:
            enough = max(DIAGNOSED_SOON, distributed.broadcast(images_done(out)))
            few = min(enough, DIAGNOSED) if settings.sampled else DIAGNOSED
            found = _diagnose(modules, test.split.batch(0, few), settings, usual, device)
            if distributed.is_main_process():
                write_diagnosis(out, found)
        if distributed.is_main_process():
            manifest = sessions[0] | {
                "resumed": sessions[1:],
                "data": test.metadata(),
                "models": {candidate.name: candidate.provenance for candidate in candidates},
                "doubts": doubts,
            }
            write_results(out, manifest)
            if save:
                log(saved_text(save_examples(out, save, modules, device)))
                log(f"adversarial examples are in {out / 'saved'}")
        distributed.barrier()


def _attack(
    modules: dict[str, nn.Module],
    images: ImageSplit | Pictures,
    settings: EvaluationSettings,
    device: torch.device,
    out: Path,
) -> None:
    """Attack, from where an interrupted evaluation stopped, and show how far that is."""
    done = distributed.broadcast(images_done(out))
    if done:
        log(f"going on after {done} of them")
    attacks = settings.chosen_attacks()
    surrogates = surrogates_for(attacks, modules, images, settings.seed, device, progress=True)
    with show_progress("attack", "image", done * len(attacks) * len(modules)) as progress:
        run(
            modules,
            images,
            None,
            settings,
            folder=out,
            device=device,
            surrogates=surrogates,
            progress=progress if done else _with_first_figure(progress, out),
        )


def _with_threats(settings: EvaluationSettings, usual: Defaults) -> EvaluationSettings:
    """Return settings that name all threats; says which are there by default, and why."""
    settings, filled = settings.completed(usual)
    if filled:
        log(usual.explained(filled, "--threat"))
    if settings.bounds("corruptions"):
        check_available()
    return settings


def _with_first_figure(
    progress: Callable[[int, int], None], out: Path
) -> Callable[[int, int], None]:
    """Return the same, which once says what the first finished batch tells, and how long the rest
    takes: by the second batch if they are quick, for the first one's time is mostly preparation.
    """
    began, told = time.monotonic(), not distributed.is_main_process()
    first: tuple[float, int] | None = None

    def update(done: int, total: int) -> None:
        nonlocal told, first
        progress(done, total)
        if told or done >= total or not (parts := outcomes.parts(out)):
            return
        now = time.monotonic()
        first = first or (now, done)
        if len(parts) == 1 and now - began < SOON:
            return
        told = True
        since, before = first if len(parts) > 1 else (began, 0)
        left = remaining(now - since, done - before, total - before)
        log(f"{first_figure(parts[0])}; the rest takes {left}")

    return update


def first_figure(part: outcomes.Part) -> str:
    """Say how often every model is right in a part of the outcomes, by attack."""
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for row in part.read()[0].to_pylist():
        name, attack, level = row["evaluated"], row["attack"], Level(row["norm"], row["epsilon"])
        if attack is None:
            right[name]["no attack"].append(row["correct"])
        elif row["source"] == name and level.epsilon < math.inf and level.norm != CORRUPTIONS:
            right[name][f"{attack}, {level}"].append(row["correct"])
    told = (
        f"{name} is right about "
        + ", ".join(f"{sum(found) / len(found):.0%} ({how})" for how, found in by_attack.items())
        for name, by_attack in right.items()
    )
    return f"first {part.stop - part.start} images: {'; '.join(told)}"


def adapted(settings: EvaluationSettings, found: pd.DataFrame) -> EvaluationSettings:
    """Return the settings with the attacks that suit what a diagnosis found, and say which.

    Attacks that follow gradients are left out where a model has none; those that fit none of the
    threats are not added.
    """
    blind = [name for name in found.model.unique() if has_no_gradient(found, name)]
    chosen = [each for each in find_attacks(settings.attacks) if _fits(each, settings)]
    able = [each for each in chosen if not (blind and needs_gradient(each))]
    suited = [find(name) for name in suitable_attacks(found)]
    known = {each.name for each in able}
    added = [each for each in suited if each.name not in known and _fits(each, settings)]
    if not able and not added and _fits(find(SQUARE), settings):
        added = [find(SQUARE)]
    if not (able or added):  # threats that bring attacks of their own, or gradients are needed
        log("adapting: added: nothing")
        return settings
    if len(able) < len(chosen):
        left = ", ".join(each.name for each in chosen if each not in able)
        log(f"adapting: no gradient in {', '.join(blind)}; left out: {left}")
    log(f"adapting: added: {', '.join(each.name for each in added) or 'nothing'}")
    return settings.model_copy(update={"attacks": (*able, *added)})


def _fits(attack: Attack, settings: EvaluationSettings) -> bool:
    return not settings.epsilons or fits(attack, settings.epsilons)


def _diagnose(
    modules: dict[str, nn.Module],
    few: ImageSplit,
    settings: EvaluationSettings,
    usual: Defaults,
    device: torch.device,
) -> pd.DataFrame:
    """Look for false robustness."""
    # The middle one: where an attack breaks nothing, or everything, it hides how weak it is.
    above = sorted(epsilon for epsilon in settings.bounds("linf") if epsilon > 0)
    epsilon = above[len(above) // 2] if above else usual.epsilons["linf"][0]
    log(
        f"looking for false robustness on {len(few)} of them around epsilon {epsilon_text(epsilon)}"
        " (--no-diagnose leaves that out)"
    )
    with show_progress("diagnose", "image") as progress:
        return diagnose(
            modules,
            to_unit(few.images),
            few.labels,
            epsilon=epsilon,
            seed=settings.seed,
            batch_size=settings.batch_size,
            eot=settings.eot or 1,
            device=device,
            progress=progress,
        )


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
        population=len(test.split) if settings.sampled else None,
        settings=decisive,
        models=[Model(**candidate.metadata) for candidate in candidates],
        # All that decides the outcomes: an interrupted evaluation goes on only with the same.
        what={"models": weights, "data": test.metadata(), "settings": decisive}
        | own_code(settings),
    )
