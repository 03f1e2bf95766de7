"""From counts to the tidy tables that every view is derived from.

The measures are those of the WINN paper, Table 3, with all evaluated images as the denominator:
nobody is dropped for being wrong before the attack.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

import pandas as pd
from scipy.stats import binomtest

from winnrobust.attacks import GradientStatistics
from winnrobust.runtime.intervals import Rate, rate

NO_ATTACK = "none"
"""Stands for the clean images where a table has a row per attack; its epsilon is 0."""
WORST_CASE = "worst case"
"""Stands for the union of all attacks of one norm and epsilon: an image counts as broken where any
attack broke it."""

RESULT_COLUMNS = (
    "attack",
    "norm",
    "epsilon",
    "source",
    "target",
    "n",
    "clean_errors_source",
    "clean_errors_target",
    "source_errors",
    "target_errors",
    "both_errors",
    "adversarial_error",
    "adversarial_error_low",
    "adversarial_error_high",
    "correction_rate",
    "correction_rate_low",
    "correction_rate_high",
)
CLEAN_COLUMNS = ("model", "n", "errors", "error", "error_low", "error_high")
GRADIENT_COLUMNS = ("attack", "source", *GradientStatistics._fields)
WORST_COLUMNS = (
    "norm",
    "epsilon",
    "model",
    "n",
    "errors",
    "error",
    "error_low",
    "error_high",
)
PAIRED_COLUMNS = (
    "attack",
    "norm",
    "epsilon",
    "first",
    "second",
    "n",
    "first_only",
    "second_only",
    "p_value",
)
COST_COLUMNS = ("attack", "source", "seconds", "unfinished")
AIM_COLUMNS = (
    "attack",
    "norm",
    "epsilon",
    "source",
    "n",
    "hits",
    "hit_rate",
    "hit_rate_low",
    "hit_rate_high",
)


class PairCounts(NamedTuple):
    """Who errs on the adversarial examples that `attack` made at `epsilon` against `source`.

    Attributes:
        source_errors: images that the source gets wrong (the paper's N_A).
        target_errors: images that the target gets wrong.
        both_errors: images that both get wrong (N_{A and B}).
    """

    attack: str
    norm: str
    epsilon: float
    source: str
    target: str
    source_errors: int
    target_errors: int
    both_errors: int


def adversarial_error(source_errors: int, n: int) -> Rate:
    """Return the share N_A / N of all images that a model gets wrong under attack."""
    return rate(source_errors, n)


def correction_rate(source_errors: int, both_errors: int) -> Rate:
    """Return the share 1 - N_{A and B} / N_A of A's errors under attack that B gets right.

    NaN where A makes no error. The interval takes N_A as given.
    """
    return rate(source_errors - both_errors, source_errors)


def results_table(
    n: int, clean_errors: Mapping[str, int], pairs: Iterable[PairCounts]
) -> pd.DataFrame:
    """Build the tidy table: one row per (attack, epsilon, source, target), in the order given.

    Args:
        n: number of images evaluated.
        clean_errors: model -> images it gets wrong without an attack.
        pairs: the counts of every row.
    """
    rows = [
        (
            pair.attack,
            pair.norm,
            pair.epsilon,
            pair.source,
            pair.target,
            n,
            clean_errors[pair.source],
            clean_errors[pair.target],
            pair.source_errors,
            pair.target_errors,
            pair.both_errors,
            *adversarial_error(pair.source_errors, n),
            *correction_rate(pair.source_errors, pair.both_errors),
        )
        for pair in pairs
    ]
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


def clean_table(n: int, clean_errors: Mapping[str, int]) -> pd.DataFrame:
    """Build the table of errors without an attack: one row per model."""
    rows = [(model, n, errors, *rate(errors, n)) for model, errors in clean_errors.items()]
    return pd.DataFrame(rows, columns=list(CLEAN_COLUMNS))


class PairedCounts(NamedTuple):
    """Two models on the same images, each under the attacks made against itself.

    Attributes:
        attack: its name, `NO_ATTACK` or `WORST_CASE`.
        first_only: images that only the first gets wrong.
        second_only: images that only the second gets wrong.
    """

    attack: str
    norm: str
    epsilon: float
    first: str
    second: str
    first_only: int
    second_only: int


@cache
def mcnemar(first_only: int, second_only: int) -> float:
    """Return the two-sided p-value of McNemar's test: do both models err equally often?

    Exact (binomial) for any counts; 1 where the models never differ. Source: McNemar 1947, through
    scipy's binomial test.
    """
    discordant = first_only + second_only
    return float(binomtest(first_only, discordant).pvalue) if discordant else 1.0


def paired_table(n: int, pairs: Iterable[PairedCounts]) -> pd.DataFrame:
    """Build the table of paired comparisons: one row per attack, epsilon and pair of models."""
    rows = [(*pair[:5], n, pair.first_only, pair.second_only, mcnemar(*pair[5:])) for pair in pairs]
    return pd.DataFrame(rows, columns=list(PAIRED_COLUMNS))


def worst_table(n: int, errors: Mapping[tuple[str, float, str], int]) -> pd.DataFrame:
    """Build the table of worst cases from (norm, epsilon, model) -> images any attack broke."""
    rows = [(*key, n, count, *rate(count, n)) for key, count in errors.items()]
    return pd.DataFrame(rows, columns=list(WORST_COLUMNS))


def cost_table(costs: Mapping[tuple[str, str], tuple[float, int]]) -> pd.DataFrame:
    """Build the table of costs from (attack, source) -> seconds and unfinished images."""
    rows = [(*key, seconds, unfinished) for key, (seconds, unfinished) in costs.items()]
    return pd.DataFrame(rows, columns=list(COST_COLUMNS))


def aim_table(n: int, hits: Mapping[tuple[str, str, float, str], int]) -> pd.DataFrame:
    """Build the table of aims from (attack, norm, epsilon, source) -> images that hit theirs."""
    rows = [(*key, n, count, *rate(count, n)) for key, count in hits.items()]
    return pd.DataFrame(rows, columns=list(AIM_COLUMNS))


def gradient_table(statistics: Mapping[tuple[str, str], GradientStatistics]) -> pd.DataFrame:
    """Build the table of zero gradients from (attack, source) -> its statistics."""
    rows = [(*key, *counts) for key, counts in statistics.items()]
    return pd.DataFrame(rows, columns=list(GRADIENT_COLUMNS))
