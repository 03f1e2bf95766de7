"""Intervals and tests that hold however often one looks, of images drawn at random from N.

Whoever looks at a 95 % interval after every batch and stops when it pleases has no 95 % interval.
These hold at all looks at once: with 95 % probability not one of them misses.

They invert a bet. Suppose that K kinds of images are there M_1, ..., M_K times among N, and that n
are drawn one by one and not put back. A player who bets on the next image's kind at fair odds, by
what was seen before, owns after n images

    P_bet(counts) / P_M(counts),
    P_M = prod_k M_k (M_k - 1) ... (M_k - c_k + 1) / (N (N - 1) ... (N - n + 1))

and, starting with 1, ever owns 20 with a probability of at most 1/20 (Ville 1939). The M at which
the player has never owned that much are a confidence sequence; that of the last look alone contains
it, and needs no history. It shrinks to the truth when all images are seen. The bet is that of
Krichevsky and Trofimov (1981), a Dirichlet(1/2, ..., 1/2) mixture, whose loss against the best one
in hindsight is about (K - 1) / 2 log n.

Counts may be fractions, as they are of models that answer at random: P_bet / P_M is a convex
function of what an image adds, so that on average it gains no more than from whole images.

Sources: Waudby-Smith, Ramdas: Confidence sequences for sampling without replacement, NeurIPS 2020,
arXiv:2006.04347 (the prior-posterior ratio of the hypergeometric); the same: Estimating means of
bounded random variables by betting, JRSS B 2024, arXiv:2010.09686; Robbins 1970. Their package
`confseq` needs a C++ compiler and Boost to be installed.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaln, digamma, gammaln

from winnrobust.runtime.intervals import CONFIDENCE, Rate

MISS = 1 - CONFIDENCE
"""How likely an interval may miss, at any look."""

HALVINGS = 40
"""Of where something is searched."""
ENDS = 32
"""Ends of an interval that are tried at once; each round there are as many between two of them."""
ROUNDS = 5


def share(count: Any, n: Any, population: Any, miss: float = MISS) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the share that some of all images have; all arguments may be arrays.

    Args:
        count: how many of the images drawn.
        n: images drawn, at least 1.
        population: images in all, N >= n.
        miss: how likely the share may ever be outside.

    >>> [end.round(4).tolist() for end in share(10, 100, 10_000)]
    [0.0294, 0.2269]
    >>> [float(end) for end in share(10, 100, 100)]
    [0.1, 0.1]
    """
    count, n, population = np.broadcast_arrays(
        *(np.asarray(x, float) for x in (count, n, population))
    )
    rest = n - count
    lowest = _log_bet(count, rest) - math.log(1 / miss)

    def excluded(total: np.ndarray) -> np.ndarray:
        return _log_chance((count, rest), (total, population - total), population) < lowest

    likeliest = count * population / n
    low, high = (_boundary(excluded, edge, likeliest) for edge in (count, population - rest))
    return low / population, high / population


def rate(count: float, n: int, population: int, miss: float = MISS) -> Rate:
    """Return the share of the images drawn, and the interval of that of all, as `share`."""
    if n == 0:
        return Rate(math.nan, math.nan, math.nan)
    low, high = share(count, n, population, miss)
    return _around(count / n, float(low), float(high))


def difference(
    first_only: float, second_only: float, n: int, population: int, miss: float = MISS
) -> Rate:
    """Return by how much more often a first model errs than a second, on the same images.

    Args:
        first_only, second_only: images drawn that only the one gets wrong.
        n, population, miss: as for `share`.

    >>> [round(end, 3) for end in difference(30, 5, 300, 10_000)]
    [0.083, 0.007, 0.174]
    """
    counts = (first_only, second_only, n - first_only - second_only)
    value = (first_only - second_only) / n
    if n == population:
        return Rate(value, value, value)
    low, high = (
        _last_plausible(counts, population, _same_difference, value * population, edge, miss)
        for edge in (value * n - (population - n), value * n + population - n)
    )
    return _around(value, low / population, high / population)


def may_differ_by(
    value: float, first_only: Any, second_only: Any, n: int, population: int, miss: float = MISS
) -> np.ndarray:
    """Tell whether `difference` does not rule a value out, for arrays of counts.

    >>> may_differ_by(0.01, 0, 0, [100, 2000], 10_000).tolist()
    [True, False]
    """
    counts = first_only, second_only, np.asarray(n, float) - first_only - second_only
    lines = _same_difference(value * population, counts, population)
    return _plausible(counts, population, lines, miss)


def ratio(count: float, rest: float, n: int, population: int, miss: float = MISS) -> Rate:
    """Return the share of one kind of images among two of three kinds, such as the errors that
    another model corrects among all errors.

    Args:
        count, rest: images drawn of the one kind and of the other.
        n, population, miss: as for `share`.

    >>> [round(end, 3) for end in ratio(30, 10, 100, 10_000)]
    [0.75, 0.448, 0.94]
    """
    if count + rest == 0:
        return Rate(math.nan, math.nan, math.nan)
    counts = (count, rest, n - count - rest)

    value = count / (count + rest)
    if n == population:
        return Rate(value, value, value)
    low, high = (
        _last_plausible(counts, population, _same_ratio, value, edge, miss) for edge in (0, 1)
    )
    return _around(value, low, high)


def mcnemar(first_only: Any, second_only: Any) -> Any:
    """Return an always-valid p-value: do two models err equally often? Arguments may be arrays.

    Whatever the look at which one stops, it is at most p with a probability of at most p if they
    do, on all N images as well as in the distribution that these were drawn from. So it claims no
    more than McNemar's test of all N images does. It is one over what a player owns who bets, by
    `Krichevsky and Trofimov`, on which of the two errs alone, at even odds. That player follows the
    leader; among images that are not put back the leader's errors run out, so the odds are in
    truth no better.

    >>> round(mcnemar(1, 9), 4), mcnemar(5, 5)
    (0.1053, 1.0)
    """
    owned = _log_bet(first_only, second_only) + (first_only + second_only) * math.log(2)
    found = np.exp(-np.maximum(owned, 0.0))
    return float(found) if np.ndim(found) == 0 else found


# --- what they share --------------------------------------------------------------------------


def _log_bet(*counts: Any) -> Any:
    """Return the logarithm of what the mixture gives to a sequence with these counts."""
    if len(counts) == 2:
        return betaln(*(np.add(count, 0.5) for count in counts)) - math.log(math.pi)
    n, half = sum(counts), len(counts) / 2
    kinds = sum(gammaln(count + 0.5) - gammaln(0.5) for count in counts)
    return kinds + gammaln(half) - gammaln(n + half)


def _log_chance(counts: Sequence[Any], totals: Sequence[Any], population: Any) -> np.ndarray:
    """Return log P_M of a sequence with these counts; -inf where there are not so many."""
    found = -_log_falling(population, sum(counts))
    for count, total in zip(counts, totals, strict=True):
        found = found + _log_falling(total, count)
    return found


def _log_falling(total: Any, count: Any) -> np.ndarray:
    """Return log total (total - 1) ... (total - count + 1), for fractions as well."""
    left = np.subtract(total, count)
    enough = left >= -1e-9 * np.maximum(1.0, total)
    left = np.where(enough, np.maximum(left, 0.0), 0.0)
    return np.where(enough, gammaln(np.add(left, count) + 1.0) - gammaln(left + 1.0), -np.inf)


def _boundary(excluded: Any, outside: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return where plausible totals end, between one that is and one that perhaps is not."""
    reached = ~excluded(outside)
    far, near = outside, inside
    for _ in range(HALVINGS):
        middle = (far + near) / 2
        out = excluded(middle)
        far, near = np.where(out, middle, far), np.where(out, near, middle)
    return np.where(reached, outside, far)


class _Lines(NamedTuple):
    """Populations of three kinds of images that have something in common lie on a line.

    Attributes:
        origin, direction: of each kind.
        least, most: from where to where on it there are as many images of each kind as were drawn.
    """

    origin: tuple[Any, Any, Any]
    direction: tuple[Any, Any, Any]
    least: Any
    most: Any


def _same_difference(difference: Any, counts: Sequence[Any], population: int) -> _Lines:
    first, second, neither = counts
    least = np.maximum(second, first - difference)
    most = (population - neither - difference) / 2
    return _Lines((difference, 0.0, population - difference), (1.0, 1.0, -2.0), least, most)


def _same_ratio(ratio: Any, counts: Sequence[Any], population: int) -> _Lines:
    first, second, neither = counts
    with np.errstate(divide="ignore", invalid="ignore"):
        least = np.fmax(first / ratio, second / (1 - ratio))
    direction = (ratio, 1 - ratio, -1.0)
    return _Lines((0.0, 0.0, population), direction, least, population - neither)


def _plausible(counts: Sequence[Any], population: int, lines: _Lines, miss: float) -> np.ndarray:
    """Tell of lines whether one of their populations is plausible: the likeliest is."""
    some = lines.least <= lines.most
    low, high = np.where(some, lines.least, lines.most), lines.most
    for _ in range(HALVINGS):  # the chance is concave on a line
        middle = (low + high) / 2
        totals = [a + b * middle for a, b in zip(lines.origin, lines.direction, strict=True)]
        with np.errstate(invalid="ignore"):  # where there is no such population
            rising = sum(
                b * (digamma(total + 1.0) - digamma(total - count + 1.0))
                for b, total, count in zip(lines.direction, totals, counts, strict=True)
            )
        low, high = np.where(rising > 0, middle, low), np.where(rising > 0, high, middle)
    bet = _log_bet(*counts) - math.log(1 / miss)
    return some & (_log_chance(counts, totals, population) >= bet)


def _last_plausible(
    counts: Sequence[float], population: int, lines: Any, inside: float, outside: float, miss: float
) -> float:
    """Return the last value of a line with a plausible population.

    Args:
        lines: `_same_difference` or `_same_ratio`.
        inside: a plausible value.
        outside: the last one that is possible.
    """
    for _ in range(ROUNDS):
        values = np.linspace(inside, outside, ENDS)
        plausible = _plausible(counts, population, lines(values, counts, population), miss)
        if plausible.all():
            return float(outside)
        place = int(np.argmin(plausible))  # the first that is not
        inside, outside = values[max(place - 1, 0)], values[place]
    return float(outside)


def _around(value: float, low: float, high: float) -> Rate:
    return Rate(value, min(low, value), max(high, value))
