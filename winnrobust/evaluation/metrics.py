"""From counts to the tidy tables that every view is derived from.

The measures are those of the WINN paper, Table 3, with all evaluated images as the denominator:
nobody is dropped for being wrong before the attack.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from winnrobust.attacks import GradientStatistics
from winnrobust.evaluation.intervals import Rate, rate

RESULT_COLUMNS = (
    "attack",
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
GRADIENT_COLUMNS = ("attack", "source", "entries", "zero_entries", "images", "zero_images")


class PairCounts(NamedTuple):
    """Who errs on the adversarial examples that `attack` made at `epsilon` against `source`.

    Attributes:
        source_errors: images that the source gets wrong (the paper's N_A).
        target_errors: images that the target gets wrong.
        both_errors: images that both get wrong (N_{A and B}).
    """

    attack: str
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


def gradient_table(statistics: Mapping[tuple[str, str], GradientStatistics]) -> pd.DataFrame:
    """Build the table of zero gradients from (attack, source) -> its statistics."""
    rows = [(*key, *counts) for key, counts in statistics.items()]
    return pd.DataFrame(rows, columns=list(GRADIENT_COLUMNS))
