"""The growing pool of pseudo-negatives."""

import torch
from torch import Tensor


class NegativePool:
    """The pseudo-negatives made so far, by class: all of them (method.md A4), or the newest."""

    def __init__(self, images: Tensor, limit: int | None = None) -> None:
        """Start with `images` (num_classes, n, C, H, W) in [-1, 1].

        Args:
            limit: how many of every class to keep, the newest ones; None keeps all.
        """
        self.images = images
        self.limit = limit

    def __len__(self) -> int:
        return self.images.shape[0] * self.images.shape[1]

    @property
    def per_class(self) -> int:
        return self.images.shape[1]

    def add(self, images: Tensor) -> None:
        """Append `images` (num_classes, n, C, H, W) in [-1, 1]; drop the oldest over the limit."""
        images = torch.cat([self.images, images], dim=1)
        self.images = images if self.limit is None else images[:, -self.limit :]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` images of every class, with replacement: (num_classes, count, C, H, W)."""
        numbers = torch.randint(self.per_class, (len(self.images), count), generator=generator)
        return torch.stack(
            [images[chosen] for images, chosen in zip(self.images, numbers, strict=True)]
        )

    def take(self, labels: Tensor, numbers: Tensor) -> Tensor:
        """Return the images (N, C, H, W) of these classes with these numbers within their class.

        Args:
            labels: (N,) int64.
            numbers: (N,) int64, from 0 to `per_class` - 1.
        """
        return self.images[labels, numbers]
