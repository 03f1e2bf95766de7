"""`attacks=` takes names, attacks with other settings, functions, and other libraries' attacks."""

import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn

import winnrobust
from tests.evaluation.tiny import IMAGES, LABELS, MODELS
from winnrobust.attacks import BIM, PGD, find
from winnrobust.evaluation import EvaluationSettings
from winnrobust.runtime.errors import InputError
from winnrobust.workflows.given import as_attacks, own_code

LEFT = MODELS["left"]


class Net(nn.Module):
    """A linear model of a 1x2x2 image, steep enough to be attacked."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        weight = torch.tensor([[4.0, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0]])
        with torch.no_grad():
            self.layers[1].weight.copy_(weight)
            self.layers[1].bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def square_images() -> tuple[torch.Tensor, torch.Tensor]:
    images = 0.2 + 0.6 * torch.rand(40, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return images, images.flatten(1)[:, :3].argmax(1)


def down(model, images, labels, epsilon):
    return (images - epsilon * (2 * labels - 1).view(-1, 1, 1, 1)).clamp(0, 1)


def evaluated(*attacks, **more):
    return winnrobust.evaluate(LEFT, IMAGES, LABELS, list(attacks), [0.2], **more)


# --- settings of their own ------------------------------------------------------------------------


def test_names_objects_and_calls_mean_the_same():
    found = evaluated("pgd(steps=3, restarts=2)", PGD(steps=4), "bim")
    assert [case.attack for case in found.results.cases] == [
        "pgd(steps=3, restarts=2)", "pgd(steps=4)", "bim",
    ]  # fmt: skip
    assert find("pgd(steps=3,restarts=2)") == PGD(steps=3, restarts=2)
    assert PGD(steps=3)(restarts=2) == PGD(steps=3, restarts=2)
    assert find("pgd")(steps=3, restarts=2) == PGD(steps=3, restarts=2)
    assert PGD() == PGD


def test_settings_of_an_attack_win_over_those_of_all():
    found = winnrobust.evaluate(
        MODELS["right"], IMAGES, LABELS, ["pgd(steps=3)", "bim"], [0.01], steps=7
    )
    spent = found.outcomes.query("status == 'attacked'").groupby("attack", observed=True).gradients
    assert spent.max().to_dict() == {"pgd(steps=3)": 3, "bim": 7}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("pgd(steps=0)", "steps of attack 'pgd' must be a whole number of at least 1, not 0"),
        ("pgd(steps=2.5)", "must be a whole number"),
        ("pgd(step=2)", "attack 'pgd' has no setting 'step'; it has steps"),
        ("pgd(3)", "must be written like pgd"),
        ("pgd(steps=__import__('os'))", "must be written like pgd"),
        ("pgd(norm='l2')", "no setting 'norm'"),
        ("pgd(loss='none')", "unknown loss 'none'; known are ce-stable"),
        ("pgd(screen=1)", "True or False"),
        ("pgd(step_size='a')", "must be a number"),
        ("transfer:model(steps=3)", "transfers from a model that is not there"),
        ("nonesuch(steps=3)", "unknown attack 'nonesuch'"),
        (3, "an attack must be a name, an attack, or a function"),
        (nn.Linear, "not a class"),
        (winnrobust.attacks.pgd, r"is a module, .*winnrobust.attacks.PGD\(steps=100\)"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(InputError, match=message):
        evaluated(wrong)


def test_a_dict_names_attacks_and_two_of_a_name_are_refused():
    named = {"short": PGD(steps=2), "mine": down}
    found = winnrobust.evaluate(LEFT, IMAGES, LABELS, named, [0.2])
    assert [case.attack for case in found.results.cases] == ["short", "mine"]
    with pytest.raises(InputError, match="two attacks are called 'down'"):
        evaluated(down, winnrobust.as_attack(lambda *given: given[1], "down"))


# --- functions ------------------------------------------------------------------------------------


def test_a_function_is_an_attack_like_any_other():
    found = evaluated(down, "fgsm")
    assert found.broken("down").tolist() == found.broken("fgsm").tolist()
    made = winnrobust.attack(LEFT, IMAGES, LABELS, down, epsilon=0.2)
    assert made.is_adversarial.tolist() == found.broken("down").tolist()
    assert "down" in found.results.summary.robust.attacks[0]


def test_a_function_gets_a_model_that_it_can_follow_and_its_passes_are_counted():
    seen = {}

    def mine(model, images, labels, epsilon):
        seen["grad"], seen["training"] = torch.is_grad_enabled(), model.training
        points = images.requires_grad_(True)
        for _ in range(3):
            loss = nn.functional.cross_entropy(model(points), labels)
            (gradient,) = torch.autograd.grad(loss, points)
            points = (points + epsilon / 3 * gradient.sign()).detach().requires_grad_(True)
        model(points.detach())
        model.train()
        return points.detach().clamp(0, 1).numpy()

    model = Net()
    images, labels = square_images()
    copy = images.clone()
    made = winnrobust.attack(model, images, labels, mine, epsilon=0.1)
    assert seen == {"grad": True, "training": False}
    assert model.training
    assert torch.equal(images, copy)
    assert made.gradients.tolist() == [3] * 40
    assert made.queries.tolist() == [1] * 40
    assert made.is_adversarial.any()


BROKEN = {
    "outside the ball": (lambda m, x, y, e: x + 2 * e, r"attack 'mine' left the ball"),
    "outside [0, 1]": (lambda m, x, y, e: x * 0 - e / 2, r"attack 'mine' left \[0, 1\]"),
    "NaN": (lambda m, x, y, e: x * torch.nan, "attack 'mine' returned pixels that are not finite"),
    "another shape": (lambda m, x, y, e: x[:1], r"attack 'mine' returned shape \(1, 1, 1, 2\)"),
    "no images": (lambda m, x, y, e: None, "attack 'mine' must return a tensor of images, not No"),
    "an error": (lambda m, x, y, e: 1 / 0, "attack 'mine'.*: ZeroDivisionError"),
}


@pytest.mark.parametrize(("function", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_what_a_function_returns_is_checked(function, message):
    images = IMAGES * 0.2 + 0.4
    with pytest.raises(InputError, match=message) as caught:
        winnrobust.evaluate(LEFT, images, LABELS, {"mine": function}, [0.2])
    assert "\n" not in str(caught.value)
    made = winnrobust.as_attack(function, "mine")
    with pytest.raises(InputError, match=message):
        winnrobust.attack(LEFT, images, LABELS, made, epsilon=0.2)


def test_a_function_may_bound_l2_or_look_for_the_nearest():
    def longer(model, images, labels, epsilon):
        step = torch.zeros_like(images)
        step.flatten(1)[:, 0] = (1 - 2 * labels) * min(epsilon, 0.25)
        return (images + step).clamp(0, 1)

    made = winnrobust.attack(
        LEFT, IMAGES, LABELS, winnrobust.as_attack(longer, norm="l2"), epsilon=0.2
    )
    assert made.norm == "l2"
    assert made.is_adversarial.tolist() == [False, True, True, False, True]
    nearest = winnrobust.as_attack(longer, "near", "l2", minimum_norm=True)
    found = winnrobust.evaluate(LEFT, IMAGES, LABELS, [nearest], epsilons_l2=[0.1, 0.3])
    assert found.broken("near", 0.1).sum() == 0
    assert found.broken("near", 0.3).tolist() == [False, True, True, False, True]
    distances = found.results.summary.distances["near", "l2", "model"]
    np.testing.assert_allclose(distances, [np.inf, 0.25, 0.25, np.inf, 0.25], atol=1e-6)


def test_a_function_with_our_own_signature_is_taken_as_it_is():
    def ours(model, images, labels, *, epsilon, run):
        return BIM.function(model, images, labels, epsilon=epsilon, steps=2, run=run)

    made = winnrobust.attack(LEFT, IMAGES, LABELS, ours, epsilon=0.05)
    assert made.gradients.tolist() == [2] * 5


# --- a loss of one's own --------------------------------------------------------------------------


def test_a_loss_of_ones_own_is_followed():
    def backwards(logits, labels):  # what makes the model more certain
        return -nn.functional.cross_entropy(logits, labels, reduction="none")

    model = Net()
    images, labels = square_images()
    for attack in ("fgsm", "rfgsm", "bim", "mifgsm", "pgd", "apgd-ce"):
        usual, other = (
            winnrobust.attack(model, images, labels, attack, epsilon=0.1, **more)
            for more in ({}, {"loss": backwards})
        )
        assert usual.is_adversarial.sum() > 5 + other.is_adversarial.sum(), attack
    attacks = ["bim", "fgsm(loss='ce')"]
    found = winnrobust.evaluate(model, images, labels, attacks, [0.1], loss=backwards)
    assert found.broken("bim").sum() == 0
    assert found.broken("fgsm(loss='ce')").sum() > 5  # its own setting wins


def test_a_loss_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"one number for each image, \(40,\), not \(\); leave"):
        winnrobust.attack(
            Net(), *square_images(), "pgd", epsilon=0.1, loss=nn.functional.cross_entropy
        )
    with pytest.raises(InputError, match="unknown loss"):
        winnrobust.evaluate(LEFT, IMAGES, LABELS, loss=3)


# --- progress and callbacks -----------------------------------------------------------------------


def test_a_callback_is_told_of_every_step():
    steps = []
    winnrobust.evaluate(
        {"net": Net()}, *square_images(), ["bim(steps=4)"], [0.1, 0.2], batch_size=30,
        callback=steps.append,
    )  # fmt: skip
    first = [step for step in steps if step.epsilon == 0.1 and step.image == 0]
    assert [step.step for step in first] == [1, 2, 3, 4]
    assert {step.attack for step in steps} == {"bim(steps=4)"}
    assert {step.model for step in steps} == {"net"}
    assert {step.image for step in steps} == {0, 30}
    active = [step.active for step in first]
    assert active[0] == 30
    assert active == sorted(active, reverse=True)
    assert all(isinstance(step.loss, float) for step in steps)


def test_a_single_step_is_told_too():
    steps = []
    winnrobust.attack(Net(), *square_images(), "fgsm", epsilon=0.1, callback=steps.append)
    assert [(step.attack, step.step, step.active) for step in steps] == [("fgsm", 1, 40)]


def test_a_callback_changes_no_result():
    one, other = (
        winnrobust.attack(Net(), *square_images(), "apgd-ce", epsilon=0.1, callback=each)
        for each in (None, lambda step: None)
    )
    assert torch.equal(one.images, other.images)


def test_progress_is_told_or_shown(capfd):
    told = []
    winnrobust.evaluate(
        MODELS, IMAGES, LABELS, ["fgsm", "bim"], progress=lambda *given: told.append(given)
    )
    assert told[-1] == (20, 20)
    winnrobust.attack(LEFT, IMAGES, LABELS, "fgsm", epsilon=0.1, progress=True)
    assert winnrobust.attack(LEFT, IMAGES, LABELS, "fgsm", epsilon=0.1).attack == "fgsm"


# --- entry points ---------------------------------------------------------------------------------


@pytest.fixture
def registered(monkeypatch):
    """Another package's entry points: an attack, a function, one that is broken, and a model."""
    points = {
        "theirs": "tests.workflows.test_attacks_given:down",
        "patient": "tests.workflows.test_attacks_given:PATIENT",
        "gone": "tests.workflows.nonesuch:attack",
    }
    models = {"their-net": "tests.workflows.test_attacks_given:Net"}
    real = metadata.entry_points

    def entry_points(**wanted):
        group = wanted.get("group")
        listed = {"winnrobust.attacks": points, "winnrobust.models": models}.get(group)
        if listed is None:
            return real(**wanted)
        found = [metadata.EntryPoint(name, value, group) for name, value in listed.items()]
        return metadata.EntryPoints(found).select(**wanted)

    monkeypatch.setattr(metadata, "entry_points", entry_points)


PATIENT = PGD(steps=7)


@pytest.mark.usefixtures("registered")
def test_packages_register_attacks():
    found = evaluated("theirs", "patient")
    assert [case.attack for case in found.results.cases] == ["theirs", "patient"]
    assert found.broken("theirs").tolist() == [False, True, True, False, True]
    assert find("patient(restarts=2)").settings == {"steps": 7, "restarts": 2}
    with pytest.raises(InputError, match=r"'gone' of .*nonesuch:attack cannot be imp"):
        evaluated("gone")
    with pytest.raises(InputError, match="hopskipjump, gone, patient, theirs, transfer:NAME"):
        evaluated("magic")


@pytest.mark.usefixtures("registered")
def test_packages_register_models():
    model = winnrobust.load("their-net")
    assert isinstance(model, Net)
    assert winnrobust.evaluate("their-net", *square_images()).clean_accuracy == 1


# --- other libraries ------------------------------------------------------------------------------


def test_no_library_is_imported_for_attacks_of_ours():
    code = (
        "import sys, torch, winnrobust\n"
        "model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))\n"
        "winnrobust.evaluate(model, torch.rand(4, 1, 1, 2), torch.zeros(4).long(), ['pgd'])\n"
        "sys.exit(any(name in sys.modules for name in ('foolbox', 'torchattacks', 'art')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def agrees(attack, norm: str, minimum_norm: bool = False, epsilon: float = 0.1):
    """An attack of another library is checked, judged and left as it was."""
    model, (images, labels) = Net(), square_images()
    made = winnrobust.attack(model, images, labels, attack, epsilon=epsilon)
    assert made.norm == norm
    size = made.images - images
    bound = size.abs().flatten(1).amax(1) if norm == "linf" else size.flatten(1).norm(dim=1)
    assert (bound <= epsilon + 1e-5).all()
    seen = model(made.images).argmax(1)
    assert torch.equal(made.is_adversarial, seen != labels)
    assert 0 < made.is_adversarial.sum() < len(labels)
    found = winnrobust.evaluate(
        {"net": model}, images, labels, [attack], [epsilon], epsilons_l2=[epsilon]
    )
    (name,) = {case.attack for case in found.results.cases}
    assert found.broken(name, epsilon)["net"].sum() == made.is_adversarial.sum()
    assert bool(found.results.summary.distances) == minimum_norm
    return made


def test_foolbox():
    foolbox = pytest.importorskip("foolbox")
    made = agrees(foolbox.attacks.LinfPGD(steps=5), "linf")
    assert made.attack == "foolbox-LinfProjectedGradientDescentAttack"
    assert made.gradients.tolist() == [5] * 40
    agrees(foolbox.attacks.L2PGD(steps=5), "l2")
    agrees(foolbox.attacks.L2DeepFoolAttack(steps=20), "l2", minimum_norm=True)
    with pytest.raises(InputError, match="bounds the norm 1; only L-infinity and L2"):
        agrees(foolbox.attacks.L1FMNAttack(), "linf")


def test_torchattacks():
    torchattacks = pytest.importorskip("torchattacks")
    theirs = Net()
    attack = torchattacks.PGD(theirs, eps=0.5, alpha=0.04, steps=5)
    agrees(attack, "linf")
    assert attack.eps == 0.5
    assert attack.model is theirs
    agrees(torchattacks.PGDL2(theirs, eps=1.0, alpha=0.05, steps=5), "l2")
    agrees(torchattacks.DeepFool(theirs, steps=20), "l2", minimum_norm=True)
    agrees(torchattacks.APGD(theirs, norm="L2", eps=1.0, steps=5), "l2")
    with pytest.raises(InputError, match="bounds the norm L0"):
        agrees(torchattacks.OnePixel(theirs), "linf")


def test_art():
    evasion = pytest.importorskip("art.attacks.evasion")
    estimators = pytest.importorskip("art.estimators.classification")
    theirs = estimators.PyTorchClassifier(
        Net(), nn.CrossEntropyLoss(), (1, 2, 2), 3, clip_values=(0.0, 1.0), device_type="cpu"
    )
    pgd = evasion.ProjectedGradientDescent(
        theirs, eps=0.5, eps_step=0.04, max_iter=5, verbose=False
    )
    agrees(pgd, "linf")
    assert pgd.eps == 0.5
    assert pgd.estimator is theirs
    agrees(evasion.FastGradientMethod(theirs, norm=2, eps=0.5), "l2")
    agrees(evasion.DeepFool(theirs, max_iter=20, verbose=False), "l2", minimum_norm=True)


def named(function):
    """Both called the same: only their code tells them apart."""
    function.__module__, function.__qualname__ = "attacks", "mine"
    return function


def test_an_interrupted_evaluation_goes_on_with_the_same_function_only(tmp_path):
    calls = []

    def half(model, images, labels, epsilon):
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return images - epsilon / 2

    def whole(model, images, labels, epsilon):
        return images - epsilon

    def attacked(function):
        return winnrobust.evaluate(
            LEFT, IMAGES, LABELS, {"mine": named(function)}, [0.1], batch_size=2, num_examples=0,
            folder=tmp_path / "results",
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        attacked(half)
    with pytest.raises(InputError, match="an interrupted evaluation with other functions"):
        attacked(whole)
    assert len(attacked(half).outcomes) == 2 * len(IMAGES)
    assert sum(calls) == len(IMAGES) + 2


def test_a_loss_and_a_library_s_settings_are_part_of_what_decides(tmp_path):
    def loss(logits, labels):
        return -logits.gather(1, labels[:, None])[:, 0]

    bound = {"linf": [0.1]}
    chosen = EvaluationSettings(attacks=as_attacks(["fgsm"]), epsilons=bound, loss=loss)
    (told,) = own_code(chosen)["functions"].values()
    assert "loss, sha256" in told
    torchattacks = pytest.importorskip("torchattacks")
    one, other = (
        own_code(
            EvaluationSettings(
                attacks=as_attacks([torchattacks.PGD(LEFT, steps=steps)]), epsilons=bound
            )
        )
        for steps in (3, 4)
    )
    assert one != other
    assert own_code(EvaluationSettings()) == {}
