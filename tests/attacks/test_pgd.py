"""BIM and PGD: worked out by hand, against a plain loop, and step by step beside foolbox's."""

import foolbox
import pytest
import torch

from tests.attacks.models import LABEL, Answers, Linear, attacked, image, wavy_problem
from winnrobust.attacks import Run, logits, loss_gradient

ALL_STEPS = Run(early_stop=False)


def reluctant(*direction: float) -> Linear:
    """Label 0 always leads, and its loss rises along the direction."""
    return Linear([[0.0] * 4, list(direction)], [100.0, 0.0])


@pytest.mark.parametrize("name", ["bim", "pgd"])
def test_where_nothing_breaks_it_ends_in_the_corner_of_the_ball(name):
    # Steps of 2.5 * epsilon / steps cross the ball from any start. The last pixel is cut at 1.
    result = attacked(
        name, reluctant(1.0, -1.0, 1.0, 1.0), image(0.5, 0.5, 0.0, 0.95), LABEL, 0.125
    )
    torch.testing.assert_close(result.images, image(0.625, 0.375, 0.125, 1.0))


def test_pgd_l2_ends_where_the_sphere_is_steepest():
    result = attacked("pgd-l2", reluctant(3.0, -4.0, 0.0, 0.0), image(*[0.5] * 4), LABEL, 0.1)
    offset = (result.images - 0.5).flatten()
    assert offset.norm() <= 0.1 + 1e-6
    # Along (3, -4) / 5 lies all that can be had; what is left of the random start is very little.
    assert offset @ torch.tensor([0.6, -0.8, 0.0, 0.0]) > 0.099


def test_a_step_size_can_be_given():
    model, images = reluctant(1.0, 0.0, 0.0, 0.0), image(*[0.5] * 4)
    result = attacked("bim", model, images, LABEL, 0.1, steps=3, step_size=0.01)
    torch.testing.assert_close(result.images, image(0.53, 0.5, 0.5, 0.5))


def test_what_is_broken_leaves_and_what_was_wrong_never_enters():
    # Wrong as it is; broken by the second step of 0.025; out of reach.
    model = Linear([[0.0] * 4, [1.0, 1.0, 1.0, 1.0]], [2.0, 0.0])
    images = torch.cat([image(*[0.9] * 4), image(*[0.46] * 4), image(*[0.1] * 4)])
    result = attacked("bim", model, images, LABEL.expand(3), 0.1)
    torch.testing.assert_close(
        result.images, torch.cat([image(*[0.9] * 4), image(*[0.51] * 4), image(*[0.2] * 4)])
    )
    assert result.gradients.tolist() == [0, 3, 10]


def peak(images):
    """Wrong about label 0 only where the first pixel is near 0.55."""
    other = 0.0005 - (images.flatten(1)[:, 0] - 0.55) ** 2
    return torch.stack([torch.zeros_like(other), other], 1)


def test_no_image_is_moved_after_it_broke():
    result = attacked("pgd", Answers(peak), image(0.5, 0.5, 0.5, 0.5), LABEL, 0.1)
    assert abs(result.images.flatten()[0] - 0.55) < 0.0005**0.5


def test_without_early_stop_every_image_takes_every_step():
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]], [0.55, 0.0])
    images = torch.cat([image(0.5, 0.5, 0.5, 0.5), image(0.9, 0.5, 0.5, 0.5)])
    result = attacked("bim", model, images, LABEL.expand(2), 0.1, ALL_STEPS, steps=4)
    torch.testing.assert_close(result.images[:, 0, 0, 0], torch.tensor([0.6, 1.0]))
    assert result.gradients.tolist() == [4, 4]


def test_later_restarts_attack_what_is_not_broken_yet():
    # Wrong at most at one end of the ball, which a random start of this model's meets or not.
    model = Answers(
        lambda images: torch.stack(
            [0.3 - (images[:, 0, 0, 0] - 0.5).abs(), images[:, 0, 0, 0] * 0], 1
        )
    )
    images = image(*[0.5] * 4).expand(2, 1, 2, 2).clone()
    images[1] = 0.75
    result = attacked("pgd", model, images, LABEL.expand(2), 0.1, restarts=3, steps=10)
    assert result.gradients.tolist()[0] == 30
    assert result.gradients.tolist()[1] <= 10
    assert logits(model, result.images).argmax(1).tolist() == [0, 1]


def test_restarts_and_seeds_start_elsewhere(network, batch):
    labels = logits(network, batch[0]).argmax(1)
    runs = [
        attacked("pgd", network, batch[0], labels, 0.002, run, steps=1, restarts=restarts).images
        for run, restarts in ((Run(), 1), (Run(seed=1), 1), (Run(), 2))
    ]
    assert not torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_the_screen_is_one_step_before_and_off_unless_asked_for():
    # A random start of +-0.1 may break the image by itself; the single step always does.
    model = Linear([[0.0] * 4, [1.0, 1.0, 1.0, 1.0]], [2.75, 0.0])
    images = image(*[0.6] * 4).expand(8, 1, 2, 2)
    plain = attacked("pgd", model, images, LABEL.expand(8), 0.1)
    screened = attacked("pgd", model, images, LABEL.expand(8), 0.1, screen=True)
    torch.testing.assert_close(screened.images, torch.full((8, 1, 2, 2), 0.7))
    assert screened.gradients.tolist() == [1] * 8
    assert plain.gradients.min() > 1
    in_l2 = attacked("pgd-l2", model, images, LABEL.expand(8), 0.2, screen=True)
    torch.testing.assert_close(in_l2.images, torch.full((8, 1, 2, 2), 0.7))


def plain_pgd(model, images, labels, epsilon, start, steps):
    """The whole path for every image, no early end: who was wrong anywhere on it?"""
    points = start
    broken = logits(model, images).argmax(1) != labels
    for _ in range(steps):
        seen = loss_gradient(model, points, labels)
        broken |= seen.logits.argmax(1) != labels
        points = points + 2.5 * epsilon / steps * seen.gradient.sign()
        points = torch.clamp(points, images - epsilon, images + epsilon).clamp(0, 1)
    return broken | (logits(model, points).argmax(1) != labels)


def test_leaving_early_loses_no_error():
    model, images, labels = wavy_problem(64)
    for epsilon in (0.005, 0.02):
        model.inputs.clear()
        attacked("pgd", model, images, labels, epsilon, ALL_STEPS)
        broken = plain_pgd(model, images, labels, epsilon, model.inputs[0], 20)
        found = attacked("pgd", model, images, labels, epsilon).images
        assert 0 < broken.sum() < 64
        assert torch.equal(logits(model, found).argmax(1) != labels, broken)


class FromOurStart:
    """foolbox's PGD from a given point; the steps are all its own."""

    def get_random_start(self, x0, epsilon):
        import eagerpy

        return eagerpy.astensor(self.start)


class FoolboxPGD(FromOurStart, foolbox.attacks.LinfPGD):
    pass


class FoolboxPGDL2(FromOurStart, foolbox.attacks.L2PGD):
    pass


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(
    ("name", "theirs", "epsilon"),
    [("bim", FoolboxPGD, 0.1), ("pgd", FoolboxPGD, 0.1), ("pgd-l2", FoolboxPGDL2, 0.3)],
)
def test_every_step_is_foolboxs(name, theirs, epsilon, targeted):
    model, images, labels = wavy_problem()
    targets = (labels + 1) % 5 if targeted else None
    run = Run(early_stop=False, targets=targets)
    result = attacked(name, model, images, labels, epsilon, run, steps=20)
    ours = [*model.inputs, result.images]
    model.inputs.clear()
    attack = theirs(rel_stepsize=2.5 / 20, steps=20)
    attack.start = ours[0]
    criterion = foolbox.criteria.Misclassification(labels)
    if targeted:
        criterion = foolbox.criteria.TargetedMisclassification(targets)
    victim = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    model.inputs.clear()
    last = attack.run(victim, images, criterion, epsilon=epsilon)
    for step in (1, 2, 7, 19):
        torch.testing.assert_close(ours[step], model.inputs[step], atol=1e-6, rtol=0)
    torch.testing.assert_close(ours[20], last, atol=1e-6, rtol=0)
    if name == "bim":
        assert torch.equal(ours[0], images)
