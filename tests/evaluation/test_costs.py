"""What attacks take: their time, their passes, and what time did not suffice for."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.evaluation.test_run import assert_equal
from tests.evaluation.tiny import IMAGES, LABELS, MODELS, described, evaluation
from winnrobust.attacks import ATTACKS, AttackResult
from winnrobust.evaluation import read_outcomes

INF = math.inf


class Slow:
    """Moves an image up by epsilon in a second of its own, by a false clock, while time lasts."""

    def __init__(self) -> None:
        self.now = 100.0
        self.left: list[float] = []
        self.settings: list[dict] = []

    def __call__(
        self, model, images, labels, *, epsilon, steps=1, restarts=1, queries=1, run
    ) -> AttackResult:
        self.left.append(run.deadline - self.now)
        self.settings.append(
            {"steps": steps, "restarts": restarts, "queries": queries, "eot": run.eot}
        )
        found = AttackResult.untouched(images, unfinished=True)
        for row in range(len(images)):
            if run.deadline <= self.now:
                break
            self.now += 1
            found.images[row] = (images[row] + epsilon).clamp(0, 1)
            found.unfinished[row] = False
        return replace(found, gradients=(~found.unfinished).long(), queries=found.queries + 2)


@pytest.fixture(autouse=True)
def slow(monkeypatch, tiny_attacks) -> Slow:
    attack = Slow()
    monkeypatch.setattr("time.monotonic", lambda: attack.now)
    monkeypatch.setitem(ATTACKS, "slow", described("slow", attack))
    return attack


def test_seconds_and_passes_are_those_of_each_attack_on_each_model(slow):
    found = evaluation(MODELS, IMAGES, LABELS, ["slow", "up"], [0.2, 0.1], batch_size=2).summary
    assert found.costs.values.tolist() == [
        ["slow", "linf", "left", 10.0, 10, 20, 0, 0, ""],
        ["slow", "linf", "right", 10.0, 10, 20, 0, 0, ""],
        ["up", "linf", "left", 0.0, 0, 0, 0, 0, ""],
        ["up", "linf", "right", 0.0, 0, 0, 0, 0, ""],
    ]
    assert slow.left == [INF] * 12


# left's first pixels are 0.9, 0.6, 0.6, 0.1, 0.4: moved up by 0.2, only image 4 is wrong.


@pytest.mark.parametrize(("size", "shares"), [(1, [0.5] * 10), (2, [1.0] * 4 + [0.5] * 2)])
def test_every_image_and_every_epsilon_has_the_same_share_of_the_time(slow, size, shares):
    # 5 seconds for 5 images: an image and epsilon has half a second.
    left = {"left": MODELS["left"]}
    evaluation(left, IMAGES, LABELS, ["slow"], [0.2, 0.1], batch_size=size, seconds=5)
    assert slow.left == shares


def test_time_that_one_epsilon_leaves_is_not_for_others(slow, monkeypatch):
    # "up" takes no time; "slow" gets no more for it. Nor does a batch get what others leave.
    left = {"left": MODELS["left"]}
    evaluation(left, IMAGES, LABELS, ["up", "slow"], [0.1, 0, 0.2, 0.3], batch_size=5, seconds=30)
    assert slow.left == [10.0, 10.0, 10.0]


def test_what_was_not_attacked_has_a_status_and_is_counted(slow, tmp_path):
    # A batch of 5 images in 2.5 seconds: three of them are moved, by 0.2. Image 4, the only one
    # that it would break, is not among them.
    left = {"left": MODELS["left"]}
    found = evaluation(
        left, IMAGES, LABELS, ["slow", "fgsm"], [0.2], batch_size=5, seconds=2.5, folder=tmp_path
    ).summary
    frame = read_outcomes(tmp_path)
    assert frame[frame.attack == "slow"].status.tolist() == ["attacked"] * 3 + ["out of time"] * 2
    assert frame[frame.attack == "slow"].correct.all()
    assert found.errors.set_index("attack").not_attacked.to_dict() == {"slow": 2, "fgsm": 0}
    # FGSM breaks images 1, 2, 4: of images 3 and 4 the first is counted as robust.
    assert found.robust.not_attacked.tolist() == [1]
    assert found.costs.out_of_time.tolist() == [2, 0]


class Ahead(nn.Module):
    """Sees the images as they are."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


@pytest.mark.parametrize("batch_size", [2, 3])
def test_the_order_of_the_batches_does_not_decide_what_is_attacked(slow, batch_size):
    # Twelve alike images in 6 seconds: of every batch the first half, whichever comes first.
    images, labels = torch.full((12, 1, 1, 2), 0.5), torch.zeros(12, dtype=torch.int64)
    found = evaluation(
        {"net": Ahead()}, images, labels, ["slow"], [0.1], batch_size=batch_size, seconds=6
    ).summary
    per_batch = math.ceil(batch_size / 2)
    assert found.costs.out_of_time.tolist() == [12 - 12 // batch_size * per_batch]


def test_wrong_anyway_is_no_matter_of_time(slow, tmp_path):
    found = evaluation(
        MODELS, IMAGES, LABELS, ["slow"], [0.2], seconds=1e-9, folder=tmp_path
    ).summary
    frame = read_outcomes(tmp_path)
    own = frame[(frame.attack == "slow") & (frame.evaluated == "right") & (frame.source == "right")]
    late, wrong = "out of time", "wrong already"
    assert own.status.tolist() == ["attacked", late, wrong, wrong, late]
    assert found.robust[["model", "robust_error", "not_attacked"]].values.tolist() == [
        ["left", 0.0, 4],
        ["right", 0.4, 2],
    ]


def test_enough_time_changes_nothing():
    plenty = evaluation(MODELS, IMAGES, LABELS, ["slow"], [0.2], batch_size=2, seconds=1e6)
    assert_equal(plenty, evaluation(MODELS, IMAGES, LABELS, ["slow"], [0.2], batch_size=2))


def test_settings_reach_the_attack(slow):
    budget = {"steps": 7, "restarts": 2, "queries": 100, "eot": 3}
    evaluation({"left": MODELS["left"]}, IMAGES, LABELS, ["slow"], **budget)
    assert slow.settings == [budget]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_distances_are_in_the_order_of_the_images(batch_size):
    found = evaluation(
        MODELS, IMAGES, LABELS, ["nearest", "up"], l2=[0.1, 0.2], batch_size=batch_size
    ).summary
    left, right = (found.distances["nearest", "l2", name] for name in MODELS)
    assert left.tolist() == pytest.approx([INF, 0.11, 0.11, INF, 0.11])
    assert right.tolist() == [INF, INF, 0, 0, INF]
    errors = found.errors[found.errors.attack == "nearest"].set_index(["epsilon", "model"]).errors
    assert errors.to_dict() == {
        (0.1, "left"): 0, (0.1, "right"): 2, (0.2, "left"): 3, (0.2, "right"): 2,
    }  # fmt: skip


def test_no_distances_without_an_attack_that_measures_them():
    assert evaluation(MODELS, IMAGES, LABELS).summary.distances == {}


def test_a_distance_that_the_judge_does_not_confirm_is_none(monkeypatch):
    def boaster(model, images, labels, *, run):
        found = AttackResult.untouched(images + 0.01)
        return replace(found, distance=torch.full_like(labels, 0.01, dtype=torch.float32))

    attack = described("boaster", boaster, norm="l2", minimum_norm=True)
    monkeypatch.setitem(ATTACKS, "boaster", attack)
    found = evaluation({"left": MODELS["left"]}, IMAGES, LABELS, ["boaster"]).summary
    assert found.distances["boaster", "l2", "left"].tolist() == [INF] * 5
