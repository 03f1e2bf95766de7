"""Minimum-norm attacks of foolbox: DeepFool, Carlini & Wagner, DDN, FMN.

Of the libraries that have them foolbox is the one that installs with few dependencies, attacks
whole batches and leaves the model alone (CONTRIBUTING.md compares them). It is given a `_Witness`
in the model's place, which sees every point that the attack asks about and remembers the nearest
wrong one: nothing that was found is lost, and an attack can be ended at any question.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget, Norm
from winnrobust.attacks.geometry import GEOMETRIES, Geometry
from winnrobust.attacks.nearest import Nearest
from winnrobust.attacks.passes import NO_GRADIENTS, gradient_statistics, logits_of
from winnrobust.attacks.target import Target
from winnrobust.runtime import randomness

DEEPFOOL_STEPS = 50
CW_SEARCHES = 9
CW_STEPS = 200
CW_STEP = 0.05
"""Adam's step size."""
DDN_STEPS = 100
FMN_STEPS = 100

Make = Callable[[ModuleType, Budget], Any]
"""From foolbox's attacks and a budget to one of them."""


class _OutOfTimeError(Exception):
    """Ends an attack at its next question to the model."""


class _Witness(nn.Module):
    """The model under attack as a library sees it: bare logits, averaged over draws.

    It is no child of this module, so that nobody moves it or changes its mode, and it has no part
    in the library's graph, so that its parameters get no gradients.

    Attributes:
        nearest: the nearest examples among all the points that it was asked about.
        gradients: what the attack followed.
    """

    def __init__(self, target: Target, geometry: Geometry, draws: int) -> None:
        super().__init__()
        self.training = False
        self.target, self.draws = target, draws
        self.nearest, self.gradients = Nearest(target, geometry), NO_GRADIENTS

    def forward(self, points: Tensor) -> Tensor:
        answers: Tensor = _Pass.apply(points, self)
        rows = self.target.standing
        self.nearest.see(rows, points.detach(), self.target.reached(answers.detach(), rows))
        return answers

    def ask(self, points: Tensor) -> Tensor:
        """Return the model's own logits, in the graph of the points."""
        if self.target.out_of_time():
            raise _OutOfTimeError
        model = self.target.model
        return torch.stack([logits_of(model(points.clone())) for _ in range(self.draws)]).mean(0)


class _Pass(torch.autograd.Function):
    """A question to a witness, whose gradient reaches the points and is counted."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, witness: _Witness) -> Tensor:
        with torch.enable_grad():
            pixels = points.detach().requires_grad_(points.requires_grad)
            logits = witness.ask(pixels)
        ctx.passed = witness, pixels, logits
        return logits.detach()

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        witness, pixels, logits = ctx.passed
        (gradient,) = torch.autograd.grad(logits, pixels, *upstream)
        statistics = gradient_statistics(gradient)
        witness.gradients = witness.gradients.plus(statistics)
        if statistics.nonfinite_images:
            gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        return gradient, None


def _run(
    name: str,
    norm: Norm,
    make: Make,
    target: Target,
    epsilons: Sequence[float],
    budget: Budget = DEFAULT_BUDGET,
) -> AttackResult:
    """Let foolbox attack whatever the model gets right, all images at once.

    Args:
        make: makes the attack.
        target: the model, the images and their true labels, or aims.
        epsilons: bounds in the attack's norm; one run serves them all.
        budget: steps of the attack, and answers averaged for every question (1).

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    with torch.inference_mode(False):  # tensors made in inference mode cannot carry a gradient
        witness = _Witness(target, GEOMETRIES[norm], budget.eot)
        if len(target.standing) and not target.out_of_time():
            target.clean_gradient()  # an error in words, where there is none to follow
            with _own_random_numbers(target, name), suppress(_OutOfTimeError):
                witness(_examples(make, target, witness, budget))
    return witness.nearest.result(epsilons, witness.gradients)


def _examples(make: Make, target: Target, witness: _Witness, budget: Budget) -> Tensor:
    """Return what foolbox makes of the images that the model gets right."""
    import foolbox  # it takes a second
    from foolbox.models.pytorch import PyTorchModel

    images, labels = target.images[target.standing], target.labels[target.standing]
    criterion: foolbox.criteria.Criterion = foolbox.criteria.Misclassification(labels)
    if target.aims is not None:
        criterion = foolbox.criteria.TargetedMisclassification(target.aims[target.standing])
    victim = PyTorchModel(witness, bounds=(0, 1), device=images.device)
    found: Tensor = make(foolbox.attacks, budget).run(victim, images, criterion)
    return found


@contextmanager
def _own_random_numbers(target: Target, name: str) -> Iterator[None]:
    """Seed torch's global generators, which foolbox draws from, and give them back as they were."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(randomness.stream(target.seed, name, target.first).initial_seed())
        yield


DEEPFOOL = Attack(
    name="deepfool",
    norm="L2",
    access="white-box",
    cost=f"up to 9 x {DEEPFOOL_STEPS} gradients",
    summary=(
        f"White-box, minimum norm: up to {DEEPFOOL_STEPS} steps to the nearest boundary of the"
        " model, taken for linear, among the 10 likeliest classes; foolbox's."
    ),
    source="Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599",
    function=partial(
        _run,
        "deepfool",
        "L2",
        lambda attacks, budget: attacks.L2DeepFoolAttack(steps=budget.steps or DEEPFOOL_STEPS),
    ),
    minimum_norm=True,
)

CW_L2 = Attack(
    name="cw-l2",
    norm="L2",
    access="white-box",
    cost=f"{CW_SEARCHES} x {CW_STEPS} gradients",
    summary=(
        "White-box, minimum norm: Adam on the perturbation's length plus a constant times the"
        f" label's lead, {CW_STEPS} steps for each of {CW_SEARCHES} constants found by bisection;"
        " foolbox's."
    ),
    source="Carlini, Wagner 2017, arXiv:1608.04644",
    function=partial(
        _run,
        "cw-l2",
        "L2",
        lambda attacks, budget: attacks.L2CarliniWagnerAttack(
            binary_search_steps=CW_SEARCHES,
            steps=budget.steps or CW_STEPS,
            stepsize=CW_STEP,
            abort_early=False,  # it would give up a whole batch when the sum of its losses stalls
        ),
    ),
    minimum_norm=True,
    can_aim=True,
)

DDN = Attack(
    name="ddn",
    norm="L2",
    access="white-box",
    cost=f"{DDN_STEPS} gradients",
    summary=(
        f"White-box, minimum norm: {DDN_STEPS} steps along the gradient of the true label's"
        " cross-entropy, on a sphere that shrinks where the model is wrong and grows where it is"
        " right; foolbox's."
    ),
    source="Rony et al. 2019, arXiv:1811.09600",
    function=partial(
        _run,
        "ddn",
        "L2",
        lambda attacks, budget: attacks.DDNAttack(steps=budget.steps or DDN_STEPS),
    ),
    minimum_norm=True,
    can_aim=True,
)

FMN = Attack(
    name="fmn",
    norm="Linf",
    access="white-box",
    cost=f"{FMN_STEPS} gradients",
    summary=(
        f"White-box, minimum norm: {FMN_STEPS} steps along the gradient of the label's lead, in a"
        " ball that adapts until it just holds a misclassified point; foolbox's."
    ),
    source="Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827",
    function=partial(
        _run,
        "fmn",
        "Linf",
        lambda attacks, budget: attacks.LInfFMNAttack(steps=budget.steps or FMN_STEPS),
    ),
    minimum_norm=True,
    can_aim=True,
)
