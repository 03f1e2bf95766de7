"""One seed, many independent streams: each use of randomness names its own."""

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

PHILOX_BLOCK = 8
"""32-bit numbers that numpy's Philox generator makes from one value of its counter."""


def stream(seed: int, *names: str | int) -> torch.Generator:
    """Return the CPU generator that belongs to `seed` and `names`, always in the same state.

    A stream made anew for each epoch, `stream(seed, "batches", epoch)`, needs no saving: a resumed
    run draws what the undisturbed one would have drawn.
    """
    return torch.Generator().manual_seed(_key(seed, names))


def uniform(seed: int, *names: str | int, first: int, shape: tuple[int, ...]) -> Tensor:
    """Draw float32 numbers in [0, 1) for the items first, first + 1, ... of a long list.

    An item always gets the same numbers, however the list is cut: the generator is one that can
    jump (Philox; Salmon et al., SC 2011).

    Args:
        seed, names: which list.
        first: number of the first item wanted, from 0.
        shape: (items, ...).
    """
    size = math.prod(shape[1:])
    blocks = -(-size // PHILOX_BLOCK)
    source = np.random.Philox(key=_key(seed, names))
    source.advance(first * blocks)
    numbers = np.random.Generator(source).random(
        (shape[0], blocks * PHILOX_BLOCK), dtype=np.float32
    )
    return torch.from_numpy(numbers[:, :size].reshape(shape).copy())


def _key(seed: int, names: tuple[str | int, ...]) -> int:
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
