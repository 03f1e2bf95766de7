"""The growing pool of pseudo-negatives."""

import math

import torch
from torch import Tensor


class NegativePool:
    """The pseudo-negatives made so far, by class: all of them (authors' code), or the newest."""

    def __init__(self, images: Tensor, newest: float = 1.0) -> None:
        """Start with `images` (num_classes, n, C, H, W) in [-1, 1].

        Args:
            newest: share of all that was ever added to keep, the newest; above 0, 1 keeps all.
        """
        self.images = images
        self.newest = newest
        self._added = images.shape[1]

    def __len__(self) -> int:
        return self.images.shape[0] * self.images.shape[1]

    @property
    def per_class(self) -> int:
        return self.images.shape[1]

    def add(self, images: Tensor) -> None:
        """Append `images` (num_classes, n, C, H, W) in [-1, 1]; drop what is too old."""
        self._added += images.shape[1]
        keep = math.ceil(self.newest * self._added)
        self.images = torch.cat([self.images, images], dim=1)[:, -keep:]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` images of every class, with replacement: (num_classes, count, C, H, W)."""
        numbers = torch.randint(self.per_class, (len(self.images), count), generator=generator)
        return torch.stack(
            [
                images[chosen]
                for images, chosen in zip(self.images, numbers.to(self.images.device), strict=True)
            ]
        )

    def take(self, labels: Tensor, numbers: Tensor) -> Tensor:
        """Return the images (N, C, H, W) of these classes with these numbers within their class.

        Args:
            labels: (N,) int64.
            numbers: (N,) int64, from 0 to `per_class` - 1.
        """
        return self.images[labels, numbers]
