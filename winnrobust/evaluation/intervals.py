"""Confidence intervals for rates."""

import math

from scipy.stats import binomtest


def wilson_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of the rate count / total; (nan, nan) where total is 0."""
    if total == 0:
        return math.nan, math.nan
    interval = binomtest(int(count), int(total)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
