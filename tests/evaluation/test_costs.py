"""What attacks take: their time and their budget, and the distances that some measure."""

import math

import numpy as np
import pytest
from winnrobust.evaluation.metrics import COST_COLUMNS

from tests.evaluation.tiny import IMAGES, LABELS, MODELS, NEAREST, UP, described
from winnrobust.attacks import ATTACKS, NO_GRADIENTS, AttackResult, Budget
from winnrobust.evaluation import run
from winnrobust.runtime.errors import InputError

INF = math.inf


class Slow:
    """Moves up by epsilon and takes a second per batch, by a false clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.left: list[float] = []
        self.budgets: list[Budget] = []

    def __call__(self, target, epsilons, budget) -> AttackResult:
        self.left.append(target.deadline - self.now)
        self.budgets.append(budget)
        self.now += 1
        moved = [(target.images + epsilon).clamp(0, 1) for epsilon in epsilons]
        return AttackResult(moved, NO_GRADIENTS)


@pytest.fixture
def slow(monkeypatch) -> Slow:
    attack = Slow()
    monkeypatch.setattr("time.monotonic", lambda: attack.now)
    monkeypatch.setitem(ATTACKS, "slow", described("slow", attack))
    monkeypatch.setitem(ATTACKS, "up", UP)
    monkeypatch.setitem(ATTACKS, "nearest", NEAREST)
    return attack


def test_seconds_are_those_of_each_attack_on_each_model(slow):
    found = run(MODELS, IMAGES, LABELS, ["slow", "up"], [0.2, 0.1], batch_size=2)
    assert list(found.costs) == list(COST_COLUMNS)
    assert found.costs.values.tolist() == [
        ["slow", "left", 3.0, 0],
        ["slow", "right", 3.0, 0],
        ["up", "left", 0.0, 0],
        ["up", "right", 0.0, 0],
    ]
    assert slow.left == [INF] * 6


def test_images_without_time_stay_as_they_are_and_are_counted(slow):
    # Five batches of one image and 2.5 seconds: the third is cut short, two are not begun. Moved up
    # by 0.2, left is wrong on the last image only, which the attack does not come to any more.
    found = run(
        {"left": MODELS["left"]}, IMAGES, LABELS, ["slow", "up"], [0.2], batch_size=1, seconds=2.5
    )
    assert slow.left == [2.5, 1.5, 0.5]
    assert found.costs.values.tolist() == [["slow", "left", 3.0, 3], ["up", "left", 0.0, 0]]
    assert found.table.source_errors.tolist() == [0, 1]
    assert found.worst.errors.tolist() == [1]
    moved = found.examples.adversarials[found.examples.case("slow", 0.2, "left")]
    np.testing.assert_array_equal(moved[3:], IMAGES[3:].numpy())
    assert (moved[:3] != IMAGES[:3].numpy()).any(axis=(1, 2, 3)).all()


def test_every_model_has_its_own_time(slow):
    found = run(MODELS, IMAGES, LABELS, ["slow"], [0.2], batch_size=1, seconds=2)
    assert found.costs.seconds.tolist() == [2, 2]
    assert found.costs.unfinished.tolist() == [4, 4]


def test_enough_time_changes_nothing(slow):
    plenty = run(MODELS, IMAGES, LABELS, ["slow"], [0.2], batch_size=2, seconds=1000)
    assert plenty.table.equals(run(MODELS, IMAGES, LABELS, ["slow"], [0.2], batch_size=2).table)
    assert plenty.costs.unfinished.tolist() == [0, 0]


def test_the_budget_reaches_the_attack(slow):
    budget = Budget(steps=7, restarts=2, queries=100, eot=3)
    run({"left": MODELS["left"]}, IMAGES, LABELS, ["slow"], budget=budget)
    assert slow.budgets == [budget]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"seconds": 0}, "seconds must be a number above 0, not 0"),
        ({"seconds": math.nan}, "seconds must be .* not nan"),
        ({"seconds": "10"}, "seconds must be .* not '10'"),
        ({"seconds": True}, "seconds must be .* not True"),
        ({"budget": Budget(steps=0)}, "budget.steps must be an integer of at least 1, not 0"),
        ({"budget": Budget(queries=0.5)}, "budget.queries must be an integer"),
        ({"budget": Budget(eot=None)}, "budget.eot must be an integer"),
        ({"budget": {"steps": 3}}, "budget must be a winnrobust.attacks.Budget, not dict"),
        ({"epsilons_l2": [-1]}, "epsilons_l2 must be numbers of at least 0, .* not -1"),
        ({"epsilons_l2": [INF]}, "epsilons_l2 must be numbers of at least 0, .* not inf"),
        ({"epsilons_l2": []}, "epsilons_l2 must be a list of numbers"),
    ],
)
def test_mistakes_are_named(mistake, message):
    with pytest.raises(InputError, match=message):
        run(MODELS, IMAGES, LABELS, **mistake)


# left's first pixels 0.9, 0.6, 0.6, 0.1, 0.4 are 0.4, 0.1, 0.1, 0.4, 0.1 from 0.5; `nearest` goes
# 0.01 further and does not find what is beyond 0.35. right is wrong on images 2 and 3.
DISTANCES = {"left": [INF, 0.11, 0.11, INF, 0.11], "right": [INF, INF, 0, 0, INF]}


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_distances_are_in_the_order_of_the_images(slow, batch_size):
    found = run(
        MODELS, IMAGES, LABELS, ["nearest", "up"], epsilons_l2=[0.1, 0.2], batch_size=batch_size
    )
    assert set(found.distances) == {("nearest", "left"), ("nearest", "right")}
    for (_, source), distances in found.distances.items():
        assert distances.dtype == np.float32
        np.testing.assert_allclose(distances, DISTANCES[source], rtol=1e-6)
    own = found.table[found.table.source == found.table.target].set_index(["epsilon", "source"])
    errors = own[own.attack == "nearest"].source_errors.to_dict()
    assert errors == {
        (0.1, "left"): 0, (0.1, "right"): 2, (0.2, "left"): 3, (0.2, "right"): 2,
    }  # fmt: skip


def test_without_time_nothing_was_found(slow, monkeypatch):
    def timely(target, epsilons, budget):
        slow.now += 1
        return NEAREST.function(target, epsilons, budget)

    late = described("nearest", timely, norm="L2", minimum_norm=True)
    monkeypatch.setitem(ATTACKS, "nearest", late)
    found = run(MODELS, IMAGES, LABELS, ["nearest"], batch_size=2, seconds=1)
    left, right = found.distances.values()
    np.testing.assert_allclose(left, [INF, 0.11, INF, INF, INF], rtol=1e-6)
    assert right.tolist() == [INF, INF, 0, 0, INF]  # wrong anyway is no matter of time


def test_no_distances_without_an_attack_that_measures_them():
    assert run(MODELS, IMAGES, LABELS).distances == {}
