"""One batch: every model attacked, every example judged, every outcome written down.

What is found out stays on the device until the batch is done, so that no step waits for it.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.attacks import (
    Attack,
    AttackResult,
    CleanPass,
    GradientStatistics,
    Run,
    Step,
    answer,
    measured,
    run_attack,
)
from winnrobust.data.streams import ImageStream, Shuffled
from winnrobust.evaluation import outcomes
from winnrobust.evaluation.checks import as_floats
from winnrobust.evaluation.examples import (
    Adversarial,
    Examples,
    write_adversarial,
    write_examples,
)
from winnrobust.evaluation.outcomes import Case, Made
from winnrobust.evaluation.prediction import (
    OUT_OF_MEMORY,
    check_finite,
    check_labels,
    check_shape,
    errors_named,
)
from winnrobust.evaluation.settings import RANDOM_EOT, EvaluationSettings
from winnrobust.evaluation.state import devices_of, own_randomness
from winnrobust.evaluation.targets import TARGETS, given_targets
from winnrobust.runtime import distributed
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError, brief

_Example = tuple[Case, str]
"""An attack at an epsilon, and the model that it is made on."""
_Verdicts = dict[tuple[_Example | None, str], np.ndarray]
"""As `_Batch.verdicts`, on the host."""


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        models: name -> module, held ready.
        surrogates: of each model, others by name that attacks on it may transfer from.
        attacks: with their settings.
        draws: model -> how often it is asked about an image.
        data: the images, with their labels.
        classes: how many the models know.
        callback: called after every gradient step.
        folder: results folder.
        identity: what outcomes depend on; those of another one are not gone on with.
        kept: attempt -> how many adversarial examples of it this process has kept so far.
    """

    models: dict[str, nn.Module]
    surrogates: dict[str, dict[str, nn.Module]]
    attacks: list[Attack]
    settings: EvaluationSettings
    draws: dict[str, int]
    data: ImageStream
    classes: int
    folder: Path
    identity: dict[str, Any]
    callback: Callable[[Step], None] | None = None
    kept: dict[_Example, int] = field(default_factory=dict)

    def numbers(self, places: range) -> Tensor:
        """Return the numbers (B,) int64 of the images at these places of the order."""
        if isinstance(self.data, Shuffled):
            return self.data.numbers[places.start : places.stop]
        return torch.arange(places.start, places.stop)

    def wanted(self, attempt: _Example) -> int:
        """Return how many more adversarial examples of an attempt are to be kept."""
        most = self.settings.num_adversarial if attempt[0].epsilon < math.inf else 0
        return most - self.kept.get(attempt, 0)

    def epsilons(self, attack: Attack) -> list[float]:
        """Return the epsilons of an attack; the infinite one is for the nearest example at all."""
        bounds = list(self.settings.bounds(attack.norm))
        return [*bounds, math.inf] if attack.minimum_norm else bounds


@dataclass
class _Batch:
    """B images, and what has been found out about them.

    Attributes:
        places: of the images in the order in which they are attacked.
        numbers: (B,) int64, of the images among all.
        images: (B, C, H, W) float32.
        labels: (B,) int64.
        room: how many of them are kept whole.
        unrounded: attempt -> as `verdicts`, of the model under attack, before rounding.
        verdicts: (attempt, or None for the images themselves, and judge) -> as `_judge`.
        targets: model -> (B,) int64, for targeted attacks.
        distances: attempt -> (B,).
        passes: attempt -> (3, B) int32: gradients, queries, whether time ran out.
        kept: attempt -> (room, C, H, W) float32, what became of the first images; (B, C, H, W)
            where adversarial ones are wanted.
        seconds, gradients, failures: (attack, norm, source) -> how long it took, what was followed,
            and what was wrong if it failed.
        cache: shared by attacks on all models.
    """

    places: range
    numbers: Tensor
    images: Tensor
    labels: Tensor
    room: int
    verdicts: dict[tuple[_Example | None, str], Tensor] = field(default_factory=dict)
    unrounded: dict[_Example, Tensor] = field(default_factory=dict)
    targets: dict[str, Tensor] = field(default_factory=dict)
    distances: dict[_Example, Tensor] = field(default_factory=dict)
    passes: dict[_Example, Tensor] = field(default_factory=dict)
    kept: dict[_Example, np.ndarray] = field(default_factory=dict)
    seconds: dict[Made, float] = field(default_factory=dict)
    gradients: dict[Made, GradientStatistics] = field(default_factory=dict)
    failures: dict[Made, str] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict)


def attack_batch(job: Job, places: range, report: Callable[[int, int], None], strict: bool) -> None:
    """Attack all models with some of the images, judge the examples, and write the outcomes.

    Args:
        places: of the images in the order in which they are attacked.
        report: called after each attack with (images of the batch, attacks on it so far).
        strict: raise where an attack fails. Else its images get that status: what went well on
            others need not be lost.

    Raises:
        InputError: a model or an attack cannot be used.
    """
    read = job.data.batch(places.start, places.stop)
    check_labels(read.labels, job.classes)
    batch = _Batch(
        places,
        job.numbers(places),
        as_floats(read.images),
        read.labels,
        room=min(max(job.settings.num_examples - places.start, 0), len(places)),
    )
    with own_randomness(devices_of(job.models), job.settings.seed, "batch", places.start):
        for source in job.models:
            _attack_model(job, batch, source, report, strict)
    _write(job, batch)


def _attack_model(
    job: Job, batch: _Batch, source: str, report: Callable[[int, int], None], strict: bool
) -> None:
    model, settings = job.models[source], job.settings
    device = device_of(model)
    images, labels = batch.images.to(device), batch.labels.to(device)
    eot = settings.eot or (RANDOM_EOT if job.draws[source] > 1 else 1)
    clean = CleanPass(model, images, labels, None, eot)
    if settings.targeted is not None:
        with errors_named(source, images):
            logits = clean.answer.logits
        check_shape(source, logits, len(images))
        if isinstance(settings.targeted, str):
            choose = TARGETS[settings.targeted]
            clean.targets = choose(logits, labels, settings.seed, batch.numbers)
        else:
            clean.targets = given_targets(settings.targeted, batch.numbers, labels)
        batch.targets[source] = clean.targets
    run = Run(
        seed=settings.seed,
        first=int(batch.numbers[0]),
        numbers=batch.numbers.to(device),
        targets=clean.targets,
        eot=eot,
        clean=clean,
        surrogates=job.models | job.surrogates.get(source, {}),
        cache=batch.cache,
        callback=job.callback and partial(_named, job.callback, source),
    )
    # First those whose gradient at the images makes another pass over them unnecessary.
    for attack in sorted(job.attacks, key=lambda attack: not attack.single_step):
        results = _attack(job, batch, attack, source, clean, run, strict)
        for epsilon, result in zip(job.epsilons(attack), results, strict=True):
            made = Case(attack.name, attack.norm, epsilon), source
            if settings.round is not None and attack.norm != outcomes.CORRUPTIONS:
                batch.unrounded[made] = _judge(job, source, result.images, labels)
                result = replace(result, images=rounded(result.images, images, settings.round))
            spent = [result.gradients, result.queries, result.unfinished]
            batch.distances[made] = measured(attack.norm, images, result.images)
            batch.passes[made] = torch.stack(spent).int()
            some = result.images if job.wanted(made) > 0 else result.images[: batch.room]
            batch.kept[made] = some.float().cpu().numpy()
            # A corrupted image is the same for all models.
            alone = not settings.cross or epsilon == math.inf or attack.norm == outcomes.CORRUPTIONS
            for judge in [source] if alone else job.models:
                batch.verdicts[made, judge] = _judge(job, judge, result.images, labels)
        report(len(images), len(batch.seconds))
    batch.verdicts[None, source] = _judge(job, source, images, labels, known=clean)


def rounded(examples: Tensor, images: Tensor, bits: int) -> Tensor:
    """Return examples (B, C, H, W) in so many bits; pixels that were left alone stay as they are.

    >>> rounded(torch.tensor([0.5, 0.3]), torch.tensor([0.0, 0.3]), 1)
    tensor([0.0000, 0.3000])
    """
    steps = 2**bits - 1
    return torch.where(examples == images, images, (examples * steps).round() / steps)


def _named(callback: Callable[[Step], None], model: str, step: Step) -> None:
    callback(step._replace(model=model))


def _attack(
    job: Job, batch: _Batch, attack: Attack, source: str, clean: CleanPass, run: Run, strict: bool
) -> list[AttackResult]:
    """Attack one model at all epsilons, in this batch's share of the time."""
    epsilons, images = job.epsilons(attack), clean.images
    key = attack.name, attack.norm, source
    share = (job.settings.seconds or math.inf) * len(images) / len(job.data)
    began = time.monotonic()
    try:
        results = run_attack(
            attack, clean.model, images, clean.labels, epsilons, run=run, seconds=share
        )
    except OUT_OF_MEMORY:
        raise
    except InputError as error:
        raise InputError(f"attack '{attack.name}' on model '{source}': {error}") from None
    except Exception as error:  # anyone's module may raise anything
        failure = f"{type(error).__name__}: {brief(error)}"
        if strict:
            raise InputError(f"attack '{attack.name}' on model '{source}': {failure}") from error
        batch.failures[key] = failure
        results = [AttackResult.untouched(images) for _ in epsilons]
    batch.seconds[key] = time.monotonic() - began
    batch.gradients[key] = GradientStatistics()
    for result in results:
        batch.gradients[key] = batch.gradients[key].plus(result.statistics)
    return results


def _judge(
    job: Job, name: str, images: Tensor, labels: Tensor, known: CleanPass | None = None
) -> Tensor:
    """Ask the model called `name` about images (B, C, H, W).

    Args:
        known: a pass over these images, which is as good if the model does not answer at random.

    Returns:
        (3, B) int32: the most frequent prediction, correct draws, whether all logits are finite.

    Raises:
        InputError: it does not answer with logits.
    """
    device, draws = device_of(job.models[name]), job.draws[name]
    with errors_named(name, images):
        if known is None or draws > 1:
            seen = answer(job.models[name], images.to(device), draws)
        else:
            seen = known.answer
    check_shape(name, seen.logits, len(images))
    predictions = seen.predictions[:draws]
    frequent = predictions.mode(0).values if draws > 1 else predictions[0]
    correct = (predictions == labels.to(device)).sum(0)
    return torch.stack([frequent, correct, seen.logits.isfinite().all(1)]).int()


# --- from the device to the table ---------------------------------------------------------------


def _write(job: Job, batch: _Batch) -> None:
    """Write the outcomes of a batch, and before them the examples that are kept of it."""
    verdicts = {key: verdict.cpu().numpy() for key, verdict in batch.verdicts.items()}
    for (_, name), (_, _, finite) in verdicts.items():
        check_finite(name, bool(finite.all()))

    def said(attempt: _Example | None) -> Iterator[dict[str, Any]]:
        made = _columns(job, batch, *attempt, verdicts) if attempt else {}
        for name, draws in job.draws.items():
            if (attempt, name) in verdicts:
                prediction, correct, _ = verdicts[attempt, name]
                answer = {"evaluated": name, "prediction": prediction, "draws": draws}
                yield answer | {"correct_draws": correct} | made

    attempts = [
        (Case(attack.name, attack.norm, epsilon), source)
        for attack in job.attacks
        for epsilon in job.epsilons(attack)
        for source in job.models
    ]
    answers = [answer for attempt in (None, *attempts) for answer in said(attempt)]
    table = outcomes.outcome_table(batch.numbers.numpy(), batch.labels.numpy(), answers)
    rank = distributed.rank()
    if batch.room:
        path = outcomes.part_path(job.folder, batch.places, rank)
        write_examples(path, _kept(job, batch, verdicts, attempts))
    if found := _adversarial(job, batch, verdicts, attempts):
        write_adversarial(outcomes.part_path(job.folder, batch.places, rank), found)
    facts: dict[str, Any] = {
        "evaluation": job.identity,
        "seconds": [[*key, seconds] for key, seconds in batch.seconds.items()],
        "gradients": [
            [*key, statistics.on_host()._asdict()] for key, statistics in batch.gradients.items()
        ],
        "failures": [[*key, failure] for key, failure in batch.failures.items()],
    }
    if job.settings.sampled:
        facts["sampled"] = [len(job.data), job.settings.seed]
    outcomes.write_part(job.folder, table, facts, rank, batch.places)
    for each in found:
        attempt = each.case, each.source
        job.kept[attempt] = job.kept.get(attempt, 0) + len(each.labels)


def _columns(
    job: Job, batch: _Batch, case: Case, source: str, verdicts: _Verdicts
) -> dict[str, Any]:
    """Return what the outcome table says of an attempt."""
    gradients, queries, unfinished = batch.passes[case, source].cpu().numpy()
    distance = batch.distances[case, source].cpu().numpy()
    draws, targeted = job.draws[source], job.settings.targeted is not None
    status = np.where(unfinished, outcomes.OUT_OF_TIME, outcomes.ATTACKED)
    if (case.attack, case.norm, source) in batch.failures:
        status[:] = outcomes.FAILED
    if not targeted:
        wrong_already = 2 * verdicts[None, source][1] <= draws
        status[wrong_already & (distance == 0)] = outcomes.WRONG_ALREADY
    if case.epsilon == math.inf:
        found = 2 * verdicts[(case, source), source][1] <= draws
        distance = np.where(found, distance, np.inf)
    before = batch.unrounded.get((case, source))
    unrounded = None if before is None else 2 * before[1].cpu().numpy() > draws
    return {
        **case._asdict(), "source": source, "seed": job.settings.seed,
        outcomes.UNROUNDED: unrounded,
        "target": batch.targets[source].cpu().numpy() if targeted else None,
        "distance": distance, "status": status, "gradients": gradients, "queries": queries,
    }  # fmt: skip


def _kept(job: Job, batch: _Batch, verdicts: _Verdicts, attempts: list[_Example]) -> Examples:
    """Return the first images of a batch with all that became of them, whole."""
    shown = [(case, source) for case, source in attempts if case.epsilon < math.inf]
    unseen = np.full((1, batch.room), -1)

    def predictions(attempt: _Example | None) -> np.ndarray:
        seen = [verdicts.get((attempt, name), unseen)[0, : batch.room] for name in job.models]
        return np.stack(seen).astype(np.int64)

    return Examples(
        models=np.array(list(job.models)),
        images=batch.images[: batch.room].cpu().numpy(),
        labels=batch.labels[: batch.room].numpy(),
        clean_predictions=predictions(None),
        case_attacks=np.array([case.attack for case, _ in shown]),
        case_norms=np.array([case.norm for case, _ in shown]),
        case_epsilons=np.array([case.epsilon for case, _ in shown]),
        case_sources=np.array([source for _, source in shown]),
        adversarials=np.stack([batch.kept[attempt][: batch.room] for attempt in shown]),
        predictions=np.stack([predictions(attempt) for attempt in shown]),
    )


def _adversarial(
    job: Job, batch: _Batch, verdicts: _Verdicts, attempts: list[_Example]
) -> list[Adversarial]:
    """Return the adversarial examples of a batch that are still wanted, whole."""
    labels, numbers, found = batch.labels.numpy(), batch.numbers.numpy(), []
    for case, source in attempts:
        if (most := job.wanted((case, source))) <= 0:
            continue
        right = verdicts[None, source][0] == labels
        seen = verdicts[(case, source), source][0]
        rows = np.flatnonzero(right & (seen != labels))[:most]
        if len(rows):
            images = batch.kept[case, source][rows]
            found.append(Adversarial(case, source, images, labels[rows], numbers[rows]))
    return found
