"""What an attack is, what it is run with, what it returns, and how it is run."""

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from winnrobust.attacks.checks import check_examples
from winnrobust.attacks.gradients import (
    NO_GRADIENTS,
    CleanPass,
    GradientStatistics,
    at_least_float32,
    find_loss,
)
from winnrobust.attacks.norms import per_image
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.settings import shown

Access = Literal["none", "white-box", "black-box", "transfer", "unknown"]
"""What an attack sees of the model that it is made against; `unknown` of a user's own."""


class Step(NamedTuple):
    """What a callback gets after each gradient step of an attack on a batch.

    Attributes:
        attack, epsilon: which attack; epsilon is infinite for one that looks for the nearest
            example.
        model: the name of the model under attack.
        image: number of the batch's first image among all.
        step: how many gradients were followed so far on this batch, at this epsilon; from 1.
        loss: what the attack raises, in the mean over the images that are still active.
        active: how many images that is.

    A callback for TensorBoard is

        from torch.utils.tensorboard import SummaryWriter
        writer, calls = SummaryWriter("runs/attacks"), itertools.count()

        def callback(step):
            writer.add_scalar(f"{step.model}/{step.attack}/loss", step.loss, next(calls))

        winnrobust.evaluate(model, images, labels, ["pgd"], callback=callback)

    and one for Weights & Biases

        import wandb
        tracked = wandb.init(project="attacks")

        def callback(step):
            name = f"{step.model}/{step.attack} at {step.epsilon:g}"
            tracked.log({f"{name}/loss": step.loss, f"{name}/active": step.active})

        winnrobust.evaluate(model, images, labels, ["pgd"], callback=callback)

    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)
    >>> images, steps = torch.tensor([[[[0.75, 0.25]]]]), []
    >>> made = winnrobust.attack(
    ...     model, images, torch.tensor([0]), "bim", epsilon=0.125, steps=2, callback=steps.append
    ... )
    >>> [(step.step, step.loss, step.active) for step in steps]
    [(1, -0.5, 1), (2, -0.25, 1)]
    """

    attack: str
    epsilon: float
    model: str
    image: int
    step: int
    loss: float
    active: int


@dataclass(frozen=True)
class AttackResult:
    """What an attack made of N images.

    Attributes:
        images: (N, C, H, W) in [0, 1], the best or last try; the image itself where none was made.
        gradients: (N,) int64, the gradient passes spent on each image.
        queries: (N,) int64, the passes without a gradient.
        unfinished: (N,) bool, whether time ran out before the attack was done with the image.
        statistics: what the gradients held.
        distance: (N,) for a minimum-norm attack, the norm of the smallest adversarial perturbation
            found: 0 where the model is wrong anyway, infinite where none was found.

    >>> import torch
    >>> from winnrobust.attacks import AttackResult
    >>> result = AttackResult.untouched(torch.ones(2, 1, 4, 4))
    >>> result.gradients, result.unfinished
    (tensor([0, 0]), tensor([False, False]))
    """

    images: Tensor
    gradients: Tensor
    queries: Tensor
    unfinished: Tensor
    statistics: GradientStatistics = NO_GRADIENTS
    distance: Tensor | None = None

    @staticmethod
    def untouched(images: Tensor, unfinished: bool = False) -> "AttackResult":
        """Return images (N, C, H, W) on which nothing was spent."""
        images = at_least_float32(images.detach())
        zeros = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        return AttackResult(images.clone(), zeros, zeros, torch.full_like(zeros, unfinished).bool())

    def without_costs(self) -> "AttackResult":
        """Return the same with nothing spent, because another result counts it already."""
        zeros = torch.zeros_like(self.gradients)
        return replace(self, gradients=zeros, queries=zeros, statistics=NO_GRADIENTS)


@dataclass(frozen=True)
class Run:
    """What an attack is run with, besides its own settings.

    Attributes:
        seed: of all its random numbers.
        first: number of the batch's first image among all; random numbers belong to an image.
        numbers: (N,) int64, the images' numbers where they are not first, first + 1, ...
        targets: (N,) int64, the classes that a targeted attack wants to see, or None: any wrong
            one.
        eot: draws averaged in every step and in every decision, for models that answer at random.
        deadline: when to stop, on the clock of `time.monotonic`.
        early_stop: leave an image as soon as it is broken; else the attack takes all its steps with
            every image, the last of which counts (for examples that are to transfer).
        clean: what the model says of the images as they are, shared by the attacks on it.
        surrogates: models by name, for attacks that transfer.
        cache: of the batch, shared by the attacks on all models.
        callback: called after every gradient step, which on a GPU means waiting for it.

    >>> import torch
    >>> from winnrobust.attacks import Run
    >>> run = Run(seed=3, first=100)
    >>> run.numbers_of(torch.zeros(2, 1, 4, 4)), run.out_of_time()
    (tensor([100, 101]), False)
    """

    seed: int = 0
    first: int = 0
    numbers: Tensor | None = None
    targets: Tensor | None = None
    eot: int = 1
    deadline: float = math.inf
    early_stop: bool = True
    clean: CleanPass | None = None
    surrogates: Mapping[str, nn.Module] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict)
    callback: Callable[[Step], None] | None = None

    def tell(self, step: int, losses: Tensor) -> None:
        """Tell the callback, if there is one, the losses (n,) of the images that are active."""
        if self.callback is not None:
            loss = float(losses.mean())
            self.callback(Step("", math.inf, "", self.first, step, loss, len(losses)))

    def out_of_time(self) -> bool:
        """Tell whether an attack must stop now."""
        return time.monotonic() >= self.deadline

    def clean_pass(self, model: nn.Module, images: Tensor, labels: Tensor) -> CleanPass:
        """Return the shared `clean`, or one of the attack's own."""
        return self.clean or CleanPass(model, images, labels, self.targets, self.eot)

    def numbers_of(self, images: Tensor) -> Tensor:
        """Return the numbers (N,) int64 of the batch's images among all."""
        if self.numbers is not None:
            return self.numbers
        return torch.arange(self.first, self.first + len(images), device=images.device)

    def at(self, first: int, targets: Tensor | None) -> "Run":
        """Return what a batch is attacked with whose first image has this number."""
        return replace(self, first=first, targets=targets, clean=None, cache={})

    def of(self, rows: Tensor, images: Tensor) -> "Run":
        """Return what the images numbered `rows` (n,) in the batch are attacked with."""
        return replace(
            self,
            numbers=self.numbers_of(images)[rows],
            targets=None if self.targets is None else self.targets[rows],
            clean=self.clean and self.clean.of(rows),
            cache={},
        )


AttackFunction = Callable[..., AttackResult]
"""f(model, images, labels, *, epsilon, ..., run) -> AttackResult.

Images are (N, C, H, W), floating point in [0, 1], labels (N,) int64, both on the model's device;
epsilon is in the units of the images and in the attack's norm. Other keywords are the attack's own
settings and have defaults. A minimum-norm attack has no need of an epsilon. Nothing of the caller's
is changed: not the tensors, not the model's mode, parameters or their gradients. An attack that can
run long heeds `run.deadline` between steps and then returns what it has.

Raises InputError where the model returns no logits, or has no gradient to follow.
"""


@dataclass(frozen=True)
class Attack:
    """An attack and its threat model.

    Attributes:
        name: what users call it.
        norm: the norm that epsilon bounds, or another kind of threat: "spatial", "patch",
            "corruptions".
        access: what the attacker sees: nothing (a control), gradients, answers, another model.
        cost: what an image costs with default settings, such as "20 gradients".
        summary: one sentence for reports: what the attacker knows and does.
        source: where it was published.
        function: the attack itself.
        minimum_norm: whether it looks for the smallest perturbation, and returns distances.
        targeted: whether it heeds `Run.targets`.
        single_step: whether one gradient at the images serves every epsilon.
        settings: keywords for the function where they differ from its defaults.
        changed: those of them that a caller chose, which the name tells.
        norms: all norms that it can be put in (`in_norm`), the function's default first.

    >>> from winnrobust.attacks import PGD
    >>> PGD.norm, PGD.access, PGD.cost
    ('linf', 'white-box', '20 gradients')
    """

    name: str
    norm: str
    access: Access
    cost: str
    summary: str
    source: str
    function: AttackFunction
    minimum_norm: bool = False
    targeted: bool = False
    single_step: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    changed: Mapping[str, Any] = field(default_factory=dict)
    norms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take the norm for the only one where no others are given."""
        if not self.norms:
            object.__setattr__(self, "norms", (self.norm,))

    def in_norm(self, norm: str) -> "Attack":
        """Return the attack, under the same name, in another of its norms.

        Raises:
            InputError: it has no such version.

        >>> from winnrobust.attacks import PGD
        >>> PGD.in_norm("l2").norm
        'l2'
        """
        if norm not in self.norms:
            raise InputError(
                f"attack '{self.name}' bounds the norm {' or '.join(self.norms)}, not {norm}"
            )
        if norm == self.norm:
            return self
        others = {name: value for name, value in self.settings.items() if name != "norm"}
        own = {} if norm == self.norms[0] else {"norm": norm}
        return replace(self, norm=norm, settings={**others, **own})

    def __call__(self, **settings: Any) -> "Attack":
        """Return the attack with other settings, which its new name tells.

        Args:
            settings: of the function's own, such as `steps` or `loss`.

        Raises:
            InputError: it has no such setting, or cannot take that value.

        >>> from winnrobust.attacks import PGD
        >>> PGD(steps=100, restarts=5).name
        'pgd(steps=100, restarts=5)'
        """
        # What a transfer is called tells to which models it is fair.
        if self.access == "transfer" and settings:
            raise InputError(f"'{self.name}' takes no settings of its own")
        known = {name: each for name, each in self.parameters.items() if name not in FIXED}
        if unknown := [name for name in settings if name not in known]:
            raise InputError(
                f"attack '{self.name}' has no setting '{unknown[0]}'; it has"
                f" {', '.join(known) or 'none'}"
            )
        for name, value in settings.items():
            _check_setting(self.name, name, known[name], value)
        changed = {**self.changed, **settings}
        listed = ", ".join(f"{name}={_setting_text(value)}" for name, value in changed.items())
        if not changed:
            return self
        return replace(
            self,
            name=f"{self.name.partition('(')[0]}({listed})",
            cost=f"{self.cost.removesuffix(UNCHANGED)}{UNCHANGED}",
            settings={**self.settings, **settings},
            changed=changed,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """All settings by name, with the function's defaults where there is no other value.

        >>> from winnrobust.attacks import PGD
        >>> PGD(steps=100).parameters["steps"], PGD.parameters["steps"]
        (100, 20)
        """
        found = inspect.signature(self.function).parameters.values()
        defaults = {each.name: each.default for each in found if each.default is not each.empty}
        defaults.pop("run", None)
        return {**defaults, **self.settings}


FIXED = ("norm", "surrogate", "corruption")
"""Parameters that make an attack what it is: with another value it has another name."""


def with_settings(attack: Attack, **settings: Any) -> Attack:
    """Return the attack with those of the settings that it has; None leaves one as it is.

    So does a setting that was chosen for this attack alone (`Attack.changed`).

    >>> from winnrobust.attacks import PGD, with_settings
    >>> with_settings(PGD, steps=7, queries=50).settings["steps"]
    7
    >>> with_settings(PGD(steps=3), steps=7).settings["steps"]
    3
    """
    known = set(attack.parameters) - set(attack.changed)
    chosen = {
        name: value for name, value in settings.items() if value is not None and name in known
    }
    return replace(attack, settings={**attack.settings, **chosen})


def _check_setting(attack: str, name: str, default: Any, value: Any) -> None:
    """Refuse what the setting cannot be, by its default."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is None and default is None:
        return
    if name == "loss":
        find_loss(value)
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise InputError(
                f"{name} of attack '{attack}' must be True or False, not {shown(value)}"
            )
    elif name in COUNTS:
        if not number or value < 1 or value != int(value):
            raise InputError(
                f"{name} of attack '{attack}' must be a whole number of at least 1, not"
                f" {shown(value)}"
            )
    elif (name == "step_size" or isinstance(default, float)) and not (number and value >= 0):
        raise InputError(
            f"{name} of attack '{attack}' must be a number of at least 0, not {shown(value)}"
        )


UNCHANGED = " with default settings"
"""What its cost is for, once an attack has others."""

COUNTS = ("steps", "restarts", "queries", "searches", "classes")
"""Settings that are counted in whole numbers."""


def _setting_text(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__)) if callable(value) else repr(value)


def run_attack(
    attack: Attack,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    *,
    run: Run,
    seconds: float = math.inf,
) -> list[AttackResult]:
    """Attack a batch at every epsilon and check what comes back.

    A minimum-norm attack runs once; an example counts at every epsilon that it is within. What is
    spent once for all epsilons is counted at the first. At 0 the result is the images.

    Args:
        attack: with its settings.
        model, images, labels: as for `AttackFunction`.
        epsilons: in the attack's norm; infinite ones are for minimum-norm attacks.
        run: with a `clean` that is shared; None makes one for these epsilons.
        seconds: every epsilon above 0 has the same share of it, whatever others leave.

    Raises:
        InputError: as the attack; or it left the ball or [0, 1].

    >>> import torch
    >>> from winnrobust.attacks import FGSM, Run, run_attack
    >>> model = torch.nn.Flatten()  # the logits are the two pixels
    >>> images = torch.tensor([[0.75, 0.25], [0.5, 0.375]]).view(2, 1, 1, 2)
    >>> (result,) = run_attack(FGSM, model, images, torch.tensor([0, 0]), [0.125], run=Run())
    >>> result.images.flatten(1)
    tensor([[0.6250, 0.3750],
            [0.3750, 0.5000]])
    """
    run = replace(run, clean=run.clean_pass(model, images, labels))

    def attacked(share: float, **bound: float) -> AttackResult:
        timed = replace(
            run,
            deadline=min(run.deadline, time.monotonic() + share),
            callback=_naming(run.callback, attack.name, bound.get("epsilon", math.inf)),
        )
        return attack.function(model, images, labels, run=timed, **bound, **attack.settings)

    with torch.inference_mode(False), torch.no_grad():
        if attack.minimum_norm:
            results = _within(attacked(seconds), images, epsilons)
        else:
            share = seconds / max(sum(epsilon > 0 for epsilon in epsilons), 1)
            results = [
                attacked(share, epsilon=epsilon) if epsilon else AttackResult.untouched(images)
                for epsilon in epsilons
            ]
    counted = False
    for place, epsilon in enumerate(epsilons):
        if counted and (attack.minimum_norm or attack.single_step):
            results[place] = results[place].without_costs()
        counted = counted or epsilon > 0 or attack.minimum_norm
        check_examples(attack.name, attack.norm, images.detach(), results[place].images, epsilon)
    return results


def _naming(
    callback: Callable[[Step], None] | None, attack: str, epsilon: float
) -> Callable[[Step], None] | None:
    """Return a callback that gets to know which attack a step is of."""
    return callback and (lambda step: callback(step._replace(attack=attack, epsilon=epsilon)))


def _within(nearest: AttackResult, images: Tensor, epsilons: Sequence[float]) -> list[AttackResult]:
    """Return the nearest examples at every epsilon that they are within, else the images."""
    assert nearest.distance is not None
    return [
        replace(
            nearest,
            images=torch.where(per_image(nearest.distance <= epsilon), nearest.images, images),
        )
        for epsilon in epsilons
    ]
