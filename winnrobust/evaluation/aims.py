"""Which class a targeted attack wants to see, chosen for every image."""

import math
from collections.abc import Callable

from torch import Tensor

from winnrobust.attacks import Target
from winnrobust.runtime.randomness import uniform


def random_aims(target: Target) -> Tensor:
    """Draw a wrong class (N,) for every image, each as likely as the others.

    It depends on the seed, the label and the image's place among all images: not on its batch, nor
    on the model.
    """
    wrong_classes = target.clean_logits.shape[1] - 1
    draws = uniform(target.seed, "aims", first=target.first, shape=tuple(target.labels.shape))
    # In float64 no product of a number below 1 is rounded up to the number of wrong classes.
    offsets = 1 + (draws.double() * wrong_classes).long().to(target.labels.device)
    return (target.labels + offsets) % (wrong_classes + 1)


def least_likely_aims(target: Target) -> Tensor:
    """Return the wrong class (N,) to which the model under attack gives the lowest clean logit.

    Source: Kurakin, Goodfellow, Bengio 2017, arXiv:1611.01236.
    """
    labels = target.labels.unsqueeze(1)
    return target.clean_logits.scatter(1, labels, math.inf).argmin(1)


AIMS: dict[str, Callable[[Target], Tensor]] = {
    "random": random_aims,
    "least-likely": least_likely_aims,
}
"""Name -> how the aims are chosen."""
