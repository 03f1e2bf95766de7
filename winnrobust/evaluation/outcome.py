"""What an evaluation found: tables, made from counts."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from winnrobust.evaluation.counts import AttackOnModel, Counts
from winnrobust.evaluation.examples import Examples
from winnrobust.evaluation.metrics import (
    NO_ATTACK,
    WORST_CASE,
    PairCounts,
    PairedCounts,
    aim_table,
    clean_table,
    cost_table,
    gradient_table,
    paired_table,
    results_table,
    worst_table,
)
from winnrobust.evaluation.plan import Plan


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        table: one row per (attack, epsilon, source, target), source == target included; columns
            as `metrics.RESULT_COLUMNS`. Undefined rates are NaN.
        gradients: one row per (attack, source): how many gradient entries were exactly zero;
            columns as `metrics.GRADIENT_COLUMNS`.
        clean: one row per model: errors without an attack; columns as `metrics.CLEAN_COLUMNS`.
        worst: one row per (norm, epsilon, model): images that any of the attacks with that norm and
            epsilon, made against the model itself, broke; columns as `metrics.WORST_COLUMNS`.
        paired: one row per two models without an attack, under every attack and epsilon, and in the
            worst case: who errs alone on the same images, each attacked itself, and McNemar's test;
            columns as `metrics.PAIRED_COLUMNS`.
        costs: one row per (attack, source): seconds, those of all processes added up, and images
            that the time budget left unattacked or half attacked; columns as
            `metrics.COST_COLUMNS`.
        aimed: one row per (attack, epsilon, source): images in which the model under attack sees
            the class aimed at; columns as `metrics.AIM_COLUMNS`. No rows without an aim.
        distances: (attack, source) -> (N,) float32 for every minimum-norm attack: the norm of the
            smallest perturbation found for each image, 0 where the model is wrong anyway, infinite
            where none was found.
        examples: the first images, kept whole.
        batch_size: images per step, as given, or measured; halved where the GPU's memory was short.
    """

    table: pd.DataFrame
    gradients: pd.DataFrame
    clean: pd.DataFrame
    worst: pd.DataFrame
    paired: pd.DataFrame
    costs: pd.DataFrame
    aimed: pd.DataFrame
    distances: dict[AttackOnModel, np.ndarray]
    examples: Examples
    batch_size: int


def evaluation_of(
    plan: Plan, n: int, counts: Counts, examples: Examples, batch_size: int
) -> Evaluation:
    """Turn the counts of `n` images into tables."""
    models, strikes = list(plan.models), plan.strikes
    clean_errors = dict(zip(models, counts.clean.tolist(), strict=True))
    pairs = (
        PairCounts(
            attack.name,
            attack.norm,
            epsilon,
            models[source],
            models[target],
            source_errors=int(counts.wrong[row, source, source]),
            target_errors=int(counts.wrong[row, source, target]),
            both_errors=int(counts.both[row, source, target]),
        )
        for row, (attack, epsilon) in enumerate(strikes)
        for source in range(len(models))
        for target in range(len(models))
    )
    worst = {
        (norm, epsilon, model): int(counts.worst[row, column])
        for row, (norm, epsilon) in enumerate(plan.unions)
        for column, model in enumerate(models)
    }
    views = [
        (NO_ATTACK, "", 0.0),
        *((attack.name, attack.norm, epsilon) for attack, epsilon in strikes),
        *((WORST_CASE, norm, epsilon) for norm, epsilon in plan.unions),
    ]
    paired = (
        PairedCounts(
            *view,
            models[first],
            models[second],
            first_only=int(counts.only[row, first, second]),
            second_only=int(counts.only[row, second, first]),
        )
        for row, view in enumerate(views)
        for first, second in itertools.combinations(range(len(models)), 2)
    )
    hits: dict[tuple[str, str, float, str], int] = {
        (attack.name, attack.norm, epsilon, model): int(counts.hits[row, column])
        for row, (attack, epsilon) in enumerate(strikes)
        for column, model in enumerate(models)
    }
    efforts = counts.efforts.items()
    return Evaluation(
        table=results_table(n, clean_errors, pairs),
        gradients=gradient_table({key: effort.gradients for key, effort in efforts}),
        clean=clean_table(n, clean_errors),
        worst=worst_table(n, worst),
        paired=paired_table(n, paired),
        costs=cost_table({key: (effort.seconds, effort.unfinished) for key, effort in efforts}),
        aimed=aim_table(n, {} if plan.aim is None else hits),
        distances=counts.distances,
        examples=examples,
        batch_size=batch_size,
    )
