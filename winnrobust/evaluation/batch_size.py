"""How many images at once: measured, because it depends on the model and the machine."""

import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from winnrobust.evaluation.prediction import logits_from

CANDIDATES = (64, 128, 256, 512, 1024, 2048)
SHARE = 0.1
"""At most this share of the images is spent on measuring."""

MOST_BYTES = 2**26
"""Of a batch's images: what a network keeps of them for a gradient is a hundred times as much."""

GAIN = 1.03
"""A larger batch needs more memory, so it must be faster by more than the clock's noise."""


def fastest_batch_size(models: Mapping[str, nn.Module], images: Tensor) -> int:
    """Return the candidate at which the models together classify the most images per second.

    Tries larger ones as long as the GPU's memory holds them. Few images take the smallest.

    Args:
        models: name -> module, ready to be called.
        images: (N, C, H, W), those to be evaluated.
    """
    best, best_rate, spent = CANDIDATES[0], 0.0, 0
    for size in CANDIDATES:
        spent += size
        large = size * images[:1].nbytes > MOST_BYTES and size > CANDIDATES[0]
        if large or spent > SHARE * len(images):
            break
        try:
            rate = size / sum(_seconds(model, images[:size]) for model in models.values())
        except torch.cuda.OutOfMemoryError:
            break
        if rate > GAIN * best_rate:
            best, best_rate = size, rate
    return best


def _seconds(model: nn.Module, images: Tensor) -> float:
    """Time one forward pass, the copy to the device and back included."""
    began = time.perf_counter()
    logits_from("", model, images).cpu()
    return time.perf_counter() - began
