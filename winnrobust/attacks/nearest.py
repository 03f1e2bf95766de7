"""What the minimum-norm attacks share: the nearest examples found so far."""

from collections.abc import Sequence

import torch
from torch import Tensor

from winnrobust.attacks.attack import AttackResult
from winnrobust.attacks.geometry import Geometry, per_image
from winnrobust.attacks.passes import GradientStatistics
from winnrobust.attacks.target import Target


class Nearest:
    """For each of N images the nearest example seen that the model answers as the attack wants.

    Attributes:
        images: (N, C, H, W), those examples; where there is none, the image itself.
        distances: (N,), how far they are: 0 where there is nothing to attack, infinite where
            nothing was seen.
    """

    def __init__(self, target: Target, geometry: Geometry) -> None:
        self._originals, self._geometry = target.images, geometry
        self.images = target.images.clone()
        self.distances = torch.zeros_like(target.labels, dtype=target.images.dtype)
        self.distances[target.standing] = torch.inf

    def see(self, rows: Tensor, points: Tensor, reached: Tensor) -> None:
        """Remember those of the points (n, C, H, W) that are `reached` (n,) and nearer.

        Args:
            rows: (n,) int64, the numbers of the images that they belong to.
        """
        sizes = self._geometry.size(points - self._originals[rows])
        nearer = reached & (sizes < self.distances[rows])
        self.images[rows[nearer]] = points[nearer]
        self.distances[rows[nearer]] = sizes[nearer]

    def result(self, epsilons: Sequence[float], gradients: GradientStatistics) -> AttackResult:
        """Return for every epsilon the examples that are within it, else the images themselves."""
        adversarials = [
            torch.where(per_image(self.distances <= epsilon), self.images, self._originals)
            for epsilon in epsilons
        ]
        return AttackResult(adversarials, gradients, self.distances)
