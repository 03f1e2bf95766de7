"""The nearest training images of samples: do they copy?"""

import torch
from torch import Tensor

from winnrobust.data.datasets import to_unit

AT_ONCE = 5_000


def nearest(images: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest image of a data set for each of some images, in the L2 norm of pixels.

    Args:
        images: (N, C, H, W) in [0, 1], or uint8.
        among: (M, C, H, W), the same.

    Returns:
        Distances (N,) float32, of pixels in [0, 1], and numbers (N,) int64 in `among`.
    """
    points = to_unit(images).flatten(1)
    found = [
        torch.cdist(points, to_unit(part).flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
        for part in among.split(AT_ONCE)
    ]
    distances, numbers = torch.cat(found, dim=1).min(1)
    return distances, numbers
