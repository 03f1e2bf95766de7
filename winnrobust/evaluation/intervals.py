"""Shares of counted things, with their uncertainty."""

import math
from typing import NamedTuple

from scipy.stats import binomtest

CONFIDENCE = 0.95


class Rate(NamedTuple):
    """A share of counted things and its 95 % Wilson interval; all NaN where there were none.

    Attributes:
        value: the share, in [0, 1].
        low, high: the interval, in [0, 1]; low <= value <= high.
    """

    value: float
    low: float
    high: float


def rate(count: int, total: int) -> Rate:
    """Return `count` / `total` with its interval; a share of nothing is undefined (NaN), not 0.

    Source of the interval: E. B. Wilson 1927, through scipy.
    """
    if total == 0:
        return Rate(math.nan, math.nan, math.nan)
    interval = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(count / total, float(interval.low), float(interval.high))
