"""Random noise, on models whose answer is known."""

import pytest
import torch

from tests.attacks.models import Answers
from tests.attacks.trajectories import Recorder, start
from winnrobust.attacks import ATTACKS, Run, run_attack
from winnrobust.attacks.noise import noise

LABEL = torch.tensor([0])


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.3), ("l2", 2.0)])
def test_draws_are_tried_until_one_works(norm, epsilon):
    # Wrong where the first pixel grows: one draw in two.
    def answer(images):
        other = images.flatten(1)[:, 0] - 0.5001
        return torch.stack([torch.zeros_like(other), other], 1)

    model, images = Answers(answer), torch.full((200, 1, 3, 3), 0.5)
    once, often = (
        noise(model, images, LABEL.repeat(200), epsilon=epsilon, norm=norm, restarts=restarts)
        for restarts in (1, 3)
    )
    broken = [(answer(r.images).argmax(1) == 1).float().mean().item() for r in (once, often)]
    assert broken[0] == pytest.approx(1 / 2, abs=0.12)
    assert broken[1] == pytest.approx(7 / 8, abs=0.1)
    # The last draw is judged by whoever asked for it.
    assert once.queries.tolist() == [0] * 200
    assert sorted(set(often.queries.tolist())) == [1, 2]


def test_uniform_noise_fills_the_ball():
    model = Recorder(lead=50.0)
    noise(model, start(), LABEL, epsilon=0.1, restarts=60)
    offsets = torch.cat(model.points[1:]) - start()
    assert offsets.abs().max() <= 0.1
    assert offsets.abs().max() > 0.0999
    assert offsets.mean().abs() < 0.01
    assert offsets.std() == pytest.approx(0.2 / 12**0.5, rel=0.05)


def test_gaussian_noise_is_epsilon_long_in_every_direction():
    model = Recorder(lead=50.0)
    noise(model, start(), LABEL, epsilon=0.2, norm="l2", restarts=60)
    offsets = (torch.cat(model.points[1:]) - start()).flatten(1)
    torch.testing.assert_close(offsets.norm(dim=1), torch.full((59,), 0.2).double())
    assert offsets.mean().abs() < 0.01
    assert (offsets / 0.2).abs().mean() == pytest.approx((2 / torch.pi / 36) ** 0.5, rel=0.05)


def test_noise_is_clipped():
    model = Recorder(lead=50.0)
    white = torch.ones(1, 1, 6, 6, dtype=torch.float64)
    model.bias[0] += 100
    noise(model, white, LABEL, epsilon=0.5)
    assert torch.cat(model.points).max() == 1


def test_the_registry_runs_both():
    model = Recorder(lead=5.0)
    for name, epsilon in (("noise-uniform", 0.05), ("noise-gaussian", 0.5)):
        (result,) = run_attack(ATTACKS[name], model, start(), LABEL, [epsilon], run=Run())
        assert not torch.equal(result.images, start())


def test_an_image_that_is_wrong_stays():
    model = Recorder(lead=5.0)
    result = noise(model, start(), torch.tensor([1]), epsilon=0.1)
    assert torch.equal(result.images, start())
    assert len(model.points) == 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_draws_differ_by_seed_image_and_number(norm):
    def drawn(**run):
        model = Recorder(lead=50.0)
        noise(model, start(), LABEL, epsilon=0.1, norm=norm, restarts=3, run=Run(**run))
        return torch.cat(model.points[1:])

    assert torch.equal(drawn(), drawn())
    for other in (drawn(seed=1), drawn(first=1), drawn().flip(0)):
        assert (drawn() - other).abs().amax((1, 2, 3)).min() > 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_there_are_ten_draws(norm):
    model = Recorder(lead=50.0)
    result = noise(model, start(), LABEL, epsilon=0.1, norm=norm)
    assert len({tuple(point.flatten().tolist()) for point in (*model.points, result.images)}) == 11
