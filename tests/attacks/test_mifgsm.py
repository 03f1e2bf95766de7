"""MI-FGSM: worked out by hand, and step by step beside the paper's algorithm and torchattacks."""

import pytest
import torch
import torch.nn.functional as F

from tests.attacks.models import LABEL, Answers, attacked, image, wavy_problem
from winnrobust.attacks import Run


def test_it_keeps_going_where_a_single_gradient_would_turn():
    # The slope of the loss is +1 up to 0.54 and -1 above it. Steps of 0.02 from 0.5: the momentum
    # after 2 steps is 2, so a plain ascent turns at 0.54, momentum only when it is used up.
    def tent(images):
        pixel = images.flatten(1)[:, 0]
        other = -(pixel - 0.541).abs() - 100
        return torch.stack([torch.zeros_like(other), other], 1)

    found = attacked("mifgsm", Answers(tent), image(0.5, 0, 0, 0), LABEL, 0.1, steps=5).images
    # Gradients at 0.50, 0.52, 0.54, 0.56, 0.58: sums 1, 2, 3, 2, 1, all five steps go up.
    torch.testing.assert_close(found.flatten()[0], torch.tensor(0.6))


def by_the_paper(model, images, labels, epsilon, steps, mu):
    """Algorithm 1 with the cross-entropy: every point, the images first."""
    points, g = [images], torch.zeros_like(images)
    for _ in range(steps):
        x = points[-1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
        g = mu * g + gradient / gradient.abs().sum((1, 2, 3), keepdim=True)
        x = x.detach() + epsilon / steps * g.sign()
        points.append(x.clamp(images - epsilon, images + epsilon).clamp(0, 1))
    return points


@pytest.mark.parametrize("mu", [1.0, 0.5])
def test_every_step_is_the_papers(mu):
    model, images, labels = wavy_problem()
    run = Run(early_stop=False)
    result = attacked("mifgsm", model, images, labels, 0.2, run, steps=12, mu=mu)
    ours = [*model.inputs, result.images]
    theirs = by_the_paper(model, images, labels, 0.2, 12, mu)
    for step in (0, 1, 2, 6, 12):
        torch.testing.assert_close(ours[step], theirs[step], atol=1e-9, rtol=0)


def test_every_step_is_that_of_torchattacks():
    torchattacks = pytest.importorskip("torchattacks")
    model, images, labels = wavy_problem()
    run = Run(early_stop=False)
    result = attacked("mifgsm", model, images, labels, 0.2, run, steps=12)
    ours = [*model.inputs, result.images]
    model.inputs.clear()
    attack = torchattacks.MIFGSM(model, eps=0.2, alpha=0.2 / 12, steps=12, decay=1.0)
    attack.device = "cpu"
    last = attack(images, labels)
    theirs = [*model.inputs, last]
    for step in (1, 6, 12):
        torch.testing.assert_close(ours[step], theirs[step - 13], atol=1e-6, rtol=0)
