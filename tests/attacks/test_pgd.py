"""PGD against answers worked out by hand, and against a plain loop without a shrinking batch."""

import pytest
import torch
from torch import nn

from winnrobust.attacks import ATTACKS, Budget, Target, logits_of, loss_gradient
from winnrobust.attacks.fgsm import fgsm
from winnrobust.attacks.pgd import RELATIVE_STEP, STEPS, pgd
from winnrobust.runtime.errors import InputError

LABEL = torch.tensor([0])


@pytest.fixture
def batch(network):
    """Eight random images under the labels that the network gives them: all can be broken."""
    images = torch.rand(8, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return images, network(images).logits.argmax(1)


class Linear(nn.Module):
    """Two logits for images (N, 1, 2, 2); the loss of label 0 always grows along `direction`."""

    def __init__(self, direction: list[float], bias: float = 0.0) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.tensor(direction))
        self.bias = bias
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        other = images.flatten(1) @ self.direction + self.bias
        return torch.stack([torch.zeros_like(other), other], 1)


def image(*pixels: float) -> torch.Tensor:
    return torch.tensor(pixels).reshape(1, 1, 2, 2)


def test_where_nothing_breaks_it_ends_in_the_corner_of_the_ball():
    # 20 steps of 2.5 * epsilon / 20 cross the ball from any start. The last pixel is cut at 1.
    model = Linear([1.0, -1.0, 1.0, 1.0], bias=-100.0)
    result = pgd(Target(model, image(0.5, 0.5, 0.0, 0.95), LABEL), [0.125])
    torch.testing.assert_close(result.adversarials[0], image(0.625, 0.375, 0.125, 1.0))
    # FGSM's gradient and a look at its result, then the steps.
    assert model.seen == [1] * (2 + STEPS)
    assert result.gradients.images == 1 + STEPS


def test_what_the_model_gets_wrong_as_it_is_stays_as_it_is():
    images = image(0.5, 0.5, 0.5, 0.5)
    model = Linear([1.0, 1.0, 1.0, 1.0], bias=-1.0)
    result = pgd(Target(model, images, LABEL), [0.1, 0.2])
    assert [torch.equal(found, images) for found in result.adversarials] == [True, True]
    assert model.seen == [1]


def test_what_falls_to_a_single_step_does_not_climb():
    model = Linear([1.0, 1.0, 1.0, 1.0], bias=-2.5)
    (found,) = pgd(Target(model, image(0.6, 0.6, 0.6, 0.6), LABEL), [0.1]).adversarials
    torch.testing.assert_close(found, image(0.7, 0.7, 0.7, 0.7))
    assert model.seen == [1, 1]


class Peak(nn.Module):
    """Wrong about label 0 only where the pixel of a 1x1x1 image is near 0.55."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        other = 0.0005 - (images.flatten(1)[:, 0] - 0.55) ** 2
        return torch.stack([torch.zeros_like(other), other], 1)


def test_broken_images_leave_the_batch_with_what_broke_them():
    # A single step of 0.1 jumps from 0.5 over the peak. From 0.1 the peak cannot be reached.
    model = Peak()
    target = Target(model, torch.tensor([0.1, 0.5]).reshape(2, 1, 1, 1), torch.tensor([0, 0]))
    (found,) = pgd(target, [0.1]).adversarials
    torch.testing.assert_close(found[0].item(), 0.2)
    assert abs(found[1].item() - 0.55) < 0.0005**0.5
    counts = model.seen
    assert counts[:3] == [2, 2, 2]
    assert counts[-1] == 1
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 2 + STEPS


def test_later_restarts_attack_what_still_stands():
    model = Peak()
    target = Target(model, torch.tensor([0.1, 0.5]).reshape(2, 1, 1, 1), torch.tensor([0, 0]))
    pgd(target, [0.1], Budget(steps=10, restarts=3))
    # FGSM and a look; the first restart shrinks to 1; a look at its end, and 10 steps, twice.
    assert model.seen[:2] == [2, 2]
    assert model.seen[-22:] == [1] * 22
    assert len(model.seen) == 2 + 3 * 10 + 2


def plain_pgd(model, images, labels, epsilon, offset):
    """The whole path for every image, no early end: who was wrong anywhere on it?"""
    points = (images + offset).clamp(0, 1)
    broken = logits_of(model(images)).argmax(1) != labels
    for _ in range(STEPS):
        seen = loss_gradient(model, points, labels)
        broken |= seen.logits.argmax(1) != labels
        points = points + RELATIVE_STEP * epsilon / STEPS * seen.gradient.sign()
        points = torch.clamp(points, images - epsilon, images + epsilon).clamp(0, 1)
    return broken | (logits_of(model(points)).argmax(1) != labels)


def test_leaving_early_loses_no_error(network):
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(64, 1, 12, 12, generator=generator)
    with torch.no_grad():
        labels = network(images).logits.argmax(1)  # right on all, so that there is much to break
    target = Target(network, images, labels)
    for epsilon in (0.003, 0.01):
        offset = (2 * target.uniform("pgd", 0) - 1) * epsilon
        broken = plain_pgd(network, images, labels, epsilon, offset)
        single_step = fgsm(target, [epsilon]).adversarials[0]
        broken |= network(single_step).logits.argmax(1) != labels
        (found,) = pgd(target, [epsilon]).adversarials
        ours = network(found).logits.argmax(1) != labels
        assert 0 < broken.sum() < 64
        assert torch.equal(ours, broken)


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.3, 1.0])
def test_stays_in_the_ball(network, batch, epsilon):
    images, labels = batch
    (found,) = pgd(Target(network, images, labels), [epsilon], Budget(steps=5)).adversarials
    assert (found - images).abs().max() <= epsilon + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


def test_several_epsilons_are_the_single_ones(network, batch):
    together = pgd(Target(network, *batch), [0.02, 0.01], Budget(steps=5)).adversarials
    for epsilon, found in zip([0.02, 0.01], together, strict=True):
        assert torch.equal(
            found, pgd(Target(network, *batch), [epsilon], Budget(steps=5)).adversarials[0]
        )


def test_a_random_start_belongs_to_the_image_not_to_the_batch(network, batch):
    images, labels = batch
    network.double()
    images = images.double()
    (whole,) = pgd(Target(network, images, labels, first=100, seed=7), [0.01]).adversarials
    for i in range(len(images)):
        alone = Target(network, images[i : i + 1], labels[i : i + 1], first=100 + i, seed=7)
        torch.testing.assert_close(pgd(alone, [0.01]).adversarials[0], whole[i : i + 1])


def test_seeds_differ(network, batch):
    first, second = (
        pgd(Target(network, *batch, seed=seed), [0.01], Budget(steps=1)).adversarials[0]
        for seed in (0, 1)
    )
    assert not torch.equal(first, second)


def test_nothing_of_the_caller_is_changed(network, batch):
    images, labels = batch
    before = images.clone()
    (found,) = pgd(Target(network, images, labels), [0.1], Budget(steps=2)).adversarials
    found.zero_()
    assert torch.equal(images, before)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_no_gradient_is_an_error():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).requires_grad_(False)
    model.register_forward_hook(lambda module, inputs, output: output.detach())
    label = model(image(0.1, 0.2, 0.3, 0.4)).argmax(1)
    with pytest.raises(InputError, match="no gradient to follow"):
        pgd(Target(model, image(0.1, 0.2, 0.3, 0.4), label), [0.1])


def test_registry():
    attack = ATTACKS["pgd"]
    assert (attack.name, attack.norm, attack.function) == ("pgd", "Linf", pgd)
