"""How one batch is measured: two looks at a model's answers, and small attacks of our own."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import (
    DEFAULT_BUDGET,
    AttackResult,
    Budget,
    Target,
    check_adversarials,
    find,
    loss_gradient,
)
from winnrobust.attacks.passes import gradient_of
from winnrobust.attacks.pgd import RELATIVE_STEP, STEPS
from winnrobust.evaluation.prediction import errors_named, logits_from
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError

USUAL = Budget(steps=STEPS, restarts=1)
"""What PGD spends in an evaluation unless it is told otherwise."""
PATIENT = Budget(steps=2 * STEPS, restarts=2)
"""What it spends here to show whether the usual budget is enough."""
QUERIES = Budget(queries=200)
"""What Square may ask about an image."""
DRAWS = Budget(restarts=3)
"""How often noise is drawn; the worst counts."""
HALF = 0.5
"""At this epsilon every image can be painted mid-grey: nothing is left to recognise."""
SAME = 1e-3
"""Logits that differ by at most this share of the largest are the same: what float32 sums in
another order make of them."""
ASTRAY = 0.9
"""A gradient whose cosine to the exact one is lower points somewhere else."""


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

    Losses are cross-entropies of the label in double precision.

    Attributes:
        grey: on mid-grey in the place of the image.
        noise: (N, E) bool, after `DRAWS` of uniform noise at each of `epsilons_around` epsilon.
        usual: (N, E) bool, after PGD with the `USUAL` budget at each of them.
        patient: after PGD with the `PATIENT` budget.
        black_box: after Square with `QUERIES`.
        single_step: after FGSM.
        path: at the end of a plain PGD path that nothing cuts short.
        clean_loss, single_step_loss: (N,) float64.
        path_loss: (N, steps + 1) float64, along that path, its random start first.
        gradients: (batches, 6) int64, `GradientStatistics` of the images as they are.
        astray: the gradient of the image, which an attack follows, is not that of the loss in
            double precision: rounded away, or another one in every pass. A zero one is not astray.
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


def answers_of(name: str, target: Target) -> Answers:
    """Ask the model called `name` twice about the same images."""
    first, second = (logits_from(name, target.model, target.images) for _ in range(2))
    wrong = first.argmax(1) != target.labels
    return Answers(wrong.cpu().numpy(), *_changes(first, second))


def _changes(first: Tensor, second: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Tell for which of n images the logits (n, K) moved, and for which the class flipped."""
    moved = (first - second).abs().amax(1) > SAME * first.abs().amax(1)
    return moved.cpu().numpy(), (first.argmax(1) != second.argmax(1)).cpu().numpy()


def obstacle_of(model: nn.Module, images: Tensor, labels: Tensor) -> str:
    """Tell why there is no gradient to follow; nothing where there is one."""
    device = device_of(model)
    try:
        loss_gradient(model, images.to(device), labels.to(device))
    except torch.cuda.OutOfMemoryError:
        raise
    except InputError as error:
        return str(error)
    except Exception as error:  # anyone's module may raise anything
        return f"its gradient fails: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ""


def attacked(name: str, target: Target, epsilon: float) -> Attacked:
    """Attack a batch in all the ways of `Attacked`.

    Raises:
        InputError: an attack fails on the model called `name`.
    """

    def broken(attack: str, bounds: Sequence[float], budget: Budget) -> np.ndarray:
        examples = attack_with(attack, name, target, bounds, budget).adversarials
        return np.stack([_judge(name, target, points).wrong for points in examples], axis=1)

    epsilons = epsilons_around(epsilon)
    fgsm = attack_with("fgsm", name, target, [epsilon])
    single_step = _judge(name, target, fgsm.adversarials[0])
    path = _path(name, target, epsilon)
    return Attacked(
        grey=_judge(name, target, torch.full_like(target.images, HALF)).wrong,
        noise=broken("noise-uniform", epsilons, DRAWS),
        usual=broken("pgd", epsilons, USUAL),
        patient=broken("pgd", [epsilon], PATIENT)[:, 0],
        black_box=broken("square", [epsilon], QUERIES)[:, 0],
        single_step=single_step.wrong,
        path=path[-1].wrong,
        clean_loss=_judged(target, target.clean.logits).loss,
        single_step_loss=single_step.loss,
        path_loss=np.stack([point.loss for point in path], axis=1),
        gradients=np.array([fgsm.gradients]),
        astray=_astray(target),
    )


def attack_with(
    attack: str,
    name: str,
    target: Target,
    epsilons: Sequence[float],
    budget: Budget = DEFAULT_BUDGET,
) -> AttackResult:
    """Run an attack on the model called `name` and check what it made.

    Raises:
        InputError: the attack fails on the model, or leaves the ball.
    """
    with errors_named(name, target.images):
        result = find(attack).function(target, epsilons, budget)
        for epsilon, adversarials in zip(epsilons, result.adversarials, strict=True):
            check_adversarials(find(attack), target.images, adversarials, epsilon)
    return result


def _judge(name: str, target: Target, images: Tensor) -> _Judged:
    return _judged(target, logits_from(name, target.model, images))


def _judged(target: Target, logits: Tensor) -> _Judged:
    labels = target.labels.cpu()
    loss = _exact_loss(logits, labels)
    return _Judged((logits.argmax(1).cpu() != labels).numpy(), loss.numpy())


def _exact_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy (n,) of float32 logits in float64, which does not round 1e-9 to 0.

    On the CPU, because not every device has float64.
    """
    return F.cross_entropy(logits.cpu().double(), labels.cpu(), reduction="none")


def _path(name: str, target: Target, epsilon: float) -> list[_Judged]:
    """Judge every point of PGD's path, random start and end included, whatever it passes."""
    step_size = RELATIVE_STEP * epsilon / STEPS
    low, high = (target.images - epsilon).clamp(min=0), (target.images + epsilon).clamp(max=1)
    points = target.images + epsilon * (2 * target.uniform("diagnosis") - 1)
    points = points.clamp(0, 1)
    path = []
    for _ in range(STEPS):
        with errors_named(name, points):
            seen = loss_gradient(target.model, points, target.labels)
        path.append(_judged(target, seen.logits))
        points = torch.clamp(points + step_size * seen.gradient.sign(), low, high)
    return [*path, _judge(name, target, points)]


def _astray(target: Target) -> np.ndarray:
    followed = target.clean.gradient
    exact = gradient_of(
        lambda logits: _exact_loss(logits, target.labels), target.model, target.images
    ).gradient
    cosine = F.cosine_similarity(_normalised(followed), _normalised(exact))
    return ((cosine < ASTRAY) & followed.flatten(1).any(1)).cpu().numpy()


def _normalised(gradient: Tensor) -> Tensor:
    """Scale every image's gradient so that its largest entry is 1: squares must not underflow."""
    rows = gradient.flatten(1)
    return rows / rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
