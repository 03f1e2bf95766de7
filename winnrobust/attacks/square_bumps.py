"""What the Square Attack tries in L2 and L1: bumps, which take their size from elsewhere.

Andriushchenko, Croce, Flammarion, Hein: Square Attack, ECCV 2020, section 3.3 and algorithm 3 (L2);
Croce, Hein: Mind the box, ICML 2021, section 5 (L1). As in the authors' code, but every image has
its own squares, and tiles cover images of any size.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from winnrobust.attacks.norms import l1_project, l1_size, l2_size, l2_steepest, per_image

Draw = Callable[[tuple[int, ...]], Tensor]
"""From a shape to the images' uniform numbers (n, *shape)."""


class Proposals(NamedTuple):
    """What a search tries in a norm.

    Attributes:
        first: (images, epsilon, draw) -> what is tried first (n, C, H, W).
        change: (best, images, epsilon, side, draw) -> what is tried next, with something else in a
            square with sides of so many pixels.
    """

    first: Callable[[Tensor, float, Draw], Tensor]
    change: Callable[[Tensor, Tensor, float, int, Draw], Tensor]


class Bumps(NamedTuple):
    """A norm's bumps.

    Attributes:
        size: offsets (n, C, H, W) -> their norms (n,).
        channel_size: offsets -> the norms of their channels (n, C, 1, 1).
        decay: the power of the distance from its middle with which a bump falls off.
        budget: (epsilon, size, taken) -> how large a new bump is in each channel (n, C, 1, 1), with
            the size of all offsets and that of what it takes away in each channel.
        fill: (images, offsets, epsilon) -> points in the ball and in [0, 1].
    """

    size: Callable[[Tensor], Tensor]
    channel_size: Callable[[Tensor], Tensor]
    decay: int
    budget: Callable[[float, Tensor, Tensor], Tensor]
    fill: Callable[[Tensor, Tensor, float], Tensor]


def tiles(images: Tensor, epsilon: float, draw: Draw, bumps: Bumps) -> Tensor:
    """Cover the images with about five bumps in a row, turned and signed at random."""
    channels, height, width = images.shape[1:]
    side = max(min(height, width) // 5, 1)
    down, across = height // side, width // side
    drawn = draw((down, across, 1 + channels)).unsqueeze(4).unsqueeze(5)
    pattern = bump(side, bumps, images)
    turned = torch.where(drawn[:, :, :, :1] > 0.5, pattern.T, pattern)
    signed = turned * torch.where(drawn[:, :, :, 1:] < 0.5, 1, -1)  # (n, down, across, C, s, s)
    covered = signed.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, down * side, across * side)
    offsets = torch.zeros_like(images)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    offsets[:, :, top : top + down * side, left : left + across * side] = covered
    return bumps.fill(images, offsets, epsilon)


def move_bump(
    best: Tensor, images: Tensor, epsilon: float, side: int, draw: Draw, bumps: Bumps
) -> Tensor:
    """Add a bump in one square, and take what is in another one for it."""
    channels, height, width = images.shape[1:]
    side = min(max(side, 3) | 1, height, width)  # odd
    drawn = draw((5 + channels,))
    row, column, here = square_at(drawn[:, :2], side, height, width)
    *_, there = square_at(drawn[:, 2:4], side, height, width)
    place = row.clamp(0, side - 1), column.clamp(0, side - 1)
    pattern = bump(side, bumps, images)
    turned = torch.where(per_image(drawn[:, 4]) > 0.5, pattern.T[place], pattern[place])
    signs = torch.where(drawn[:, 5:, None, None] < 0.5, 1, -1)
    offsets = best - images
    before = offsets * here
    added = turned * signs * here + before / (bumps.channel_size(before) + 1e-12)
    taken = bumps.channel_size(offsets * (here | there))
    size = bumps.budget(epsilon, per_image(bumps.size(offsets)), taken)
    added = added / (bumps.channel_size(added) + 1e-12) * size
    return bumps.fill(images, torch.where(here, added, torch.where(there, 0, offsets)), epsilon)


def square_at(drawn: Tensor, side: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return where in an image's square its pixels are, and which are inside of it.

    Args:
        drawn: (n, 2) uniform in [0, 1): where the square begins.
        side: of the squares, in pixels.

    Returns:
        Rows (n, 1, H, 1) and columns (n, 1, 1, W), int64, of the square's first pixel on, and
        (n, 1, H, W).
    """
    top = (drawn[:, 0] * (height - side + 1)).long()
    left = (drawn[:, 1] * (width - side + 1)).long()
    return square_from(top, left, side, height, width)


def square_from(
    top: Tensor, left: Tensor, side: int, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same of squares that begin at the rows `top` and columns `left`, (n,) int64."""
    top, left = per_image(top), per_image(left)
    row = torch.arange(height, device=top.device).reshape(-1, 1) - top
    column = torch.arange(width, device=left.device) - left
    return row, column, (row >= 0) & (row < side) & (column >= 0) & (column < side)


def bump(side: int, bumps: Bumps, like: Tensor) -> Tensor:
    """Return a square (side, side) of size 1: the upper half is raised, the lower is sunk."""
    upper = _hill(side // 2, side, bumps, like)
    lower = _hill(side - side // 2, side, bumps, like)
    both = torch.cat([upper, -lower])
    return both / bumps.size(both[None, None])


def _hill(height: int, width: int, bumps: Bumps, like: Tensor) -> Tensor:
    """Return a rectangle (height, width) of size 1: flat rectangles on each other's middle."""
    layers = max(height // 2, width // 2) + 1
    heights = torch.arange(1, layers + 1, device=like.device, dtype=like.dtype) ** -bumps.decay
    row = (torch.arange(height, device=like.device) - height // 2).abs().unsqueeze(1)
    column = (torch.arange(width, device=like.device) - width // 2).abs()
    hill = heights.flip(0).cumsum(0).flip(0)[torch.maximum(row, column)]
    return hill / bumps.size(hill[None, None])


def _l2_budget(epsilon: float, size: Tensor, taken: Tensor) -> Tensor:
    return ((epsilon**2 - size**2).clamp_min(0) / taken.shape[1] + taken**2).sqrt()


def _l1_budget(epsilon: float, size: Tensor, taken: Tensor) -> Tensor:
    return (epsilon - size).clamp_min(0) + taken * taken.shape[1]


def _l2_fill(images: Tensor, offsets: Tensor, epsilon: float) -> Tensor:
    return (images + epsilon * l2_steepest(offsets)).clamp_(0, 1)


def _l1_fill(images: Tensor, offsets: Tensor, epsilon: float) -> Tensor:
    return l1_project(images + offsets, images, epsilon)


def _proposals(bumps: Bumps) -> Proposals:
    return Proposals(partial(tiles, bumps=bumps), partial(move_bump, bumps=bumps))


L2_BUMPS = _proposals(
    Bumps(l2_size, lambda x: (x**2).sum((2, 3), keepdim=True).sqrt(), 2, _l2_budget, _l2_fill)
)
L1_BUMPS = _proposals(
    Bumps(l1_size, lambda x: x.abs().sum((2, 3), keepdim=True), 4, _l1_budget, _l1_fill)
)
