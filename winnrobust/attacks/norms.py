"""The norms that bound perturbations, each as the few functions that attacks need of it."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from winnrobust.attacks import draws

NormName = Literal["linf", "l2"]


class Norm(NamedTuple):
    """A norm.

    Attributes:
        display: what reports call it.
        size: offsets (n, C, H, W) -> their norms (n,).
        steepest: gradients (n, C, H, W) -> the offsets of size 1 along which a linear function
            with that gradient rises most; 0 where the gradient is 0.
        project: (points, images, epsilon) -> the points, moved into [0, 1] and to at most epsilon
            from the images.
        random: (numbers, shape, seed, *names) -> offsets (n, *shape), uniform in the ball of size
            1; the arguments are those of `draws.uniform`.
    """

    display: str
    size: Callable[[Tensor], Tensor]
    steepest: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Tensor, float], Tensor]
    random: Callable[..., Tensor]


def per_image(values: Tensor) -> Tensor:
    """Reshape values (n,) so that they multiply images (n, C, H, W)."""
    return values.reshape(-1, 1, 1, 1)


def linf_size(offsets: Tensor) -> Tensor:
    """Return the largest absolute entry (n,)."""
    return offsets.abs().flatten(1).amax(1)


def linf_project(points: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """Clip to [images - epsilon, images + epsilon] and to [0, 1]."""
    return torch.clamp(points, (images - epsilon).clamp_(min=0), (images + epsilon).clamp_(max=1))


def linf_random(numbers: Tensor, shape: tuple[int, ...], seed: int, *names: str | int) -> Tensor:
    """Draw from the cube [-1, 1)."""
    return 2 * draws.uniform(numbers, shape, seed, *names) - 1


def l2_size(offsets: Tensor) -> Tensor:
    """Return the Euclidean length (n,)."""
    return offsets.flatten(1).norm(dim=1)


def l2_steepest(gradient: Tensor) -> Tensor:
    """Scale to length 1."""
    # By the largest entry first: the squares of small gradients would vanish.
    tiny = torch.finfo(gradient.dtype).tiny
    scaled = gradient / per_image(linf_size(gradient).clamp_min(tiny))
    return scaled / per_image(l2_size(scaled).clamp_min(1e-12))


def l2_project(points: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """Shorten offsets that are longer than epsilon, then clip to [0, 1]."""
    offsets = points - images
    shrink = (epsilon / l2_size(offsets).clamp_min(1e-12)).clamp_max(1)
    return (images + per_image(shrink) * offsets).clamp_(0, 1)


def l2_random(numbers: Tensor, shape: tuple[int, ...], seed: int, *names: str | int) -> Tensor:
    """Draw from the Euclidean unit ball."""
    directions = l2_steepest(draws.normal(numbers, shape, seed, *names))
    # A ball's volume grows with the radius to the power of its dimension.
    radius = draws.uniform(numbers, (1,), seed, *names, "radius").flatten()
    return per_image(radius ** (1 / math.prod(shape))) * directions


NORMS: dict[str, Norm] = {
    "linf": Norm("Linf", linf_size, torch.sign, linf_project, linf_random),
    "l2": Norm("L2", l2_size, l2_steepest, l2_project, l2_random),
}
