"""Nothing that an attack returns is believed before it is checked."""

from torch import Tensor

from winnrobust.attacks.attack import Attack
from winnrobust.attacks.geometry import GEOMETRIES
from winnrobust.runtime.errors import InputError

ROUNDING = 1e-6
"""How far float32 may carry a pixel over a bound."""


def check_adversarials(
    attack: Attack, images: Tensor, adversarials: Tensor, epsilon: float
) -> None:
    """Check that adversarial examples are images, and in the ball around the originals.

    Args:
        attack: who made them; its norm is the ball's.
        images, adversarials: (N, C, H, W).
        epsilon: the radius.

    Raises:
        InputError: one is outside [0, 1] or the ball, or not finite; the attack is named.
    """
    if adversarials.shape != images.shape:
        raise InputError(
            f"attack '{attack.name}' returned shape {tuple(adversarials.shape)} for images of"
            f" shape {tuple(images.shape)}"
        )
    if not adversarials.isfinite().all():
        raise InputError(f"attack '{attack.name}' returned pixels that are not finite")
    low, high = float(adversarials.min()), float(adversarials.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(
            f"attack '{attack.name}' left [0, 1]: its pixels reach from {low:g} to {high:g}"
        )
    size = float(GEOMETRIES[attack.norm].size(adversarials - images).max())
    # Every pixel may be off by a rounding; in L2 that adds up with the root of their number.
    pixels = images[0].numel() if attack.norm == "L2" else 1
    if size > epsilon + ROUNDING * pixels**0.5:
        raise InputError(
            f"attack '{attack.name}' left the ball: it moved an image by {size:g} in {attack.norm},"
            f" epsilon is {epsilon:g}"
        )
