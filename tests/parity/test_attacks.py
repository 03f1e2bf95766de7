"""Our iterative attacks beside foolbox's on a really trained model, with the same steps.

`benchmarks/attacks.py` compares all attacks with more libraries, on more images.
"""

import foolbox
import pytest
import torch
from torch import Tensor, nn
from winnrobust.attacks.libraries import CW_STEP
from winnrobust.evaluation.metrics import mcnemar

from winnrobust.attacks import Budget, Target, find, logits, logits_of
from winnrobust.attacks.geometry import GEOMETRIES
from winnrobust.attacks.pgd import RELATIVE_STEP

STEPS = 8
STEP = RELATIVE_STEP / STEPS
BOUNDED = {
    "noise-uniform": (0.3, foolbox.attacks.LinfRepeatedAdditiveUniformNoiseAttack(repeats=10)),
    "noise-gaussian": (8.0, foolbox.attacks.L2RepeatedAdditiveGaussianNoiseAttack(repeats=10)),
    "pgd": (0.06, foolbox.attacks.LinfPGD(rel_stepsize=STEP, steps=STEPS)),
    "pgd-l2": (1.0, foolbox.attacks.L2PGD(rel_stepsize=STEP, steps=STEPS)),
}
NEAREST = {
    "deepfool": foolbox.attacks.L2DeepFoolAttack(steps=12),
    "cw-l2": foolbox.attacks.L2CarliniWagnerAttack(steps=STEPS, stepsize=CW_STEP),
    "ddn": foolbox.attacks.DDNAttack(steps=3 * STEPS),
    "fmn": foolbox.attacks.LInfFMNAttack(steps=3 * STEPS),
}


class Logits(nn.Module):
    """foolbox takes bare logits only."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.network(images))


@pytest.fixture(scope="module")
def few(trained) -> tuple[nn.Module, Tensor, Tensor]:
    model, images, labels = trained
    return Logits(model).eval().requires_grad_(False), images[:100], labels[:100]


def theirs(attack: foolbox.Attack, few, epsilon: float | None) -> Tensor:
    model, images, labels = few
    torch.manual_seed(0)
    victim = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(victim, images, labels, epsilons=epsilon)[1]


def wrong(few, adversarials: Tensor) -> Tensor:
    model, _, labels = few
    return logits(model, adversarials).argmax(1) != labels


def test_bim_breaks_whatever_foolbox_breaks(few):
    # The same path, which foolbox judges at its end only.
    attack = foolbox.attacks.LinfBasicIterativeAttack(
        rel_stepsize=STEP, steps=STEPS, random_start=False
    )
    foolbox_wrong = wrong(few, theirs(attack, few, 0.06))
    (found,) = find("bim").function(Target(*few), [0.06], Budget(steps=STEPS)).adversarials
    assert 0.1 < foolbox_wrong.float().mean() < 0.9
    assert (wrong(few, found) | ~foolbox_wrong).all()


@pytest.mark.parametrize("name", BOUNDED)
def test_no_random_start_is_weaker_by_more_than_chance(name, few):
    epsilon, attack = BOUNDED[name]
    foolbox_wrong = wrong(few, theirs(attack, few, epsilon))
    (found,) = find(name).function(Target(*few), [epsilon], Budget(steps=STEPS)).adversarials
    our_wrong = wrong(few, found)
    only_ours, only_theirs = (our_wrong & ~foolbox_wrong).sum(), (foolbox_wrong & ~our_wrong).sum()
    assert 0.05 < foolbox_wrong.float().mean() < 0.95
    assert only_ours >= only_theirs or mcnemar(int(only_ours), int(only_theirs)) > 0.05


@pytest.mark.parametrize("name", NEAREST)
def test_foolbox_finds_nothing_nearer_by_itself_than_under_our_eyes(name, few):
    few = few[0], few[1][:20], few[2][:20]
    images = few[1]
    made, attack = NEAREST[name], find(name)
    examples = theirs(made, few, None)
    sizes = GEOMETRIES[attack.norm].size(examples - images)
    result = attack.function(Target(*few), [9.0], Budget(steps=made.steps))
    found = wrong(few, examples) & ~wrong(few, images)
    assert found.sum() >= 8
    assert (result.distances[found] <= sizes[found] + 1e-4).all()
