"""Targeted attacks: what they aim at, and how often they hit it."""

import pytest
import torch
from torch import nn

from tests.evaluation.tiny import UP, attack_called
from winnrobust.attacks import ATTACKS, Target
from winnrobust.evaluation import run
from winnrobust.evaluation.aims import AIMS, least_likely_aims, random_aims
from winnrobust.evaluation.metrics import AIM_COLUMNS
from winnrobust.runtime.errors import InputError


def target_of(images, labels, **more) -> Target:
    """Pixels are logits."""
    return Target(nn.Flatten(), images, labels, **more)


def test_random_aims_are_wrong_classes_each_as_likely():
    labels = torch.arange(5).repeat(2000)
    aims = random_aims(target_of(torch.zeros(len(labels), 1, 1, 5), labels))
    counts = torch.zeros(5, 5, dtype=torch.int64)
    counts.index_put_((labels, aims), torch.tensor(1), accumulate=True)
    assert counts.diagonal().tolist() == [0] * 5
    wrong = counts[~torch.eye(5, dtype=torch.bool)]
    # 500 expected, standard deviation 19.4: five of them are 97.
    assert (wrong - 500).abs().max() < 97


def test_random_aims_belong_to_the_image_whatever_its_batch():
    images = torch.rand(12, 1, 1, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 5
    whole = random_aims(target_of(images, labels, seed=3))
    part = random_aims(target_of(images[7:10], labels[7:10], first=7, seed=3))
    assert part.tolist() == whole[7:10].tolist()
    assert random_aims(target_of(images, labels, seed=4)).tolist() != whole.tolist()


def test_two_classes_leave_no_choice():
    labels = torch.tensor([0, 1, 1, 0])
    for choose in AIMS.values():
        assert choose(target_of(torch.zeros(4, 1, 1, 2), labels)).tolist() == [1, 0, 0, 1]


def test_least_likely_is_the_lowest_logit_of_a_wrong_class():
    images = torch.tensor([[0.5, 0.2, 0.9], [0.5, 0.2, 0.9]]).reshape(2, 1, 1, 3)
    # The second image is a 1: the model already thinks it least likely, so the aim is the next.
    assert least_likely_aims(target_of(images, torch.tensor([2, 1]))).tolist() == [1, 0]


def raise_the_aim(target: Target, epsilon: float) -> torch.Tensor:
    moved = target.images.clone()
    rows = torch.arange(len(moved))
    moved.flatten(1)[rows, target.aims] += epsilon
    return moved.clamp(0, 1)


AIMING = attack_called("aiming", raise_the_aim, can_aim=True)
IMAGES = torch.tensor([[0.6, 0.5, 0.3], [0.6, 0.5, 0.3], [0.4, 0.5, 0.3]]).reshape(3, 1, 1, 3)
LABELS = torch.tensor([0, 1, 0])


@pytest.fixture(autouse=True)
def known_attacks(monkeypatch):
    for attack in (AIMING, UP):
        monkeypatch.setitem(ATTACKS, attack.name, attack)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_hits_by_hand(batch_size):
    # All aim at class 2. By 0.1 it gets 0.4: no hit, and the errors are the clean ones: 1 (0 seen)
    # and 2 (1 seen). By 0.25 it gets 0.55: hit in image 2 only. By 0.5: 0.8, hit in all.
    found = run(
        {"net": nn.Flatten()}, IMAGES, LABELS, ["aiming"], [0.1, 0.25, 0.5],
        aim="least-likely", batch_size=batch_size,
    )  # fmt: skip
    assert list(found.aimed) == list(AIM_COLUMNS)
    assert found.aimed[["attack", "norm", "epsilon", "source", "n", "hits"]].values.tolist() == [
        ["aiming", "Linf", 0.1, "net", 3, 0],
        ["aiming", "Linf", 0.25, "net", 3, 1],
        ["aiming", "Linf", 0.5, "net", 3, 3],
    ]
    assert found.aimed.hit_rate.tolist() == [0, 1 / 3, 1]
    assert found.table.source_errors.tolist() == [2, 2, 3]
    assert found.clean.errors.tolist() == [2]


def test_hits_are_counted_in_the_eyes_of_the_model_under_attack():
    # "mirror" sees the classes backwards: its least likely wrong class of all images is 0 or, for
    # the labels 0, the middle one.
    models = {"net": nn.Flatten(), "mirror": nn.Sequential(nn.Flatten(), Backwards())}
    found = run(models, IMAGES, LABELS, ["aiming"], [0.5], aim="least-likely")
    hits = found.aimed.set_index("source").hits.to_dict()
    # mirror's logits: (.3 .5 .6), (.3 .5 .6), (.3 .5 .4). Aims 1, 0, 2. The attack raises the pixel
    # of the same number: pixel 1 by 0.5 is logit 1 (hit); pixel 0 is logit 2; pixel 2 is logit 0.
    assert hits == {"net": 3, "mirror": 1}


class Backwards(nn.Module):
    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.flip(1)


def test_without_an_aim_there_are_no_hits():
    found = run({"net": nn.Flatten()}, IMAGES, LABELS, ["up"])
    assert list(found.aimed) == list(AIM_COLUMNS)
    assert not len(found.aimed)


def test_an_attack_that_cannot_aim_is_refused():
    with pytest.raises(InputError, match=r"^up cannot aim at a class; leave out"):
        run({"net": nn.Flatten()}, IMAGES, LABELS, ["aiming", "up"], aim="random")


def test_an_unknown_aim_is_refused():
    with pytest.raises(InputError, match="unknown aim 'high'; known are random, least-likely"):
        run({"net": nn.Flatten()}, IMAGES, LABELS, ["aiming"], aim="high")
