"""One attack on one model: the adversarial examples themselves, each judged anew."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.attacks import ATTACKS, NORMS, Attack, Run, answer, find, measured, run_attack
from winnrobust.attacks.norms import per_image
from winnrobust.data.streams import ImageStream
from winnrobust.evaluation.checks import as_floats, checked_models
from winnrobust.evaluation.outcomes import Level
from winnrobust.evaluation.prediction import (
    OUT_OF_MEMORY,
    check_classes,
    check_finite,
    check_labels,
    check_shape,
    errors_named,
)
from winnrobust.evaluation.settings import check_surrogates, checked_epsilons
from winnrobust.evaluation.state import channels_last, devices_of, frozen, own_randomness
from winnrobust.evaluation.targets import TARGETS
from winnrobust.runtime.devices import device_of, resolve_device
from winnrobust.runtime.errors import InputError, brief

BATCH_SIZE = 128
MODEL = "model"
"""What a model is called that was given without a name."""


@dataclass(frozen=True)
class Attacked:
    """What an attack made of N images; all tensors are on the CPU.

    Attributes:
        images: (N, C, H, W) float32 in [0, 1], within epsilon of the originals. Where the model
            withstood, the last try; where there was nothing to try, the original.
        is_adversarial: (N,) bool, whether the model, asked anew, is wrong about the example (of a
            targeted attack: sees the target). An image that it gets wrong without attack is.
        distance: (N,) float32, how far the example is from the original in the attack's norm.
        gradients, queries: (N,) int64, gradient and forward-only passes spent on each image.
        predictions: (N,) int64, the class that the model sees in the example.
        attack, norm, epsilon: what was done.

    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)  # says which pixel is brighter
    >>> images = torch.tensor([[0.75, 0.25], [0.5, 0.375]]).view(2, 1, 1, 2)
    >>> made = winnrobust.attack(model, images, torch.tensor([0, 0]), "fgsm", epsilon=0.125)
    >>> made.is_adversarial, made.distance
    (tensor([False,  True]), tensor([0.1250, 0.1250]))
    >>> made.images[1].flatten()
    tensor([0.3750, 0.5000])
    """

    images: Tensor
    is_adversarial: Tensor
    distance: Tensor
    gradients: Tensor
    queries: Tensor
    predictions: Tensor
    attack: str
    norm: str
    epsilon: float

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.images)

    def __repr__(self) -> str:
        """Say what was done, not the pixels."""
        at = "" if self.epsilon == math.inf else f" at {Level(self.norm, self.epsilon)}"
        return f"<{self.attack}{at}: {int(self.is_adversarial.sum())} of {len(self)} adversarial>"


def attack_images(
    model: nn.Module,
    data: ImageStream,
    attack: Attack,
    epsilon: float | None,
    run: Run,
    *,
    targets: Tensor | np.ndarray | str | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Attacked:
    """Attack a model, check what comes back, and let the model judge it.

    Args:
        data: images with their labels, checked as they are read.
        attack: with its settings.
        run: seed, eot, surrogates and callback, as a user gives them.
        model, epsilon, targets, batch_size, device, progress: as for `winnrobust.attack`.

    Raises:
        InputError: an argument or the model cannot be used, or the attack left the ball.
    """
    nets = checked_models({MODEL: model})
    others = checked_models(run.surrogates) if run.surrogates else {}
    check_surrogates([attack], [*others])
    bound = _bound(attack, epsilon)
    if targets is not None and not attack.targeted:
        raise InputError(f"attack '{attack.name}' cannot be targeted; leave out the targets")
    size = _count("batch_size", batch_size or BATCH_SIZE)
    seed, eot = _count("seed", run.seed, 0), _count("eot", run.eot)
    run = replace(run, seed=seed, eot=eot, surrogates=others)
    held = [*nets.values(), *others.values()]
    place = None if device is None else resolve_device(str(device))
    parts: list[tuple[Tensor, ...]] = []
    try:
        with ExitStack() as stack:
            stack.enter_context(frozen(held, place))
            stack.enter_context(own_randomness(devices_of(nets), seed, "probe"))
            head = data.batch(0, 2)
            known = head.labels if data.labels is None else data.labels
            few = as_floats(head.images)
            classes = check_classes(nets, few, known)
            stack.enter_context(channels_last(held, few, head.labels))
            for start in range(0, len(data), size):
                read = data.batch(start, start + size)
                check_labels(read.labels, classes)
                with own_randomness(devices_of(nets), seed, "batch", start):  # as `run` does
                    parts.append(_attack_batch(model, attack, read, bound, start, run, targets))
                if progress is not None:
                    progress(min(start + size, len(data)), len(data))
    except OUT_OF_MEMORY:
        raise InputError(
            f"there is not enough memory to attack {size} images at once; give a smaller batch_size"
        ) from None
    made, wrong, distance, gradients, queries, predictions = (
        torch.cat(part) for part in zip(*parts, strict=True)
    )
    return Attacked(
        made, wrong, distance, gradients, queries, predictions, attack.name, attack.norm, bound
    )


def _bound(attack: Attack, epsilon: float | None) -> float:
    if epsilon is None or epsilon == math.inf:
        if attack.minimum_norm:
            return math.inf
        raise InputError(f"attack '{attack.name}' needs an epsilon, such as epsilon=8/255")
    (bound,) = checked_epsilons([epsilon], attack.norm, "epsilon")
    return bound


def _count(name: str, value: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def _attack_batch(
    model: nn.Module, attack: Attack, read: Any, epsilon: float, start: int, run: Run, wanted: Any
) -> tuple[Tensor, ...]:
    """Return the first fields of `Attacked` for a batch."""
    place = device_of(model)
    images, labels = as_floats(read.images).to(place), read.labels.to(place)
    run = run.at(start, _targets(model, images, labels, wanted, run.seed, start))
    try:
        with errors_named(MODEL, images):
            seen = answer(model, images)
        check_shape(MODEL, seen.logits, len(images))
        (result,) = run_attack(attack, model, images, labels, [epsilon], run=run)
    except (InputError, *OUT_OF_MEMORY):
        raise
    except Exception as error:  # anyone's module may raise anything
        raise InputError(
            f"attack '{attack.name}': {type(error).__name__}: {brief(error)}"
        ) from error
    made = result.images
    if result.distance is not None:  # what was not found is the image itself
        made = torch.where(per_image(result.distance <= epsilon), made, images)
    judged = answer(model, made, run.eot)
    check_finite(MODEL, bool(judged.logits.isfinite().all()))
    predictions = judged.logits.argmax(1)
    wrong = predictions != labels if run.targets is None else predictions == run.targets
    distance = measured(attack.norm, images, made)
    found = made.float(), wrong, distance, result.gradients, result.queries, predictions
    return tuple(each.detach().cpu() for each in found)


def _targets(
    model: nn.Module, images: Tensor, labels: Tensor, wanted: Any, seed: int, start: int
) -> Tensor | None:
    if wanted is None:
        return None
    if isinstance(wanted, str):
        if wanted not in TARGETS:
            raise InputError(f"targets must be classes or {' or '.join(TARGETS)}, not '{wanted}'")
        numbers = torch.arange(start, start + len(labels))
        return TARGETS[wanted](answer(model, images).logits, labels, seed, numbers)
    chosen = torch.as_tensor(wanted)[start : start + len(labels)].to(labels)
    if chosen.shape != labels.shape or bool((chosen == labels).any()):
        raise InputError("targets must be a wrong class for each image")
    return chosen


def find_in_norm(name: str, norm: str | None) -> Attack:
    """Return the attack called `name`, in that norm; None is the attack's own.

    Raises:
        InputError: there is none.

    >>> find_in_norm("pgd(steps=5)", "l2").norm
    'l2'
    """
    if norm is not None and norm not in NORMS:
        raise InputError(f"norm must be {' or '.join(NORMS)}, not {norm!r}")
    attack = find(name)
    if norm is None:
        return attack
    if norm not in attack.norms:
        others = [each.name for each in ATTACKS.values() if norm in each.norms]
        raise InputError(
            f"attack '{name}' bounds the norm {' or '.join(attack.norms)}; those of {norm} are"
            f" {', '.join(others)}"
        )
    return attack.in_norm(norm)
