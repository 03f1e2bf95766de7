"""What is asked of the outcome table, on tables whose answers are known beforehand."""

import math
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from tests.evaluation.frames import outcome_frame
from winnrobust.evaluation.outcomes import STATUSES, table_of, write_part
from winnrobust.evaluation.paired import mcnemar
from winnrobust.evaluation.statistics import (
    COLUMNS,
    NO_ATTACK,
    WORST_CASE,
    aggregate,
    differences,
    own_errors,
    summarize,
)
from winnrobust.runtime.errors import InputError


def robust_errors(frame: pd.DataFrame, models: list[str] | None = None) -> dict:
    table = summarize(frame, models).robust
    return {(row.norm, row.epsilon, row.model): row.robust_error for row in table.itertuples()}


# --- robust accuracy ----------------------------------------------------------------------------


def test_clean_errors_are_errors_of_the_worst_case():
    # FGSM moves image 1, which the model gets wrong, to where it gets it right; and breaks image 2.
    frame = outcome_frame({"a": [1, 0, 1, 1, 1]}, {("fgsm", 0.1, "a"): {"a": [1, 1, 0, 1, 1]}})
    found = summarize(frame)
    assert found.errors.error.tolist() == [0.2]  # the paper's N_A / N
    assert found.robust.robust_error.tolist() == [0.4]
    assert found.robust.robust_accuracy.tolist() == [0.6]


def test_a_success_at_a_smaller_epsilon_counts_at_a_larger_one():
    frame = outcome_frame(
        {"a": [1, 1, 1, 1]},
        {
            ("pgd", 0.1, "a"): {"a": [1, 1, 1, 1]},
            ("pgd", 0.05, "a"): {"a": [0, 0, 0, 0]},
            ("pgd", 0.02, "a"): {"a": [1, 0, 1, 1]},
        },
    )
    assert robust_errors(frame) == {
        ("linf", 0.1, "a"): 1.0,
        ("linf", 0.05, "a"): 1.0,
        ("linf", 0.02, "a"): 0.25,
    }


def test_a_success_in_one_norm_does_not_count_in_another():
    linf = outcome_frame({"a": [1, 1]}, {("pgd", 0.1, "a"): {"a": [0, 1]}})
    l2 = outcome_frame({"a": [1, 1]}, {("pgd-l2", 1.5, "a"): {"a": [1, 1]}}, norm="l2")
    both = pd.concat([linf, l2[l2.attack.notna()]], ignore_index=True)
    assert robust_errors(both) == {("linf", 0.1, "a"): 0.5, ("l2", 1.5, "a"): 0.0}


# The review's case: FGSM 300/300 and PGD 410/411 of 1,000, and examples made on the baseline that
# break 900 of its own and 20 of winn's.
UNFAIR = outcome_frame(
    {"baseline": [1] * 1000, "winn": [1] * 1000},
    {
        (attack, 0.1, model): {model: [0] * errors + [1] * (1000 - errors)}
        for attack, *counts in (
            ("fgsm", 300, 300),
            ("pgd", 410, 411),
            ("transfer:baseline", 900, 20),
        )
        for model, errors in zip(("baseline", "winn"), counts, strict=True)
    },
)


def test_a_transfer_from_a_compared_model_is_no_evidence_about_it():
    found = summarize(UNFAIR)
    assert found.robust.robust_error.tolist() == [0.41, 0.411]
    assert found.robust.attacks.tolist() == ["fgsm, pgd"] * 2
    paired = found.paired.set_index("attack")
    assert "transfer:baseline" not in paired.index
    assert paired.loc[WORST_CASE, ["first_only", "second_only"]].tolist() == [0, 1]
    # What the attack did is told all the same.
    assert found.errors.errors.tolist() == [300, 300, 410, 411, 900, 20]


def test_a_transfer_from_a_model_that_is_not_compared_is_an_attack_as_any_other():
    frame = outcome_frame(
        {"a": [1, 1, 1], "b": [1, 1, 1], "c": [1, 1, 1]},
        {
            ("pgd", 0.1, "a"): {"a": [0, 1, 1]},
            ("pgd", 0.1, "b"): {"b": [1, 1, 1]},
            ("pgd", 0.1, "c"): {"c": [1, 1, 1]},
            ("transfer:c", 0.1, "a"): {"a": [1, 0, 1]},
            ("transfer:c", 0.1, "b"): {"b": [1, 1, 0]},
            ("transfer:c", 0.1, "c"): {"c": [0, 0, 0]},
        },
    )
    worst = [WORST_CASE, "linf", 0.1]
    assert summarize(frame, ["a", "b"]).paired.values.tolist()[-1] == [*worst, "a", "b", 3, 2, 1, 1]
    assert list(robust_errors(frame, ["b", "a"]).values()) == [1 / 3, 2 / 3]
    assert list(robust_errors(frame).values()) == [1 / 3, 0, 0]
    # With c it is left out for all pairs, as it is of the robust accuracies.
    paired = summarize(frame).paired
    assert paired[paired.attack == WORST_CASE].values.tolist() == [
        [*worst, "a", "b", 3, 1, 0, 1.0],
        [*worst, "a", "c", 3, 1, 0, 1.0],
        [*worst, "b", "c", 3, 0, 0, 1.0],
    ]


def test_without_a_fair_attack_there_is_no_robust_accuracy():
    frame = outcome_frame(
        {"a": [1, 1], "b": [1, 1]},
        {("transfer:a", 0.1, model): {model: [1, 1]} for model in ("a", "b")},
    )
    assert not len(summarize(frame).robust)
    assert summarize(frame).paired.attack.tolist() == [NO_ATTACK]


def test_what_was_not_attacked_stands_beside_every_rate():
    frame = outcome_frame(
        {"a": [1, 1, 1, 1, 0]},
        {
            ("pgd", 0.1, "a"): {"a": [1, 1, 0, 1, 0]},
            ("fgsm", 0.1, "a"): {"a": [0, 1, 1, 1, 0]},
            ("pgd", 0.2, "a"): {"a": [1, 1, 1, 1, 0]},
        },
        status={
            ("pgd", 0.1, "a"): ["out of time"] * 4 + ["wrong already"],
            ("pgd", 0.2, "a"): ["attacked", "error", "attacked", "attacked", "wrong already"],
        },
    )
    found = summarize(frame)
    # Image 2 was broken before time ran out.
    assert found.errors.set_index(["attack", "epsilon"]).not_attacked.to_dict() == {
        ("pgd", 0.1): 3, ("fgsm", 0.1): 0, ("pgd", 0.2): 1,
    }  # fmt: skip
    # Image 0 was broken by FGSM.
    assert found.robust.set_index("epsilon").not_attacked.to_dict() == {0.1: 2, 0.2: 1}
    assert found.costs.set_index("attack")[["out_of_time", "failed"]].to_dict("index") == {
        "pgd": {"out_of_time": 4, "failed": 1},
        "fgsm": {"out_of_time": 0, "failed": 0},
    }


# --- the paper's rates --------------------------------------------------------------------------


def of_errors(first: int, second: int, corrected: int, n: int = 10_000) -> pd.DataFrame:
    """A errs on `first` of its own examples, of which B corrects some; B errs on `second`."""
    a, b = np.ones(n, int), np.ones(n, int)
    a[:first], b[corrected : corrected + second] = 0, 0
    return outcome_frame({"a": [1] * n, "b": [1] * n}, {("fgsm", 0.1, "a"): {"a": a, "b": b}})


@pytest.mark.parametrize(
    ("errors", "corrected", "printed"),
    [(3241, 2917, (32.41, 90.0)), (3241, 1704, (32.41, 52.58)), (799, 375, (7.99, 46.93))],
)
def test_the_papers_integers_give_the_papers_percentages(errors, corrected, printed):
    row = summarize(of_errors(errors, errors, corrected)).transfer.iloc[1]
    rates = row.adversarial_error, row.correction_rate
    assert tuple(round(100 * rate, 2) for rate in rates) == printed
    assert row.correction_rate_low < row.correction_rate < row.correction_rate_high


def test_a_transfer_row_by_hand():
    # On a's examples: a errs on 8 of 20, b on 5, both on 2, so b corrects 6 of 8.
    frame = outcome_frame(
        {"a": [0] + [1] * 19, "b": [0] * 3 + [1] * 17},
        {("fgsm", 0.1, "a"): {"a": [0] * 8 + [1] * 12, "b": [1] * 6 + [0] * 5 + [1] * 9}},
    )
    found = summarize(frame)
    assert list(found.transfer) == COLUMNS["transfer"].split()
    same, other = (found.transfer.iloc[row] for row in range(2))
    assert list(other[:11]) == ["fgsm", "linf", 0.1, "a", "b", 20, 1, 3, 8, 5, 2]
    assert other.adversarial_error == 0.4
    assert other.correction_rate == 0.75
    # Wilson for 8 of 20; Clopper and Pearson for 6 of 8.
    assert other[["adversarial_error_low", "adversarial_error_high"]].tolist() == pytest.approx(
        [0.2188, 0.6134], abs=5e-5
    )
    assert other[["correction_rate_low", "correction_rate_high"]].tolist() == pytest.approx(
        [0.3491, 0.9681], abs=5e-5
    )
    assert same.correction_rate == 0
    assert found.transfer.dtypes["both_errors"] == np.int64


def test_a_rate_of_nothing_is_nan():
    frame = outcome_frame({"a": [1], "b": [1]}, {("fgsm", 0.0, "a"): {"a": [1], "b": [1]}})
    row = summarize(frame).transfer.iloc[1]
    assert row.adversarial_error == 0
    assert all(map(math.isnan, row["correction_rate":"correction_rate_high"]))


def test_the_two_directions_of_a_correction_by_hand():
    # a errs on images 0 to 3 of its own, b corrects 0, 1, 2; b on 4, 5 of its own, a corrects none.
    frame = outcome_frame(
        {"a": [1] * 6, "b": [1] * 6},
        {
            ("fgsm", 0.1, "a"): {"a": [0, 0, 0, 0, 1, 1], "b": [1, 1, 1, 0, 0, 1]},
            ("fgsm", 0.1, "b"): {"a": [1, 1, 1, 1, 0, 0], "b": [1, 1, 1, 1, 0, 0]},
        },
    )
    (row,) = summarize(frame).corrections.itertuples(index=False)
    assert row[:8] == ("fgsm", "linf", 0.1, "a", "b", 0.75, 0.0, 0.75)
    assert -1 <= row.difference_low < 0.75 < row.difference_high <= 1
    assert row.p_value > 0.05  # six images


def test_a_clear_difference_between_the_directions_on_the_same_images():
    # Both err on the same 300 images. b corrects 200 of them, a 100 of those: within each image the
    # outcomes go together, which makes the difference surer than two independent samples would.
    own = [0] * 300 + [1] * 700
    frame = outcome_frame(
        {"a": [1] * 1000, "b": [1] * 1000},
        {
            ("fgsm", 0.1, "a"): {"a": own, "b": [1] * 200 + [0] * 100 + [1] * 700},
            ("fgsm", 0.1, "b"): {"b": own, "a": [1] * 100 + [0] * 200 + [1] * 700},
        },
    )
    (row,) = summarize(frame).corrections.itertuples()
    # 100 of 300 images differ: standard deviation sqrt(1/3 * 2/3 / 300) = 0.0272.
    assert (row.difference_low, row.difference_high) == pytest.approx((0.28, 0.387), abs=0.006)
    assert row.p_value < 0.001


def test_without_cross_judgements_nobody_corrects_anybody():
    frame = outcome_frame(
        {"a": [1, 1], "b": [1, 1]},
        {("fgsm", 0.1, "a"): {"a": [0, 1]}, ("fgsm", 0.1, "b"): {"b": [0, 0]}},
    )
    found = summarize(frame)
    assert found.transfer[["source", "target"]].values.tolist() == [["a", "a"], ["b", "b"]]
    assert list(found.corrections) == COLUMNS["corrections"].split()
    assert not len(found.corrections)
    assert found.robust.robust_error.tolist() == [0.5, 1.0]


# --- the other tables ---------------------------------------------------------------------------

PAIR = outcome_frame(
    {"a": [1, 1, 1, 1, 1], "b": [1, 1, 0, 0, 1]},
    {
        ("up", 0.2, "a"): {"a": [1, 1, 1, 1, 0], "b": [1, 1, 1, 0, 1]},
        ("up", 0.2, "b"): {"a": [1, 1, 1, 1, 1], "b": [1, 1, 1, 0, 1]},
        ("down", 0.2, "a"): {"a": [1, 0, 0, 1, 1], "b": [1, 1, 0, 1, 1]},
        ("down", 0.2, "b"): {"a": [1, 1, 1, 1, 1], "b": [1, 1, 0, 1, 1]},
    },
)


def test_paired_counts_by_hand():
    found = summarize(PAIR)
    assert list(found.paired) == COLUMNS["paired"].split()
    assert found.paired.values.tolist() == [
        [NO_ATTACK, "", 0.0, "a", "b", 5, 0, 2, 0.5],
        ["up", "linf", 0.2, "a", "b", 5, 1, 1, 1.0],
        ["down", "linf", 0.2, "a", "b", 5, 1, 0, 1.0],
        # a errs on 1, 2, 4; b on 2, 3.
        [WORST_CASE, "linf", 0.2, "a", "b", 5, 2, 1, 1.0],
    ]


def test_clean_and_robust_tables_by_hand():
    found = summarize(PAIR)
    assert list(found.clean) == COLUMNS["clean"].split()
    assert found.clean.values.tolist()[1][:5] == ["b", 5, 1, 2, 0.4]
    assert list(found.robust) == COLUMNS["robust"].split()
    robust = found.robust.drop(columns=["low", "high"]).values.tolist()
    assert robust == [
        ["linf", 0.2, "a", 5, 0.4, 0.6, 0, "up, down"],
        ["linf", 0.2, "b", 5, 0.6, 0.4, 0, "up, down"],
    ]
    assert list(found.errors) == COLUMNS["errors"].split()
    assert found.n == 5
    assert found.random_models == {"a": False, "b": False}


def test_models_can_be_chosen_and_put_in_order():
    found = summarize(PAIR, ["b", "a"])
    assert found.clean.model.tolist() == ["b", "a"]
    assert found.paired.iloc[0].tolist()[3:8] == ["b", "a", 5, 2, 0]
    alone = summarize(PAIR, ["b"])
    assert alone.transfer[["source", "target"]].values.tolist() == [["b", "b"]] * 2
    assert not len(alone.paired)
    with pytest.raises(InputError, match="no outcomes of c, d; there are some of a, b"):
        summarize(PAIR, ["a", "c", "d"])


def test_costs_and_gradients_of_all_parts_together(tmp_path):
    counts = {"entries": 80, "zero_entries": 12, "images": 20, "zero_images": 3}
    for first in (0, 5):
        frame = PAIR.assign(image=PAIR.image + first)
        facts = {"seconds": [["up", "linf", "a", 1.5]], "gradients": [["up", "linf", "a", counts]]}
        facts["failures"] = [["up", "linf", "a", "RuntimeError: no"]] if first else []
        write_part(tmp_path, table_of(frame), facts)
    found = summarize(tmp_path)
    assert list(found.costs) == COLUMNS["costs"].split()
    assert found.costs.iloc[0].tolist() == ["up", "linf", "a", 3.0, 10, 0, 0, 0, "RuntimeError: no"]
    assert math.isnan(found.costs.seconds[1])
    assert list(found.gradients) == COLUMNS["gradients"].split()
    assert found.gradients.values.tolist() == [["up", "linf", "a", 160, 24, 40, 6, 0, 0]]


def test_hits_are_those_of_the_model_under_attack():
    frame = PAIR.copy()
    frame["target"] = np.where(frame.attack.notna(), 0.0, np.nan)
    found = summarize(frame)
    assert list(found.targeted) == COLUMNS["targeted"].split()
    hits = found.targeted.set_index(["attack", "source"]).hits.to_dict()
    assert hits == {("up", "a"): 1, ("up", "b"): 1, ("down", "a"): 2, ("down", "b"): 1}
    assert not len(summarize(PAIR).targeted)


def test_distances_are_in_the_order_of_the_images(tmp_path):
    whole = outcome_frame(
        {"a": [1] * 4},
        {("fmn", 0.1, "a"): {"a": [1] * 4}, ("fmn", math.inf, "a"): {"a": [0, 0, 1, 0]}},
        distance={("fmn", math.inf, "a"): [0.3, 0.2, math.inf, 0.1]},
    )
    for rows in (whole[whole.image >= 2], whole[whole.image < 2]):
        write_part(tmp_path, table_of(rows))
    for found in (summarize(tmp_path), summarize(whole.sample(frac=1, random_state=0))):
        ((key, distances),) = found.distances.items()
        assert key == ("fmn", "linf", "a")
        assert distances.dtype == np.float32
        np.testing.assert_allclose(distances, [0.3, 0.2, np.inf, 0.1], rtol=1e-6)
        assert found.errors.epsilon.tolist() == [0.1]


# --- models that answer at random ---------------------------------------------------------------


def test_of_a_random_model_the_probability_of_an_error_is_counted():
    frame = outcome_frame(
        {"a": [20, 15, 0, 10], "b": [1, 1, 1, 0]},
        {
            ("pgd", 0.1, "a"): {"a": [10, 20, 0, 0], "b": [1, 0, 0, 1]},
            ("pgd", 0.1, "b"): {"a": [5, 20, 10, 0], "b": [0, 1, 1, 0]},
        },
        draws={"a": 20},
    )
    found = summarize(frame)
    assert found.random_models == {"a": True, "b": False}
    assert found.clean[["draws", "errors", "error"]].values.tolist() == [
        [20, 1.75, 0.4375],
        [1, 1, 0.25],
    ]
    assert found.errors.errors.tolist() == [2.5, 2]
    # The worst of clean and attacked: 0.5, 0.25, 1, 1.
    assert found.robust.robust_error.tolist() == [2.75 / 4, 0.5]
    transfer = found.transfer.set_index(["source", "target"])
    # Both err where their draws, which are independent, both do.
    assert transfer.both_errors.to_dict() == {
        ("a", "a"): 2.5, ("a", "b"): 1.0, ("b", "a"): 0.75 + 1.0, ("b", "b"): 2,
    }  # fmt: skip
    assert transfer.correction_rate["a", "b"] == 1 - 1.0 / 2.5
    paired = found.paired.set_index("attack")
    # a: 0.5, 0, 1, 1 and b: 1, 0, 0, 1.
    assert paired.loc["pgd", ["first_only", "second_only"]].tolist() == [1.0, 0.5]
    clean = found.clean.iloc[0]
    assert 0 < clean.error_low < clean.error < clean.error_high < 1


def test_what_time_ran_out_for_counts_as_right_where_most_draws_are():
    frame = outcome_frame(
        {"a": [4, 4, 4]},
        {("pgd", 0.1, "a"): {"a": [1, 2, 3]}},
        draws={"a": 4},
        status={("pgd", 0.1, "a"): ["out of time"] * 3},
    )
    assert summarize(frame).errors.not_attacked.tolist() == [1]


# --- what holds for every table -----------------------------------------------------------------

EPSILONS = (0.05, 0.1)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """The outcomes of up to 8 images, three models, of which one may be random, and two attacks."""
    size = draw(st.integers(1, 8))
    draws = {"a": 1, "b": 1, "c": draw(st.sampled_from([1, 4]))}
    right = {
        model: st.lists(st.integers(0, asked), min_size=size, max_size=size)
        for model, asked in draws.items()
    }
    some_status = st.lists(st.sampled_from(STATUSES), min_size=size, max_size=size)
    keys = [
        (attack, epsilon, source)
        for attack in ("fgsm", "transfer:a")
        for epsilon in EPSILONS
        for source in draws
    ]
    return outcome_frame(
        {model: draw(each) for model, each in right.items()},
        {key: {model: draw(each) for model, each in right.items()} for key in keys},
        draws=draws,
        status={key: draw(some_status) for key in keys},
    )


few = settings(max_examples=30, deadline=None)


@few
@given(frames())
def test_robust_accuracy_never_exceeds_clean_accuracy_nor_rises_with_epsilon(frame):
    found = summarize(frame, ["b", "c"])  # so that the transfer from a counts
    clean = found.clean.set_index("model").error
    errors = found.errors.groupby(["epsilon", "model"]).error.max()
    for model, rows in found.robust.groupby("model"):
        accuracy = rows.sort_values("epsilon").robust_accuracy.tolist()
        assert accuracy == sorted(accuracy, reverse=True)
        assert max(accuracy) <= 1 - clean[model] + 1e-12
        for row in rows.itertuples():
            assert row.robust_error >= errors[row.epsilon, model] - 1e-12
            assert row.low <= row.robust_accuracy <= row.high
            assert row.robust_error == pytest.approx(1 - row.robust_accuracy)


@few
@given(frames())
def test_counts_and_rates_keep_their_bounds(frame):
    found = summarize(frame)
    table = found.transfer
    assert (table.both_errors <= table[["source_errors", "target_errors"]].min(axis=1)).all()
    for name in ("adversarial_error", "correction_rate"):
        rates = table[[f"{name}_low", name, f"{name}_high"]].dropna()
        assert ((rates >= 0) & (rates <= 1)).all(axis=None)
        assert rates.apply(lambda row: row.is_monotonic_increasing, axis=1).all()
    assert table.correction_rate.isna().equals(table.source_errors == 0)
    errors = {(NO_ATTACK, 0.0, row.model): row.errors for row in found.clean.itertuples()} | {
        (row.attack, row.epsilon, row.model): row.errors for row in found.errors.itertuples()
    }
    for row in found.paired[found.paired.attack != WORST_CASE].itertuples():
        first = errors[row.attack, row.epsilon, row.first]
        second = errors[row.attack, row.epsilon, row.second]
        assert row.first_only - row.second_only == pytest.approx(first - second)
        assert 0 <= row.first_only <= min(first, row.n - second) + 1e-9
        assert 0 < row.p_value <= 1


@few
@given(frames(), st.sets(st.integers(1, 7), max_size=3), st.randoms(use_true_random=False))
def test_neither_parts_nor_their_order_matter(frame, cuts, shuffle):
    n = frame.image.max() + 1
    edges = [0, *sorted(cut for cut in cuts if cut < n), n]
    pieces = list(pairwise(edges))
    shuffle.shuffle(pieces)
    expected = summarize(frame)
    with TemporaryDirectory() as folder:
        for rank, (start, stop) in enumerate(pieces):
            part = frame[(frame.image >= start) & (frame.image < stop)]
            write_part(Path(folder), table_of(part), rank=rank)
        found = summarize(folder)
    for name, table in vars(expected).items():
        if isinstance(table, pd.DataFrame):
            pd.testing.assert_frame_equal(getattr(found, name), table)


@few
@given(frames(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_only_reorders_the_results(frame, shuffle):
    mixed = frame.iloc[shuffle.sample(range(len(frame)), len(frame))]
    expected = summarize(frame)
    found = summarize(mixed, list(expected.random_models))
    keys = {"attack", "epsilon", "model", "source", "target", "first", "second"}
    for name in ("clean", "errors", "transfer", "corrections", "paired", "robust"):
        tables = [
            getattr(each, name).drop(columns="attacks", errors="ignore")
            for each in (found, expected)
        ]
        order = [column for column in tables[0] if column in keys]
        pd.testing.assert_frame_equal(
            *(table.sort_values(order, ignore_index=True) for table in tables)
        )


# --- seeds of one method ------------------------------------------------------------------------

N = 100
FGSM = "fgsm", "linf", 0.125
GROUPS = {"a0": "A", "a1": "A", "a2": "A", "b0": "B", "b1": "B"}


def errors_of(**counts: int) -> pd.DataFrame:
    """Errors of models under FGSM, out of `N`."""
    rows = [(*FGSM, model, N, count, count / N) for model, count in counts.items()]
    return pd.DataFrame(rows, columns=COLUMNS["own"].split())


def paired_of(**discordant: tuple[int, int]) -> pd.DataFrame:
    """Paired counts of models such as a0_b0, under FGSM."""
    rows = [
        (*FGSM, *pair.split("_"), N, *counts, mcnemar(*counts))
        for pair, counts in discordant.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS["paired"].split())


def one(found: pd.DataFrame) -> pd.Series:
    assert list(found) == COLUMNS["differences"].split()
    assert len(found) == 1
    return found.iloc[0]


def test_own_errors_leave_out_what_was_made_against_others():
    found = own_errors(summarize(PAIR))
    assert list(found) == COLUMNS["own"].split()
    assert found.values.tolist() == [
        [NO_ATTACK, "", 0.0, "a", 5, 0, 0.0],
        [NO_ATTACK, "", 0.0, "b", 5, 2, 0.4],
        ["up", "linf", 0.2, "a", 5, 1, 0.2],
        ["up", "linf", 0.2, "b", 5, 1, 0.2],
        ["down", "linf", 0.2, "a", 5, 2, 0.4],
        ["down", "linf", 0.2, "b", 5, 1, 0.2],
        [WORST_CASE, "linf", 0.2, "a", 5, 3, 0.6],
        [WORST_CASE, "linf", 0.2, "b", 5, 2, 0.4],
    ]


def test_aggregate_by_hand():
    # A: 10, 20, 30 of 100: mean 0.2, squared deviations 0.01 + 0 + 0.01, over n - 1 = 2: sd 0.1.
    errors = errors_of(a0=10, a1=20, b0=40, a2=30, stranger=99)
    found = aggregate(errors, GROUPS)
    assert list(found) == COLUMNS["spread"].split()
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
    assert list(found) == COLUMNS["differences"].split()
    assert not len(found)
