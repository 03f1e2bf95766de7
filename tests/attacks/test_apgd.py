"""Auto-PGD: on paper, and step by step beside its authors' code (pyautoattack)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import nn

from tests.attacks.models import LABEL, Answers, Linear, attacked, image, wavy_problem
from tests.attacks.trajectories import in_float64
from winnrobust.attacks import NORMS, Run, draws, find, logits
from winnrobust.attacks.apgd import checkpoints, difference_of_logits_ratio
from winnrobust.attacks.apgd_l1 import sparse_direction

STEPS = 60
BASE = "pyautoattack.autopgd_base"


def likeliest_wrong(model, images, labels):
    found = model(images).scatter(1, labels[:, None], -torch.inf).argmax(1)
    model.inputs.clear()
    return found


def both(name, norm, epsilon):
    """Attack with all steps; return our points, the authors' attack, and what it is run on."""
    model, images, labels = wavy_problem(16)
    classes = likeliest_wrong(model, images, labels)
    # As a target it is the one class that apgd-t tries.
    run = Run(early_stop=False, targets=classes if name == "apgd-t" else None)
    result = attacked(find(name).in_norm(norm), model, images, labels, epsilon, run, steps=STEPS)
    ours = [*model.inputs, result.images]
    model.inputs.clear()
    kind = APGDAttack if name == "apgd-ce" else APGDAttack_targeted
    attack = kind(model, n_iter=STEPS, eps=epsilon, norm=NORMS[norm].display)
    if name == "apgd-t":
        attack.loss, attack.y_target = "dlr-targeted", classes
    attack.init_hyperparam(images)
    return ours, attack, model, images, labels


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t"])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.15), ("l2", 0.3)])
def test_every_step_is_its_authors(name, norm, epsilon):
    ours, attack, model, images, labels = both(name, norm, epsilon)
    with in_float64():  # else it compares losses of float64 that it has rounded to float32
        attack.attack_single_run(images, labels, x_init=ours[0])
    # Steps of 2 * epsilon, momentum, after every check: that is where points could part. (At the
    # first check their code takes the loss of the random start for 0; it makes no difference here.)
    for step in (1, 2, 3, *(check + 1 for check in checkpoints(STEPS) if check < STEPS), STEPS):
        torch.testing.assert_close(ours[step], model.inputs[step], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t"])
def test_every_step_in_l1_is_its_authors(name, monkeypatch):
    ours, attack, model, images, labels = both(name, "l1", 1.5)
    places = ("apgd-ce", 0) if name == "apgd-ce" else ("apgd-t", 0, 0)
    start = draws.normal(torch.arange(16), (1, 4, 4), 0, *places)
    monkeypatch.setattr(torch, "randn_like", lambda images: start.to(images))
    # Their projection leaves roundings (in float32) where it should leave the image, which their
    # count of changed values counts; tests of the norms compare both projections.
    monkeypatch.setattr(f"{BASE}.L1_projection", projection)
    monkeypatch.setattr(f"{BASE}.L0_norm", lambda offsets: (abs(offsets) > 1e-9).flatten(1).sum(1))
    attack.decr_eps_pgd(images, labels, [4.5, 3.0, 1.5], [18, 18, 24])
    # In the two larger balls the last point is looked at, too.
    assert len(ours) == 18 + 1 + 18 + 1 + 24 + 1
    torch.testing.assert_close(torch.stack(ours), torch.stack(model.inputs), atol=1e-6, rtol=0)


def projection(images, offsets, epsilon):
    points = images + offsets
    return NORMS["l1"].project(points, images, epsilon) - points


def test_what_is_wrong_in_a_larger_ball_only_counts_for_nothing():
    # Wrong where the values are 1.5 farther than the image in sum; 3 times epsilon is.
    model = Linear([[0.0] * 4, [1.0] * 4], [3.5, 0.0])
    attack = find("apgd-ce").in_norm("l1")
    short, enough = (
        attacked(attack, model, image(*[0.5] * 4), LABEL, epsilon, steps=20)
        for epsilon in (1.2, 1.6)
    )
    assert model(short.images).argmax(1).item() == 0
    assert (short.images - 0.5).abs().sum() == pytest.approx(1.2, abs=1e-5)
    assert short.gradients.item() == 22
    assert model(enough.images).argmax(1).item() == 1
    assert 14 < enough.gradients.item() < 22  # six steps and a look in each of the larger balls


def test_sparse_directions_by_hand():
    gradient = torch.tensor([[3.0, -4.0, 0.0, 1.0]] * 3).reshape(3, 1, 2, 2)
    found = sparse_direction(gradient, torch.tensor([0.25, 0.5, 0.0]))
    torch.testing.assert_close(
        found.flatten(1), torch.tensor([[0, -1, 0, 0], [0.5, -0.5, 0, 0], [0, -1, 0, 0]])
    )


class Script(nn.Module):
    """Losses of label 0 and their gradients (steps, n, ...) as written, whatever the images are."""

    def __init__(self, losses, gradients) -> None:
        super().__init__()
        self.losses, self.gradients = losses, gradients
        self.inputs: list[torch.Tensor] = []

    def forward(self, images):
        step = len(self.inputs)
        self.inputs.append(images.detach().clone())
        slope = (self.gradients[step] * (images - images.detach())).flatten(1).sum(1)
        other = self.losses[step] + slope
        return torch.stack([torch.zeros_like(other), other], 1)


def test_the_step_is_halved_where_its_authors_halve_it():
    # Losses that rise three times in four, so that every condition is met by some of 200 images:
    # too few rises, just enough, no new best, and the halving before.
    generator = torch.Generator().manual_seed(0)
    rises = torch.rand(STEPS + 1, 200, generator=generator) < 0.78
    heights = torch.rand(STEPS + 1, 200, generator=generator, dtype=torch.float64)
    losses = torch.where(rises, heights, -3 * heights).cumsum(0)
    losses[0] = losses[1] - 1  # the first step rises, which their code takes for granted
    gradients = torch.randn(STEPS + 1, 200, 1, 2, 2, generator=generator, dtype=torch.float64)
    images = torch.full((200, 1, 2, 2), 0.5, dtype=torch.float64)
    labels = torch.zeros(200, dtype=torch.int64)
    ours, theirs = (Script(losses, gradients) for _ in range(2))
    result = attacked("apgd-ce", ours, images, labels, 0.1, Run(early_stop=False), steps=STEPS)
    attack = APGDAttack(theirs, n_iter=STEPS, eps=0.1)
    attack.init_hyperparam(images)
    with in_float64():
        attack.attack_single_run(images, labels, x_init=ours.inputs[0])
    points = torch.stack([*ours.inputs, result.images])
    torch.testing.assert_close(points, torch.stack(theirs.inputs), atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-t"])
def test_it_starts_on_the_surface_of_the_ball(name):
    model, images, labels = wavy_problem()
    for norm in ("l2", "linf"):
        attack = find(name).in_norm(norm)
        attacked(attack, model, images, labels, 0.15, Run(early_stop=False), steps=1)
        sizes = NORMS[norm].size(model.inputs[-1] - images)
        torch.testing.assert_close(sizes, torch.full((8,), 0.15).double())
    offsets = (model.inputs[-1] - images).flatten(1)
    torch.testing.assert_close(offsets.abs().amax(1), torch.full((8,), 0.15).double())
    assert offsets.abs().min() < 0.1


def test_the_step_size_is_checked_where_the_paper_says():
    # Section 3: p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 of the steps.
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(100)[57] == 41
    assert list(checkpoints(1)) == [1]


def test_it_halves_its_step_until_it_meets_a_narrow_peak():
    # Wrong only within 0.0002 of 0.543, where the loss has its peak: steps of 2 * epsilon / 8 leap
    # over it, and so do those of PGD.
    def peak(images):
        other = 0.0002 - (images.flatten(1)[:, 0] - 0.543).abs()
        return torch.stack([torch.zeros_like(other), other], 1)

    model, images = Answers(peak), image(0.5, 0.5, 0.5, 0.5)
    by_apgd = attacked("apgd-ce", model, images, LABEL, 0.1)
    by_pgd = attacked("pgd", model, images, LABEL, 0.1, steps=100)
    assert logits(model, by_apgd.images).argmax(1).item() == 1
    assert logits(model, by_pgd.images).argmax(1).item() == 0


# The difference-of-logits ratio


def test_the_ratio_by_hand():
    ranked = torch.tensor([[5.0, 3.0, 1.0, 0.0, -7.0]])
    ratio = difference_of_logits_ratio(ranked, LABEL, torch.tensor([1]))
    torch.testing.assert_close(ratio, torch.tensor([(3 - 5) / (5 - 0.5)]))
    three = difference_of_logits_ratio(ranked[:, :3], LABEL, torch.tensor([2]))
    torch.testing.assert_close(three, torch.tensor([(1 - 5) / (5 - 1.0)]))
    two = difference_of_logits_ratio(ranked[:, :2], LABEL, torch.tensor([1]))
    torch.testing.assert_close(two, torch.tensor([-2.0]))


@given(st.floats(1e-4, 1e4), st.floats(-100, 100))
@settings(max_examples=25, deadline=None)
def test_scaling_and_shifting_all_logits_changes_no_ratio(scale, shift):
    ranked = torch.tensor([[5.0, 3.0, 1.0, 0.0, -7.0]]).double()
    classes = torch.tensor([2])
    moved = difference_of_logits_ratio(scale * ranked + shift, LABEL, classes)
    torch.testing.assert_close(moved, difference_of_logits_ratio(ranked, LABEL, classes))


FIVE = [[0.0] * 4, [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]]


def test_one_wrong_class_after_another_is_tried_the_likeliest_first():
    # The likeliest wrong class has no slope towards it; the second wins where the pixel is high.
    def answer(images):
        pixel = images[:, 0, 0, 0]
        return torch.stack([0.595 - 0 * pixel, 0.55 + 0 * pixel, pixel, pixel - 0.2], 1)

    model = Answers(answer)
    result = attacked("apgd-t", model, image(*[0.5] * 4), LABEL, 0.1, steps=5)
    assert logits(model, result.images).argmax(1).item() == 2
    assert 5 < result.gradients.item() <= 10


def test_a_target_is_the_one_class_to_try():
    model = Linear(FIVE, [0.55, 0.0, 0.0, -0.2, -0.2])
    run = Run(targets=torch.tensor([2]))
    result = attacked("apgd-t", model, image(0.52, 0.5, 0.5, 0.5), LABEL, 0.15, run, steps=5)
    assert model(result.images).argmax(1).item() == 2
    assert result.gradients.item() <= 5


def test_a_saturated_softmax_stops_only_the_usual_cross_entropy():
    # At most 0.03 from the image the first logit is 81 or more ahead wherever a run may start.
    weight = [[900.0, 0.0, 0.0, 0.0], [0.0, 900.0, 0.0, 0.0], [0.0] * 4, [1.0] * 4]
    model, images = Linear(weight), image(0.6, 0.45, 0.5, 0.5)
    usual = attacked("apgd-ce", model, images, LABEL, 0.03, steps=20, loss="ce")
    assert usual.statistics.on_host().zero_images == 20
    for name in ("apgd-ce", "apgd-t"):
        result = attacked(name, model, images, LABEL, 0.08, steps=20)
        assert result.statistics.on_host().zero_images == 0
        assert model(result.images).argmax(1).item() == 1
