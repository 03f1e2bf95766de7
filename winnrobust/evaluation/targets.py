"""Which class a targeted attack wants to see, chosen for every image."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import uniform


def random_targets(logits: Tensor, labels: Tensor, seed: int, numbers: Tensor) -> Tensor:
    """Draw a wrong class (N,) for every image, each as likely as the others.

    It depends on the seed, the label and the image's place among all images: not on its batch, nor
    on the model.

    Args:
        logits: (N, K), what the model under attack says of the images.
        labels: (N,) int64.
        numbers: (N,) int64, the images' numbers among all.
    """
    wrong_classes = logits.shape[1] - 1
    numbers = numbers.cpu()
    first, last = int(numbers.min()), int(numbers.max())
    draws = uniform(seed, "aims", first=first, shape=(last - first + 1,))[numbers - first]
    # In float64 no product of a number below 1 is rounded up to the number of wrong classes.
    offsets = 1 + (draws.double() * wrong_classes).long().to(labels.device)
    return (labels + offsets) % (wrong_classes + 1)


def least_likely_targets(logits: Tensor, labels: Tensor, seed: int, numbers: Tensor) -> Tensor:
    """Return the wrong class (N,) to which the model under attack gives the lowest clean logit.

    Source: Kurakin, Goodfellow, Bengio 2017, arXiv:1611.01236.

    >>> import torch
    >>> logits, numbers = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0])
    >>> least_likely_targets(logits, torch.tensor([1]), 0, numbers)
    tensor([2])
    """
    return logits.scatter(1, labels.unsqueeze(1), math.inf).argmin(1)


def given_targets(targets: np.ndarray, numbers: Tensor, labels: Tensor) -> Tensor:
    """Return the classes (B,) that were given for some of the images.

    Args:
        targets: (N,), of all.
        numbers: (B,) int64, of the images.
        labels: (B,) int64, theirs.

    Raises:
        InputError: one is the true class.
    """
    chosen = torch.from_numpy(targets[numbers.cpu().numpy()]).to(labels)
    if len(same := (chosen == labels).nonzero()):
        number = int(numbers[int(same[0])])
        raise InputError(f"the target of image {number} is its true class; give a wrong class")
    return chosen


def check_targets(targets: Any, n: int, classes: int) -> None:
    """Check that targets, if they were given as an array (N,), are of these images and classes.

    Raises:
        InputError: they are not.
    """
    if isinstance(targets, np.ndarray):
        if len(targets) != n:
            raise InputError(f"there are {len(targets)} targets for {n} images; give one for each")
        if targets.max() >= classes:
            raise InputError(
                f"targets go up to {targets.max()}, but the models have only the classes 0 to"
                f" {classes - 1}"
            )


TARGETS: dict[str, Callable[[Tensor, Tensor, int, Tensor], Tensor]] = {
    "random": random_targets,
    "least-likely": least_likely_targets,
}
"""Name -> how the targets are chosen."""
