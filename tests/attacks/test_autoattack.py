"""AutoAttack: its parts in their order, each on what the others left."""

import pytest
import torch
from pyautoattack.square import SquareAttack

from tests.attacks.models import Answers, image
from tests.attacks.trajectories import Recorder, start
from winnrobust.attacks import ATTACKS, Run, logits
from winnrobust.attacks.apgd import apgd_ce, apgd_t
from winnrobust.attacks.autoattack import autoattack
from winnrobust.attacks.fab import fab
from winnrobust.attacks.square import square

LABEL = torch.tensor([0])


@pytest.fixture
def double(network):
    """A network in float64, where no sum depends on the batch, and 16 images it is right about."""
    network.double()
    numbers = torch.rand(16, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    return network, numbers.double(), logits(network, numbers.double()).argmax(1)


def test_the_parts_take_their_own_steps_one_after_the_other():
    # An image that does not break: each part starts from it, and walks as it does alone.
    model, original = Recorder(lead=20.0), start()
    autoattack(model, original, LABEL, epsilon=0.01, steps=4, queries=30)
    together = torch.cat(model.points)
    model.points.clear()
    apgd_ce(model, original, LABEL, epsilon=0.01, steps=4)
    apgd_t(model, original, LABEL, epsilon=0.01, steps=4)
    fab(model, original, LABEL, steps=4, enough=0.01)
    square(model, original, LABEL, epsilon=0.01, queries=30, schedule=10_000)
    alone = torch.cat(model.points)
    # Alone each begins with a clean pass; together the last point of each is looked at.
    place = 0
    for point in alone:
        if torch.equal(point, original[0]):
            continue
        while not torch.equal(together[place], point):
            place += 1
    assert place == len(together) - 1
    assert len(together) <= len(alone) + 3


def test_its_squares_shrink_by_the_schedule_of_ten_thousand():
    # No answer changes: the stripes stay the best, and every square is seen on them.
    model = Answers(lambda images: torch.eye(2)[0] + 0 * images.flatten(1)[:, :2])
    seen = []
    model.register_forward_pre_hook(lambda _, images: seen.append(images[0].clone()))
    gray = torch.full((1, 3, 28, 28), 0.5)
    autoattack(model, gray, LABEL, epsilon=0.1, steps=1, queries=220)
    stripes, *squares = seen[-220:]
    heights = [int((tried != stripes).any(1).any(2).sum()) for tried in squares]
    theirs = SquareAttack(None, n_queries=5000, resc_schedule=False)
    assert heights == [round((theirs.p_selection(at) * 28 * 28) ** 0.5) for at in range(219)]


def test_it_breaks_what_any_of_its_parts_breaks(double):
    model, images, labels = double
    broken = {}
    for name, settings in {
        "apgd-ce": {"steps": 2},
        "apgd-t": {"steps": 2},
        "autoattack": {"steps": 2, "queries": 6},
    }.items():
        found = ATTACKS[name].function(model, images, labels, epsilon=0.003, **settings).images
        broken[name] = logits(model, found).argmax(1) != labels
    broken["fab"] = fab(model, images, labels, steps=2).distance <= 0.003
    together = broken.pop("autoattack")
    assert 0 < broken["apgd-ce"].sum() < together.sum() < 16
    assert (together | ~torch.stack(list(broken.values())).any(0)).all()


def test_squares_break_what_has_no_gradient():
    # Gradients of exact zeros everywhere, and an answer that changes by steps.
    def flat(images):
        pixels = images.flatten(1).sum(1)
        other = (pixels * 50).floor() / 50 - 2.3 + 0 * pixels
        return torch.stack([torch.zeros_like(other), other], 1)

    model, images = Answers(flat), image(*[0.5] * 4)
    settings = {"epsilon": 0.1, "steps": 5}
    assert model(apgd_ce(model, images, LABEL, **settings).images).argmax(1).item() == 0
    assert model(apgd_t(model, images, LABEL, **settings).images).argmax(1).item() == 0
    assert fab(model, images, LABEL, steps=5).distance.item() == torch.inf
    result = autoattack(model, images, LABEL, queries=60, **settings)
    assert model(result.images).argmax(1).item() == 1
    statistics = result.statistics.on_host()
    assert statistics.zero_images == statistics.images > 0


def test_what_every_part_spent_is_counted():
    model, original = Recorder(lead=20.0), start()
    result = autoattack(model, original, LABEL, epsilon=0.01, steps=4, queries=30)
    assert result.gradients.tolist() == [4 + 3 * 4 + 3 * 4]  # 3 wrong classes
    assert result.gradients.sum() == result.statistics.on_host().images
    # Every question but the clean pass is a gradient or a query.
    assert result.gradients + result.queries == len(model.points) - 1


def test_in_l2_it_is_the_standard_version_in_l2():
    model, original = Recorder(lead=20.0), start()
    result = autoattack(model, original, LABEL, epsilon=0.05, norm="l2", steps=4, queries=30)
    assert result.gradients.tolist() == [4 + 3 * 4 + 3 * 4]
    apgd_ce(model, original, LABEL, epsilon=0.05, norm="l2", steps=4)
    assert torch.equal(model.points[1], model.points[-4])  # after the clean passes
    assert (result.images - original).norm() <= 0.05 + 1e-9


def test_in_l1_apgd_ce_starts_five_times_and_apgd_t_tries_five_classes():
    model, original = Recorder(classes=8, lead=30.0), start()
    result = autoattack(model, original, LABEL, epsilon=0.1, norm="l1", steps=10, queries=30)
    # The last points in the two larger balls are looked at, too; FAB tries all 7 wrong classes.
    assert result.gradients.tolist() == [5 * 12 + 5 * 12 + 7 * 10]
    assert (result.images - original).abs().sum() <= 0.1 + 1e-9


def test_restarts_are_those_of_apgd_and_square():
    model = Recorder(lead=20.0)
    result = autoattack(model, start(), LABEL, epsilon=0.01, steps=2, restarts=3, queries=5)
    assert result.gradients.tolist() == [3 * 2 + 3 * 3 * 2 + 3 * 2]
    first, second, third = model.points[-3 * 5 :: 5]  # the stripes
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_fab_ends_once_it_is_within_epsilon(monkeypatch):
    enough = []

    def remember(*arguments, **settings):
        enough.append(settings["enough"])
        return fab(*arguments, **settings)

    monkeypatch.setattr("winnrobust.attacks.autoattack.fab", remember)
    autoattack(Recorder(lead=20.0), start(), LABEL, epsilon=0.01, steps=2, queries=2)
    assert enough == [0.01]


def test_by_default_it_is_the_standard_version():
    settings = ATTACKS["autoattack"].parameters
    assert (settings["steps"], settings["restarts"], settings["queries"]) == (100, 1, 5000)


def test_an_example_of_fabs_outside_the_ball_is_none():
    # Nothing within 0.01 is wrong, but FAB finds something farther away.
    model, original = Recorder(lead=5.0), start()
    assert 0.01 < fab(model, original, LABEL, steps=10).distance.item() < torch.inf
    result = autoattack(model, original, LABEL, epsilon=0.01, steps=10, queries=5)
    assert (result.images - original).abs().max() <= 0.01 + 1e-12


def test_it_ends_with_what_it_has_when_time_runs_out():
    model = Recorder(lead=5.0)
    result = autoattack(model, start(), LABEL, epsilon=0.1, run=Run(deadline=0.0))
    assert result.unfinished.tolist() == [True]
    assert torch.equal(result.images, start())
    assert model.points == []


def test_a_target_is_reached():
    model, targets = Recorder(lead=3.0), torch.tensor([2])
    result = autoattack(
        model, start(), LABEL, epsilon=0.2, steps=20, queries=50, run=Run(targets=targets)
    )
    assert model.answer(result.images).argmax(1).item() == 2


def test_time_that_runs_out_in_the_last_part_is_said(monkeypatch):
    model = Recorder(lead=20.0)  # an image that does not break

    def unfinished(deadline: float) -> list[bool]:
        model.points.clear()
        monkeypatch.setattr("time.monotonic", lambda: len(model.points))
        run = Run(deadline=deadline)
        result = autoattack(model, start(), LABEL, epsilon=0.01, steps=2, queries=60, run=run)
        return result.unfinished.tolist()

    assert unfinished(torch.inf) == [False]
    passes = len(model.points)
    assert unfinished(passes - 30) == [True]  # in the middle of square's queries
