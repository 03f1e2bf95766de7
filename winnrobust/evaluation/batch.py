"""One batch: every model attacked, every example judged, every outcome written down.

What is found out stays on the device until the batch is done, so that no step waits for it.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.attacks import (
    NORMS,
    Answer,
    Attack,
    AttackResult,
    CleanPass,
    GradientStatistics,
    Run,
    answer,
    run_attack,
)
from winnrobust.evaluation import outcomes
from winnrobust.evaluation.checks import as_floats
from winnrobust.evaluation.examples import Examples, write_examples
from winnrobust.evaluation.outcomes import Attempt
from winnrobust.evaluation.prediction import (
    OUT_OF_MEMORY,
    check_finite,
    check_shape,
    errors_named,
)
from winnrobust.evaluation.settings import EvaluationSettings
from winnrobust.evaluation.state import devices_of, own_randomness
from winnrobust.evaluation.targets import TARGETS
from winnrobust.runtime import distributed
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError, brief


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        models: name -> module, held ready.
        attacks: with their settings.
        draws: model -> how often it is asked about an image.
        images: (N, C, H, W), uint8, or floating point in [0, 1].
        labels: (N,) int64.
        folder: results folder.
        identity: what outcomes depend on; those of another one are not gone on with.
    """

    models: dict[str, nn.Module]
    attacks: list[Attack]
    settings: EvaluationSettings
    draws: dict[str, int]
    images: Tensor
    labels: Tensor
    folder: Path
    identity: dict[str, Any]

    def epsilons(self, attack: Attack) -> list[float]:
        """Return the epsilons of an attack; the infinite one is for the nearest example at all."""
        bounds = list(self.settings.epsilons[attack.norm])
        return [*bounds, math.inf] if attack.minimum_norm else bounds


@dataclass
class _Example:
    """What one attack on one model at one epsilon made of the B images, on the device.

    Attributes:
        distance: (B,).
        passes: (3, B) int32: gradients, queries, whether time ran out.
        kept: (K, C, H, W) float32 on the CPU, the first ones.
        failed: whether the attack did.
        verdicts: judge -> as `_verdict`.
    """

    distance: Tensor
    passes: Tensor
    kept: Tensor
    failed: bool
    verdicts: dict[str, Tensor]


@dataclass
class _Batch:
    """B images, and what has been found out about them.

    Attributes:
        numbers: of the images among all.
        images: (B, C, H, W) float32.
        labels: (B,) int64.
        room: how many of them are kept whole.
        clean: model -> as `_verdict`.
        targets: model -> (B,) int64, for targeted attacks.
        examples: (attack, epsilon, source) -> what was made.
        seconds, gradients, failures: (attack, source) -> how long it took, what was followed, and
            what was wrong if it failed.
        cache: shared by attacks on all models.
    """

    numbers: range
    images: Tensor
    labels: Tensor
    room: int
    clean: dict[str, Tensor] = field(default_factory=dict)
    targets: dict[str, Tensor] = field(default_factory=dict)
    examples: dict[tuple[str, float, str], _Example] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    gradients: dict[tuple[str, str], GradientStatistics] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict)


def attack_batch(job: Job, numbers: range, tell: Callable[[int, int], None], strict: bool) -> None:
    """Attack all models with some of the images, judge the examples, and write the outcomes.

    Args:
        numbers: of the images.
        tell: called after each attack with (images of the batch, attacks on it so far).
        strict: raise where an attack fails. Else its images get that status: what went well on
            others need not be lost.

    Raises:
        InputError: a model or an attack cannot be used.
    """
    batch = _Batch(
        numbers,
        as_floats(job.images[numbers.start : numbers.stop]),
        job.labels[numbers.start : numbers.stop],
        room=min(max(job.settings.num_examples - numbers.start, 0), len(numbers)),
    )
    with own_randomness(devices_of(job.models), job.settings.seed, "batch", numbers.start):
        for source in job.models:
            _attack_model(job, batch, source, tell, strict)
    _write(job, batch)


def _attack_model(
    job: Job, batch: _Batch, source: str, tell: Callable[[int, int], None], strict: bool
) -> None:
    model, settings = job.models[source], job.settings
    device = device_of(model)
    images, labels = batch.images.to(device), batch.labels.to(device)
    clean = CleanPass(model, images, labels, None, settings.eot)
    if settings.targeted is not None:
        with errors_named(source, images):
            logits = clean.answer.logits
        check_shape(source, logits, len(images))
        choose = TARGETS[settings.targeted]
        clean.targets = choose(logits, labels, settings.seed, batch.numbers.start)
        batch.targets[source] = clean.targets
    run = Run(
        seed=settings.seed,
        first=batch.numbers.start,
        targets=clean.targets,
        eot=settings.eot,
        clean=clean,
        surrogates=job.models,
        cache=batch.cache,
    )
    # First those whose gradient at the images makes another pass over them unnecessary.
    for attack in sorted(job.attacks, key=lambda attack: not attack.single_step):
        results = _attack(job, batch, attack, source, images, labels, run, strict)
        for epsilon, result in zip(job.epsilons(attack), results, strict=True):
            example = _example(batch, attack, images, result)
            example.failed = (attack.name, source) in batch.failures
            judges = job.models if settings.cross and epsilon < math.inf else [source]
            for judge in judges:
                example.verdicts[judge] = _judge(job, judge, result.images, labels)
            batch.examples[attack.name, epsilon, source] = example
        tell(len(images), len(batch.seconds))
    batch.clean[source] = _judge(job, source, images, labels, known=clean)


def _attack(
    job: Job,
    batch: _Batch,
    attack: Attack,
    source: str,
    images: Tensor,
    labels: Tensor,
    run: Run,
    strict: bool,
) -> list[AttackResult]:
    """Attack one model at all epsilons, in this batch's share of the time."""
    epsilons, key = job.epsilons(attack), (attack.name, source)
    seconds = job.settings.seconds or math.inf
    began = time.monotonic()
    try:
        results = run_attack(
            attack,
            job.models[source],
            images,
            labels,
            epsilons,
            run=run,
            seconds=seconds * len(images) / len(job.images),
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


def _example(batch: _Batch, attack: Attack, images: Tensor, result: AttackResult) -> _Example:
    return _Example(
        distance=NORMS[attack.norm].size(result.images - images).float(),
        passes=torch.stack([result.gradients, result.queries, result.unfinished]).int(),
        kept=result.images[: batch.room].float().cpu(),
        failed=False,
        verdicts={},
    )


def _judge(
    job: Job, name: str, images: Tensor, labels: Tensor, known: CleanPass | None = None
) -> Tensor:
    """Ask the model called `name` about images (B, C, H, W); returns as `_verdict`.

    Args:
        known: a pass over these images, which is as good if the model does not answer at random.

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
    return _verdict(seen, labels.to(device), draws)


def _verdict(seen: Answer, labels: Tensor, draws: int) -> Tensor:
    """Return (3, B) int32: the most frequent prediction, correct draws, whether all is finite."""
    predictions = seen.predictions[:draws]
    frequent = predictions.mode(0).values if draws > 1 else predictions[0]
    correct = (predictions == labels).sum(0)
    return torch.stack([frequent, correct, seen.logits.isfinite().all(1)]).int()


# --- from the device to the table ---------------------------------------------------------------


def _write(job: Job, batch: _Batch) -> None:
    """Write the outcomes of a batch, and before them the examples that are kept of it."""
    _to_host(batch)
    for verdicts in (batch.clean, *(each.verdicts for each in batch.examples.values())):
        for name, (_, _, finite) in verdicts.items():
            check_finite(name, bool(finite.all()))
    answers = [_answer(job, name, verdict) for name, verdict in batch.clean.items()]
    for attack, epsilon, source in _cases(job):
        example = batch.examples[attack.name, epsilon, source]
        attempt = _attempt(job, batch, attack, epsilon, source)
        answers += [
            _answer(job, judge, verdict, attempt) for judge, verdict in example.verdicts.items()
        ]
    table = outcomes.outcome_table(batch.numbers.start, batch.labels.numpy(), answers)
    rank = distributed.rank()
    if batch.room:
        path = outcomes.part_path(job.folder, batch.numbers, rank)
        write_examples(path, _kept(job, batch))
    outcomes.write_part(job.folder, table, _facts(job, batch), rank)


def _to_host(batch: _Batch) -> None:
    """Replace the device's tensors by numpy arrays, in one copy for those that are alike."""
    places: list[tuple[Any, Any]] = [(batch.clean, name) for name in batch.clean]
    places += [(batch.targets, name) for name in batch.targets]
    for example in batch.examples.values():
        places += [(vars(example), "distance"), (vars(example), "passes")]
        places += [(example.verdicts, judge) for judge in example.verdicts]
    alike: dict[Any, list[tuple[Any, Any]]] = {}
    for store, key in places:
        tensor = store[key]
        alike.setdefault((tensor.device, tensor.dtype, tensor.shape), []).append((store, key))
    for group in alike.values():
        arrays = torch.stack([store[key] for store, key in group]).cpu().numpy()
        for (store, key), array in zip(group, arrays, strict=True):
            store[key] = array


def _cases(job: Job) -> Iterator[tuple[Attack, float, str]]:
    for attack in job.attacks:
        for epsilon in job.epsilons(attack):
            for source in job.models:
                yield attack, epsilon, source


def _answer(job: Job, name: str, verdict: Any, attempt: Attempt | None = None) -> outcomes.Answer:
    return outcomes.Answer(name, verdict[0], verdict[1], job.draws[name], attempt)


def _attempt(job: Job, batch: _Batch, attack: Attack, epsilon: float, source: str) -> Attempt:
    example = batch.examples[attack.name, epsilon, source]
    gradients, queries, unfinished = np.asarray(example.passes)
    distance = np.asarray(example.distance)
    draws = job.draws[source]
    wrong_already = 2 * batch.clean[source][1] <= draws
    status = np.where(unfinished, outcomes.OUT_OF_TIME, outcomes.ATTACKED)
    if example.failed:
        status[:] = outcomes.FAILED
    if job.settings.targeted is None:
        status[np.asarray(wrong_already & (distance == 0))] = outcomes.WRONG_ALREADY
    if epsilon == math.inf:
        found = 2 * example.verdicts[source][1] <= draws
        distance = np.where(found, distance, np.inf)
    return Attempt(
        source=source,
        attack=attack.name,
        norm=attack.norm,
        epsilon=epsilon,
        seed=job.settings.seed,
        targets=None if job.settings.targeted is None else np.asarray(batch.targets[source]),
        distance=distance,
        status=status,
        gradients=gradients,
        queries=queries,
    )


def _facts(job: Job, batch: _Batch) -> dict[str, Any]:
    return {
        "evaluation": job.identity,
        "seconds": [[*key, seconds] for key, seconds in batch.seconds.items()],
        "gradients": [
            [*key, statistics.on_host()._asdict()] for key, statistics in batch.gradients.items()
        ],
        "failures": [[*key, failure] for key, failure in batch.failures.items()],
    }


def _kept(job: Job, batch: _Batch) -> Examples:
    """Return the first images of a batch with all that became of them, whole."""
    models, room = list(job.models), batch.room
    cases = [case for case in _cases(job) if case[1] < math.inf]
    examples = [batch.examples[attack.name, epsilon, source] for attack, epsilon, source in cases]
    unseen = np.full((1, room), -1)

    def predictions(verdicts: Mapping[str, Any]) -> np.ndarray:
        seen: Sequence[Any] = [verdicts.get(name, unseen)[0, :room] for name in models]
        return np.stack(seen).astype(np.int64)

    return Examples(
        models=np.array(models),
        images=batch.images[:room].cpu().numpy(),
        labels=batch.labels[:room].numpy(),
        clean_predictions=predictions(batch.clean),
        case_attacks=np.array([attack.name for attack, _, _ in cases]),
        case_epsilons=np.array([epsilon for _, epsilon, _ in cases]),
        case_sources=np.array([source for _, _, source in cases]),
        adversarials=np.stack([example.kept.numpy() for example in examples]),
        predictions=np.stack([predictions(example.verdicts) for example in examples]),
    )
