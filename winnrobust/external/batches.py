"""Models that were exported for a certain number of images, or size of image."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from winnrobust.attacks import logits_of
from winnrobust.runtime.errors import InputError


class BatchSizes(NamedTuple):
    """How many images a model takes at once; `most` is None where there is no limit."""

    least: int = 1
    most: int | None = None


def answer(function: Callable[[Tensor], object], images: Tensor, sizes: BatchSizes) -> Tensor:
    """Return the logits (N, K) of any number of images, asked for in batches of allowed sizes.

    A batch that would be too small is filled up with copies of its last image, whose logits are
    dropped; so a model must treat every image by itself, as classifiers in eval mode do.

    Args:
        function: takes images (n, C, H, W) with n within `sizes`.
        images: (N, C, H, W), N >= 1.
    """
    parts = images.split(sizes.most or len(images))
    answers = []
    for part in parts:
        missing = max(sizes.least - len(part), 0)
        filled = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing else part
        answers.append(logits_of(function(filled))[: len(part)])
    return torch.cat(answers)


def check_shape(images: Tensor, declared: Sequence[int | None]) -> None:
    """Check that images (N, C, H, W) have the shape that a model declares.

    Args:
        declared: (C, H, W), None for what may be anything.

    Raises:
        InputError: they do not.
    """
    own = tuple(images.shape[1:])
    fits = len(own) == len(declared) and all(
        wanted in (None, size) for size, wanted in zip(own, declared, strict=True)
    )
    if not fits:
        raise InputError(
            f"it takes images of {shape_text(declared)}; these are {shape_text(own)}"
            " (channels x height x width)"
        )


def shape_text(shape: Sequence[int | None]) -> str:
    """Write (C, H, W) as 3x32x32, with ? for what may be anything."""
    return "x".join("?" if size is None else str(size) for size in shape)
