"""Scores side by side, and the paper's order of generators."""

import math

import pytest

from winnrobust.generation.quality import Quality
from winnrobust.reporting.scores import (
    INN_CASCADES,
    INN_SINGLE,
    WINN_CASCADES,
    WINN_SINGLE,
    order_table,
    scores_frame,
    scores_table,
)


def quality(score, sd, agreement=None):
    return Quality(
        n=100, score=score, score_sd=sd, distance=10 - score, agreement=agreement, real_score=9.5,
        real_score_sd=0.1, real_distance=0.5, real_agreement=(0.9, 0.8, 0.95), nearest=4.0,
        nearest_low=3.0, real_nearest=5.0, real_nearest_low=3.5,
    )  # fmt: skip


def test_rows_of_generators_and_of_test_images():
    table = scores_table("mnist", {"A": quality(3, 0.25, (0.5, 0.4, 0.6)), "B": quality(2, 0)})
    assert table.rows == [
        ["A", "3.00 ± 0.25", "7.00", "4.00 (3.00)", "50.0 [40.0, 60.0]"],
        ["B", "2.00 ± 0.00", "8.00", "4.00 (3.00)", "-"],
        ["test images", "9.50 ± 0.10", "0.50", "5.00 (3.50)", "90.0 [80.0, 95.0]"],
    ]


def test_numbers_alone_are_in_the_frame():
    one, two = quality(3, 0.25, (0.5, 0.4, 0.6)), quality(2, 0)
    frame = scores_frame({("mnist", "A"): one, ("mnist", "B"): two})
    assert list(frame.agreement_high) == pytest.approx([0.6, math.nan], nan_ok=True)
    assert list(frame.real_agreement_low) == [0.8, 0.8]
    assert all(kind.kind in "fi" for kind in frame.drop(columns=["dataset", "generator"]).dtypes)


def test_the_order_is_told_for_every_pair_that_there_is():
    table = order_table(
        "mnist",
        {
            WINN_SINGLE: ("W", quality(4, 0.1)),
            INN_CASCADES: ("Is", quality(5, 0.1)),
            INN_SINGLE: ("I", quality(4.01, 0.1)),
        },
    )
    assert [(row[0], row[1], row[3]) for row in table.rows] == [
        ("W above Is", "4.62 against 3.04", "reversed"),
        ("Is above I", "3.04 against 1.95", "as in the paper"),
        ("W above I", "4.62 against 1.95", "within noise"),
    ]
    more, less = ("all", quality(4, 0.1)), ("three", quality(3, 0.1))
    table = order_table("mnist", {}, [(more, less)])
    assert [(row[0], row[3]) for row in table.rows] == [("all above three", "as in the paper")]
    assert order_table("mnist", {WINN_SINGLE: ("W", quality(4, 0.1))}) is None


@pytest.mark.parametrize(("t", "order"), [(2.0, "within noise"), (2.2, "as in the paper")])
def test_noise_ends_where_students_t_does(t, order):
    """Ten parts each: 18 degrees of freedom, of which 5 % lie beyond 2.101."""
    sd = 0.3
    gap = t * math.sqrt(2 * sd**2 / 9)  # a mean's variance, with n - 1, is sd^2 / 9
    table = order_table(
        "mnist", {WINN_CASCADES: ("C", quality(4 + gap, sd)), WINN_SINGLE: ("S", quality(4, sd))}
    )
    assert table.rows[0][3] == order


def test_parts_without_spread_differ_or_not():
    same, other = quality(1, 0), quality(2, 0)
    for better, order in ((same, "within noise"), (other, "as in the paper")):
        table = order_table("mnist", {WINN_CASCADES: ("C", better), WINN_SINGLE: ("S", same)})
        assert table.rows[0][3] == order
