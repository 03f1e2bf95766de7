"""Targeted attacks: what they aim for, and how often they reach it."""

import pytest
import torch
from torch import nn

from tests.evaluation.tiny import attack_called, evaluation
from winnrobust.attacks import ATTACKS
from winnrobust.evaluation import read_outcomes
from winnrobust.evaluation.targets import TARGETS, least_likely_targets, random_targets
from winnrobust.runtime.errors import InputError


def test_random_targets_are_wrong_classes_each_as_likely():
    labels = torch.arange(5).repeat(2000)
    targets = random_targets(torch.zeros(len(labels), 5), labels, 0, torch.arange(len(labels)))
    counts = torch.zeros(5, 5, dtype=torch.int64)
    counts.index_put_((labels, targets), torch.tensor(1), accumulate=True)
    assert counts.diagonal().tolist() == [0] * 5
    wrong = counts[~torch.eye(5, dtype=torch.bool)]
    # 500 expected, standard deviation 19.4: five of them are 97.
    assert (wrong - 500).abs().max() < 97


def test_random_targets_belong_to_the_image_whatever_its_batch():
    logits = torch.rand(12, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 5
    numbers = torch.arange(len(labels))
    whole = random_targets(logits, labels, 3, numbers)
    assert (
        random_targets(logits[7:10], labels[7:10], 3, numbers[7:10]).tolist()
        == whole[7:10].tolist()
    )
    assert random_targets(logits, labels, 4, numbers).tolist() != whole.tolist()


def test_two_classes_leave_no_choice():
    labels = torch.tensor([0, 1, 1, 0])
    for choose in TARGETS.values():
        assert choose(torch.zeros(4, 2), labels, 0, torch.arange(4)).tolist() == [1, 0, 0, 1]


def test_least_likely_is_the_lowest_logit_of_a_wrong_class():
    logits = torch.tensor([[0.5, 0.2, 0.9], [0.5, 0.2, 0.9]])
    # The second image is a 1: the model already thinks it least likely, so the target is the next.
    assert least_likely_targets(logits, torch.tensor([2, 1]), 0, torch.arange(2)).tolist() == [1, 0]


def raise_the_target(images: torch.Tensor, epsilon: float, run) -> torch.Tensor:
    moved = images.clone()
    moved.flatten(1)[torch.arange(len(moved)), run.targets] += epsilon
    return moved.clamp(0, 1)


AIMING = attack_called("aiming", raise_the_target, targeted=True)
# Pixels are logits.
IMAGES = torch.tensor([[0.6, 0.5, 0.3], [0.6, 0.5, 0.3], [0.4, 0.5, 0.3]]).reshape(3, 1, 1, 3)
LABELS = torch.tensor([0, 1, 0])


@pytest.fixture(autouse=True)
def known_attacks(monkeypatch, tiny_attacks):
    monkeypatch.setitem(ATTACKS, AIMING.name, AIMING)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_hits_by_hand(batch_size, tmp_path):
    # All aim for class 2. By 0.1 it gets 0.4: no hit, and the errors are the clean ones: 1 (0 seen)
    # and 2 (1 seen). By 0.25 it gets 0.55: hit in image 2 only. By 0.5: 0.8, hit in all.
    found = evaluation(
        {"net": nn.Flatten()}, IMAGES, LABELS, ["aiming"], [0.1, 0.25, 0.5],
        targeted="least-likely", batch_size=batch_size, folder=tmp_path,
    ).summary  # fmt: skip
    targeted = found.targeted[["attack", "norm", "epsilon", "source", "n", "hits"]]
    assert targeted.values.tolist() == [
        ["aiming", "linf", 0.1, "net", 3, 0],
        ["aiming", "linf", 0.25, "net", 3, 1],
        ["aiming", "linf", 0.5, "net", 3, 3],
    ]
    assert found.targeted.hit_rate.tolist() == [0, 1 / 3, 1]
    assert found.errors.errors.tolist() == [2, 2, 3]
    assert found.clean.errors.tolist() == [2]
    attacked = read_outcomes(tmp_path).dropna(subset="attack")
    assert set(attacked.target) == {2}
    assert set(attacked.status) == {"attacked"}


class Backwards(nn.Module):
    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.flip(1)


def test_hits_are_counted_in_the_eyes_of_the_model_under_attack():
    # "mirror" sees the classes backwards: its least likely wrong class of all images is 0 or, for
    # the labels 0, the middle one.
    models = {"net": nn.Flatten(), "mirror": nn.Sequential(nn.Flatten(), Backwards())}
    found = evaluation(models, IMAGES, LABELS, ["aiming"], [0.5], targeted="least-likely").summary
    # mirror's logits: (.3 .5 .6), (.3 .5 .6), (.3 .5 .4). Targets 1, 0, 2. The attack raises the
    # pixel of the same number: pixel 1 by 0.5 is logit 1 (hit); pixel 0 is logit 2; pixel 2 is 0.
    assert found.targeted.set_index("source").hits.to_dict() == {"net": 3, "mirror": 1}


def test_without_targets_there_are_no_hits():
    found = evaluation({"net": nn.Flatten()}, IMAGES, LABELS, ["up"]).summary
    assert not len(found.targeted)


@pytest.mark.parametrize("targeted", ["random", "least-likely"])
def test_transferred_examples_aim_for_the_targets_of_each_model(targeted):
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(6, 1, 1, 4, generator=generator), torch.arange(6) % 4
    models = {
        "net": nn.Flatten(),
        "mirror": nn.Sequential(nn.Flatten(), Backwards()),
    }
    settings = {"attacks": ["transfer:net"], "linf": [0.5], "targeted": targeted}
    both = evaluation(models, images, labels, **settings).summary.transfer
    turned = dict(reversed(models.items()))
    other = evaluation(turned, images, labels, **settings).summary.transfer
    keys = ["source", "target"]
    assert both.set_index(keys).sort_index().equals(other.set_index(keys).sort_index())


def test_an_attack_that_cannot_be_targeted_is_refused():
    with pytest.raises(InputError, match=r"^up cannot be targeted; leave out"):
        evaluation({"net": nn.Flatten()}, IMAGES, LABELS, ["aiming", "up"], targeted="random")


def test_an_unknown_choice_of_targets_is_refused():
    with pytest.raises(InputError, match=r"targeted must be random, .* not 'high'"):
        evaluation({"net": nn.Flatten()}, IMAGES, LABELS, ["aiming"], targeted="high")
