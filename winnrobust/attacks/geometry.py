"""The two norms that bound perturbations, each as the few functions that attacks need of it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from winnrobust.attacks.attack import Norm
from winnrobust.attacks.target import Target


class Geometry(NamedTuple):
    """A norm.

    Attributes:
        size: offsets (n, C, H, W) -> their norms (n,).
        steepest: gradients (n, C, H, W) -> the offsets of size 1 along which a linear function
            with that gradient rises most; 0 where the gradient is 0.
        project: (points, images, epsilon) -> the points, moved into [0, 1] and to at most epsilon
            from the images.
        draw: (target, *names) -> offsets (N, C, H, W), uniform in the ball of size 1.
    """

    size: Callable[[Tensor], Tensor]
    steepest: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Tensor, float], Tensor]
    draw: Callable[..., Tensor]


def _largest(offsets: Tensor) -> Tensor:
    return offsets.abs().flatten(1).amax(1)


def _project_largest(points: Tensor, images: Tensor, epsilon: float) -> Tensor:
    return torch.clamp(points, (images - epsilon).clamp_(min=0), (images + epsilon).clamp_(max=1))


def _draw_cube(target: Target, *names: str | int) -> Tensor:
    return 2 * target.uniform(*names) - 1


def _length(offsets: Tensor) -> Tensor:
    return offsets.flatten(1).norm(dim=1)


def _of_length_one(offsets: Tensor) -> Tensor:
    # By the largest entry first: the squares of a saturated model's gradients would vanish.
    scaled = offsets / per_image(_largest(offsets).clamp_min(torch.finfo(offsets.dtype).tiny))
    return scaled / per_image(_length(scaled).clamp_min(1e-12))


def _project_length(points: Tensor, images: Tensor, epsilon: float) -> Tensor:
    offsets = points - images
    shrink = (epsilon / _length(offsets).clamp_min(1e-12)).clamp_max(1)
    return (images + per_image(shrink) * offsets).clamp_(0, 1)


def _draw_sphere(target: Target, *names: str | int) -> Tensor:
    directions = _of_length_one(target.normal(*names))
    # A ball's volume grows with the radius to the power of its dimension.
    radius = target.numbers(1, *names, "radius").flatten() ** (1 / directions[0].numel())
    return per_image(radius) * directions


def per_image(values: Tensor) -> Tensor:
    """Reshape values (n,) so that they multiply images (n, C, H, W)."""
    return values.reshape(-1, 1, 1, 1)


LINF = Geometry(_largest, torch.sign, _project_largest, _draw_cube)
L2 = Geometry(_length, _of_length_one, _project_length, _draw_sphere)
GEOMETRIES: dict[Norm, Geometry] = {"Linf": LINF, "L2": L2}
