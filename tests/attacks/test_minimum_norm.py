"""Minimum-norm attacks against distances known on paper."""

import pytest
import torch

from tests.attacks.models import Answers, Linear, image
from winnrobust.attacks import ATTACKS, Budget, Target, logits
from winnrobust.runtime.errors import InputError

LABEL = torch.tensor([0])
# Label 0 leads class 1 by 0.5; the slopes are 3, -4, 0, 0: 0.1 away in L2, 0.5 / 7 in L-infinity.
# Class 2 is twice as far.
LEANING = [[0.0, 0.0, 0.0, 0.0], [3.0, -4.0, 0.0, 0.0], [0.0, 0.0, 3.0, 4.0]]
BIAS = [0.5, 0.0, -4.0]
DISTANCES = {"deepfool": 0.1, "cw-l2": 0.1, "ddn": 0.1, "fmn": 0.5 / 7}
FROM_FOOLBOX = ["deepfool", "cw-l2", "ddn", "fmn"]


def attack(name, target, epsilons, **budget):
    return ATTACKS[name].function(target, epsilons, Budget(**budget))


@pytest.mark.parametrize("name", FROM_FOOLBOX)
def test_the_distance_to_a_plane(name):
    model = Linear(LEANING, BIAS)
    target = Target(model, image(0.5, 0.375, 0.5, 0.5), LABEL)
    result = attack(name, target, [DISTANCES[name] * 0.98, DISTANCES[name] * 1.12], steps=100)
    # DDN's radius changes by 5 % with every step.
    assert DISTANCES[name] * 0.999 < result.distances.item() < DISTANCES[name] * 1.11
    assert torch.equal(result.adversarials[0], target.images)
    assert model(result.adversarials[1]).argmax(1).item() == 1


@pytest.mark.parametrize("name", ["cw-l2", "ddn", "fmn"])
def test_aims(name):
    # The same classes in the opposite order: the aim is 0 and the label 2.
    model = Linear(LEANING[::-1], BIAS[::-1])
    target = Target(model, image(0.5, 0.375, 0.5, 0.5), torch.tensor([2]), aims=torch.tensor([0]))
    result = attack(name, target, [1.0], steps=50)
    assert model(result.adversarials[0]).argmax(1).item() == 0
    assert result.distances.item() > 1.9 * DISTANCES[name]


@pytest.mark.parametrize("name", FROM_FOOLBOX)
def test_gradients_of_a_librarys_attack_are_counted(name):
    model = Linear(LEANING, BIAS)
    result = attack(name, Target(model, image(0.5, 0.375, 0.5, 0.5), LABEL), [1.0], steps=5)
    assert result.gradients.images > 0
    assert result.gradients.entries == 4 * result.gradients.images


@pytest.mark.parametrize("name", ["cw-l2", "ddn", "fmn"])
def test_what_a_librarys_attack_found_is_kept_when_time_runs_out(name, monkeypatch):
    model = Linear(LEANING, BIAS)
    target = Target(model, image(0.5, 0.375, 0.5, 0.5), LABEL)
    in_full = attack(name, target, [10.0], steps=50)
    calls = []

    def after_a_third(self):
        calls.append(1)
        return len(calls) > max(in_full.gradients.images // 3, 3)

    monkeypatch.setattr(Target, "out_of_time", after_a_third)
    cut = attack(name, Target(model, image(0.5, 0.375, 0.5, 0.5), LABEL), [10.0], steps=50)
    assert cut.gradients.images < in_full.gradients.images
    assert in_full.distances.item() <= cut.distances.item() < 2
    assert model(cut.adversarials[0]).argmax(1).item() != 0


@pytest.mark.parametrize("name", FROM_FOOLBOX)
def test_a_model_without_gradient_is_an_error_that_names_black_boxes(name):
    model = Answers(lambda images: images.flatten(1).detach())
    with pytest.raises(InputError, match=r"no gradient to follow.*hopskipjump"):
        attack(name, Target(model, image(0.9, 0.1, 0.2, 0.3), LABEL), [1.0])


def test_hopskipjump_needs_decisions_only_and_keeps_to_its_queries():
    def decisions(images):
        wrong = 3 * images.flatten(1)[:, 0] - 4 * images.flatten(1)[:, 1] > 0.5
        return torch.nn.functional.one_hot(wrong.long(), 2).float()

    model = Answers(decisions)
    images = torch.cat([image(0.5, 0.375, 0.5, 0.5), image(0.5, 0.5, 0.1, 0.9)])
    result = attack("hopskipjump", Target(model, images, torch.tensor([0, 0])), [2.0], queries=700)
    assert len(model.seen) == 1 + 700
    torch.testing.assert_close(result.distances, torch.tensor([0.1, 0.2]), rtol=0.05, atol=0)
    assert logits(model, result.adversarials[0]).argmax(1).tolist() == [1, 1]


def test_hopskipjump_finds_nothing_where_no_random_image_is_wrong():
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]], [5.0, 0.0])
    result = attack("hopskipjump", Target(model, image(*[0.5] * 4), LABEL), [9.0])
    assert result.distances.tolist() == [float("inf")]
    assert torch.equal(result.adversarials[0], image(*[0.5] * 4))
    assert len(model.seen) == 1 + 50


def test_an_image_that_cw_cannot_move_does_not_end_the_search_for_others():
    # Above 0.6 the first pixel hides the gradient, with a lead that drowns the other image's loss.
    def answer(images):
        usual = Linear(LEANING, BIAS)(images)
        stuck = torch.tensor([1e7, 0.0, 0.0]) + 0 * usual
        return torch.where(images[:, 0, 0, :1] > 0.6, stuck, usual)

    moved, stuck = image(0.5, 0.375, 0.5, 0.5), image(1.0, 0.5, 0.5, 0.5)
    alone = attack("cw-l2", Target(Answers(answer), moved, LABEL), [1.0], steps=50)
    images, labels = torch.cat([moved, stuck]), LABEL.repeat(2)
    beside = attack("cw-l2", Target(Answers(answer), images, labels), [1.0], steps=50)
    assert beside.distances[0].item() == pytest.approx(alone.distances.item())
    assert beside.distances[1] == torch.inf
