"""Auto-PGD, FAB, Square and AutoAttack: on paper, against plain loops and against exact optima."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from tests.attacks.models import Answers, Linear, image
from winnrobust.attacks import ATTACKS, Budget, Target, logits, loss_gradient
from winnrobust.attacks.apgd import checkpoints, difference_of_logits_ratio, wrong_classes
from winnrobust.attacks.fab import offset_to_boundary
from winnrobust.attacks.square import _patch, side_of_square

LABEL = torch.tensor([0])


def attack(name, target, epsilons, **budget):
    return ATTACKS[name].function(target, epsilons, Budget(**budget))


@pytest.fixture
def double(network):
    """A network in float64, where no sum depends on the batch, and 16 images it is right about."""
    network.double()
    numbers = torch.rand(16, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    return network, numbers.double(), logits(network, numbers.double()).argmax(1)


# Auto-PGD


def test_the_step_size_is_checked_where_the_paper_says():
    # Section 3: p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 of the steps.
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(100)[57] == 41
    assert list(checkpoints(1)) == [1]


def test_the_ratio_by_hand():
    ranked = torch.tensor([[5.0, 3.0, 1.0, 0.0, -7.0]])
    ratio = difference_of_logits_ratio(ranked, LABEL, torch.tensor([1]))
    torch.testing.assert_close(ratio, torch.tensor([(3 - 5) / (5 - 0.5)]))
    three = difference_of_logits_ratio(ranked[:, :3], LABEL, torch.tensor([2]))
    torch.testing.assert_close(three, torch.tensor([(1 - 5) / (5 - 1.0)]))
    two = difference_of_logits_ratio(ranked[:, :2], LABEL, torch.tensor([1]))
    torch.testing.assert_close(two, torch.tensor([-2.0]))


@given(st.floats(0.01, 1e4), st.floats(-100, 100))
@settings(max_examples=25, deadline=None)
def test_scaling_and_shifting_all_logits_changes_no_ratio(scale, shift):
    ranked = torch.tensor([[5.0, 3.0, 1.0, 0.0, -7.0]]).double()
    classes = torch.tensor([2])
    moved = difference_of_logits_ratio(scale * ranked + shift, LABEL, classes)
    torch.testing.assert_close(moved, difference_of_logits_ratio(ranked, LABEL, classes))


def test_wrong_classes_come_likeliest_first_and_never_the_label():
    model = Linear([[0.0] * 4] * 5, [1.0, 5.0, 3.0, 4.0, 2.0])
    images = image(*[0.5] * 4).expand(2, 1, 2, 2)
    classes = wrong_classes(Target(model, images, torch.tensor([1, 4])))
    assert torch.stack(classes, 1).tolist() == [[3, 2, 4, 0], [1, 3, 2, 0]]
    aims = torch.tensor([2, 3])
    assert wrong_classes(Target(model, images, torch.tensor([1, 4]), aims=aims)) == [aims]


def test_a_saturated_softmax_stops_the_cross_entropy_but_not_the_ratio():
    weight = [[900.0, 0.0, 0.0, 0.0], [0.0, 900.0, 0.0, 0.0], [0.0] * 4, [1.0] * 4]
    target = Target(Linear(weight), image(0.6, 0.45, 0.5, 0.5), LABEL)
    # At most 0.03 from the image the first logit is 81 or more ahead wherever a run may start.
    by_cross_entropy = attack("apgd-ce", target, [0.03], steps=20)
    assert by_cross_entropy.gradients.zero_images == by_cross_entropy.gradients.images == 20
    towards_a_class = attack("apgd-t", target, [0.08], steps=20)
    assert towards_a_class.gradients.zero_images == 0
    assert target.still_standing(towards_a_class.adversarials[0], torch.tensor([0])).tolist() == []


def plain_apgd(model, images, labels, epsilon, offset, steps):
    """Algorithm 1 of the paper with every step for every image: who was wrong anywhere?"""

    def project(points):
        return torch.clamp(points, images - epsilon, images + epsilon).clamp(0, 1)

    def per_image(values):
        return values.reshape(-1, 1, 1, 1)

    def loss(seen):
        return torch.nn.functional.cross_entropy(seen.logits, labels, reduction="none")

    points = (images + offset).clamp(0, 1)
    seen = loss_gradient(model, points, labels)
    broken = (logits(model, images).argmax(1) != labels) | (seen.logits.argmax(1) != labels)
    size = torch.full((len(images),), 2 * epsilon, dtype=images.dtype)
    before, history = points, [loss(seen)]
    best, best_points, best_gradient = history[0], points, seen.gradient
    checked, best_then, halved = 0, best, torch.ones_like(broken)
    gradient = seen.gradient
    for step in range(steps):
        share = 0.75 if step else 1.0
        ahead = project(points + per_image(size) * gradient.sign())
        following = project(points + share * (ahead - points) + (1 - share) * (points - before))
        before, points = points, following
        seen = loss_gradient(model, points, labels)
        broken |= seen.logits.argmax(1) != labels
        gradient = seen.gradient
        history.append(loss(seen))
        better = history[-1] > best
        best = torch.where(better, history[-1], best)
        best_points = torch.where(per_image(better), points, best_points)
        best_gradient = torch.where(per_image(better), gradient, best_gradient)
        if step + 1 in checkpoints(steps):
            recent = history[checked:]
            rises = sum((b > a).long() for a, b in pairwise(recent))
            enough = rises > 0.75 * (step + 1 - checked)
            halved = ~enough | (~halved & (best_then >= best))
            size = torch.where(halved, size / 2, size)
            points = torch.where(per_image(halved), best_points, points)
            gradient = torch.where(per_image(halved), best_gradient, gradient)
            checked, best_then = step + 1, best
    return broken


def test_leaving_early_loses_apgd_no_error(double):
    target = Target(*double)
    offset = 2 * target.uniform("apgd-ce", 0) - 1
    offset = offset / offset.abs().amax((1, 2, 3), keepdim=True)
    for epsilon in (0.003, 0.006):
        (found,) = attack("apgd-ce", target, [epsilon], steps=30).adversarials
        broken = logits(target.model, found).argmax(1) != target.labels
        assert 0 < broken.sum() < 16
        assert torch.equal(broken, plain_apgd(*double, epsilon, epsilon * offset, steps=30))


def test_apgd_halves_its_step_until_it_meets_a_narrow_peak():
    # Wrong only within 0.0002 of 0.543, where the loss has its peak: steps of 2 * epsilon / 8 leap
    # over it, and so do those of PGD.
    def peak(images):
        other = 0.0002 - (images.flatten(1)[:, 0] - 0.543).abs()
        return torch.stack([torch.zeros_like(other), other], 1)

    target = Target(Answers(peak), image(0.5, 0.5, 0.5, 0.5), LABEL)
    everyone = torch.tensor([0])
    (by_apgd,) = attack("apgd-ce", target, [0.1]).adversarials
    (by_pgd,) = attack("pgd", target, [0.1], steps=100).adversarials
    assert target.still_standing(by_apgd, everyone).tolist() == []
    assert target.still_standing(by_pgd, everyone).tolist() == [0]


# Square


def test_squares_shrink_as_the_paper_says():
    # The share 0.8 of 28 x 28 pixels, halved after 10, 50, 200, 500, ... of 10,000 squares.
    queries = (1, 11, 12, 51, 52, 201, 202, 9000)
    sides = [side_of_square(query, 10_000, 28, 28) for query in queries]
    assert sides == [25, 25, 18, 18, 13, 13, 9, 1]
    # In proportion where there are fewer: after 1, 5, 20, ... of 1,000.
    assert [side_of_square(query, 1000, 28, 28) for query in (1, 2, 3, 6, 7)] == [
        25,
        25,
        18,
        18,
        13,
    ]
    assert side_of_square(1, 10_000, 10, 40) == 10  # no higher than the image


@given(st.integers(1, 3000), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_query_changes_one_square_inside_the_image(query, seed):
    images = torch.zeros(8, 3, 9, 12)
    target = Target(torch.nn.Identity(), images, torch.zeros(8), seed=seed)
    inside, upwards = _patch(target, 0, query, 5000, torch.arange(8))
    side = side_of_square(query, 5000, 9, 12)
    assert inside.shape == (8, 1, 9, 12)
    assert upwards.shape == (8, 3, 1, 1)
    assert inside.any(3).sum((1, 2)).tolist() == [side] * 8
    assert inside.any(2).sum((1, 2)).tolist() == [side] * 8
    assert inside.sum((1, 2, 3)).tolist() == [side**2] * 8


def test_square_breaks_a_model_without_gradients_within_its_queries():
    def steps_only(images):
        other = (images.flatten(1).sum(1) * 50).floor() / 50 - 2.3
        return torch.stack([torch.zeros_like(other), other], 1).detach()

    model = Answers(steps_only)
    target = Target(model, image(*[0.5] * 4).expand(6, 1, 2, 2), torch.zeros(6).long())
    (found,) = attack("square", target, [0.1], queries=60).adversarials
    assert logits(model, found).argmax(1).tolist() == [1] * 6
    assert ((found - 0.5).abs() - 0.1).abs().max() < 1e-6  # every pixel is at an end of the ball
    model.seen.clear()
    attack("square", Target(model, image(*[0.1] * 4), LABEL), [0.1], queries=60)
    assert len(model.seen) == 1 + 60  # out of reach: the clean pass, and every query


def test_square_aims():
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], [0.56, 0.0, 0.0])
    target = Target(model, image(0.52, 0.5, 0.5, 0.5), LABEL, aims=torch.tensor([2]))
    (found,) = attack("square", target, [0.15], queries=200).adversarials
    assert model(found).argmax(1).item() == 2


# FAB


def exact_offset(points, gradient, value):
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


@given(st.integers(0, 10**6), st.floats(-1.5, 1.5))
@settings(max_examples=40, deadline=None)
def test_the_offset_to_the_boundary_is_the_smallest(seed, value):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(1, 1, 2, 3, generator=generator, dtype=torch.float64)
    gradient = torch.randn(1, 1, 2, 3, generator=generator, dtype=torch.float64)
    gradient[0, 0, 0, 0] = 0
    points[0, 0, 1, 1] = 1
    found = offset_to_boundary(points, gradient, torch.tensor([value], dtype=torch.float64))
    assert (points + found).min() >= -1e-9
    assert (points + found).max() <= 1 + 1e-9
    optimum = exact_offset(points.flatten().tolist(), gradient.flatten().tolist(), value)
    reached = value + (gradient * found).sum().item()
    if optimum is None:  # then it goes as far as it can
        assert abs(reached) > 0
        corner = torch.where(-value * gradient > 0, 1 - points, points) * gradient.abs()
        assert abs(reached) == pytest.approx(abs(value) - corner.sum().item())
    else:
        assert reached == pytest.approx(0, abs=1e-9)
        assert found.abs().max().item() == pytest.approx(
            optimum, abs=1e-6
        )  # the solver's own tolerance


def test_fab_finds_the_distance_to_a_plane():
    # Label 0 leads by 0.6; the second class's slopes are 1, 2, 0, 1, so 0.15 everywhere is enough.
    model = Linear([[0.0] * 4, [1.0, 2.0, 0.0, 1.0], [0.1, 0.0, 0.0, 0.0]], [2.6, 0.0, 0.0])
    target = Target(model, image(*[0.5] * 4), LABEL)
    result = attack("fab", target, [0.14, 0.16])
    assert 0.15 < result.distances.item() < 0.151
    assert torch.equal(result.adversarials[0], target.images)
    assert model(result.adversarials[1]).argmax(1).item() == 1


def test_fab_aims_at_the_farther_class():
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], [0.6, 0.0, 0.0])
    target = Target(model, image(0.55, 0.4, 0.5, 0.5), LABEL, aims=torch.tensor([2]))
    result = attack("fab", target, [0.3])
    assert 0.2 < result.distances.item() < 0.22
    assert model(result.adversarials[0]).argmax(1).item() == 2


# AutoAttack


def test_autoattack_breaks_what_any_of_its_parts_breaks(double):
    target, broken = Target(*double), {}
    for name in ("apgd-ce", "apgd-t", "fab", "autoattack"):
        (found,) = attack(name, target, [0.003], steps=2, queries=6).adversarials
        broken[name] = target.reached(logits(target.model, found), torch.arange(16))
    together = broken.pop("autoattack")
    assert 0 < broken["apgd-ce"].sum() < together.sum() < 16
    assert (together | ~torch.stack(list(broken.values())).any(0)).all()


def test_autoattack_breaks_with_squares_what_has_no_gradient():
    # Gradients of exact zeros everywhere, and an answer that changes by steps.
    def flat(images):
        pixels = images.flatten(1).sum(1)
        other = (pixels * 50).floor() / 50 - 2.3 + 0 * pixels
        return torch.stack([torch.zeros_like(other), other], 1)

    target = Target(Answers(flat), image(*[0.5] * 4), LABEL)
    for name, stands in (("apgd-ce", [0]), ("apgd-t", [0]), ("fab", [0]), ("autoattack", [])):
        (found,) = attack(name, target, [0.1], steps=5, queries=60).adversarials
        assert target.still_standing(found, torch.tensor([0])).tolist() == stands
