"""The evaluation: every model attacked, every attack judged by every model, in one pass."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from winnrobust import distributed
from winnrobust.attacks import (
    ATTACKS,
    DEFAULT_BUDGET,
    NO_GRADIENTS,
    AttackResult,
    GradientStatistics,
    Target,
)
from winnrobust.devices import device_of, resolve_device
from winnrobust.errors import InputError
from winnrobust.evaluation import inputs
from winnrobust.evaluation.batch_size import fastest_batch_size
from winnrobust.evaluation.examples import Case, Examples, combined, empty_examples, fill
from winnrobust.evaluation.layout import use_channels_last
from winnrobust.evaluation.metrics import (
    PairCounts,
    clean_table,
    gradient_table,
    results_table,
)
from winnrobust.evaluation.prediction import (
    check_classes,
    checked_logits,
    errors_named,
    prediction,
)
from winnrobust.evaluation.state import frozen


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        table: one row per (attack, epsilon, source, target), source == target included; columns
            as `metrics.RESULT_COLUMNS`. Undefined rates are NaN.
        gradients: one row per (attack, source): how many gradient entries were exactly zero;
            columns as `metrics.GRADIENT_COLUMNS`.
        clean: one row per model: errors without an attack; columns as `metrics.CLEAN_COLUMNS`.
        examples: the first images, kept whole.
        batch_size: images per step, as given, or measured; halved where the GPU's memory was short.
    """

    table: pd.DataFrame
    gradients: pd.DataFrame
    clean: pd.DataFrame
    examples: Examples
    batch_size: int


@dataclass(frozen=True)
class _Plan:
    """What is to be done to every batch."""

    models: dict[str, nn.Module]
    attacks: list[str]
    epsilons: list[float]
    cases: list[Case]
    seed: int


@dataclass(frozen=True)
class _Judged:
    """What became of a batch of N images, for M models and R cases.

    Attributes:
        clean: (M, N) int64, the classes that the models see in the images.
        predictions: (R, M, N) int64, the classes that they see in the adversarial examples.
        kept: for each case the first adversarial examples, as many as figures need.
        gradients: (attack, source) -> what the attack followed.
    """

    clean: Tensor
    predictions: Tensor
    kept: list[Tensor]
    gradients: dict[tuple[str, str], GradientStatistics]


class _Counts:
    """Counts that grow batch by batch, for M models and R cases."""

    def __init__(self, plan: _Plan) -> None:
        models, cases = len(plan.models), len(plan.cases)
        self.sources = [list(plan.models).index(source) for _, _, source in plan.cases]
        self.clean = np.zeros(models, np.int64)
        self.adversarial = np.zeros((cases, models), np.int64)
        self.both = np.zeros((cases, models), np.int64)
        self.gradients = dict.fromkeys(itertools.product(plan.attacks, plan.models), NO_GRADIENTS)

    def add(self, judged: _Judged, labels: Tensor) -> None:
        """Count one batch."""
        self.clean += (judged.clean != labels).sum(1).numpy()
        wrong = judged.predictions != labels
        source_wrong = wrong[range(len(wrong)), self.sources].unsqueeze(1)
        self.adversarial += wrong.sum(2).numpy()
        self.both += (wrong & source_wrong).sum(2).numpy()
        self._add_gradients(judged.gradients)

    def add_all(self, others: Sequence["_Counts"]) -> None:
        """Add what other processes counted."""
        for other in others:
            self.clean += other.clean
            self.adversarial += other.adversarial
            self.both += other.both
            self._add_gradients(other.gradients)

    def _add_gradients(self, gradients: dict[tuple[str, str], GradientStatistics]) -> None:
        for key, statistics in gradients.items():
            self.gradients[key] = self.gradients[key].plus(statistics)


def run(
    models: Mapping[str, nn.Module],
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    attacks: Sequence[str] = ("fgsm",),
    epsilons: Sequence[float] = (0.125,),
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    num_examples: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Attack every model and let every model judge every adversarial example.

    Models are held in eval mode without parameter gradients and given back exactly as they were;
    no tensor of the caller's is changed. Memory does not grow with the number of images. Where
    several processes work together (`winnrobust.distributed`), each takes some of the batches and
    all return the whole result.

    Args:
        models: name -> any module that takes (N, C, H, W) float32 in [0, 1] and returns logits
            (N, K), or an object with `.logits`.
        images: (N, C, H, W), floating point, in [0, 1].
        labels: (N,) integers, the true classes 0 .. K - 1.
        attacks: names from `winnrobust.attacks.ATTACKS`; repeated ones are dropped.
        epsilons: perturbation bounds from 0 to 1, in the units of the images; repeated ones are
            dropped. At 0 the adversarial example is the image.
        batch_size: images per step; it changes the memory needed, not the result (up to float
            rounding). None measures which is fastest.
        device: where to compute; None leaves every model where it is.
        num_examples: how many of the first images to keep whole in the result.
        seed: of the attacks' random starts; an image's start does not depend on its batch.
        progress: called after each batch with (images done, images in all).

    Raises:
        InputError: an argument or a model cannot be used; the message says which and why.
    """
    nets = inputs.checked_models(models)
    pixels = inputs.checked_images(images)
    truth = inputs.checked_labels(labels, len(pixels))
    attack_names = inputs.checked_attacks(attacks)
    bounds = inputs.checked_epsilons(epsilons)
    if batch_size is not None:
        inputs.check_count("batch_size", batch_size, at_least=1)
    inputs.check_count("num_examples", num_examples, at_least=0)
    inputs.check_count("seed", seed, at_least=0)
    place = None if device is None else resolve_device(str(device))

    cases = list(itertools.product(attack_names, bounds, nets))
    plan = _Plan(nets, attack_names, bounds, cases, seed)
    try:
        with frozen(nets.values(), place):
            check_classes(nets, pixels[:2], truth)
            for model in nets.values():
                use_channels_last(model, pixels[:2], truth[:2])
            size = batch_size or distributed.from_first(fastest_batch_size(nets, pixels))
            mine = _attack_my_part(plan, pixels, truth, size, num_examples, progress)
    except torch.cuda.OutOfMemoryError:
        raise InputError(
            "the GPU has not enough memory for the models and a single image; use --device cpu"
        ) from None
    parts = distributed.gather(mine)
    total = _Counts(plan)
    total.add_all([counts for counts, _, _ in parts])
    kept = combined([examples for _, examples, _ in parts])
    return _evaluation(plan, len(pixels), total, kept, min(size for _, _, size in parts))


def _attack_my_part(
    plan: _Plan,
    pixels: Tensor,
    truth: Tensor,
    size: int,
    num_examples: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[_Counts, Examples, int]:
    """Attack this process's share of the batches; returns the batch size it ended with.

    Every process cuts the images at the same places, so the counts are those of one process.
    """
    counts = _Counts(plan)
    examples = empty_examples(
        list(plan.models), plan.cases, pixels[:num_examples], truth[:num_examples]
    )
    planned, done = size, 0
    for start in range(0, len(pixels), planned)[distributed.rank() :: distributed.size()]:
        stop = min(start + planned, len(pixels))
        done += stop - start
        while start < stop:
            batch = slice(start, min(start + size, stop))
            try:
                judged = _judge_batch(plan, pixels[batch], truth[batch], start, num_examples)
            except torch.cuda.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
                continue
            counts.add(judged, truth[batch])
            _keep(judged, start, examples)
            start = batch.stop
        if progress is not None:
            progress(min(done * distributed.size(), len(pixels)), len(pixels))
    return counts, examples, size


def _judge_batch(
    plan: _Plan, images: Tensor, labels: Tensor, start: int, num_examples: int
) -> _Judged:
    """Attack all models with one batch, which begins at image `start` of all, and judge it."""
    clean, kept, predictions, gradients = {}, {}, {}, {}
    for source, model in plan.models.items():
        device = device_of(model)
        target = Target(model, images.to(device), labels.to(device), first=start, seed=plan.seed)
        for attack in plan.attacks:
            result = _attacked(attack, source, target, plan.epsilons)
            gradients[attack, source] = result.gradients
            for epsilon, adversarials in zip(plan.epsilons, result.adversarials, strict=True):
                case = attack, epsilon, source
                kept[case] = adversarials[: max(num_examples - start, 0)].cpu()
                predictions[case] = torch.stack(
                    [prediction(name, judge, adversarials) for name, judge in plan.models.items()]
                )
        # Last, because an attack may have made this pass already.
        with errors_named(source, images):
            logits = target.clean_logits
        clean[source] = checked_logits(source, logits, len(images)).argmax(1).cpu()
    return _Judged(
        clean=torch.stack(list(clean.values())),
        predictions=torch.stack([predictions[case] for case in plan.cases]),
        kept=[kept[case] for case in plan.cases],
        gradients=gradients,
    )


def _attacked(attack: str, source: str, target: Target, epsilons: Sequence[float]) -> AttackResult:
    try:
        return ATTACKS[attack].function(target, epsilons, DEFAULT_BUDGET)
    except torch.cuda.OutOfMemoryError:
        raise
    except InputError as error:
        raise InputError(f"attack '{attack}' on model '{source}': {error}") from None
    except Exception as error:  # anyone's module may raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"attack '{attack}' on model '{source}': {type(error).__name__}: {reason}"
        ) from error


def _keep(judged: _Judged, start: int, examples: Examples) -> None:
    """Copy what belongs to the first images into `examples`."""
    fill(examples.clean_predictions.T, start, judged.clean.T)
    for row, adversarials in enumerate(judged.kept):
        fill(examples.adversarials[row], start, adversarials)
        fill(examples.predictions[row].T, start, judged.predictions[row].T)


def _evaluation(
    plan: _Plan, n: int, counts: _Counts, examples: Examples, batch_size: int
) -> Evaluation:
    models = list(plan.models)
    clean_errors = dict(zip(models, counts.clean.tolist(), strict=True))
    pairs = (
        PairCounts(
            attack,
            ATTACKS[attack].norm,
            epsilon,
            source,
            target,
            source_errors=int(counts.adversarial[row, counts.sources[row]]),
            target_errors=int(counts.adversarial[row, column]),
            both_errors=int(counts.both[row, column]),
        )
        for row, (attack, epsilon, source) in enumerate(plan.cases)
        for column, target in enumerate(models)
    )
    return Evaluation(
        table=results_table(n, clean_errors, pairs),
        gradients=gradient_table(counts.gradients),
        clean=clean_table(n, clean_errors),
        examples=examples,
        batch_size=batch_size,
    )
