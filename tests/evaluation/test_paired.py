"""Tests and intervals for counts from the same images."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from winnrobust.evaluation.paired import (
    correction_difference,
    correction_rate,
    exact_bounds,
    mcnemar,
)

counts = st.integers(0, 400)


@given(counts, counts)
def test_mcnemar_is_the_exact_binomial_test(first, second):
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


@given(st.floats(0, 50), st.floats(0, 50))
def test_mcnemar_of_expected_counts_lies_between_its_whole_neighbors(first, second):
    fewer, more = sorted((first, second))
    outside = mcnemar(math.floor(fewer), math.ceil(more))
    inside = mcnemar(math.ceil(fewer), math.floor(more))
    assert outside - 1e-9 <= mcnemar(first, second) <= max(inside, outside) + 1e-9


@given(counts, counts)
def test_exact_bounds_are_those_of_clopper_and_pearson(count, more):
    total = count + more
    if total:
        low, high = exact_bounds(count, total, 0.025)
        expected = binomtest(count, total).proportion_ci(0.95, method="exact")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def rate_of(corrected: int, uncorrected: int, right: int):
    return correction_rate(((1, 0, corrected), (1, 1, uncorrected), (0, 0, right)))


def test_a_correction_rate_that_resampling_cannot_move_has_exact_bounds():
    assert rate_of(0, 30, 70)[::2] == (0.0, pytest.approx(1 - 0.025 ** (1 / 30)))
    assert rate_of(30, 0, 70)[:2] == (1.0, pytest.approx(0.025 ** (1 / 30)))
    assert all(map(math.isnan, rate_of(0, 0, 100)))


@pytest.mark.parametrize(("corrected", "uncorrected"), [(150, 150), (20, 280), (270, 30)])
def test_the_interval_of_a_correction_rate_is_as_wide_as_theory_says(corrected, uncorrected):
    value, low, high = rate_of(corrected, uncorrected, 700)
    errors = corrected + uncorrected
    spread = math.sqrt(value * (1 - value) / errors)
    assert value == corrected / errors
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert low < value < high


def draw(generator: np.random.Generator, n: int, chances: dict[tuple, float]) -> tuple[tuple, ...]:
    images = generator.multinomial(n, list(chances.values()))
    return tuple((*kind, int(count)) for kind, count in zip(chances, images, strict=True) if count)


# Whether A errs on A's examples, B there as well; B errs on B's examples, A there as well. The
# errors of both tend to lie on the same images, and so do the corrections.
ALIKE = {
    (1, 1, 1, 1): 0.1,
    (1, 0, 1, 0): 0.1,
    (1, 1, 0, 0): 0.05,
    (0, 0, 1, 1): 0.05,
    (0, 0, 0, 0): 0.7,
}
TWO_SIDED = 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("n", [40, 400])
def test_a_difference_that_is_none_is_seldom_found(n):
    generator = np.random.default_rng(0)
    found = [correction_difference(draw(generator, n, ALIKE)) for _ in range(400)]
    known = [each for each in found if not math.isnan(each.value)]
    missed = np.mean([not each.low <= 0 <= each.high for each in known])
    assert missed <= 0.05 + TWO_SIDED
    assert np.mean([each.p_value < 0.05 for each in known]) <= 0.05 + TWO_SIDED
    if n == 400:  # nor is it too careful, as Fisher's test is: it finds none
        assert missed >= 0.05 - TWO_SIDED


def test_a_difference_is_found():
    one_sided = {(1, 0, 0, 0): 0.2, (1, 1, 1, 1): 0.1, (0, 0, 1, 1): 0.1, (0, 0, 0, 0): 0.6}
    found = correction_difference(draw(np.random.default_rng(0), 1000, one_sided))
    assert found.low > 0.5
    assert found.p_value < 0.001


kinds = st.lists(
    st.builds(
        lambda a, b, c, d, images: (a, a * b, c, c * d, images),
        *[st.sampled_from([0.0, 0.25, 1.0])] * 4,
        st.integers(1, 60),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=50, deadline=None)
@given(kinds)
def test_changing_the_roles_changes_the_sign(found):
    swapped = tuple((*kind[2:4], *kind[:2], kind[4]) for kind in found)
    one, other = correction_difference(tuple(found)), correction_difference(swapped)
    if math.isnan(one.value):
        assert math.isnan(other.value)
        return
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.p_value == other.p_value
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert 0 < one.p_value <= 1


def test_exact_bounds_of_two_rates_begin_to_overlap_at_the_p_value():
    few = ((1, 0, 1, 1, 6), (1, 1, 1, 0, 1), (0, 0, 0, 0, 50))
    found = correction_difference(few)
    assert found.value == pytest.approx(5 / 7)
    _, low = exact_bounds(1, 7, found.p_value / 4)
    high, _ = exact_bounds(6, 7, found.p_value / 4)
    assert low == pytest.approx(high, abs=1e-9)
