"""Tests and intervals for counts that come from the same images: two models, or two directions.

All are of 95 %. What is drawn is drawn from a fixed seed: the same counts give the same interval.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv

from winnrobust.runtime.intervals import CONFIDENCE, Rate

RESAMPLES = 4000
"""Of a bootstrap."""
FEW = 10
"""With fewer corrected errors than this, or fewer that are not, resampling them hardly moves the
rate, or not at all, and its distribution is far from normal: exact bounds are taken instead."""

TAIL = (1 - CONFIDENCE) / 2


def mcnemar(first_only: float, second_only: float) -> float:
    """Return the two-sided p-value of McNemar's test: do two models err equally often?

    Exact (binomial) for counts; 1 where the models never differ. The expected counts of models that
    answer at random, which need not be whole, give a p-value that is too large rather than too
    small: averaging over draws takes more from the difference's variance than from their sum.

    Args:
        first_only: images that only the first gets wrong.
        second_only: images that only the second gets wrong.

    Source: McNemar 1947; the binomial distribution as a beta integral.

    >>> mcnemar(1, 9)
    0.021484375
    """
    fewer, more = sorted((first_only, second_only))
    return min(1.0, 2 * float(betainc(more, fewer + 1, 0.5))) if more else 1.0


@cache
def correction_rate(kinds: tuple[tuple[float, float, int], ...]) -> Rate:
    """Return the share of a model's errors that another one corrects, with its interval.

    That is 1 - N_{A and B} / N_A, NaN where A makes no error. The interval comes from a bootstrap
    over images, which draws N_A anew as well; where that hardly moves, from the binomial
    distribution of the corrected ones among the N_A errors (Clopper, Pearson 1934).

    Args:
        kinds: (share of draws in which A errs, in which both do, images) for every kind of image.

    >>> correction_rate(((1.0, 1.0, 30), (1.0, 0.0, 10), (0.0, 0.0, 60)))[0]
    0.25
    >>> correction_rate(((1.0, 0.0, 3), (0.0, 0.0, 60)))  # doctest: +ELLIPSIS
    Rate(value=1.0, low=0.29..., high=1.0)
    """
    errs, both, images = np.array(sorted(kinds), float).T
    corrected, errors = float(images @ (errs - both)), float(images @ errs)
    if not errors:
        return Rate(np.nan, np.nan, np.nan)
    value = min(corrected / errors, 1.0)
    if _hardly_moves(corrected, errors):
        low, high = exact_bounds(corrected, errors, TAIL)
    else:
        counts = _resampled(images)
        drawn = (counts @ (errs - both)) / (counts @ errs)
        low, high = np.nanquantile(drawn, [TAIL, 1 - TAIL])
    return Rate(value, float(min(low, value)), float(max(high, value)))


def exact_bounds(count: float, total: float, tail: float) -> tuple[float, float]:
    """Return the bounds of a share that `count` of `total` > 0 things have.

    Args:
        tail: probability beyond each bound.

    Source: Clopper, Pearson 1934.
    """
    low = float(betaincinv(count, total - count + 1, tail)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return low, high


class Difference(NamedTuple):
    """Of two correction rates: the first minus the second, its 95 % interval, and a p-value."""

    value: float
    low: float
    high: float
    p_value: float


@cache
def correction_difference(kinds: tuple[tuple[float, float, float, float, int], ...]) -> Difference:
    """Compare how much of A's errors B corrects with how much of B's errors A corrects.

    Both come from the same images. A bootstrap over images keeps that in; p is twice the smaller
    share of resamples on one side of no difference. Where one of the rates hardly moves, exact
    bounds of both are set against each other, which holds whatever their dependence and is
    conservative (Bonferroni). NaN where A or B makes no error.

    Args:
        kinds: (share of draws in which A errs on the example made against it, in which B does too;
            the same two with the roles changed; images) for every kind of image.

    >>> image = (1.0, 0.0, 1.0, 1.0, 20)  # B corrects A's errors, A none of B's
    >>> correction_difference((image,))  # doctest: +ELLIPSIS
    Difference(value=1.0, low=0.60..., high=1.0, p_value=3.8...e-06)
    """
    ordered = sorted(kinds)
    mirrored = sorted((*kind[2:4], *kind[:2], kind[4]) for kind in kinds)
    if mirrored < ordered:  # so that changing the roles changes the sign and nothing else
        value, low, high, p_value = correction_difference(tuple(mirrored))
        return Difference(0 - value, 0 - high, 0 - low, p_value)  # no -0.0
    first, first_left, second, second_left, images = np.array(ordered, float).T
    columns = np.stack([first - first_left, first, second - second_left, second], axis=1)
    corrected, errors, other_corrected, other_errors = (images @ columns).tolist()
    if not errors or not other_errors:
        return Difference(np.nan, np.nan, np.nan, np.nan)
    value = corrected / errors - other_corrected / other_errors
    if _hardly_moves(corrected, errors) or _hardly_moves(other_corrected, other_errors):
        low, high = exact_bounds(corrected, errors, TAIL / 2)
        other_low, other_high = exact_bounds(other_corrected, other_errors, TAIL / 2)
        low, high = low - other_high, high - other_low
        p_value = _exact_p_value((corrected, other_corrected), (errors, other_errors))
    else:
        sums = _resampled(images) @ columns
        with np.errstate(invalid="ignore"):
            drawn = sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
        low, high = np.nanquantile(drawn, [TAIL, 1 - TAIL])
        beyond = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
        p_value = min(1.0, 2 * (beyond + 1) / (RESAMPLES + 1))
    return Difference(value, float(min(low, value)), float(max(high, value)), float(p_value))


def _exact_p_value(counts: tuple[float, float], totals: tuple[float, float]) -> float:
    """Return the level at which the exact bounds of two shares begin to overlap."""
    (few, few_of), (many, many_of) = sorted(
        zip(counts, totals, strict=True), key=lambda pair: pair[0] / pair[1]
    )
    if few / few_of == many / many_of:
        return 1.0

    def at_most_few(share: float) -> float:
        """P(X <= few); few and few_of may be fractions, as an integral of the beta function."""
        return float(betainc(few_of - few, few + 1, 1 - share))

    def at_least_many(share: float) -> float:
        return float(betainc(many, many_of - many + 1, share))

    share = brentq(lambda share: at_most_few(share) - at_least_many(share), 0.0, 1.0)
    return min(1.0, 4 * at_most_few(share))


def _hardly_moves(corrected: float, errors: float) -> bool:
    return min(corrected, errors - corrected) < FEW


def _resampled(images: np.ndarray) -> np.ndarray:
    """Draw (RESAMPLES, kinds) counts of a sample as large, from images of these kinds."""
    total = int(images.sum())
    return np.random.default_rng(0).multinomial(total, images / total, RESAMPLES)
