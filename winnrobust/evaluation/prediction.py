"""What models say about images, with every broken answer named."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from winnrobust import attacks
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError

OUT_OF_MEMORY = (torch.cuda.OutOfMemoryError, MemoryError)
"""What says that a smaller batch may do; the first is `torch.OutOfMemoryError`."""

REMEDIES = {
    "on the same device": "; a tensor in it is no parameter or buffer, so it stays where it was"
    " made: register_buffer it, or use the device cpu",
    "module must have its parameters and buffers on device": "; it is wrapped in DataParallel:"
    " give its .module",
    "from the 'QuantizedCPU' backend": "; quantized models are for the device cpu",
}
"""Part of what a module says -> what to do about it."""


@contextmanager
def errors_named(name: str, images: Tensor) -> Iterator[None]:
    """Turn what the model called `name` raises on images (N, C, H, W) into one line."""
    try:
        yield
    except OUT_OF_MEMORY:
        raise
    except InputError as error:
        raise InputError(f"model '{name}': {error}") from None
    except Exception as error:  # anyone's module may raise anything
        reason = " ".join(str(error).split())[:200]
        remedy = next((more for part, more in REMEDIES.items() if part in reason), "")
        raise InputError(
            f"model '{name}' cannot classify images of shape {tuple(images.shape[1:])}:"
            f" {type(error).__name__}: {reason}{remedy}"
        ) from error


def check_shape(name: str, logits: Tensor, count: int) -> None:
    """Check the logits that the model called `name` gave to `count` images.

    Raises:
        InputError: they are not (count, K) with at least two classes.
    """
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:
        raise InputError(
            f"model '{name}' returns logits of shape {tuple(logits.shape)} for {count}"
            f" images; they must have the shape ({count}, K) with one logit for each of"
            " K >= 2 classes"
        )


def check_finite(name: str, finite: bool) -> None:
    """Check that all logits of the model called `name` were `finite`.

    Raises:
        InputError: they were not.
    """
    if not finite:
        raise InputError(
            f"model '{name}' returns logits that are NaN or infinite; its weights may be broken"
        )


def logits_from(name: str, model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits (N, K) of the model called `name`, on the model's device.

    Raises:
        InputError: the model cannot take the images, or does not answer with finite logits
            (N, K) of at least two classes.
    """
    with errors_named(name, images):
        logits = attacks.logits(model, images.to(device_of(model)))
    check_shape(name, logits, len(images))
    check_finite(name, bool(logits.isfinite().all()))
    return logits


def prediction(name: str, model: nn.Module, images: Tensor) -> Tensor:
    """Return the classes (N,) int64 on the CPU that the model called `name` sees in images.

    Raises:
        InputError: as `logits_from`.
    """
    return logits_from(name, model, images).argmax(1).cpu()


SAME = 1e-3
"""Logits that differ by at most this share of the largest are the same: what float32 sums in
another order make of them."""


def moved(first: Tensor, second: Tensor) -> Tensor:
    """Tell for which of n images the logits (n, K) of two passes differ by more than rounding."""
    return (first - second).abs().amax(1) > SAME * first.abs().amax(1)


def answers_at_random(name: str, model: nn.Module, images: Tensor, passes: int = 8) -> bool:
    """Tell whether the answers of the model called `name` to a few images differ between passes.

    Raises:
        InputError: as `logits_from`.
    """
    first = logits_from(name, model, images)
    return any(
        bool(moved(first, logits_from(name, model, images)).any()) for _ in range(passes - 1)
    )


def check_classes(models: Mapping[str, nn.Module], images: Tensor, labels: Tensor) -> int:
    """Check on a few images that the models know the same classes, and those of all labels.

    Returns:
        How many classes that is.

    Raises:
        InputError: they differ, a label is beyond them, or as `logits_from`.
    """
    counts = {name: logits_from(name, model, images).shape[1] for name, model in models.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"'{name}' {count}" for name, count in counts.items())
        raise InputError(f"models must have the same number of classes, but have: {listed}")
    known = next(iter(counts.values()))
    check_labels(labels, known)
    return known


def check_labels(labels: Tensor, known: int) -> None:
    """Check that labels (N,) are of the `known` classes.

    Raises:
        InputError: one is beyond them.
    """
    if labels.max() >= known:
        raise InputError(
            f"labels go up to {int(labels.max())}, but the models have only the classes 0 to"
            f" {known - 1}"
        )
