"""Ascents of many groups, beside the authors' loop of one after the other.

In float64: an ascent multiplies a rounding error by about a million (Adam divides by gradients near
0), so in float32 two ways that are the same in exact arithmetic end in different images.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import build
from winnrobust.runtime import devices
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import Ascent, above, dropout, langevin, near, synthesize

ASCENT = Ascent(lr=0.02, beta1=0.9, beta2=0.9, max_steps=25)
TOLERANCE = 2e-2
CLASS_WEIGHT = 0.5
CLASSES = torch.arange(10)
SIZE = 12


def towards(thresholds):
    """The supervised goal, a class for each group."""
    return near(CLASSES, thresholds, TOLERANCE, CLASS_WEIGHT)


@pytest.fixture(scope="module")
def network():
    return build("vanilla", 1, SIZE, 10, stream(0, "weights")).double()


@pytest.fixture(scope="module")
def start():
    shape = (10, 2, 1, SIZE, SIZE)
    return torch.rand(shape, generator=stream(0, "start"), dtype=torch.float64) * 2 - 1


def means_of(network, images: Tensor) -> Tensor:
    """The mean critic of every group."""
    critic = network.forward_signed(images.flatten(0, 1)).critic.detach()
    return critic.reshape(len(images), -1).mean(1)


def one_class_after_the_other(network, start, thresholds, ascent):
    """The authors' loop, literally: a batch per class, looked at anew after every clipped step."""
    made, steps = [], []
    for label, (images, threshold) in enumerate(zip(start, thresholds, strict=True)):
        pixels = images.clone().requires_grad_()
        adam = torch.optim.Adam([pixels], ascent.lr, betas=(ascent.beta1, ascent.beta2))
        labels = torch.full((len(images),), label)
        for step in range(1, ascent.max_steps + 1):  # noqa: B007 (used after the loop)
            output = network.forward_signed(pixels)
            objective = (output.critic.mean() - threshold).abs()
            objective = objective + CLASS_WEIGHT * F.cross_entropy(output.logits, labels)
            (pixels.grad,) = torch.autograd.grad(objective, pixels)
            adam.step()
            pixels.data.clamp_(-1, 1)
            if (network.forward_signed(pixels).critic.mean() - threshold).abs() <= TOLERANCE:
                break
        made.append(pixels.detach())
        steps.append(step)
    return torch.stack(made), steps


def test_all_classes_at_once_equal_one_after_the_other(network, start):
    thresholds = means_of(network, start) + torch.linspace(-0.1, 0.2, 10)
    result, _ = synthesize(network, start, towards(thresholds), ASCENT)
    images, steps = one_class_after_the_other(network, start, thresholds, ASCENT)
    assert result.steps.tolist() == steps
    assert len(set(steps)) > 2, "the classes should stop at different steps"
    assert (images - start).abs().max() > 0.1, "and the images should move"
    torch.testing.assert_close(result.images, images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit", [7, 25])
def test_a_device_that_is_not_asked_at_every_step_gives_the_same(
    network, start, limit, monkeypatch
):
    """As on a GPU: groups that were done some steps ago go back, and so do their moments."""
    goal = towards(means_of(network, start) + torch.linspace(-0.1, 0.2, 10))
    ascent = Ascent(0.02, 0.9, 0.9, max_steps=limit)
    expected, adam = synthesize(network, start, goal, ascent)
    monkeypatch.setattr(devices, "waits", lambda device: True)
    found, moments = synthesize(network, start, goal, ascent)
    assert torch.equal(found.steps, expected.steps)
    assert torch.equal(found.reached, expected.reached)
    torch.testing.assert_close(found.images, expected.images, rtol=0, atol=1e-9)
    torch.testing.assert_close(moments["state"], adam["state"], rtol=1e-6, atol=1e-12)


def test_stops_when_the_mean_critic_is_within_tolerance(network, start):
    thresholds = means_of(network, start) + 0.05
    thresholds[3] = 1e6  # never reached
    result, _ = synthesize(network, start, towards(thresholds), ASCENT)
    gap = means_of(network, result.images) - thresholds
    assert torch.equal(result.reached, gap.abs() <= TOLERANCE)
    assert not result.reached[3]
    assert result.reached.sum() >= 5
    assert result.steps[3] == ASCENT.max_steps
    assert result.images.abs().max() <= 1


def test_takes_at_least_one_step(network, start):
    already = near(CLASSES, means_of(network, start), 10.0, CLASS_WEIGHT)
    result, _ = synthesize(network, start, already, ASCENT)
    assert result.steps.tolist() == [1] * 10
    assert not torch.equal(result.images, start)


def test_start_images_and_parameters_are_untouched(network, start):
    before = start.clone()
    synthesize(network, start, towards(torch.zeros(10)), ASCENT)
    assert torch.equal(start, before)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_carried_moments_change_the_first_step(network, start):
    one_step, goal = Ascent(0.02, 0.9, 0.9, max_steps=1), towards(torch.full((10,), 5.0))
    fresh, state = synthesize(network, start, goal, one_step)
    carried, _ = synthesize(network, start, goal, one_step, state)
    assert not torch.equal(fresh.images, carried.images)


def test_groups_may_share_a_class_or_leave_one_out(network, start):
    """Ten groups of two images of the classes 3 and 7 alone."""
    classes = torch.tensor([3, 7] * 5)
    goal = near(classes, torch.zeros(10), tolerance=0.0, class_weight=5.0)
    result, _ = synthesize(network, start, goal, Ascent(0.05, 0.9, 0.9, max_steps=40))
    seen = network.forward_signed(result.images.flatten(0, 1)).logits.argmax(1)
    assert torch.equal(seen, classes.repeat_interleave(2))


def test_noise_is_added_after_the_step_and_before_the_clip(network, start):
    one_step, goal = Ascent(0.02, 0.9, 0.9, max_steps=1), above(torch.full((10,), 1e6))
    plain, _ = synthesize(network, start, goal, one_step)
    noisy, _ = synthesize(network, start, goal, one_step, noise=langevin(0.1, 0, "test"))
    inside = noisy.images.abs() < 1
    added = (noisy.images - plain.images)[inside & (plain.images.abs() < 1)]
    assert added.std().item() == pytest.approx(0.1, rel=0.1)
    assert noisy.images.abs().max() == 1


def test_noise_belongs_to_the_group_whoever_else_is_there(network, start):
    goal = above(torch.full((10,), 1e6))
    few = Ascent(0.02, 0.9, 0.9, max_steps=3)
    together, _ = synthesize(network, start, goal, few, noise=langevin(0.1, 0))
    alone, _ = synthesize(network, start[:2], goal, few, noise=langevin(0.1, 0))
    torch.testing.assert_close(together.images[:2], alone.images, rtol=0, atol=1e-9)


def test_dropout_lasts_as_long_as_its_block(network, start):
    images = start.flatten(0, 1)
    before = network.forward_signed(images).critic
    with dropout(network, 0.5, stream(0, "dropout")):
        first, second = network.forward_signed(images).critic, network.forward_signed(images).critic
    assert not torch.equal(first, second)
    assert torch.equal(network.forward_signed(images).critic, before)


def test_dropout_keeps_the_mean_of_what_a_linear_critic_says():
    """f = sum of 1,000 features of 1, times their weight 1/1000: 1 with and without dropout."""
    network = build("vanilla", 1, 28, 1, stream(0, "weights"))
    network.features = torch.nn.Flatten()
    network.classifier = torch.nn.Linear(784, 1, bias=False)
    network.classifier.weight.data.fill_(1 / 784)
    with dropout(network, 0.25, stream(0, "dropout")):
        critic = network.forward_signed(torch.ones(200, 1, 28, 28)).logits
    assert critic.mean().item() == pytest.approx(1, abs=0.01)
    assert 0.005 < critic.std() < 0.05
