"""What holds however often one looks: by all orders of a few images, by hand, by properties."""

import itertools
import math
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from winnrobust.evaluation.always_valid import difference, mcnemar, rate, ratio, share


def ever(population: dict[str, int], alarm: Callable[..., bool]) -> float:
    """Return the probability that an alarm is raised at some look, over all orders of a population.

    Args:
        population: kind -> how many images.
        alarm: by how many of each kind were drawn.
    """
    total = sum(population.values())
    quiet = {tuple(0 for _ in population): 1.0}
    for n in range(total):
        later: dict[tuple, float] = {}
        for seen, chance in quiet.items():
            for kind, (count, there) in enumerate(zip(seen, population.values(), strict=True)):
                if there > count:
                    drawn = tuple(c + (k == kind) for k, c in enumerate(seen))
                    later[drawn] = later.get(drawn, 0) + chance * (there - count) / (total - n)
        quiet = {seen: chance for seen, chance in later.items() if not alarm(*seen)}
    return 1 - sum(quiet.values())


def outside(value: float, found: Iterable[float]) -> bool:
    low, high = found
    return not low - 1e-9 <= value <= high + 1e-9


@pytest.mark.parametrize(("n", "miss"), [(12, 0.5), (30, 0.2), (60, 0.05)])
def test_a_share_is_missed_in_no_more_orders_than_promised(n, miss):
    counts = [(drawn, count) for drawn in range(1, n + 1) for count in range(drawn + 1)]
    drawn, count = np.array(counts).T
    ends = dict(zip(counts, zip(*share(count, drawn, n, miss), strict=True), strict=True))
    missed = [
        ever(
            {"wrong": wrong, "right": n - wrong},
            lambda a, b, wrong=wrong: outside(wrong / n, ends[a + b, a]),
        )
        for wrong in range(n + 1)
    ]
    assert max(missed) <= miss
    assert max(missed) > miss / 5  # nor is it empty


def test_so_it_is_of_shares_of_draws_in_every_order():
    values, miss = [0.0, 0.0, 0.0, 0.25, 0.75, 1.0, 1.0, 1.0], 0.8
    truth = sum(values) / len(values)
    orders = [np.cumsum(order) for order in itertools.permutations(values)]
    n = np.arange(1, len(values) + 1)
    low, high = share(np.array(orders), n, len(values), miss)
    missed = ((truth < low - 1e-9) | (truth > high + 1e-9)).any(1)
    assert 0 < missed.mean() <= miss


def test_the_end_of_a_share_by_hand():
    # Three of three wrong among ten: the bet owns 1/2 3/4 5/6 = 5/16 of what is there, and M is out
    # where M (M - 1) (M - 2) / (10 9 8) is less than a twentieth of that.
    end = brentq(lambda m: m * (m - 1) * (m - 2) / 720 - 5 / 16 / 20, 3, 10)
    low, high = share(3, 3, 10)
    assert low == pytest.approx(end / 10)
    assert high == 1


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_shares_are_what_they_must_be(data):
    population = data.draw(st.integers(1, 500))
    n = data.draw(st.integers(1, population))
    count = data.draw(st.integers(0, n))
    value, low, high = rate(count, n, population)
    assert count / population - 1e-9 <= low <= value <= high
    assert high <= (population - n + count) / population + 1e-9  # what was seen is known
    _, other_low, other_high = rate(n - count, n, population)
    assert (1 - other_high, 1 - other_low) == pytest.approx((low, high), abs=1e-6)
    wide = rate(count, n, population, 0.01)
    assert wide.low <= low + 1e-9
    assert wide.high >= high - 1e-9
    if n == population:
        assert (low, high) == pytest.approx((value, value), abs=1e-9)


def test_a_share_of_nothing_is_not_known():
    assert all(map(math.isnan, rate(0, 0, 10)))
    assert all(map(math.isnan, ratio(0, 0, 5, 10)))


# --- two models -------------------------------------------------------------------------------


def plausible(counts: tuple[int, int, int], population: int, miss: float) -> list[tuple[int, int]]:
    """All whole populations that the same bet does not rule out, by multiplication."""
    bet = math.prod(
        math.prod(i + 0.5 for i in range(count)) for count in counts
    ) / math.prod(i + 1.5 for i in range(sum(counts)))  # fmt: skip
    found = []
    for first, second in itertools.product(range(population + 1), repeat=2):
        totals = (first, second, population - first - second)
        if all(total >= count for total, count in zip(totals, counts, strict=True)):
            ways = math.prod(map(math.perm, totals, counts)) / math.perm(population, sum(counts))
            if ways >= bet * miss:
                found.append((first, second))
    return found


@pytest.mark.parametrize("counts", [(3, 1, 6), (0, 0, 12), (9, 0, 1), (2, 8, 10), (5, 5, 0)])
def test_differences_and_ratios_are_those_of_all_plausible_populations(counts):
    population, n = 40, sum(counts)
    some = plausible(counts, population, 0.05)
    differences = [(first - second) / population for first, second in some]
    _, low, high = difference(counts[0], counts[1], n, population)
    # Between whole populations there are others, so the ends lie up to two images further out.
    assert min(differences) - 2 / population <= low <= min(differences) + 1e-6
    assert max(differences) - 1e-6 <= high <= max(differences) + 2 / population
    if counts[0] + counts[1]:
        ratios = [first / (first + second) for first, second in some]
        _, low, high = ratio(counts[0], counts[1], n, population)
        assert min(ratios) - 0.06 <= low <= min(ratios) + 1e-6
        assert max(ratios) - 1e-6 <= high <= max(ratios) + 0.06


def test_they_are_missed_in_no_more_orders_than_promised():
    n, miss = 6, 0.6
    differ = cache(lambda a, b, c: difference(a, b, a + b + c, n, miss)[1:])
    among = cache(lambda a, b, c: ratio(a, b, a + b + c, n, miss)[1:])
    missed = []
    for first, second in [(2, 2), (3, 0), (4, 1), (1, 1)]:
        kinds = {"first": first, "second": second, "neither": n - first - second}
        value, part = (first - second) / n, first / (first + second)
        missed.append(ever(kinds, lambda *s, value=value: outside(value, differ(*s))))
        missed.append(
            ever(kinds, lambda *s, part=part: s[0] + s[1] > 0 and outside(part, among(*s)))
        )
    assert 0 < max(missed) <= miss


@given(st.data())
@settings(max_examples=12, deadline=None)
def test_a_difference_changes_its_sign_with_the_roles(data):
    population = data.draw(st.integers(2, 300))
    n = data.draw(st.integers(1, population))
    first = data.draw(st.integers(0, n))
    second = data.draw(st.integers(0, n - first))
    value, low, high = difference(first, second, n, population)
    other = difference(second, first, n, population)
    assert (value, low, high) == pytest.approx((-other[0], -other[2], -other[1]), abs=1e-5)
    assert low <= value <= high


def test_a_p_value_by_hand():
    # One over what the player owns: doubled stakes times 1/2 3/4 5/6 ...
    expected = {(0, 1): 1, (0, 2): 1 / (4 * 3 / 8), (3, 0): 1 / (8 * 5 / 16), (1, 1): 1}
    for counts, p_value in expected.items():
        assert mcnemar(*counts) == pytest.approx(p_value)
    assert mcnemar(np.array([0, 3]), np.array([2, 0])) == pytest.approx([2 / 3, 0.4])


def wrong_claim(first: int, second: int, truth: int) -> bool:
    return mcnemar(first, second) < 0.05 and np.sign(first - second) != truth


@pytest.mark.parametrize("n", [8, 20, 50])
def test_no_more_wrong_claims_than_promised_over_all_orders_of_all_errors(n):
    claims = cache(wrong_claim)
    for first in range(n // 2, n + 1):
        for second in range(min(first, n - first) + 1):
            truth = int(np.sign(first - second))
            alone = {"first": first, "second": second}  # others change nothing
            assert ever(alone, lambda a, b, truth=truth: claims(a, b, truth)) <= 0.05


def test_nor_of_images_that_never_run_out():
    quiet, alarm = {0: 1.0}, 0.0
    for n in range(1, 1500):
        later: dict[int, float] = {}
        for first, chance in quiet.items():
            for drawn in (first, first + 1):
                later[drawn] = later.get(drawn, 0) + chance / 2
        firsts = np.array([*later])
        claimed = mcnemar(firsts, n - firsts) < 0.05
        alarm += sum(later[first] for first in firsts[claimed])
        quiet = {first: later[first] for first in firsts[~claimed]}
    assert 0.02 < alarm <= 0.05


def test_shares_of_draws_claim_no_more_either():
    values = [(0.5, 0.0), (0.0, 0.5), (0.75, 0.25), (0.25, 0.75), (1.0, 0.0), (0.0, 1.0)] * 6
    rng = np.random.default_rng(0)
    paths = np.cumsum([rng.permutation(values) for _ in range(4000)], axis=1)
    assert (mcnemar(paths[..., 0], paths[..., 1]) < 0.05).any(1).mean() < 0.06
