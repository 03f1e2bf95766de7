"""Nothing that an attack returns is believed before it is checked."""

from torch import Tensor

from winnrobust.attacks.norms import NORMS, NormName
from winnrobust.runtime.errors import InputError

ROUNDING = 1e-6
"""How far float32 may carry a pixel over a bound."""
ADDS_UP = {"linf": 0, "l2": 0.5, "l1": 1, "l0": 0}
"""Of a size in a norm, by which power of the number of pixels that is."""


def check_examples(
    attack: str, norm: NormName, images: Tensor, examples: Tensor, epsilon: float
) -> None:
    """Check that adversarial examples are images, and in the ball around the originals.

    Args:
        attack: the name of the attack that made them.
        norm: the ball's.
        images, examples: (N, C, H, W).
        epsilon: the radius.

    Raises:
        InputError: one is outside [0, 1] or the ball, or not finite; the attack is named.
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
            f"attack '{attack}' left [0, 1]: its pixels reach from {low:g} to {high:g}"
        )
    size = float(NORMS[norm].size(examples - images).max())
    # Every pixel may be off by a rounding, which adds up.
    if size > epsilon + ROUNDING * images[0].numel() ** ADDS_UP[norm]:
        raise InputError(
            f"attack '{attack}' left the ball: it moved an image by {size:g} in"
            f" {NORMS[norm].display}, epsilon is {epsilon:g}"
        )
