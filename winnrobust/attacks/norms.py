"""The norms that bound perturbations, each as the few functions that attacks need of it.

Everything here works on the images' device and asks no tensor a question.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from winnrobust.attacks import draws

NormName = Literal["linf", "l2", "l1", "l0"]
"""How a change is measured; `NORMS` has what is done in each."""

EXACT = 1e-9
"""Two bounds that differ by less are the same."""


class Norm(NamedTuple):
    """A norm; L0, the number of changed values, is called one too.

    Attributes:
        display: what reports call it.
        size: offsets (n, C, H, W) -> their norms (n,).
        dual: gradients (n, C, H, W) -> by how much (n,) a linear function with that gradient rises
            at most along offsets of size 1 (in L0: that are at most 1 in a value).
        steepest: gradients (n, C, H, W) -> the offsets along which it does; 0 where the gradient
            is 0. Of several values that are as good L1 and L0 change the first.
        project: (points, images, epsilon) -> the points, moved into [0, 1] and to at most epsilon
            from the images; epsilon is a number, or one for each image (n,). In L2 that is the ball
            first, then [0, 1]; in the other norms it is the nearest point that is in both.
        random: `(numbers, shape, seed, *names)` -> offsets `(n, *shape)`, uniform in the ball of
            size 1; the arguments are those of `draws.uniform`. In L0 it is one value, in [-1, 1).

    >>> import torch
    >>> from winnrobust.attacks import NORMS
    >>> offsets = torch.tensor([[[[0.5, -0.25], [0.0, 0.0]]]])
    >>> {name: round(float(norm.size(offsets)), 3) for name, norm in NORMS.items()}
    {'linf': 0.5, 'l2': 0.559, 'l1': 0.75, 'l0': 2.0}
    """

    display: str
    size: Callable[[Tensor], Tensor]
    dual: Callable[[Tensor], Tensor]
    steepest: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Tensor, float | Tensor], Tensor]
    random: Callable[..., Tensor]


def epsilon_text(epsilon: float) -> str:
    """Write a bound as users do: 8/255, but 0.2, which is 51/255 too.

    >>> epsilon_text(8 / 255), epsilon_text(0.2), epsilon_text(12)
    ('8/255', '0.2', '12')
    """
    is_short = abs(epsilon - float(f"{epsilon:.4f}")) < EXACT
    steps = 0 if is_short or epsilon >= 1 else round(255 * epsilon)
    return f"{steps}/255" if steps and abs(epsilon - steps / 255) < EXACT else f"{epsilon:g}"


def per_image(values: Tensor) -> Tensor:
    """Reshape values (n,) so that they multiply images (n, C, H, W)."""
    return values.reshape(-1, 1, 1, 1)


def linf_size(offsets: Tensor) -> Tensor:
    """Return the largest absolute entry (n,)."""
    return offsets.abs().flatten(1).amax(1)


def linf_project(points: Tensor, images: Tensor, epsilon: float | Tensor) -> Tensor:
    """Clip to [images - epsilon, images + epsilon] and to [0, 1]."""
    epsilon = _each(epsilon)
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


def l2_project(points: Tensor, images: Tensor, epsilon: float | Tensor) -> Tensor:
    """Shorten offsets that are longer than epsilon, then clip to [0, 1]."""
    offsets = points - images
    shrink = (_each(epsilon) / per_image(l2_size(offsets).clamp_min(1e-12))).clamp_max(1)
    return (images + shrink * offsets).clamp_(0, 1)


def l2_random(numbers: Tensor, shape: tuple[int, ...], seed: int, *names: str | int) -> Tensor:
    """Draw from the Euclidean unit ball."""
    directions = l2_steepest(draws.normal(numbers, shape, seed, *names))
    # A ball's volume grows with the radius to the power of its dimension.
    radius = draws.uniform(numbers, (1,), seed, *names, "radius").flatten()
    return per_image(radius ** (1 / math.prod(shape))) * directions


def l1_size(offsets: Tensor) -> Tensor:
    """Return the sum of absolute entries (n,)."""
    return offsets.abs().flatten(1).sum(1)


def l1_steepest(gradient: Tensor) -> Tensor:
    """Return the sign of the largest absolute entry alone."""
    flat = gradient.flatten(1)
    largest = flat.abs().argmax(1, keepdim=True)
    single = torch.zeros_like(flat).scatter(1, largest, flat.gather(1, largest).sign())
    return single.reshape(gradient.shape)


def l1_project(points: Tensor, images: Tensor, epsilon: float | Tensor) -> Tensor:
    """Take the same amount from all |offsets|, down to 0, cut at [0, 1]: their sum is epsilon.

    Croce, Hein: Mind the box: l1-APGD for sparse adversarial attacks on image classifiers, ICML
    2021, proposition 2.1. The sum falls piecewise linearly in the amount: faster by 1 once an entry
    is no longer cut, slower by 1 once it is 0.
    """
    offsets = points - images
    sizes = offsets.abs().flatten(1)
    room = torch.where(offsets > 0, 1 - images, images).flatten(1)
    cut = (sizes - room).clamp_min(0)
    places, order = torch.cat([cut, sizes], 1).sort(1)
    slopes = torch.where(order < sizes.shape[1], 1.0, -1.0).to(sizes).cumsum(1)
    total = (sizes - cut).sum(1, keepdim=True)
    sums = torch.cat([total, total - (slopes[:, :-1] * places.diff(dim=1)).cumsum(1)], 1)
    wanted = _each(epsilon, 2)
    last = ((sums >= wanted).sum(1, keepdim=True) - 1).clamp_min(0)
    beyond = (sums.gather(1, last) - wanted) / slopes.gather(1, last).clamp_min(1)
    amount = places.gather(1, last) + beyond
    # The sums of an image's many values are rounded; that of what is kept is not so long.
    kept = torch.minimum((sizes - amount).clamp_min(0), room)
    falling = ((kept > 0) & (kept < room)).sum(1, keepdim=True).clamp_min(1)
    amount = torch.where(total > wanted, amount + (kept.sum(1, keepdim=True) - wanted) / falling, 0)
    kept = torch.minimum((sizes - amount).clamp_min(0), room)
    return (images + offsets.sign() * kept.reshape(offsets.shape)).clamp_(0, 1)


def l1_random(numbers: Tensor, shape: tuple[int, ...], seed: int, *names: str | int) -> Tensor:
    """Draw from the ball of sums of absolute entries up to 1."""
    # Shares of exponential numbers are uniform where they add up to 1; one more is what is left.
    drawn = draws.uniform(numbers, (math.prod(shape) + 1,), seed, *names)
    shares = -torch.log1p(-drawn)
    shares = (shares / shares.sum(1, keepdim=True).clamp_min(1e-12))[:, :-1]
    signs = (draws.uniform(numbers, (math.prod(shape),), seed, *names, "signs") - 0.5).sign()
    return (signs * shares).reshape(len(numbers), *shape)


def l0_size(offsets: Tensor) -> Tensor:
    """Return how many entries are not 0 (n,), in the offsets' dtype."""
    return (offsets != 0).flatten(1).sum(1).to(offsets.dtype)


def l0_project(points: Tensor, images: Tensor, epsilon: float | Tensor) -> Tensor:
    """Clip to [0, 1] and keep the epsilon changes that the points gain most by."""
    inside = points.clamp(0, 1)
    gains = ((points - images) ** 2 - (points - inside) ** 2).flatten(1)
    ranks = gains.argsort(dim=1, descending=True, stable=True).argsort(1)
    return torch.where(ranks.reshape(points.shape) < _each(epsilon), inside, images)


def l0_random(numbers: Tensor, shape: tuple[int, ...], seed: int, *names: str | int) -> Tensor:
    """Draw one entry, and what it is, in [-1, 1)."""
    place, value = draws.uniform(numbers, (2,), seed, *names).unsqueeze(2).unbind(1)
    entries = math.prod(shape)
    zeros = value.new_zeros(len(numbers), entries)
    return zeros.scatter(1, (place * entries).long(), 2 * value - 1).reshape(-1, *shape)


def _each(epsilon: float | Tensor, dimensions: int = 4) -> float | Tensor:
    """Return a number for all images, or one for each (n, 1, ...)."""
    if isinstance(epsilon, Tensor):
        return epsilon.reshape(-1, *[1] * (dimensions - 1))
    return epsilon


NORMS: dict[str, Norm] = {
    "linf": Norm("Linf", linf_size, l1_size, torch.sign, linf_project, linf_random),
    "l2": Norm("L2", l2_size, l2_size, l2_steepest, l2_project, l2_random),
    "l1": Norm("L1", l1_size, linf_size, l1_steepest, l1_project, l1_random),
    "l0": Norm("L0", l0_size, linf_size, l1_steepest, l0_project, l0_random),
}
