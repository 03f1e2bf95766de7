"""FAB: against exact optima, and step by step beside its authors' code (pyautoattack)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.fab_pt import FABAttack_PT
from scipy.optimize import brentq, linprog
from torch import nn

from tests.attacks.models import LABEL, Linear, attacked, image, wavy_problem
from winnrobust.attacks import NORMS, Run
from winnrobust.attacks.fab import OFFSETS, fab


class Single(nn.Module):
    """The same logits in float32: pyautoattack takes no others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images).float()


@pytest.mark.parametrize("frequency", [0.3, 1.0])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_every_step_is_its_authors(frequency, norm):
    model, images, labels = wavy_problem(16, frequency=frequency)
    images = images.float()
    assert torch.equal(model(images).argmax(1), labels)
    model.inputs.clear()
    fab(model, images, labels, norm=norm, steps=20)
    # A question about the image, then for every step one at the point and one where it leads.
    ours = model.inputs[1:41]
    model.inputs.clear()
    attack = FABAttack_PT(
        Single(model), norm=NORMS[norm].display, n_iter=20, eps=0.5, targeted=True
    )
    attack.target_class = 2  # the second likeliest class: of the wrong ones the first
    nearest = attack.attack_single_run(images, labels, is_targeted=True)
    theirs = model.inputs[2:]
    for step in (1, 2, 3, 4, 5, 20, 39):
        torch.testing.assert_close(ours[step], theirs[step], atol=1e-5, rtol=0)
    # The same examples: of the one class alone.
    one_class = fab(model, images, labels, norm=norm, steps=20)
    distance = NORMS[norm].size(nearest - images)
    assert (one_class.distance <= distance + 1e-5).all()


def exact_linf(points, gradient, value):
    """The size of the smallest offset by linear programming, or None where the box is too small."""
    size = len(points)
    # Variables: the offsets, then the bound on all of them, which is to be smallest.
    bounded = np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]])
    solved = linprog(
        c=[0] * size + [1],
        A_ub=bounded,
        b_ub=np.zeros(2 * size),
        A_eq=[[*gradient, 0]],
        b_eq=[-value],
        bounds=[*((-p, 1 - p) for p in points), (0, None)],
    )
    return solved.fun if solved.success else None


def exact_l1(points, gradient, value):
    """The same in L1; the variables are what offsets are above 0, then what they are below."""
    solved = linprog(
        c=[1] * 2 * len(points),
        A_eq=[[*gradient, *(-each for each in gradient)]],
        b_eq=[-value],
        bounds=[*((0, 1 - p) for p in points), *((0, p) for p in points)],
    )
    return solved.fun if solved.success else None


def exact_l2(points, gradient, value):
    """The same in L2: by Karush, Kuhn and Tucker a multiple of the gradient, cut to the box."""
    points, gradient = np.array(points), np.array(gradient)

    def offset(multiple):
        return np.clip(multiple * gradient, -points, 1 - points)

    def reached(multiple):
        return value + gradient @ offset(multiple)

    if reached(-1e6) * reached(1e6) > 0:
        return None
    return np.linalg.norm(offset(brentq(reached, -1e6, 1e6, xtol=1e-12)))


EXACT = {"linf": exact_linf, "l2": exact_l2, "l1": exact_l1}


@pytest.mark.parametrize("norm", EXACT)
@given(seed=st.integers(0, 10**6), value=st.floats(-1.5, 1.5))
@settings(max_examples=40, deadline=None)
def test_the_offset_to_the_boundary_is_the_smallest(norm, seed, value):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(1, 1, 2, 3, generator=generator, dtype=torch.float64)
    gradient = torch.randn(1, 1, 2, 3, generator=generator, dtype=torch.float64)
    gradient[0, 0, 0, 0] = 0
    points[0, 0, 1, 1] = 1
    found = OFFSETS[norm](points, gradient, torch.tensor([value], dtype=torch.float64))
    assert (points + found).min() >= -1e-9
    assert (points + found).max() <= 1 + 1e-9
    optimum = EXACT[norm](points.flatten().tolist(), gradient.flatten().tolist(), value)
    reached = value + (gradient * found).sum().item()
    if optimum is None:  # then it goes as far as it can
        assert abs(reached) > 0
        corner = torch.where(-value * gradient > 0, 1 - points, points) * gradient.abs()
        assert abs(reached) == pytest.approx(abs(value) - corner.sum().item())
    else:
        assert reached == pytest.approx(0, abs=1e-9)
        # The solver's own tolerance.
        assert NORMS[norm].size(found).item() == pytest.approx(optimum, abs=1e-6)


@pytest.mark.parametrize("norm", EXACT)
def test_nothing_moves_where_the_gradient_is_zero(norm):
    points = torch.rand(2, 1, 2, 3)
    found = OFFSETS[norm](points, torch.zeros_like(points), torch.tensor([0.3, -0.3]))
    assert (found == 0).all()


def test_the_distance_to_a_plane():
    # Label 0 leads by 0.6; the second class's slopes are 1, 2, 0, 1, so 0.15 everywhere is enough.
    model = Linear([[0.0] * 4, [1.0, 2.0, 0.0, 1.0], [0.1, 0.0, 0.0, 0.0]], [2.6, 0.0, 0.0])
    images = image(*[0.5] * 4)
    near, far = attacked("fab", model, images, LABEL, [0.14, 0.16])
    assert 0.15 < far.distance.item() < 0.151
    assert torch.equal(near.images, images)
    assert model(far.images).argmax(1).item() == 1
    assert near.gradients.item() > 0
    assert far.gradients.item() == 0  # counted at the first epsilon


def test_a_target_is_reached_though_another_class_is_nearer():
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], [0.6, 0.0, 0.0])
    run = Run(targets=torch.tensor([2]))
    result = attacked("fab", model, image(0.55, 0.4, 0.5, 0.5), LABEL, 0.3, run)
    assert 0.2 < result.distance.item() < 0.22
    assert model(result.images).argmax(1).item() == 2


def test_an_image_can_be_done_once_an_example_is_near_enough():
    model = Linear([[0.0] * 4, [1.0, 2.0, 0.0, 1.0]], [2.6, 0.0])
    images = image(*[0.5] * 4)
    long = fab(model, images, LABEL, steps=50)
    short = fab(model, images, LABEL, steps=50, enough=0.2)
    assert short.distance.item() <= 0.2
    assert short.gradients.item() < 5 < long.gradients.item() == 50
