"""Nothing that an attack returns is believed before it is checked."""

import torch
from torch import Tensor

from winnrobust.attacks.norms import NORMS, epsilon_text
from winnrobust.runtime.errors import InputError

ROUNDING = 1e-6
"""How far float32 may carry a pixel over a bound."""
ADDS_UP = {"linf": 0, "l2": 0.5, "l1": 1, "l0": 0}
"""Of a size in a norm, by which power of the number of pixels that is."""


def check_examples(
    attack: str, norm: str, images: Tensor, examples: Tensor, epsilon: float
) -> None:
    """Check that adversarial examples are images, and what epsilon allows to make of the originals.

    Args:
        attack: the name of the attack that made them.
        norm: the ball's; or "patch": they differ in a square of side epsilon alone; "spatial": no
            pixel is brighter than all of the original; "corruptions": images, that is all.
        images, examples: (N, C, H, W).
        epsilon: the radius.

    Raises:
        InputError: one is outside [0, 1] or what is allowed, or not finite; the attack is named.

    >>> import torch
    >>> from winnrobust.attacks import check_examples
    >>> gray = torch.full((1, 1, 2, 2), 0.5)
    >>> check_examples("mine", "linf", gray, gray + 0.25, 0.125)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    winnrobust.runtime.errors.InputError: attack 'mine' left the ball: ...
    """
    if examples.shape != images.shape:
        raise InputError(
            f"attack '{attack}' returned shape {tuple(examples.shape)} for images of"
            f" shape {tuple(images.shape)}"
        )
    if not examples.isfinite().all():
        raise InputError(f"attack '{attack}' returned pixels that are not finite")
    low, high = float(examples.min()), float(examples.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(
            f"attack '{attack}' left [0, 1]: its pixels range from {low:g} to {high:g}"
        )
    if norm in NORMS:
        _check_ball(attack, norm, images, examples, epsilon)
    elif norm == "patch" and (side := int(square_side(examples - images).max())) > epsilon:
        raise InputError(f"attack '{attack}' changed a square of {side} pixels, not of {epsilon:g}")
    elif norm == "spatial":
        brightest = [each.flatten(2).amax(2) for each in (images, examples)]
        if bool((brightest[1] > brightest[0] + ROUNDING).any()):
            raise InputError(f"attack '{attack}' did more than move an image: it made it brighter")


def _check_ball(attack: str, norm: str, images: Tensor, examples: Tensor, epsilon: float) -> None:
    size = float(NORMS[norm].size(examples - images).max())
    # Every pixel may be off by a rounding, which adds up.
    if size > epsilon + ROUNDING * images[0].numel() ** ADDS_UP[norm]:
        raise InputError(
            f"attack '{attack}' left the ball: it moved an image by {size:g} in"
            f" {NORMS[norm].display}, epsilon is {epsilon_text(epsilon)}"
        )


def measured(norm: str, images: Tensor, examples: Tensor) -> Tensor:
    """Return how far examples (N, C, H, W) are from the images: (N,) float32.

    In the norm; of a patch the side of the square. Of what no number measures NaN, and 0 where
    nothing was changed.

    >>> import torch
    >>> from winnrobust.attacks import measured
    >>> gray = torch.full((1, 1, 2, 2), 0.5)
    >>> measured("l2", gray, gray + 0.25), measured("patch", gray, gray + 0.25)
    (tensor([0.5000]), tensor([2.]))
    """
    offsets = examples - images
    if norm in NORMS:
        return NORMS[norm].size(offsets).float()
    if norm == "patch":
        return square_side(offsets).float()
    changed = offsets.flatten(1).ne(0).any(1)
    return torch.where(changed, torch.nan, torch.zeros_like(offsets[:, 0, 0, 0])).float()


def square_side(offsets: Tensor) -> Tensor:
    """Return the side (N,) of the smallest square that has all changes of an image in it.

    >>> offsets = torch.zeros(1, 1, 5, 5)
    >>> offsets[0, 0, 1, 1] = offsets[0, 0, 2, 4] = 0.1
    >>> square_side(offsets)
    tensor([4])
    """
    changed = offsets.ne(0).any(1)
    sides = []
    for axis in (2, 1):
        lines = changed.any(axis).int()
        size = lines.shape[1]
        first, last = lines.argmax(1), size - 1 - lines.flip(1).argmax(1)
        sides.append(torch.where(lines.any(1), last - first + 1, 0))
    return torch.maximum(*sides)
