"""Wilson intervals against hand-computed values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnrobust.runtime.intervals import rate

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson_by_hand(count: int, total: int) -> tuple[float, float]:
    share = count / total
    centre = share + Z**2 / (2 * total)
    half = Z * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    scale = 1 + Z**2 / total
    return (centre - half) / scale, (centre + half) / scale


def test_textbook_values():
    # z^2 = 3.8415: 5 of 10 gives 0.5 -+ 0.2634; 0 of 10 reaches up to z^2 / (10 + z^2).
    assert rate(5, 10) == pytest.approx((0.5, 0.2366, 0.7634), abs=5e-5)
    assert rate(0, 10) == pytest.approx((0.0, 0.0, 3.8415 / 13.8415), abs=5e-5)
    assert rate(10, 10) == pytest.approx((1.0, 10 / 13.8415, 1.0), abs=5e-5)


@given(st.integers(1, 30_000), st.data())
def test_formula_and_containment(total, data):
    count = data.draw(st.integers(0, total))
    value, low, high = rate(count, total)
    assert value == count / total
    assert (low, high) == pytest.approx(wilson_by_hand(count, total), abs=1e-9)
    assert 0 <= low <= value <= high <= 1


def test_a_share_of_nothing_is_undefined():
    assert all(math.isnan(number) for number in rate(0, 0))
