"""Our attacks beside foolbox's on a really trained model, with the same steps.

`tests/attacks` compares point by point on small nets; `benchmarks/attacks.py` compares all attacks
with more libraries, on more images.
"""

import foolbox
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from winnrobust.attacks import NORMS, Run, find, logits, logits_of, run_attack, with_settings
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
    "cw-l2": foolbox.attacks.L2CarliniWagnerAttack(steps=50, stepsize=0.05, abort_early=False),
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


def ours(name: str, few, epsilon: float, steps: int = STEPS):
    (result,) = run_attack(with_settings(find(name), steps=steps), *few, [epsilon], run=Run())
    return result


def wrong(few, examples: Tensor) -> Tensor:
    model, _, labels = few
    return logits(model, examples).argmax(1) != labels


def test_bim_breaks_whatever_foolbox_breaks(few):
    # The same path, which foolbox judges at its end only.
    attack = foolbox.attacks.LinfBasicIterativeAttack(
        rel_stepsize=STEP, steps=STEPS, random_start=False
    )
    foolbox_wrong = wrong(few, theirs(attack, few, 0.06))
    our_wrong = wrong(few, ours("bim", few, 0.06).images)
    assert 0.1 < foolbox_wrong.float().mean() < 0.9
    assert (our_wrong | ~foolbox_wrong).all()


@pytest.mark.parametrize("name", BOUNDED)
def test_no_random_start_is_weaker_by_more_than_chance(name, few):
    epsilon, attack = BOUNDED[name]
    foolbox_wrong = wrong(few, theirs(attack, few, epsilon))
    our_wrong = wrong(few, ours(name, few, epsilon).images)
    only_ours = int((our_wrong & ~foolbox_wrong).sum())
    only_theirs = int((foolbox_wrong & ~our_wrong).sum())
    assert 0.05 < foolbox_wrong.float().mean() < 0.95
    assert only_ours >= only_theirs or binomtest(only_ours, only_ours + only_theirs).pvalue > 0.05


@pytest.mark.parametrize(
    "name", ["deepfool", "ddn", "fmn", pytest.param("cw-l2", marks=pytest.mark.slow)]
)
def test_foolbox_finds_nothing_nearer(name, few):
    few = few[0], few[1][:20], few[2][:20]
    images = few[1]
    made = NEAREST[name]
    examples = theirs(made, few, None)
    sizes = NORMS[find(name).norm].size(examples - images)
    result = ours(name, few, 9.0, made.steps)
    # Where foolbox's C&W finds nothing it returns a black image.
    found = wrong(few, examples) & ~wrong(few, images) & (examples.flatten(1).amax(1) > 0)
    assert found.sum() >= 8
    # The same points up to rounding, of which foolbox too keeps the nearest that is wrong.
    assert (result.distance[found] <= 1.02 * sizes[found]).all()
