"""Networks of a line, whose answers to images of two pixels are known beforehand."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FIRST, SECOND, WAVES, NOISY = (
    ("--model", f"{name}=tests.cli.nets:{name}") for name in ("first", "second", "waves", "noisy")
)
"""What is typed to attack them."""


class OfAPixel(nn.Module):
    """Says 1 where `score` of a pixel is above 0, else 0."""

    def __init__(self, pixel: int = 0) -> None:
        super().__init__()
        self.pixel = pixel

    def score(self, values: Tensor) -> Tensor:
        return 10 * (values - 0.5)

    def forward(self, images: Tensor) -> Tensor:
        score = self.score(images.flatten(1)[:, self.pixel])
        return torch.stack([-score, score], 1)


class Waves(OfAPixel):
    """Changes its mind at every eighth, so that a step of 1/8 turns every answer round."""

    def score(self, values: Tensor) -> Tensor:
        return (8 * math.pi * values).sin()


class Noisy(OfAPixel):
    """Answers at random, the more so the nearer the pixel is to 0.5."""

    def score(self, values: Tensor) -> Tensor:
        return super().score(values) + torch.randn_like(values)


def first() -> nn.Module:
    return OfAPixel(0)


def second() -> nn.Module:
    return OfAPixel(1)


def waves() -> nn.Module:
    return Waves()


def noisy() -> nn.Module:
    return Noisy()


def drawn() -> nn.Module:
    """Another one each time."""
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2))


def write_images(path: Path, rows: list[tuple[float, float, int]]) -> Path:
    """Write images for `--data`: two pixels in [0, 1] and a class each."""
    table = np.array(rows)
    np.savez(path, images=table[:, None, None, :2], labels=table[:, 2].astype(int))
    return path
