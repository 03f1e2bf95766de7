"""How one batch is measured: two looks at a model's answers, and small attacks of our own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import (
    NORMS,
    AttackResult,
    CleanPass,
    Run,
    find,
    loss_gradient,
    run_attack,
    with_settings,
)
from winnrobust.attacks.gradients import log_odds
from winnrobust.attacks.pgd import RELATIVE_STEP
from winnrobust.evaluation.prediction import OUT_OF_MEMORY, errors_named, logits_from, moved
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError, brief

STEPS = 20
"""PGD's in an evaluation, unless it is told otherwise."""
PATIENT_STEPS, PATIENT_RESTARTS = 2 * STEPS, 2
"""What it spends here to show whether its usual budget is enough."""
QUERIES = 200
"""What Square may ask about an image."""
DRAWS = 3
"""How often noise is drawn; the worst counts."""
HALF = 0.5
"""At this epsilon every image can be painted mid-grey: nothing is left to recognise."""
ASTRAY = 0.9
"""A gradient whose cosine to that of another pass is lower points somewhere else."""


@dataclass(frozen=True)
class Batch:
    """Some images, and a model to attack with them.

    Attributes:
        name: of the model.
        model: ready to be called.
        images: (n, C, H, W) float32 in [0, 1], on the model's device.
        labels: (n,) int64.
        first: number of the first image among all.
        seed: of all random draws.
        models: all models by name, for attacks that transfer.
    """

    name: str
    model: nn.Module
    images: Tensor
    labels: Tensor
    first: int
    seed: int
    models: Mapping[str, nn.Module]

    @cached_property
    def clean(self) -> CleanPass:
        """What the model says of the images, shared by the attacks."""
        return CleanPass(self.model, self.images, self.labels)

    def attack(self, attack: str, epsilons: Sequence[float], **budget: int) -> list[AttackResult]:
        """Run an attack at every epsilon, with other `steps`, `restarts` or `queries` if given.

        Raises:
            InputError: the attack fails on the model, or leaves the ball.
        """
        chosen = with_settings(find(attack), **budget)
        run = Run(seed=self.seed, first=self.first, clean=self.clean, surrogates=self.models)
        with errors_named(self.name, self.images):
            return run_attack(chosen, self.model, self.images, self.labels, epsilons, run=run)


class Mode(NamedTuple):
    """The mode in which a model was handed over, tried on one batch.

    Attributes:
        training: submodules in train mode.
        images: images that it was tried on.
        moved, flipped: how many of them get other logits, another class, than in eval mode.
        failure: why it does not answer in that mode; empty where it does.
    """

    training: int
    images: int
    moved: int
    flipped: int
    failure: str = ""


class Answers(NamedTuple):
    """What a model says of N unchanged images; (N,) bool each.

    Attributes:
        wrong: its class is not the label.
        moved, flipped: a second pass gives other logits, another class.
    """

    wrong: np.ndarray
    moved: np.ndarray
    flipped: np.ndarray


class Attacked(NamedTuple):
    """What attacks made of N images; (N,) bool where it says nothing else: is the model wrong?

    Losses are the log-odds of the other classes in double precision, logsumexp(others) - label,
    of which cross-entropy is a rising function.

    Attributes:
        grey: on mid-grey in the place of the image.
        noise: (N, E) bool, after `DRAWS` draws of uniform noise, at each of `epsilons_around`
            epsilon.
        usual: (N, E) bool, after PGD with its usual `STEPS` at each of them.
        patient: after PGD with `PATIENT_STEPS` and `PATIENT_RESTARTS`.
        black_box: after Square with `QUERIES`.
        single_step: after FGSM.
        path: at the end of a plain PGD path that nothing cuts short.
        clean_loss, single_step_loss: (N,) float64.
        path_loss: (N, steps + 1) float64, along that path, its random start first.
        gradients: (batches, 6) int64, `GradientStatistics` of the images as they are.
        astray: a second pass gives the image a gradient that points elsewhere. A zero one is not
            astray.
    """

    grey: np.ndarray
    noise: np.ndarray
    usual: np.ndarray
    patient: np.ndarray
    black_box: np.ndarray
    single_step: np.ndarray
    path: np.ndarray
    clean_loss: np.ndarray
    single_step_loss: np.ndarray
    path_loss: np.ndarray
    gradients: np.ndarray
    astray: np.ndarray


class _Judged(NamedTuple):
    """What a model says of n images: is it wrong (n,) bool, at which loss (n,) float64?"""

    wrong: np.ndarray
    loss: np.ndarray


def epsilons_around(epsilon: float) -> list[float]:
    """Return half of epsilon, itself, its double and `HALF`, ascending."""
    return sorted({epsilon / 2, epsilon, min(2 * epsilon, 1.0), HALF})


def mode_of(name: str, model: nn.Module, modes: Mapping[nn.Module, bool], images: Tensor) -> Mode:
    """Compare what a model says in the `modes` that it came in with what it says in eval mode.

    Leaves it in those modes: hold it with `frozen`, which also restores the buffers that train mode
    moves.

    Args:
        modes: submodule -> whether it is in train mode.
    """
    evaluated = logits_from(name, model, images)
    for module, training in modes.items():
        module.training = training
    try:
        given = logits_from(name, model, images)
    except InputError as error:
        return Mode(sum(modes.values()), len(images), 0, 0, failure=str(error))
    moved, flipped = _changes(evaluated, given)
    return Mode(sum(modes.values()), len(images), int(moved.sum()), int(flipped.sum()))


def answers_of(batch: Batch) -> Answers:
    """Ask a model twice about the same images."""
    first, second = (logits_from(batch.name, batch.model, batch.images) for _ in range(2))
    wrong = first.argmax(1) != batch.labels
    return Answers(wrong.cpu().numpy(), *_changes(first, second))


def _changes(first: Tensor, second: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Tell for which of n images the logits (n, K) moved, and for which the class flipped."""
    flipped = first.argmax(1) != second.argmax(1)
    return moved(first, second).cpu().numpy(), flipped.cpu().numpy()


def obstacle_of(model: nn.Module, images: Tensor, labels: Tensor) -> str:
    """Tell why there is no gradient to follow; nothing where there is one."""
    device = device_of(model)
    try:
        loss_gradient(model, images.to(device), labels.to(device))
    except OUT_OF_MEMORY:
        raise
    except InputError as error:
        return str(error)
    except Exception as error:  # anyone's module may raise anything
        return f"its gradient fails: {type(error).__name__}: {brief(error)}"
    return ""


def attacked(batch: Batch, epsilon: float) -> Attacked:
    """Attack a batch in all the ways of `Attacked`.

    Raises:
        InputError: an attack fails on the model.
    """

    def broken(attack: str, bounds: Sequence[float], **budget: int) -> np.ndarray:
        results = batch.attack(attack, bounds, **budget)
        return np.stack([_judge(batch, result.images).wrong for result in results], axis=1)

    epsilons = epsilons_around(epsilon)
    (fgsm,) = batch.attack("fgsm", [epsilon])
    single_step = _judge(batch, fgsm.images)
    path = list(_path(batch, epsilon))
    return Attacked(
        grey=_judge(batch, torch.full_like(batch.images, HALF)).wrong,
        noise=broken("noise-uniform", epsilons, restarts=DRAWS),
        usual=broken("pgd", epsilons, steps=STEPS),
        patient=broken("pgd", [epsilon], steps=PATIENT_STEPS, restarts=PATIENT_RESTARTS)[:, 0],
        black_box=broken("square", [epsilon], queries=QUERIES)[:, 0],
        single_step=single_step.wrong,
        path=path[-1].wrong,
        clean_loss=_judged(batch, batch.clean.answer.logits).loss,
        single_step_loss=single_step.loss,
        path_loss=np.stack([point.loss for point in path], axis=1),
        gradients=np.array([fgsm.statistics.on_host()]),
        astray=_astray(batch),
    )


def _judge(batch: Batch, images: Tensor) -> _Judged:
    return _judged(batch, logits_from(batch.name, batch.model, images))


def _judged(batch: Batch, logits: Tensor) -> _Judged:
    labels = batch.labels.cpu()
    loss = _exact_loss(logits, labels)
    return _Judged((logits.argmax(1).cpu() != labels).numpy(), loss.numpy())


def _exact_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the log-odds (n,) of the other classes in float64.

    On the CPU, because not every device has float64.
    """
    return log_odds(logits.cpu().double(), labels.cpu())


def _path(batch: Batch, epsilon: float) -> Iterator[_Judged]:
    """Judge every point of PGD's path, random start and end included, whatever it passes."""
    ball = NORMS["linf"]
    numbers = torch.arange(len(batch.images), device=batch.images.device) + batch.first
    offsets = ball.random(numbers, tuple(batch.images.shape[1:]), batch.seed, "diagnosis")
    points = (batch.images + epsilon * offsets).clamp(0, 1)
    for _ in range(STEPS):
        with errors_named(batch.name, points):
            seen = loss_gradient(batch.model, points, batch.labels)
        yield _judged(batch, seen.logits)
        step = RELATIVE_STEP * epsilon / STEPS * seen.gradient.sign()
        points = ball.project(points + step, batch.images, epsilon)
    yield _judge(batch, points)


def _astray(batch: Batch) -> np.ndarray:
    first = batch.clean.gradient().gradient
    second = loss_gradient(batch.model, batch.images, batch.labels).gradient
    cosine = F.cosine_similarity(_normalized(first), _normalized(second))
    return ((cosine < ASTRAY) & first.flatten(1).any(1)).cpu().numpy()


def _normalized(gradient: Tensor) -> Tensor:
    """Scale every image's gradient so that its largest entry is 1: squares must not underflow."""
    rows = gradient.flatten(1)
    return rows / rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
