"""HopSkipJump: query by query beside foolbox's, and against known distances."""

import math

import eagerpy
import foolbox
import pytest
import torch

from tests.attacks.models import Answers, Linear, image
from tests.attacks.trajectories import Recorder, first_visits, start
from winnrobust.attacks import ATTACKS, Run, draws, logits, run_attack
from winnrobust.attacks.hopskipjump import hopskipjump
from winnrobust.runtime.errors import InputError

LABEL = torch.tensor([0])
BISECTIONS = math.ceil(math.log2(36**1.5))
"""Halvings of [0, 1] until what is left is below the paper's theta = d^-1.5, for 36 pixels."""


@pytest.fixture
def walked(monkeypatch):
    """A walk of 6 steps: the net with all its questions, and the random offsets drawn."""
    drawn: list[torch.Tensor] = []
    normal = draws.normal

    def remember(*arguments):
        drawn.append(normal(*arguments))
        return drawn[-1]

    monkeypatch.setattr(draws, "normal", remember)
    model = Recorder(lead=6.0)
    hopskipjump(model, start(seed=3), LABEL, queries=2000, steps=6)
    wrong = [model.answer(point).argmax(1).item() != 0 for point in model.points]
    # What comes before the first wrong point are starts that failed.
    return model, model.points[wrong.index(True) :], drawn


def test_every_point_is_foolboxs(walked, monkeypatch):
    # foolbox scales a step by the norm of the whole batch's gradient: so it gets one image.
    model, ours, drawn = walked
    numbers = iter(drawn)

    def ours_too(like, shape):
        return eagerpy.astensor(torch.stack([next(numbers).double() for _ in range(shape[0])]))

    monkeypatch.setattr(eagerpy, "normal", ours_too)
    model.points.clear()
    victim = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    foolbox.attacks.HopSkipJumpAttack(steps=6).run(
        victim, start(seed=3), foolbox.criteria.Misclassification(LABEL), starting_points=ours[0]
    )
    assert len(list(numbers)) == 0
    ours, theirs = first_visits(ours), first_visits(model.points)
    assert len(ours) > 1000
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)


def test_a_step_follows_the_paper_by_hand(walked):
    model, points, _ = walked
    original = start(seed=3)

    def is_wrong(point):
        return model.answer(point).argmax(1).item() != 0

    asked = iter(points[1:])
    boundary = points[0]
    for step in (1, 2, 3):
        bisected = [next(asked) for _ in range(BISECTIONS)]
        boundary = next((p for p in reversed(bisected) if is_wrong(p)), boundary)
        distance = (boundary - original).norm()
        around = [next(asked) for _ in range(int(100 * step**0.5))]
        # Equation 16, with the offsets that are left after clipping to [0, 1].
        offsets = torch.cat(around) - boundary
        radius = 0.1 if step == 1 else distance / 36
        assert offsets.flatten(1).norm(dim=1).max() == pytest.approx(float(radius), rel=1e-5)
        signs = torch.tensor([1.0 if is_wrong(point) else -1.0 for point in around]).double()
        assert abs(signs.mean()) < 1
        direction = ((signs - signs.mean()).reshape(-1, 1, 1, 1) * offsets).mean(0)
        direction = direction / direction.norm()
        # Geometric progression of the step size from d / sqrt(t).
        size = distance / math.sqrt(step)
        tried = next(asked)
        torch.testing.assert_close(tried[0], (boundary[0] + size * direction).clamp(0, 1))
        while not is_wrong(tried):
            size, tried = size / 2, next(asked)
            torch.testing.assert_close(tried[0], (boundary[0] + size * direction).clamp(0, 1))
        boundary = tried


def test_it_needs_decisions_only_and_keeps_to_its_queries():
    def decisions(images):
        wrong = 3 * images.flatten(1)[:, 0] - 4 * images.flatten(1)[:, 1] > 0.5
        return torch.nn.functional.one_hot(wrong.long(), 2).float()

    model = Answers(decisions)
    images = torch.cat([image(0.5, 0.375, 0.5, 0.5), image(0.5, 0.5, 0.1, 0.9)])
    result = hopskipjump(model, images, torch.tensor([0, 0]), queries=700)
    assert (result.queries > 600).all()
    assert (result.queries <= 700).all()
    assert (result.gradients == 0).all()
    torch.testing.assert_close(result.distance, torch.tensor([0.1, 0.2]), rtol=0.05, atol=0)
    assert logits(model, result.images).argmax(1).tolist() == [1, 1]


def test_nothing_is_found_where_no_random_image_is_wrong():
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]], [5.0, 0.0])
    (result,) = run_attack(
        ATTACKS["hopskipjump"], model, image(*[0.5] * 4), LABEL, [9.0], run=Run()
    )
    assert result.distance.tolist() == [float("inf")]
    assert torch.equal(result.images, image(*[0.5] * 4))
    assert result.queries.tolist() == [50]


def test_starts_become_darker():
    # Wrong in the dark only.
    def answer(images):
        dark = 0.2 - images.flatten(1).mean(1)
        return torch.stack([torch.zeros_like(dark), dark], 1)

    result = hopskipjump(Answers(answer), torch.full((1, 1, 6, 6), 0.9), LABEL, queries=400)
    assert result.distance.item() < 6 * 0.7 * 1.1


@pytest.mark.parametrize("neighbours", [[], [1], [2, 3]])
def test_an_image_walks_alike_whoever_is_beside_it(neighbours):
    # Neighbours whose starts and steps take other numbers of trials.
    model = Recorder(lead=6.0)
    images = torch.cat([start(seed=seed) for seed in (3, *(10 * n for n in neighbours))])
    labels = torch.zeros(len(images)).long()
    alone = hopskipjump(model, images[:1], labels[:1], queries=900)
    beside = hopskipjump(model, images, labels, queries=900)
    torch.testing.assert_close(beside.images[:1], alone.images)
    assert beside.queries[0] == alone.queries[0]


def test_numbers_are_drawn_for_the_images_that_have_a_start_alone(monkeypatch):
    asked = []
    normal = draws.normal

    def remember(numbers, *arguments):
        asked.append(numbers.tolist())
        return normal(numbers, *arguments)

    monkeypatch.setattr(draws, "normal", remember)

    # The first image is wrong already; few random images are bright enough to be a start.
    def answer(images):
        other = images.flatten(1)[:, 0] - 0.8
        return torch.stack([torch.zeros_like(other), other], 1)

    images = torch.cat([image(0.99, 0.5, 0.5, 0.5), image(*[0.5] * 4).expand(9, 1, 2, 2)])
    result = hopskipjump(Answers(answer), images, LABEL.repeat(10), queries=200, run=Run(first=4))
    started = (result.distance.isfinite() & (result.distance > 0)).nonzero().flatten() + 4
    assert 0 < len(started) < 9
    assert asked
    assert all(numbers == started.tolist() for numbers in asked)


def test_a_model_that_returns_no_logits_is_an_error():
    with pytest.raises(InputError, match="must return a tensor of logits"):
        hopskipjump(Answers(lambda images: [1]), image(*[0.5] * 4), LABEL)
