"""The Square Attack: point by point beside the authors' code, and on paper."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.square import SquareAttack

from tests.attacks.models import Answers, Linear, image
from tests.attacks.trajectories import Recorder, in_float64, start
from winnrobust.attacks import NORMS, Run, draws, logits
from winnrobust.attacks.square import place_squares, side_of_square, square

LABEL = torch.tensor([0])
COLOR = (3, 9, 9)
"""Three channels, because each has signs of its own."""
EPSILON = {"linf": 0.02, "l2": 0.3, "l1": 10.0}


# The same points as the authors' code


class Replayed(SquareAttack):
    """The authors' code with our random numbers, in the order in which we drew them.

    It draws places and signs for a whole batch, so it gets one image. The last place of all, which
    the authors leave out, it draws as the paper does.
    """

    def __init__(self, drawn: list[torch.Tensor], *args, **options) -> None:
        super().__init__(*args, **options)
        self.drawn = iter(drawn)
        self.left: list[float] = []

    def take(self, count: int = 1) -> torch.Tensor:
        if not self.left:
            self.left = next(self.drawn).flatten().tolist()
        taken, self.left = self.left[:count], self.left[count:]
        return torch.tensor(taken)

    def random_int(self, low=0, high=1, shape=(1,)):
        return (low + (high - low + 1) * self.take()).long()

    def random_choice(self, shape):
        return torch.where(self.take(math.prod(shape)) < 0.5, 1.0, -1.0).reshape(shape)


def projection(images, offsets, epsilon):
    points = images + offsets
    return NORMS["l1"].project(points, images, epsilon) - points


def beside_the_authors(monkeypatch, queries, rescaled, original=None, norm="linf", **options):
    """Attack an image that does not break, with both; return the points (queries, C, H, W)."""
    drawn: list[torch.Tensor] = []

    def remember(*arguments):
        drawn.append(uniform(*arguments))
        return drawn[-1]

    uniform = draws.uniform
    monkeypatch.setattr(draws, "uniform", remember)
    original = start(COLOR) if original is None else original
    model, epsilon = Recorder(tuple(original.shape[1:]), lead=20.0), EPSILON[norm]
    square(model, original, LABEL, epsilon=epsilon, norm=norm, queries=queries, **options)
    ours = torch.cat(model.points[1:])  # after the clean pass
    model.points.clear()
    theirs = Replayed(
        drawn, model, norm=NORMS[norm].display, n_queries=queries, eps=epsilon,
        resc_schedule=rescaled, device="cpu",
    )  # fmt: skip
    theirs.init_hyperparam(original)
    monkeypatch.setattr(torch, "rand", lambda shape: theirs.take())  # whether a bump is turned
    # Their projection is float32: what it should leave unchanged it changes by a rounding, which
    # then is scaled to the size of a bump. Tests of the norms compare both projections.
    monkeypatch.setattr("pyautoattack.square.L1_projection", projection)
    with in_float64(), pytest.raises(StopIteration):  # it tries one square more than we do
        theirs.attack_single_run(original, LABEL)
    return ours, torch.cat(model.points)


@pytest.mark.parametrize("queries", [60, 250, 1000])
def test_every_point_is_the_authors(queries, monkeypatch):
    ours, theirs = beside_the_authors(monkeypatch, queries, rescaled=True)
    assert len(ours) == queries
    assert len(ours.flatten(1).unique(dim=0)) > queries / 2
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)  # their eps is a float32


def test_every_point_is_the_authors_where_the_box_ends(monkeypatch):
    black_to_white = ((start(COLOR) - 0.45) * 10).clamp(0, 1)
    ours, theirs = beside_the_authors(monkeypatch, 100, rescaled=True, original=black_to_white)
    assert ours.min() == 0
    assert ours.max() == 1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_every_point_of_the_first_queries_of_the_full_schedule_is_the_authors(monkeypatch):
    ours, theirs = beside_the_authors(monkeypatch, 300, rescaled=False, schedule=10_000)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize(("size", "contrast"), [(21, 1), (22, 1), (21, 10)])  # which tiles fit
def test_every_bump_is_the_authors(norm, size, contrast, monkeypatch):
    original = (contrast * (start((3, size, size)) - 0.5) + 0.5).clamp(0, 1)
    ours, theirs = beside_the_authors(monkeypatch, 120, True, original, norm)
    assert len(ours) == 120
    assert len(ours.flatten(1).unique(dim=0)) > 60
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)  # theirs leaves 1e-6 of epsilon


@pytest.mark.parametrize("schedule", [300, 777, 2500, 5000, 10_000])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (32, 32), (9, 16)])
def test_the_sides_are_the_authors(schedule, height, width):
    theirs = SquareAttack(None, n_queries=schedule, resc_schedule=schedule != 10_000)
    for query in range(1, schedule):
        expected = round((theirs.p_selection(query - 1) * height * width) ** 0.5)
        expected = min(max(expected, 1), height, width)
        assert side_of_square(query, schedule, height, width) == expected, query


def test_squares_shrink_as_the_paper_says():
    # The share 0.8 of 28 x 28 pixels, halved after 10, 50, 200, 500, ... of 10,000 squares.
    queries = (1, 11, 12, 51, 52, 201, 202, 9000)
    sides = [side_of_square(query, 10_000, 28, 28) for query in queries]
    assert sides == [25, 25, 18, 18, 13, 13, 9, 1]
    # In proportion where there are fewer: after 1, 5, 20, ... of 1,000.
    sides = [side_of_square(query, 1000, 28, 28) for query in (1, 2, 3, 6, 7)]
    assert sides == [25, 25, 18, 18, 13]
    assert side_of_square(1, 10_000, 10, 40) == 10  # no higher than the image


@given(st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_query_changes_one_square_inside_the_image(side, seed):
    drawn = draws.uniform(torch.arange(8), (2 + 3,), seed)
    inside, upwards = place_squares(drawn, side, 9, 12)
    assert inside.shape == (8, 1, 9, 12)
    assert upwards.shape == (8, 3, 1, 1)
    assert inside.any(3).sum((1, 2)).tolist() == [side] * 8
    assert inside.any(2).sum((1, 2)).tolist() == [side] * 8
    assert inside.sum((1, 2, 3)).tolist() == [side**2] * 8


def test_squares_come_everywhere():
    inside, _ = place_squares(draws.uniform(torch.arange(2000), (3,), 0), 3, 5, 7)
    assert (inside.sum(0) > 0).all()


# What it does


def steps_only(images):
    """Answer by steps, without a gradient."""
    other = (images.flatten(1).sum(1) * 50).floor() / 50 - 2.3
    return torch.stack([torch.zeros_like(other), other], 1).detach()


def test_a_model_without_gradients_is_broken_within_its_queries():
    model = Answers(steps_only)
    images = image(*[0.5] * 4).expand(6, 1, 2, 2)
    result = square(model, images, torch.zeros(6).long(), epsilon=0.1, queries=60)
    assert logits(model, result.images).argmax(1).tolist() == [1] * 6
    # Every pixel is at an end of the ball.
    assert ((result.images - 0.5).abs() - 0.1).abs().max() < 1e-6
    assert (result.queries <= 60).all()
    assert (result.gradients == 0).all()
    model.seen.clear()
    out_of_reach = square(model, image(*[0.1] * 4), LABEL, epsilon=0.1, queries=60)
    assert len(model.seen) == 1 + 60  # the clean pass, and every query
    assert out_of_reach.queries.tolist() == [60]


def test_an_image_that_does_not_break_ends_at_the_best_point():
    model = Recorder(lead=20.0)
    result = square(model, start(), LABEL, epsilon=0.05, queries=50)
    answers = model.answer(torch.cat(model.points))
    margins = answers[:, 1:].amax(1) - answers[:, 0]
    torch.testing.assert_close(result.images[0], torch.cat(model.points)[margins.argmax()])


def test_restarts_search_anew_for_what_is_not_broken():
    model = Recorder(lead=20.0)
    square(model, start(), LABEL, epsilon=0.05, queries=20, restarts=2)
    tried = torch.cat(model.points[1:])
    assert len(tried) == 40
    assert not torch.equal(tried[0], tried[20])


def test_a_target_is_reached():
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], [0.56, 0.0, 0.0])
    run = Run(targets=torch.tensor([2]))
    result = square(model, image(0.52, 0.5, 0.5, 0.5), LABEL, epsilon=0.15, queries=200, run=run)
    assert model(result.images).argmax(1).item() == 2


@pytest.mark.parametrize(("scale", "shift"), [(1e-4, 0), (1e4, 0), (1, 1e3), (1e4, -1e6)])
def test_the_scale_of_the_logits_does_not_matter(scale, shift):
    def attacked(scale, shift):
        net = Recorder(lead=5.0)
        model = Answers(lambda images: net.answer(images) * scale + shift)
        images = torch.cat([start(seed=seed) for seed in range(8)])
        return square(model, images, torch.zeros(8).long(), epsilon=0.05, queries=150)

    usual, scaled = attacked(1, 0), attacked(scale, shift)
    assert 0 < (usual.queries < 150).sum() < 8
    assert torch.equal(usual.queries, scaled.queries)
    torch.testing.assert_close(usual.images, scaled.images)


# Random numbers


def test_squares_differ_by_seed_image_and_restart():
    def tried(**run):
        model = Recorder(lead=20.0)
        square(model, start(), LABEL, epsilon=0.05, queries=20, restarts=2, run=Run(**run))
        return torch.cat(model.points[1:]).reshape(2, 20, 36)

    assert torch.equal(tried(), tried())
    for other in (tried(seed=1), tried(first=1), tried().flip(0)):
        assert ((tried() - other).abs().amax(2) > 0.01).all()


def test_numbers_are_drawn_for_the_images_that_are_left_alone(monkeypatch):
    def brightness(images):
        mean = images.flatten(1).mean(1)
        return torch.stack([torch.zeros_like(mean), mean - 0.55], 1)

    numbers = []
    uniform = draws.uniform

    def remember(asked, *arguments):
        numbers.append(asked.tolist())
        return uniform(asked, *arguments)

    monkeypatch.setattr(draws, "uniform", remember)
    # Wrong already; soon broken; out of reach.
    images = torch.tensor([0.6, 0.53, 0.1]).reshape(3, 1, 1, 1).expand(3, 1, 5, 5)
    run = Run(first=7)
    square(Answers(brightness), images, LABEL.repeat(3), epsilon=0.05, queries=80, run=run)
    assert numbers[0] == [8, 9]
    assert numbers[-1] == [9]
    assert len(numbers) == 80
