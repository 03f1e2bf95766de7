"""Memory does not grow with the number of images, but for them and a few bytes each."""

import multiprocessing
import resource
import sys
import tracemalloc
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from torch import nn

from tests.evaluation.tiny import evaluation


def attack(n: int, side: int) -> None:
    """Attack two models with FGSM at two epsilons, on n images of side * side bytes."""
    images = np.random.default_rng(0).integers(0, 256, (n, 1, side, side), np.uint8)
    models = {name: nn.Sequential(nn.Flatten(), nn.Linear(side**2, 10)) for name in ("a", "b")}
    tracemalloc.reset_peak()
    evaluation(models, images, np.arange(n) % 10, ["fgsm"], [0.1, 0.2], batch_size=1000)


def traced_peak(n: int, side: int) -> int:
    """Return the most bytes that Python and numpy held."""
    tracemalloc.start()
    try:
        attack(n, side)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_python_and_numpy_hold_the_images_and_a_few_bytes_each():
    few, many, side = 10_000, 60_000, 8
    traced_peak(1000, side)  # what is imported or cached once
    each = (traced_peak(many, side) - traced_peak(few, side)) / (many - few)
    # Eight bytes are the label; two clean answers, eight attacked, four statuses.
    assert each < side**2 + 60


def peak_of_process(n: int, side: int) -> int:
    attack(1000, side)
    attack(n, side)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@pytest.mark.slow
def test_the_process_grows_by_little_more_than_the_images():
    few, many, side = 4_000, 40_000, 28
    peaks = []
    for n in (few, many):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            peaks.append(pool.submit(peak_of_process, n, side).result())
    # A copy of them as float32 would be 3,136 bytes an image.
    assert (peaks[1] - peaks[0]) / (many - few) < side**2 + 300
