"""How many images at once: measured, because it depends on the model and the machine."""

import time
from collections.abc import Mapping

from torch import Tensor, nn

from winnrobust.data.streams import ImageStream
from winnrobust.evaluation.checks import as_floats
from winnrobust.evaluation.prediction import OUT_OF_MEMORY, logits_from
from winnrobust.runtime.devices import device_of

CANDIDATES = (64, 128, 256, 512, 1024, 2048)
SHARE = 0.1
"""At most this share of the images is spent on measuring."""

NOISE = 0.97
"""A larger batch may be slower by the clock's noise: a gradient, which is not measured, gains more
from its size than a classification does."""

MOST_BYTES = 2**22
"""Of a batch's images as float32 on a CPU, where too much memory ends the process. What a network
keeps of them for a gradient is up to a thousand times as much."""


def fastest_batch_size(models: Mapping[str, nn.Module], data: ImageStream) -> int:
    """Return the candidate at which the models together classify the most images per second.

    Tries larger ones as long as the memory holds them. Few images take the smallest.

    Args:
        models: name -> module, ready to be called.
        data: the images to be evaluated.
    """
    on_cpu = any(device_of(model).type == "cpu" for model in models.values())
    best, best_rate, spent = CANDIDATES[0], 0.0, 0
    pixels = data.batch(0, 1).images.numel()
    for size in CANDIDATES:
        spent += size
        large = on_cpu and size > best and 4 * size * pixels > MOST_BYTES
        if large or spent > SHARE * len(data):
            break
        images = data.batch(0, size).images
        try:
            rate = size / sum(_seconds(model, images) for model in models.values())
        except OUT_OF_MEMORY:
            break
        if rate > NOISE * best_rate:
            best, best_rate = size, max(rate, best_rate)
    return best


def _seconds(model: nn.Module, images: Tensor) -> float:
    """Time one forward pass, the copy to the device and back included."""
    floats = as_floats(images)
    began = time.perf_counter()
    logits_from("", model, floats).cpu()
    return time.perf_counter() - began
