"""DeepFool, C&W, DDN and FMN: point by point beside foolbox's, and against known distances."""

import time
from functools import partial

import eagerpy
import foolbox
import pytest
import torch

from tests.attacks.models import Answers, Linear, image
from tests.attacks.trajectories import Recorder, at_the_edges, first_visits, start
from winnrobust.attacks import ATTACKS, NORMS, Run, logits, run_attack
from winnrobust.attacks.cw import cw_l2
from winnrobust.attacks.ddn import ddn
from winnrobust.attacks.deepfool import deepfool
from winnrobust.attacks.fmn import fmn
from winnrobust.attacks.sigma_zero import sigma_zero
from winnrobust.runtime.errors import InputError

LABEL = torch.tensor([0])
FUNCTIONS = {
    "deepfool": deepfool,
    "cw-l2": cw_l2,
    "ddn": ddn,
    "fmn": fmn,
    "fmn in l2": partial(fmn, norm="l2"),
    "fmn in l1": partial(fmn, norm="l1"),
    "fmn in l0": partial(fmn, norm="l0"),
    "sigma-zero": sigma_zero,
}
# Label 0 leads class 1 by 0.5; the slopes are 3, -4, 0, 0: 0.1 away in L2, 0.5 / 7 in L-infinity,
# 0.5 / 4 in L1, one value in L0. Class 2 is twice as far, but for L0.
LEANING = [[0.0, 0.0, 0.0, 0.0], [3.0, -4.0, 0.0, 0.0], [0.0, 0.0, 3.0, 4.0]]
BIAS = [0.5, 0.0, -4.0]
DISTANCES = {
    "deepfool": 0.1, "cw-l2": 0.1, "ddn": 0.1, "fmn": 0.5 / 7, "fmn in l2": 0.1,
    "fmn in l1": 0.5 / 4, "fmn in l0": 1, "sigma-zero": 1,
}  # fmt: skip
IMAGE = image(0.5, 0.375, 0.5, 0.5)


FEWER = {"cw-l2": {"steps": 40}, "sigma-zero": {"steps": 200}}
"""Settings that make a test short."""


def known(name):
    """The attack, in its norm."""
    plain, _, norm = name.partition(" in ")
    return ATTACKS[plain].in_norm(norm) if norm else ATTACKS[plain]


def attack(name, model, images, labels, **run):
    return FUNCTIONS[name](model, images, labels, run=Run(**run), **FEWER.get(name, {}))


# The same points as foolbox


class Projecting:
    """foolbox's FMN with the projections of ours, which tests of the norms compare.

    Its own does nothing in L2 (it divides a norm by itself), keeps a value too many in L0, and in
    L1 forgets [0, 1].
    """

    def project(self, x, x0, epsilon):
        norm = NORMS[f"l{self.p}"]
        return eagerpy.astensor(norm.project(x.raw, x0.raw, epsilon.raw))


class L2FMN(Projecting, foolbox.attacks.L2FMNAttack):
    pass


class L1FMN(Projecting, foolbox.attacks.L1FMNAttack):
    pass


class L0FMN(Projecting, foolbox.attacks.L0FMNAttack):
    pass


REFERENCES = {
    "deepfool": (lambda: foolbox.attacks.L2DeepFoolAttack(), {}),
    "ddn": (lambda: foolbox.attacks.DDNAttack(steps=30), {"steps": 30}),
    "fmn": (lambda: foolbox.attacks.LInfFMNAttack(steps=30), {"steps": 30}),
    "fmn in l2": (lambda: L2FMN(steps=30), {"steps": 30}),
    "fmn in l1": (lambda: L1FMN(steps=30), {"steps": 30}),
    "fmn in l0": (lambda: L0FMN(steps=30), {"steps": 30}),
    "cw-l2": (
        lambda: foolbox.attacks.L2CarliniWagnerAttack(
            steps=20, binary_search_steps=7, stepsize=0.05, abort_early=False
        ),
        {"steps": 20, "searches": 7, "step_size": 0.05},
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize(
    ("lead", "original"), [(12.0, start()), (8.0, start(seed=3)), (12.0, at_the_edges())]
)
@pytest.mark.parametrize("targeted", [False, True])
def test_every_point_is_foolboxs(name, lead, original, targeted):
    if targeted and not known(name).targeted:
        pytest.skip("not a targeted attack")
    make, settings = REFERENCES[name]
    # C&W's constant is a float32 in foolbox, and black is 5e-7 after tanh.
    distinct, close = (1e-5, 1e-6) if name == "cw-l2" else (1e-9, 1e-8)
    model, target = Recorder(lead=lead), torch.tensor([2])
    targets = target if targeted else None
    FUNCTIONS[name](model, original, LABEL, run=Run(targets=targets), **settings)
    ours = first_visits(model.points, distinct)
    model.points.clear()
    criterion = (
        foolbox.criteria.TargetedMisclassification(target)
        if targeted
        else foolbox.criteria.Misclassification(LABEL)
    )
    victim = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    make().run(victim, original, criterion)
    theirs = first_visits(model.points, distinct)
    assert len(ours) > 2
    torch.testing.assert_close(ours, theirs, rtol=0, atol=close)


def test_ddns_radius_is_at_most_the_way_to_the_farthest_corner():
    # An image that does not break: the radius grows for 60 steps, and foolbox's ends there too.
    model = Recorder(lead=20.0)
    ddn(model, start(), LABEL, steps=60)
    ours = first_visits(model.points)
    model.points.clear()
    victim = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    foolbox.attacks.DDNAttack(steps=60).run(
        victim, start(), foolbox.criteria.Misclassification(LABEL)
    )
    torch.testing.assert_close(ours, first_visits(model.points), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deepfool", {"steps": 50}),
        ("cw-l2", {"steps": 200, "searches": 9, "step_size": 0.05}),
        ("ddn", {"steps": 100}),
        ("fmn", {"norm": "linf", "steps": 100}),
        ("fmn in l2", {"norm": "l2", "steps": 100}),
        ("sigma-zero", {"steps": 1000}),
    ],
)
def test_defaults(name, expected):
    assert known(name).parameters == expected


# Distances known on paper


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_distance_to_a_plane(name):
    model = Linear(LEANING, BIAS)
    epsilons = [DISTANCES[name] * 0.98, DISTANCES[name] * 1.12]
    below, above = run_attack(known(name), model, IMAGE, LABEL, epsilons, run=Run())
    # DDN's radius changes by 5 % with every step.
    assert DISTANCES[name] * 0.999 < below.distance.item() < DISTANCES[name] * 1.11
    assert torch.equal(below.images, IMAGE)
    assert model(above.images).argmax(1).item() == 1


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if known(name).targeted])
def test_a_target_is_reached(name):
    # The same classes in the opposite order: the target is 0 and the label 2.
    model = Linear(LEANING[::-1], BIAS[::-1])
    result = attack(name, model, IMAGE, torch.tensor([2]), targets=torch.tensor([0]))
    assert model(result.images).argmax(1).item() == 0
    times = 1 if known(name).norm == "l0" else 2
    assert 0.95 * times < result.distance.item() / DISTANCES[name] < 1.15 * times


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_nearest_of_all_points_asked_about_is_returned(name):
    model = Recorder(lead=8.0)
    images, labels = torch.cat([start(seed=seed) for seed in range(4)]), torch.zeros(4).long()
    result = attack(name, model, images, labels)
    size = NORMS[known(name).norm].size
    nearest = torch.full((4,), torch.inf, dtype=torch.float64)
    for points in model.points:
        if len(points) == 4:
            wrong = model.answer(points).argmax(1) != 0
            nearest = nearest.minimum(torch.where(wrong, size(points - images), torch.inf))
    assert nearest.isfinite().all()
    torch.testing.assert_close(result.distance, nearest)
    torch.testing.assert_close(size(result.images - images), nearest)


# Costs, time, what cannot be attacked


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradients_of_every_image_are_counted(name):
    model = Recorder(lead=8.0)
    images = torch.cat([start(seed=0), start(seed=1), torch.zeros_like(start())])
    labels = torch.tensor([0, 0, int(1 - model.answer(images[2:]).argmax(1).clamp_max(1))])
    result = attack(name, model, images, labels)
    statistics = result.statistics.on_host()
    assert result.gradients[2] == 0  # wrong already
    assert (result.gradients[:2] > 3).all()
    assert statistics.images == result.gradients.sum()
    assert statistics.entries == 36 * statistics.images


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_was_found_is_kept_when_time_runs_out(name, monkeypatch):
    model = Recorder(lead=12.0)
    in_full = attack(name, model, start(), LABEL)
    questions, enough = len(model.points), {"deepfool": 4}.get(name, len(model.points) // 3)
    model.points.clear()
    monkeypatch.setattr(time, "monotonic", lambda: 2.0 if len(model.points) > enough else 0.0)
    cut = attack(name, model, start(), LABEL, deadline=1.0)
    assert enough < len(model.points) <= enough + 5 < questions
    assert cut.unfinished.all()
    assert in_full.distance.item() <= cut.distance.item()
    if name != "deepfool":  # which ends at the first point found
        assert model.answer(cut.images).argmax(1).item() != 0
        assert cut.distance.isfinite()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_model_without_gradient_is_an_error_that_names_black_boxes(name):
    model = Answers(lambda images: images.flatten(1).detach())
    with pytest.raises(InputError, match=r"no gradient to follow.*hopskipjump"):
        attack(name, model, image(0.9, 0.1, 0.2, 0.3), LABEL)


def test_an_image_that_cw_cannot_move_does_not_end_the_search_for_others():
    # Above 0.6 the first pixel hides the gradient, with a lead that drowns the other image's loss.
    def answer(images):
        usual = Linear(LEANING, BIAS)(images)
        stuck = torch.tensor([1e7, 0.0, 0.0]) + 0 * usual
        return torch.where(images[:, 0, 0, :1] > 0.6, stuck, usual)

    moved, stuck = IMAGE, image(1.0, 0.5, 0.5, 0.5)
    alone = cw_l2(Answers(answer), moved, LABEL, steps=50)
    both = cw_l2(Answers(answer), torch.cat([moved, stuck]), LABEL.repeat(2), steps=50)
    assert both.distance[0].item() == pytest.approx(alone.distance.item())
    assert both.distance[1] == torch.inf


def test_ddn_goes_on_where_the_gradient_is_zero():
    # Flat near gray, and wrong far from it in any direction.
    def answer(images):
        far = (images.flatten(1) - 0.5).abs().sum(1) - 0.6
        return torch.stack([torch.zeros_like(far), far.clamp_min(-0.1)], 1)

    found = [
        ddn(Answers(answer), image(0.5, 0.5, 0.5, 0.5), LABEL, run=run)
        for run in (Run(), Run(), Run(seed=1), Run(first=1))
    ]
    assert all(result.distance.item() < 0.5 for result in found)
    # In a direction of the image's own.
    assert torch.equal(found[0].images, found[1].images)
    assert not torch.equal(found[0].images, found[2].images)
    assert not torch.equal(found[0].images, found[3].images)


# Confident models, and models in half precision


class Scaled(Recorder):
    """The same net with logits times `scale` plus `shift`, in float32 or less."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0, dtype=torch.float32) -> None:
        super().__init__(lead=8.0)
        self.scale, self.shift, self.dtype = scale, shift, dtype
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=dtype))
        self.first, self.second = self.first.to(dtype), self.second.to(dtype)
        self.bias = self.bias.to(dtype)

    def answer(self, images):
        assert images.dtype == self.dtype
        return super().answer(images) * self.scale + self.shift


def one_value(name):
    """By how much a distance may differ because of one value."""
    return 1 if known(name).norm == "l0" else 0


IMAGES = torch.cat([start(seed=seed) for seed in range(6)])
LABELS = torch.zeros(6).long()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("scale", "shift"), [(1, 1e3), (1e-4, 0), (1e2, 1e4), (1e4, 0), (1e4, -1e6)]
)
def test_a_confident_model_in_float32_breaks_where_it_does_in_float64(name, scale, shift):
    exact = attack(name, Scaled(scale, shift, torch.float64), IMAGES, LABELS)
    found = attack(name, Scaled(scale, shift), IMAGES.float(), LABELS)
    assert exact.distance.isfinite().all()
    atol = one_value(name)
    torch.testing.assert_close(found.distance.double(), exact.distance, rtol=0.05, atol=atol)


@pytest.mark.parametrize("name", ["deepfool", "fmn", "fmn in l2", "fmn in l1", "fmn in l0"])
@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1e2, 1e4])
def test_the_scale_of_the_logits_does_not_matter_to_a_margin(name, scale):
    usual = attack(name, Scaled(1, 0, torch.float64), IMAGES, LABELS)
    scaled = attack(name, Scaled(scale, 0, torch.float64), IMAGES, LABELS)
    torch.testing.assert_close(scaled.distance, usual.distance, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_a_model_in_half_precision_is_attacked_in_float32(name, dtype):
    model = Scaled(dtype=dtype)
    result = attack(name, model, IMAGES.to(dtype), LABELS)
    assert result.images.dtype == torch.float32
    assert result.distance.isfinite().all()
    wrong = logits(model, result.images).argmax(1) != 0
    assert wrong.all()
    exact = attack(name, Scaled(dtype=torch.float64), IMAGES, LABELS)
    tolerance = 0.1 if dtype == torch.half else 0.5
    torch.testing.assert_close(
        result.distance.double(), exact.distance, rtol=tolerance, atol=one_value(name)
    )


def test_deepfool_goes_on_where_rounding_makes_two_logits_equal():
    # Around 64 bfloat16 knows no number between 64 and 64.5: 0.1 of a lead is a lead of 0.
    class Coarse(Scaled):
        def forward(self, images):
            pixels = images.float().flatten(1)
            return torch.stack([64 + pixels[:, 0] - 0.4, 64 + 0 * pixels[:, 0]], 1).to(images.dtype)

    model = Coarse(dtype=torch.bfloat16)
    result = attack("deepfool", model, image(0.5, 0.5, 0.5, 0.5).bfloat16(), LABEL)
    assert 0 < result.distance.item() < 1
