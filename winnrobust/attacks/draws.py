"""Random numbers that belong to an image, made where they are needed.

A counter-based generator: the j-th number of an image is a hash of (seed, names, the image's number
among all, j). So it depends neither on the batch that the image is in nor on who else is still in
it, numbers are made for the images asked about alone, and on their device.
"""

import math

import torch
from torch import Tensor

from winnrobust.runtime import randomness

GOLDEN = 0x9E3779B97F4A7C15
"""SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014):
what its counter goes up by, 2^64 over the golden ratio."""
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""Its shifts and multipliers."""
BITS = 24
"""A float32 in [0.5, 1) has so many."""


def uniform(numbers: Tensor, shape: tuple[int, ...], seed: int, *names: str | int) -> Tensor:
    """Draw float32 numbers (n, *shape) in [0, 1), multiples of 2^-24.

    Args:
        numbers: (n,) int64, the images' numbers among all; the result is on their device.
        shape: of an image's draw.
        seed, names: which of an image's draws.

    >>> both = uniform(torch.tensor([3, 8]), (2, 2), 0, "start")
    >>> torch.equal(uniform(torch.tensor([8]), (2, 2), 0, "start")[0], both[1])
    True
    """
    key = randomness.stream(seed, *names).initial_seed()
    states = _mixed(_signed(key) + (numbers + 1) * _signed(GOLDEN))
    counters = torch.arange(1, math.prod(shape) + 1, device=numbers.device) * _signed(GOLDEN)
    drawn = _shifted(_mixed(states.unsqueeze(1) + counters), 64 - BITS)
    return (drawn.float() * 2.0**-BITS).reshape(len(numbers), *shape)


def normal(numbers: Tensor, shape: tuple[int, ...], seed: int, *names: str | int) -> Tensor:
    """Draw standard normal float32 numbers (n, *shape), as `uniform`."""
    drawn = uniform(numbers, shape, seed, *names)
    # Half a step away from the ends, where the normal quantile is infinite.
    return math.sqrt(2) * torch.erfinv(2 * drawn - 1 + 2.0**-BITS)


def _mixed(values: Tensor) -> Tensor:
    """Hash int64 numbers; what overflows is dropped, as in unsigned arithmetic."""
    for shift, factor in ROUNDS:
        values = (values ^ _shifted(values, shift)) * _signed(factor)
    return values ^ _shifted(values, 31)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Shift to the right; zeros come in from the left, for negative numbers too."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63
