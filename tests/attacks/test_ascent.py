"""The iterative attacks besides FGSM and PGD, on models whose answers are known on paper."""

import pytest
import torch

from tests.attacks.models import Answers, Linear, image
from winnrobust.attacks import ATTACKS, Budget, Target
from winnrobust.attacks.pgd import STEPS

LABEL = torch.tensor([0])
# The loss of label 0 grows along (3, -4, 0, 0) and label 0 always stays ahead.
UNBREAKABLE = Linear([[0.0, 0.0, 0.0, 0.0], [3.0, -4.0, 0.0, 0.0]], [100.0, 0.0])


def attack(name, target, epsilons, budget=Budget()):  # noqa: B008
    return ATTACKS[name].function(target, epsilons, budget)


@pytest.mark.parametrize("name", ["bim", "mifgsm", "pgd"])
def test_linf_attacks_end_in_the_corner_of_the_ball(name):
    target = Target(UNBREAKABLE, image(0.5, 0.05, 0.5, 0.5), LABEL)
    (found,) = attack(name, target, [0.1]).adversarials
    torch.testing.assert_close(found.flatten()[:2], torch.tensor([0.6, 0.0]))


def test_pgd_l2_ends_where_the_sphere_is_steepest():
    (found,) = attack("pgd-l2", Target(UNBREAKABLE, image(0.5, 0.5, 0.5, 0.5), LABEL), [0.1])[0]
    offset = (found - 0.5).flatten()
    assert offset.norm() <= 0.1 + 1e-6
    # Along (3, -4) / 5 lies all that can be had; what is left of the random start is very little.
    assert offset @ torch.tensor([0.6, -0.8, 0.0, 0.0]) > 0.099


def test_pgd_l2_follows_gradients_whose_squares_vanish():
    # 1e-30 squared is 0 in float32.
    model = Answers(
        lambda images: torch.stack([images[:, 0, 0, 0] * 0, images[:, 0, 0, 0] * 1e-30 - 1], 1)
    )
    (found,) = attack("pgd-l2", Target(model, image(0.5, 0.5, 0.5, 0.5), LABEL), [0.1])[0]
    torch.testing.assert_close(found[0, 0, 0, 0], torch.tensor(0.6), atol=5e-3, rtol=0)


def test_mifgsm_keeps_going_where_a_single_gradient_would_turn():
    # The slope of the loss is +1 up to 0.54 and -1 above it. Steps of 0.02 from 0.5: the momentum
    # after 2 steps is 2, so a plain ascent turns at 0.54, momentum only when it is used up.
    def tent(images):
        pixel = images.flatten(1)[:, 0]
        other = -(pixel - 0.541).abs() - 100
        return torch.stack([torch.zeros_like(other), other], 1)

    budget = Budget(steps=5)
    (found,) = attack("mifgsm", Target(Answers(tent), image(0.5, 0, 0, 0), LABEL), [0.1], budget)[0]
    # Gradients at 0.50, 0.52, 0.54, 0.56, 0.58: sums 1, 2, 3, 2, 1, all five steps go up.
    torch.testing.assert_close(found.flatten()[0], torch.tensor(0.6))


def test_rfgsm_steps_along_the_gradient_of_the_random_corner():
    # The loss of label 0 rises away from the image in the first pixel, on both sides.
    def valley(images):
        other = (images.flatten(1)[:, 0] - 0.5).abs() - 100
        return torch.stack([torch.zeros_like(other), other], 1)

    images = image(0.5, 0.5, 0.5, 0.5).expand(16, 1, 2, 2)
    target = Target(Answers(valley), images, torch.zeros(16, dtype=torch.int64))
    (found,) = attack("rfgsm", target, [0.1]).adversarials
    moved = (found - 0.5).flatten(1)
    torch.testing.assert_close(moved[:, 0].abs(), torch.full((16,), 0.1))
    torch.testing.assert_close(moved[:, 1:].abs(), torch.full((16, 3), 0.05))
    assert 0 < (moved[:, 0] > 0).sum() < 16  # both corners were drawn


@pytest.mark.parametrize(("name", "passes"), [("bim", 10), ("mifgsm", 10), ("pgd-l2", STEPS)])
def test_a_climb_costs_its_steps_and_the_clean_pass(name, passes):
    model = Linear([[0.0, 0.0, 0.0, 0.0], [3.0, -4.0, 0.0, 0.0]], [100.0, 0.0])
    result = attack(name, Target(model, image(0.5, 0.5, 0.5, 0.5), LABEL), [0.1])
    assert model.seen == [1] * (1 + passes)
    assert result.gradients.images == passes


@pytest.mark.parametrize("name", ["bim", "mifgsm", "pgd-l2", "rfgsm"])
def test_what_is_broken_leaves_and_what_was_wrong_never_enters(name):
    # Three images: wrong as it is; broken on the way; out of reach.
    model = Linear([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]], [2.0, 0.0])
    images = torch.cat([image(0.9, 0.9, 0.9, 0.9), image(*[0.48] * 4), image(*[0.1] * 4)])
    target = Target(model, images, torch.zeros(3, dtype=torch.int64))
    (found,) = attack(name, target, [0.1]).adversarials
    assert torch.equal(found[0], images[0])
    assert model(found).argmax(1).tolist() == [1, 1, 0]
    assert model.seen[:2] == [3, 2]
    if name != "rfgsm":
        assert model.seen[-2] == 1


def test_rfgsm_restarts_attack_what_still_stands():
    model = Linear([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], [100.0, 0.0])
    attack("rfgsm", Target(model, image(*[0.5] * 4), LABEL), [0.1], Budget(restarts=3))
    # The clean pass; a gradient for each start, a look before the second and the third.
    assert len(model.seen) == 1 + 3 + 2


THREE_CLASSES = [[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("name", ["fgsm", "rfgsm", "bim", "mifgsm", "pgd", "pgd-l2"])
def test_targeted_attacks_reach_the_aim_and_nothing_else(name):
    # Without an aim class 1 is nearer; with it, class 2 is reached.
    model = Linear(THREE_CLASSES, [0.56, 0.0, 0.0])
    images = image(0.52, 0.5, 0.5, 0.5)
    aimed = Target(model, images, LABEL, aims=torch.tensor([2]))
    assert model(attack(name, aimed, [0.15]).adversarials[0]).argmax(1).item() == 2


def test_a_targeted_attack_goes_on_from_a_wrong_class_and_rests_at_its_aim():
    model = Linear(THREE_CLASSES, [0.4, 0.0, 0.0])
    images = torch.cat([image(0.5, 0.45, 0.5, 0.5), image(0.45, 0.5, 0.5, 0.5)])
    assert model(images).argmax(1).tolist() == [1, 2]  # both wrong; the second as wanted
    target = Target(model, images, torch.tensor([0, 0]), aims=torch.tensor([2, 2]))
    for name in ("bim", "pgd", "pgd-l2"):
        (found,) = attack(name, target, [0.1]).adversarials
        assert model(found).argmax(1).tolist() == [2, 2]
        assert torch.equal(found[1], images[1])


class Coin(torch.nn.Module):
    """The loss of label 0 rises or falls along the first pixel, in turns: +3, -1, +3, -1, ..."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, images):
        slope = 3.0 if self.passes % 2 == 0 else -1.0
        self.passes += 1
        other = slope * images.flatten(1)[:, 0] - 100
        return torch.stack([torch.zeros_like(other), other], 1)


@pytest.mark.parametrize("name", ["fgsm", "bim", "mifgsm", "pgd", "pgd-l2"])
def test_expectation_over_transformation_follows_the_mean_gradient(name):
    target = Target(Coin(), image(0.5, 0.5, 0.5, 0.5), LABEL)
    result = attack(name, target, [0.1], Budget(steps=6, eot=2))
    torch.testing.assert_close(
        result.adversarials[0].flatten()[0], torch.tensor(0.6), atol=5e-3, rtol=0
    )
    assert result.gradients.images % 2 == 0


def test_with_averaged_answers_a_lucky_one_is_no_success():
    # One answer in two is wrong, the mean of two is right: nothing is broken, so nothing stops.
    class Lucky(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.passes = 0

        def forward(self, images):
            self.passes += 1
            right = images.flatten(1)[:, 0] * 0 + (3.0 if self.passes % 2 else -1.0)
            return torch.stack([right, torch.zeros_like(right)], 1)

    target = Target(Lucky(), image(0.5, 0.5, 0.5, 0.5), LABEL)
    result = attack("bim", target, [0.1], Budget(steps=4, eot=2))
    assert result.gradients.images == 4 * 2


def test_an_attack_that_is_out_of_time_returns_what_it_has(monkeypatch):
    calls = []

    def after_three(self):
        calls.append(1)
        return len(calls) > 3

    monkeypatch.setattr(Target, "out_of_time", after_three)
    result = attack("bim", Target(UNBREAKABLE, image(0.5, 0.5, 0.5, 0.5), LABEL), [0.1, 0.2])
    # One question before the climb, then two steps of 0.025; nothing at the second epsilon.
    torch.testing.assert_close(result.adversarials[0], image(0.55, 0.45, 0.5, 0.5))
    torch.testing.assert_close(result.adversarials[1], image(0.5, 0.5, 0.5, 0.5))


def test_past_the_deadline_nothing_is_attacked():
    target = Target(UNBREAKABLE, image(0.5, 0.5, 0.5, 0.5), LABEL, deadline=0.0)
    assert target.out_of_time()
    assert torch.equal(attack("pgd-l2", target, [0.1]).adversarials[0], target.images)


def test_noise_keeps_the_first_draw_that_works():
    # Wrong where the first pixel is above 0.55: a quarter of all draws from +-0.1 around 0.5.
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]], [0.55, 0.0])
    images = image(0.5, 0.5, 0.5, 0.5).expand(64, 1, 2, 2)
    labels = torch.zeros(64, dtype=torch.int64)
    broken = []
    for draws in (1, 10):
        target = Target(model, images, labels)
        (found,) = attack("noise-uniform", target, [0.1], Budget(restarts=draws)).adversarials
        assert (found - images).abs().max() <= 0.1 + 1e-6
        broken.append(model(found).argmax(1) == 1)
    assert 4 <= broken[0].sum() <= 32
    assert broken[1].sum() >= 50
    assert broken[1][broken[0]].all()


def test_gaussian_noise_has_the_length_epsilon():
    images = image(0.5, 0.5, 0.5, 0.5).expand(64, 1, 2, 2)
    target = Target(UNBREAKABLE, images, torch.zeros(64, dtype=torch.int64))
    (found,) = attack("noise-gaussian", target, [0.3], Budget(restarts=1)).adversarials
    offsets = (found - images).flatten(1)
    torch.testing.assert_close(offsets.norm(dim=1), torch.full((64,), 0.3))
    assert offsets.mean(0).abs().max() < 0.1  # no direction is preferred
