import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from winnrobust.generation.detection import auroc
from winnrobust.runtime.intervals import rate


def test_by_hand():
    """Of 6 pairs of {2, 3, 5} and {1, 3}: 2 > 1, 3 > 1, 5 > 1, 5 > 3 are above, 3 = 3 is a tie."""
    found = auroc(np.array([2.0, 3, 5]), np.array([1.0, 3]))
    assert found.value == pytest.approx(4.5 / 6)
    # Shares above the others: 1/2, 3/4, 1; below the real ones: 1, 1/2.
    variance = (1 / 16) / 3 + (1 / 8) / 2
    spread = 1.959964 * math.sqrt(variance) / (0.75 * 0.25)
    assert found.low == pytest.approx(1 / (1 + math.exp(spread - math.log(3))), rel=1e-5)
    assert found.high == pytest.approx(1 / (1 + math.exp(-spread - math.log(3))), rel=1e-5)


@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=30),
    st.lists(st.integers(0, 9), min_size=2, max_size=30),
)
@settings(max_examples=100, deadline=None)
def test_it_is_scikit_learns_with_an_interval_around_it(real, other):
    real, other = np.array(real, float), np.array(other, float)
    found = auroc(real, other)
    truth = np.repeat([1, 0], [len(real), len(other)])
    assert found.value == pytest.approx(roc_auc_score(truth, np.concatenate([real, other])))
    assert 0 <= found.low <= found.value <= found.high <= 1
    swapped = auroc(other, real)
    assert swapped.value == pytest.approx(1 - found.value)
    assert (swapped.low, swapped.high) == pytest.approx((1 - found.high, 1 - found.low))


def test_sets_apart_have_an_interval_too():
    found = auroc(np.arange(10.0, 20), np.arange(5.0))
    assert found == (1.0, rate(5, 5).low, 1.0)
    assert all(math.isnan(value) for value in auroc(np.ones(1), np.ones(5)))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Normal scores one apart: the area is Phi(1 / sqrt 2) = 0.7602."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        found = auroc(generator.normal(1, 1, 40), generator.normal(0, 1, 60))
        held += found.low <= 0.7602 <= found.high
    assert 0.92 <= held / 400 <= 0.98
