"""One seed, many independent streams: each use of randomness names its own."""

import hashlib

import torch


def stream(seed: int, *names: str | int) -> torch.Generator:
    """Return the CPU generator that belongs to `seed` and `names`, always in the same state.

    A stream made anew for each epoch, `stream(seed, "batches", epoch)`, needs no saving: a resumed
    run draws what the undisturbed one would have drawn.
    """
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
