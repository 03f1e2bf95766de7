"""Seeds of one method together: means, spreads, and what is within noise."""

import math

import pandas as pd
import pytest
from scipy.stats import ttest_ind

from winnrobust.evaluation.metrics import (
    NO_ATTACK,
    WORST_CASE,
    PairCounts,
    PairedCounts,
    clean_table,
    paired_table,
    results_table,
    worst_table,
)
from winnrobust.evaluation.seeds import (
    DIFFERENCE_COLUMNS,
    ERROR_COLUMNS,
    SPREAD_COLUMNS,
    aggregate,
    differences,
    own_errors,
)

N = 100
FGSM = "fgsm", "Linf", 0.125
GROUPS = {"a0": "A", "a1": "A", "a2": "A", "b0": "B", "b1": "B"}


def errors_of(**counts: int) -> pd.DataFrame:
    """Errors of models under FGSM, out of `N`."""
    rows = [(*FGSM, model, N, count, count / N) for model, count in counts.items()]
    return pd.DataFrame(rows, columns=list(ERROR_COLUMNS))


def paired_of(**discordant: tuple[int, int]) -> pd.DataFrame:
    """Paired counts of models such as a0_b0, under FGSM."""
    return paired_table(
        N, [PairedCounts(*FGSM, *pair.split("_"), *counts) for pair, counts in discordant.items()]
    )


def one(found: pd.DataFrame) -> pd.Series:
    assert list(found) == list(DIFFERENCE_COLUMNS)
    assert len(found) == 1
    return found.iloc[0]


def test_own_errors_leave_out_what_was_made_against_others():
    counts = [("a", "a", 30, 30, 30), ("a", "b", 30, 20, 10), ("b", "a", 40, 1, 1)]
    counts += [("b", "b", 40, 40, 40)]
    found = own_errors(
        clean_table(N, {"a": 3, "b": 4}),
        results_table(N, {"a": 3, "b": 4}, [PairCounts(*FGSM, *row) for row in counts]),
        worst_table(N, {("Linf", 0.125, "a"): 35, ("Linf", 0.125, "b"): 45}),
    )
    assert list(found) == list(ERROR_COLUMNS)
    assert found.values.tolist() == [
        [NO_ATTACK, "", 0.0, "a", N, 3, 0.03],
        [NO_ATTACK, "", 0.0, "b", N, 4, 0.04],
        [*FGSM, "a", N, 30, 0.3],
        [*FGSM, "b", N, 40, 0.4],
        [WORST_CASE, "Linf", 0.125, "a", N, 35, 0.35],
        [WORST_CASE, "Linf", 0.125, "b", N, 45, 0.45],
    ]


def test_aggregate_by_hand():
    # A: 10, 20, 30 of 100: mean 0.2, squared deviations 0.01 + 0 + 0.01, over n - 1 = 2: sd 0.1.
    errors = errors_of(a0=10, a1=20, b0=40, a2=30, stranger=99)
    found = aggregate(errors, GROUPS)
    assert list(found) == list(SPREAD_COLUMNS)
    assert found[["attack", "norm", "epsilon", "group", "seeds"]].values.tolist() == [
        [*FGSM, "A", 3],
        [*FGSM, "B", 1],
    ]
    assert found.loc[0, "mean":].tolist() == pytest.approx([0.2, 0.1, 0.1, 0.3])
    assert found.loc[1, ["mean", "min", "max"]].tolist() == [0.4, 0.4, 0.4]
    assert math.isnan(found.sd[1])


def test_seeds_of_both_are_compared_by_welchs_test():
    errors = errors_of(a0=10, a1=20, a2=30, b0=40, b1=44)
    row = one(differences(errors, paired_of(), GROUPS))
    # By hand: difference 0.2 - 0.42; standard error sqrt(0.01 / 3 + 0.0008 / 2); t = -3.6006 on
    # (0.0037333 ** 2) / ((0.0033333 ** 2) / 2 + (0.0004 ** 2) / 1) = 2.439 degrees of freedom;
    assert row.difference == pytest.approx(-0.22)
    assert row.test == "Welch"
    expected = ttest_ind([0.1, 0.2, 0.3], [0.4, 0.44], equal_var=False)
    assert expected.statistic == pytest.approx(-3.6006, abs=1e-3)
    assert expected.df == pytest.approx(2.439, abs=1e-2)
    assert row.p_value == expected.pvalue


@pytest.mark.parametrize(("b", "within"), [((21, 31), True), ((80, 90), False)])
def test_the_verdict_is_that_of_the_p_value(b, within):
    errors = errors_of(a0=19, a1=29, a2=24, b0=b[0], b1=b[1])
    row = one(differences(errors, paired_of(), GROUPS))
    assert bool(row.within_noise) is within
    assert bool(row.p_value >= 0.05) is within


def test_one_seed_each_is_compared_on_the_same_images():
    # Eight images that only a0 gets wrong, none that only b0 does: 2 / 2 ** 8.
    row = one(differences(errors_of(a0=18, b0=10), paired_of(a0_b0=(8, 0)), GROUPS))
    assert row.test == "McNemar"
    assert row.difference == pytest.approx(0.08)
    assert row.p_value == 2 / 2**8
    assert not row.within_noise


def test_of_several_pairs_the_least_significant_counts_whichever_way_round_it_is_stored():
    errors = errors_of(b0=10, a0=18, a1=16)
    paired = paired_of(a0_b0=(8, 0), b0_a1=(0, 6))
    row = one(differences(errors, paired, GROUPS))
    assert (row["first"], row["second"]) == ("B", "A")
    assert row.p_value == 2 / 2**6
    assert not row.within_noise


def test_pairs_that_disagree_settle_nothing():
    paired = paired_of(a0_b0=(20, 0), a1_b0=(0, 20))
    row = one(differences(errors_of(a0=40, a1=0, b0=20), paired, GROUPS))
    assert row.p_value == 1
    assert row.within_noise


def test_seeds_without_any_spread_are_compared_on_the_same_images():
    # Welch's t would be infinite: two seeds that happen to agree are no proof.
    errors = errors_of(a0=12, a1=12, b0=10, b1=10)
    paired = paired_of(a0_b0=(2, 0), a0_b1=(2, 0), a1_b0=(2, 0), a1_b1=(3, 1))
    row = one(differences(errors, paired, GROUPS))
    assert row.test == "McNemar"
    assert row.p_value == pytest.approx(0.625)  # 3 against 1 of 4: 2 * 5 / 16
    assert row.within_noise


def test_models_of_the_same_group_and_without_a_pair_are_not_compared():
    assert not len(differences(errors_of(a0=1, a1=9), paired_of(a0_a1=(0, 8)), GROUPS))
    found = differences(errors_of(a0=1, b0=9), paired_of(), GROUPS)
    assert list(found) == list(DIFFERENCE_COLUMNS)
    assert not len(found)
