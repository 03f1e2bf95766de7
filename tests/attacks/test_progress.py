"""What iterative attacks share: who is still active, draws, time, and no waiting for a device."""

import time

import pytest
import torch

from tests.attacks.models import (
    EVERY,
    LABEL,
    Answers,
    Linear,
    attacked,
    called,
    image,
    wavy_problem,
)  # fmt: skip
from tests.attacks.waiting import Waits
from winnrobust.attacks import ATTACKS, Run, logits, progress, with_settings
from winnrobust.runtime import devices
from winnrobust.runtime.errors import InputError

WHITE_BOX = [attack for attack in EVERY if attack.access == "white-box"]
ITERATIVE = [attack for attack in WHITE_BOX if not attack.single_step]
STEPWISE = [attack for attack in WHITE_BOX if "steps" in attack.parameters]
THREE_CLASSES = [[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]


# Targets


@pytest.mark.parametrize("name", ["fgsm", "rfgsm", "bim", "mifgsm", "pgd", "pgd-l2"])
def test_targeted_attacks_reach_the_target_and_nothing_else(name):
    # Without a target class 1 is nearer; with it, class 2 is reached.
    model = Linear(THREE_CLASSES, [0.56, 0.0, 0.0])
    run = Run(targets=torch.tensor([2]))
    result = attacked(name, model, image(0.52, 0.5, 0.5, 0.5), LABEL, 0.15, run)
    assert model(result.images).argmax(1).item() == 2


@pytest.mark.parametrize("name", ["bim", "pgd", "pgd-l2"])
def test_a_targeted_attack_goes_on_from_a_wrong_class_and_rests_at_its_target(name):
    model = Linear(THREE_CLASSES, [0.4, 0.0, 0.0])
    images = torch.cat([image(0.5, 0.45, 0.5, 0.5), image(0.45, 0.5, 0.5, 0.5)])
    assert model(images).argmax(1).tolist() == [1, 2]  # both wrong; the second as wanted
    run = Run(targets=torch.tensor([2, 2]))
    result = attacked(name, model, images, torch.tensor([0, 0]), 0.1, run)
    assert model(result.images).argmax(1).tolist() == [2, 2]
    assert torch.equal(result.images[1], images[1])


# Models that answer at random


class InTurns(torch.nn.Module):
    """Logits (0, other) with another `other` of the first pixel in every draw, in turns."""

    def __init__(self, *others) -> None:
        super().__init__()
        self.others, self.passes = others, 0

    def forward(self, images):
        pixel = images.flatten(1)[:, 0]
        other = self.others[self.passes % len(self.others)](pixel)
        self.passes += 1
        return torch.stack([torch.zeros_like(other), other], 1)


@pytest.mark.parametrize("name", ["fgsm", "bim", "mifgsm", "pgd", "pgd-l2", "apgd-ce"])
def test_a_step_follows_the_mean_gradient_of_its_draws(name):
    # The slope is +3 in one draw and -1 in the next; no draw alone points the right way each time.
    model = InTurns(lambda pixel: 3 * pixel - 100, lambda pixel: -pixel - 100)
    result = attacked(name, model, image(*[0.5] * 4), LABEL, 0.1, Run(eot=2))
    torch.testing.assert_close(result.images.flatten()[0], torch.tensor(0.6), atol=5e-3, rtol=0)
    assert result.gradients.item() % 2 == 0


def test_an_image_leaves_only_where_every_draw_is_wrong():
    # Wrong in the mean from 0.52 on, in both draws from 0.56 on: steps of 0.025 from 0.5.
    model = InTurns(lambda pixel: pixel - 0.56, lambda pixel: pixel - 0.48)
    result = attacked("bim", model, image(*[0.5] * 4), LABEL, 0.1, Run(eot=2))
    torch.testing.assert_close(result.images.flatten()[0], torch.tensor(0.575))


def test_what_is_wrong_in_some_draws_of_the_clean_image_is_attacked():
    model = InTurns(lambda pixel: pixel - 0.55, lambda pixel: pixel - 0.3)  # in the mean wrong
    result = attacked("bim", model, image(*[0.5] * 4), LABEL, 0.1, Run(eot=2))
    assert result.images.flatten()[0] > 0.55
    steady = InTurns(lambda pixel: pixel - 0.3)
    assert attacked("bim", steady, image(*[0.5] * 4), LABEL, 0.1, Run(eot=2)).gradients.item() == 0


def test_the_point_with_the_most_wrong_draws_counts():
    # Two of four draws are wrong between 0.52 and 0.56, one of four beyond; the slope goes on up.
    def band(pixel):
        inside = (pixel > 0.52) & (pixel < 0.56)
        return torch.where(inside, 0.5, -100.0) + 1e-3 * pixel

    model = InTurns(band, lambda pixel: pixel, lambda pixel: pixel - 100, lambda pixel: pixel - 100)
    result = attacked("bim", model, image(*[0.5] * 4), LABEL, 0.1, Run(eot=4))
    assert 0.52 < result.images.flatten()[0] < 0.56


class Noisy(torch.nn.Module):
    """A model whose margin is drowned by noise on the way, and clear at the end of the ball."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, images):
        other = 10 * (images.flatten(1).mean(1) - 0.55)  # from 0.5 by 0.1: from -0.5 to 0.5
        clear = torch.stack([torch.zeros_like(other), other], 1)
        return clear + self.sigma * torch.randn_like(clear)


def error(model, images, labels, draws=200):
    return torch.stack([model(images).argmax(1) != labels for _ in range(draws)]).double().mean()


def test_what_can_be_broken_is_broken_whatever_the_noise():
    images, labels = torch.full((64, 1, 4, 4), 0.5), torch.zeros(64, dtype=torch.int64)
    model = Noisy(0.2)
    torch.manual_seed(0)
    found = {
        name: error(model, attacked(name, model, images, labels, 0.1, Run(eot=20)).images, labels)
        for name in ("fgsm", "pgd", "apgd-ce")
    }
    assert found["fgsm"] > 0.94  # all the way: the noise's difference exceeds 0.5 in 4 % of draws
    assert found["apgd-ce"] > 0.9
    assert found["apgd-ce"] > found["fgsm"] - 0.02
    assert found["pgd"] > 0.85
    # With one draw it takes a lucky one for a success, and stops half-way.
    once = attacked("pgd", model, images, labels, 0.1)
    assert error(model, once.images, labels) < 0.8


# Time


class Slow(Linear):
    """Every pass takes a twentieth of a second."""

    def forward(self, images):
        time.sleep(0.05)
        return super().forward(images)


@pytest.mark.parametrize("attack", WHITE_BOX, ids=called)
def test_past_the_deadline_nothing_is_attacked(attack):
    model = Linear(THREE_CLASSES, [0.56, 0.0, 0.0])
    images = image(*[0.5] * 4)
    result = attacked(attack, model, images, LABEL, 0.1, Run(deadline=0.0))
    assert torch.equal(result.images, images)
    assert result.unfinished.tolist() == [True]
    assert model.seen == []


@pytest.mark.parametrize("attack", ITERATIVE, ids=called)
def test_an_attack_ends_soon_after_the_deadline(attack):
    # Unbreakable, and an attack would take seconds.
    model, images = Slow(THREE_CLASSES, [100.0, 0.0, 0.0]), image(*[0.5] * 4)
    began = time.monotonic()
    settings = {"restarts": 200} if attack.name == "rfgsm" else {}
    result = attacked(attack, model, images, LABEL, 0.1, Run(deadline=began + 0.3), **settings)
    assert time.monotonic() - began < 3
    assert result.unfinished.tolist() == [True]
    assert result.gradients.item() > 0


def test_what_was_tried_before_the_deadline_is_returned():
    model, images = Slow([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]], [100.0, 0.0]), image(*[0.5] * 4)
    run = Run(deadline=time.monotonic() + 0.3)
    result = attacked("bim", model, images, LABEL, 0.1, run, steps=1000)
    moved = result.images.flatten()[0].item() - 0.5
    assert moved == pytest.approx(result.gradients.item() * 0.1 * 2.5 / 1000, abs=1e-6)


def test_an_image_that_is_done_before_the_deadline_is_finished():
    model = Slow([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]], [0.55, 0.0])
    images = torch.cat([image(*[0.54] * 4), image(*[0.1] * 4)])
    run = Run(deadline=time.monotonic() + 0.5)
    result = attacked("bim", model, images, LABEL.expand(2), 0.1, run, steps=100)
    assert result.unfinished.tolist() == [False, True]


# Devices


@pytest.mark.parametrize("attack", STEPWISE, ids=called)
def test_on_a_device_no_step_waits(attack, monkeypatch):
    monkeypatch.setattr(progress, "LOOK_EVERY", 8)
    attack, counts = with_settings(attack, queries=40), []
    epsilon = {} if attack.minimum_norm else {"epsilon": 0.1}
    for steps in (8, 24):
        model = Linear(THREE_CLASSES, [100.0, 0.0, 0.0])  # nothing breaks: all steps are taken
        with Waits(monkeypatch) as waits:
            attack.function(
                model, image(*[0.5] * 4), LABEL, **{**attack.settings, **epsilon, "steps": steps}
            )
        counts.append((waits.count, len(model.seen)))
    (few, passes_few), (many, passes_many) = counts
    # One look in eight steps, and never one for each.
    assert many - few <= (passes_many - passes_few) / 8 + 1


FOUND = {"linf": 0.05, "l2": 0.15, "l1": 0.4, "l0": 1}
"""Bounds within which an attack breaks some of the images below, not all."""


@pytest.mark.parametrize("attack", ITERATIVE, ids=called)
def test_a_device_finds_what_a_cpu_finds(attack, monkeypatch):
    model, images, labels = wavy_problem(24, frequency=0.5)
    labels[3] = (labels[3] + 1) % 5
    # DDN's radius is 1 at first.
    attack = with_settings(attack, steps=90 if attack.name == "ddn" else 30, queries=20)
    epsilon = FOUND[attack.norm]
    here = attacked(attack, model, images, labels, epsilon)
    monkeypatch.setattr(devices, "waits", lambda device: True)
    there = attacked(attack, model, images, labels, epsilon)
    broken = logits(model, here.images).argmax(1) != labels
    assert 1 < broken.sum() < 24
    torch.testing.assert_close(there.images, here.images)
    assert torch.equal(there.gradients, here.gradients)
    assert torch.equal(there.queries, here.queries)
    assert there.statistics.on_host() == here.statistics.on_host()


# Errors


@pytest.mark.parametrize("attack", WHITE_BOX, ids=called)
def test_a_model_without_gradient_is_an_error_that_names_black_boxes(attack):
    model = Answers(lambda images: images.flatten(1).detach())
    with pytest.raises(InputError, match=r"no gradient to follow.*hopskipjump"):
        attacked(attack, model, image(0.9, 0.1, 0.2, 0.3), LABEL, 0.1)


@pytest.mark.parametrize("name", list(ATTACKS))
def test_a_model_without_logits_is_an_error(name):
    with pytest.raises(InputError, match="returns a tuple of 0, 1; say which are the logits"):
        attacked(name, Answers(lambda images: (images, images)), image(*[0.5] * 4), LABEL, 0.1)
