"""What an attack is, what it is run with, what it returns, and how it is run."""

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from winnrobust.attacks.checks import check_examples
from winnrobust.attacks.gradients import (
    NO_GRADIENTS,
    CleanPass,
    GradientStatistics,
    at_least_float32,
)
from winnrobust.attacks.norms import NormName, per_image

Access = Literal["none", "white-box", "black-box", "transfer"]


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
        norm: the norm that epsilon bounds.
        access: what the attacker sees: nothing (a control), gradients, answers, another model.
        cost: what an image costs with default settings, such as "20 gradients".
        summary: one sentence for reports: what the attacker knows and does.
        source: where it was published.
        function: the attack itself.
        minimum_norm: whether it looks for the smallest perturbation, and returns distances.
        targeted: whether it heeds `Run.targets`.
        single_step: whether one gradient at the images serves every epsilon.
        settings: keywords for the function where they differ from its defaults.
    """

    name: str
    norm: NormName
    access: Access
    cost: str
    summary: str
    source: str
    function: AttackFunction
    minimum_norm: bool = False
    targeted: bool = False
    single_step: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """All settings by name, with the function's defaults where there is no other value."""
        found = inspect.signature(self.function).parameters.values()
        defaults = {each.name: each.default for each in found if each.default is not each.empty}
        defaults.pop("run", None)
        return {**defaults, **self.settings}


def with_settings(attack: Attack, **settings: Any) -> Attack:
    """Return the attack with those of the settings that it has; None leaves one as it is."""
    known = attack.parameters
    chosen = {
        name: value for name, value in settings.items() if value is not None and name in known
    }
    return replace(attack, settings={**attack.settings, **chosen})


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
    """
    run = replace(run, clean=run.clean_pass(model, images, labels))

    def attacked(share: float, **bound: float) -> AttackResult:
        timed = replace(run, deadline=min(run.deadline, time.monotonic() + share))
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
