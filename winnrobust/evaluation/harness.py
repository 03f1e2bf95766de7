"""The evaluation: every model attacked, every attack judged by every model, in one pass."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from winnrobust.attacks import ATTACKS, AttackResult, GradientStatistics
from winnrobust.devices import resolve_device
from winnrobust.errors import InputError
from winnrobust.evaluation import inputs
from winnrobust.evaluation.examples import Case, Examples, empty_examples, fill
from winnrobust.evaluation.metrics import (
    PairCounts,
    clean_table,
    gradient_table,
    results_table,
)
from winnrobust.evaluation.prediction import check_classes, device_of, predictions_of
from winnrobust.evaluation.state import frozen

BATCH_SIZE = 500


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
    """

    table: pd.DataFrame
    gradients: pd.DataFrame
    clean: pd.DataFrame
    examples: Examples


@dataclass(frozen=True)
class _Plan:
    """What is to be done to every batch."""

    models: dict[str, nn.Module]
    attacks: list[str]
    epsilons: list[float]
    cases: list[Case]


class _Counts:
    """Counts that grow batch by batch, for M models and R cases."""

    def __init__(self, plan: _Plan) -> None:
        models, cases = len(plan.models), len(plan.cases)
        self.clean = np.zeros(models, np.int64)
        self.adversarial = np.zeros((cases, models), np.int64)
        self.both = np.zeros((cases, models), np.int64)
        self.gradients = {
            (attack, source): GradientStatistics(0, 0, 0, 0)
            for attack in plan.attacks
            for source in plan.models
        }


def run(
    models: Mapping[str, nn.Module],
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    attacks: Sequence[str] = ("fgsm",),
    epsilons: Sequence[float] = (0.125,),
    batch_size: int = BATCH_SIZE,
    device: torch.device | str | None = None,
    num_examples: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Attack every model and let every model judge every adversarial example.

    Models are held in eval mode without parameter gradients and given back exactly as they were;
    no tensor of the caller's is changed. Memory does not grow with the number of images.

    Args:
        models: name -> any module that takes (N, C, H, W) float32 in [0, 1] and returns logits
            (N, K), or an object with `.logits`.
        images: (N, C, H, W), floating point, in [0, 1].
        labels: (N,) integers, the true classes 0 .. K - 1.
        attacks: names from `winnrobust.attacks.ATTACKS`; repeated ones are dropped.
        epsilons: perturbation bounds from 0 to 1, in the units of the images; repeated ones are
            dropped. At 0 the adversarial example is the image.
        batch_size: images per step; it changes the memory needed, not the result (up to float
            rounding).
        device: where to compute; None leaves every model where it is.
        num_examples: how many of the first images to keep whole in the result.
        progress: called after each batch with (images done, images in all).

    Raises:
        InputError: an argument or a model cannot be used; the message says which and why.
    """
    nets = inputs.checked_models(models)
    pixels = inputs.checked_images(images)
    truth = inputs.checked_labels(labels, len(pixels))
    attack_names = inputs.checked_attacks(attacks)
    bounds = inputs.checked_epsilons(epsilons)
    inputs.check_count("batch_size", batch_size, at_least=1)
    inputs.check_count("num_examples", num_examples, at_least=0)
    place = None if device is None else resolve_device(str(device))

    cases = list(itertools.product(attack_names, bounds, nets))
    plan = _Plan(nets, attack_names, bounds, cases)
    counts = _Counts(plan)
    examples = empty_examples(list(nets), cases, pixels[:num_examples], truth[:num_examples])
    with frozen(nets.values(), place):
        check_classes(nets, pixels[:2], truth)
        for start in range(0, len(pixels), batch_size):
            batch = slice(start, start + batch_size)
            try:
                _evaluate_batch(plan, pixels[batch], truth[batch], start, counts, examples)
            except torch.cuda.OutOfMemoryError:
                raise InputError(
                    f"the GPU has not enough memory for batch_size={batch_size}; use a smaller one"
                ) from None
            if progress is not None:
                progress(min(start + batch_size, len(pixels)), len(pixels))
    return _evaluation(plan, len(pixels), counts, examples)


def _evaluate_batch(
    plan: _Plan, images: Tensor, labels: Tensor, start: int, counts: _Counts, examples: Examples
) -> None:
    """Add one batch, which begins at image `start` of all, to `counts` and `examples`."""
    predictions = predictions_of(plan.models, images)
    counts.clean += _count(predictions != labels)
    fill(examples.clean_predictions.T, start, predictions.T)

    for attack in plan.attacks:
        for index, source in enumerate(plan.models):
            result = _attacked(attack, source, plan, images, labels)
            counts.gradients[attack, source] = counts.gradients[attack, source].plus(
                result.gradients
            )
            for epsilon, adversarials in zip(plan.epsilons, result.adversarials, strict=True):
                predictions = predictions_of(plan.models, adversarials)
                wrong = predictions != labels
                row = plan.cases.index((attack, epsilon, source))
                counts.adversarial[row] += _count(wrong)
                counts.both[row] += _count(wrong & wrong[index])
                fill(examples.adversarials[row], start, adversarials)
                fill(examples.predictions[row].T, start, predictions.T)


def _attacked(
    attack: str, source: str, plan: _Plan, images: Tensor, labels: Tensor
) -> AttackResult:
    model = plan.models[source]
    device = device_of(model)
    attack_function = ATTACKS[attack].function
    try:
        return attack_function(model, images.to(device), labels.to(device), plan.epsilons)
    except InputError as error:
        raise InputError(f"attack '{attack}' on model '{source}': {error}") from None


def _count(wrong: Tensor) -> np.ndarray:
    """Count the True of each row of (M, N)."""
    return wrong.sum(1).numpy()


def _evaluation(plan: _Plan, n: int, counts: _Counts, examples: Examples) -> Evaluation:
    models = list(plan.models)
    clean_errors = dict(zip(models, counts.clean.tolist(), strict=True))
    pairs = (
        PairCounts(
            *case,
            target,
            source_errors=int(counts.adversarial[row, models.index(case[2])]),
            target_errors=int(counts.adversarial[row, column]),
            both_errors=int(counts.both[row, column]),
        )
        for row, case in enumerate(plan.cases)
        for column, target in enumerate(models)
    )
    return Evaluation(
        table=results_table(n, clean_errors, pairs),
        gradients=gradient_table(counts.gradients),
        clean=clean_table(n, clean_errors),
        examples=examples,
    )
