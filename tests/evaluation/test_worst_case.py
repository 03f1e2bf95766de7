"""What several attacks do together, and models compared on the same images."""

import math

import pandas as pd
import pytest
from hypothesis import given, settings

from tests.evaluation.problems import problems
from tests.evaluation.tiny import DOWN, DOWN_L2, IMAGES, LABELS, MODELS, UP, attack_called
from winnrobust.attacks import ATTACKS
from winnrobust.evaluation import run
from winnrobust.evaluation.metrics import NO_ATTACK, PAIRED_COLUMNS, WORST_CASE, WORST_COLUMNS
from winnrobust.runtime.errors import InputError


@pytest.fixture(autouse=True)
def known_attacks(monkeypatch):
    for attack in (UP, DOWN, DOWN_L2):
        monkeypatch.setitem(ATTACKS, attack.name, attack)


def test_worst_cases_and_paired_counts_by_hand():
    # Images 0 to 4 with the labels 1, 1, 1, 0, 0. left's pixels 0.9, 0.6, 0.6, 0.1, 0.4; right's
    # 0.9, 0.9, 0.4, 0.6, 0.1. Wrong without an attack: left none; right 2, 3.
    # Up by 0.2: left 4; right 3 (and 2 is right now). Down: left 1, 2; right 2 (and 3 is right).
    # Either: left 1, 2, 4; right 2, 3.
    found = run(MODELS, IMAGES, LABELS, ["up", "down"], [0.2], batch_size=2)
    assert list(found.worst) == list(WORST_COLUMNS)
    assert found.worst.drop(columns=["error_low", "error_high"]).values.tolist() == [
        ["Linf", 0.2, "left", 5, 3, 0.6],
        ["Linf", 0.2, "right", 5, 2, 0.4],
    ]
    assert list(found.paired) == list(PAIRED_COLUMNS)
    assert found.paired.values.tolist() == [
        [NO_ATTACK, "", 0.0, "left", "right", 5, 0, 2, 0.5],
        ["up", "Linf", 0.2, "left", "right", 5, 1, 1, 1.0],
        ["down", "Linf", 0.2, "left", "right", 5, 1, 0, 1.0],
        [WORST_CASE, "Linf", 0.2, "left", "right", 5, 2, 1, 1.0],
    ]


def test_norms_have_epsilons_and_worst_cases_of_their_own():
    # Down by 0.35 / sqrt(2) = 0.2475 in each pixel: left 1, 2; right 2 and no longer 3 (0.3525).
    # Down by 0.7 / sqrt(2) = 0.495: left 0 (0.405), 1, 2; right 0, 1, 2.
    found = run(
        MODELS, IMAGES, LABELS, ["up", "down-l2"], [0.2], epsilons_l2=[0.35, 0.7], batch_size=5
    )
    cases = found.table[["attack", "norm", "epsilon"]].drop_duplicates().values.tolist()
    assert cases == [["up", "Linf", 0.2], ["down-l2", "L2", 0.35], ["down-l2", "L2", 0.7]]
    assert found.worst[["norm", "epsilon", "model", "errors"]].values.tolist() == [
        ["Linf", 0.2, "left", 1],
        ["Linf", 0.2, "right", 1],
        ["L2", 0.35, "left", 2],
        ["L2", 0.35, "right", 1],
        ["L2", 0.7, "left", 3],
        ["L2", 0.7, "right", 3],
    ]
    assert found.examples.case_epsilons.tolist() == [0.2, 0.2, 0.35, 0.35, 0.7, 0.7]


def test_an_epsilon_above_1_is_fine_in_l2():
    found = run(MODELS, IMAGES, LABELS, ["down-l2"], epsilons_l2=[2])
    assert found.worst.errors.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("move", "what"),
    [
        (lambda target, epsilon: target.images * 0, "left the ball"),
        (lambda target, epsilon: target.images + epsilon, r"left \[0, 1\]"),
        (lambda target, epsilon: target.images * math.nan, "not finite"),
    ],
)
def test_whoever_leaves_the_ball_is_named_and_nothing_is_counted(move, what, monkeypatch):
    monkeypatch.setitem(ATTACKS, "cheat", attack_called("cheat", move))
    with pytest.raises(InputError, match=f"attack 'cheat' .*{what}"):
        run(MODELS, IMAGES, LABELS, ["up", "cheat"], [0.2])


few = settings(max_examples=40, deadline=None)


@few
@given(problems())
def test_the_worst_case_is_between_the_worst_attack_and_all_of_them_added_up(problem):
    found = run(*problem, ["fgsm", "pgd"], [0.0, 0.25], num_examples=0)
    own = found.table[found.table.source == found.table.target]
    errors = own.groupby(["epsilon", "source"]).source_errors
    worst = found.worst.set_index(["epsilon", "model"]).errors
    for key, count in worst.items():
        assert errors.max()[key] <= count <= min(errors.sum()[key], len(problem[1]))
    clean = found.clean.set_index("model").errors
    assert (worst[0.0] == clean).all()


@few
@given(problems())
def test_paired_counts_fit_the_errors_and_have_no_favourite(problem):
    models, images, labels = problem
    found = run(*problem, ["fgsm"], [0.25], num_examples=0)
    errors = {(NO_ATTACK, row.model): row.errors for row in found.clean.itertuples()} | {
        (WORST_CASE, row.model): row.errors for row in found.worst.itertuples()
    }
    for row in found.table.itertuples():
        errors[row.attack, row.source] = row.source_errors
    assert len(found.paired) == 3 * len(models) * (len(models) - 1) // 2
    for row in found.paired.itertuples():
        first, second = errors[row.attack, row.first], errors[row.attack, row.second]
        assert row.first_only - row.second_only == first - second
        assert 0 <= row.first_only <= min(first, row.n - second)
        assert 0 < row.p_value <= 1
    swapped = run(dict(reversed(models.items())), images, labels, ["fgsm"], [0.25], num_examples=0)
    renamed = swapped.paired.rename(
        columns={
            "first": "second",
            "second": "first",
            "first_only": "second_only",
            "second_only": "first_only",
        }
    )[list(PAIRED_COLUMNS)]
    keys = ["attack", "first", "second"]
    pd.testing.assert_frame_equal(
        found.paired.sort_values(keys, ignore_index=True),
        renamed.sort_values(keys, ignore_index=True),
    )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 500])
def test_batch_size_changes_nothing(batch_size):
    attacks = ["up", "down", "fgsm"]
    whole = run(MODELS, IMAGES, LABELS, attacks, [0.1, 0.2])
    parts = run(MODELS, IMAGES, LABELS, attacks, [0.1, 0.2], batch_size=batch_size)
    assert parts.worst.equals(whole.worst)
    assert parts.paired.equals(whole.paired)


def test_a_single_model_has_nobody_to_be_compared_with():
    found = run({"left": MODELS["left"]}, IMAGES, LABELS)
    assert list(found.paired) == list(PAIRED_COLUMNS)
    assert not len(found.paired)
    assert found.worst.errors.tolist() == [3]  # by 0.125: images 1, 2, 4
