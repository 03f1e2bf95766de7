"""What an attack asked a model, point by point: ours and a library's, side by side."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Recorder(nn.Module):
    """A small smooth net, far from linear, that remembers every batch it is asked about.

    It works in float64, so that two programs that do the same sums in another order stay together.
    Near gray images it answers class 0, the more surely the larger `lead` is.

    Attributes:
        points: the batches (n, C, H, W), in the order asked.
    """

    def __init__(
        self, shape: tuple[int, int, int] = (1, 6, 6), classes: int = 4, lead: float = 2.0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        pixels = shape[0] * shape[1] * shape[2]
        self.first = torch.randn(pixels, 16, generator=generator, dtype=torch.float64)
        self.second = torch.randn(16, classes, generator=generator, dtype=torch.float64)
        self.bias = torch.zeros(classes, dtype=torch.float64)
        self.bias[0] = lead
        self.points: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.points.append(images.detach().clone())
        return self.answer(images)

    def answer(self, images: Tensor) -> Tensor:
        """Return the logits without remembering the question."""
        return torch.tanh((images.flatten(1) - 0.5) @ self.first) @ self.second + self.bias


def start(shape: tuple[int, int, int] = (1, 6, 6), seed: int = 1) -> Tensor:
    """Return one nearly gray image (1, C, H, W) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return 0.45 + 0.1 * torch.rand(1, *shape, generator=generator, dtype=torch.float64)


def at_the_edges(seed: int = 0) -> Tensor:
    """Return such an image whose first row is black and whose second is white."""
    image = start(seed=seed)
    image[..., 0, :] = 0
    image[..., 1, :] = 1
    return image


def first_visits(points: Iterable[Tensor], tolerance: float = 1e-9) -> Tensor:
    """Return the points in their order, without those that were asked about before.

    Libraries ask about a point again to assert something, or once for each class.
    """
    found: list[Tensor] = []
    for point in points:
        if not found or (torch.cat(found) - point).abs().flatten(1).amax(1).min() > tolerance:
            found.append(point)
    return torch.cat(found)


@contextmanager
def in_float64() -> Iterator[None]:
    """Let a library whose tensors are of the default dtype do its sums in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
