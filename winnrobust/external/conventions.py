"""Is a model given what it was trained on? Its clean error tells, and the look of its answers."""

import time
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from winnrobust.attacks import answers_by_one_number, logits
from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.evaluation.paired import mcnemar
from winnrobust.evaluation.prediction import logits_from, prediction
from winnrobust.external.batches import shape_text
from winnrobust.external.preprocessing import Preprocessing
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.intervals import rate

CONVENTIONS = (
    Preprocessing(),
    Preprocessing(low=-1, high=1),
    Preprocessing(high=255),
    Preprocessing(mean=(0.1307,), std=(0.3081,)),  # MNIST
    Preprocessing(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),  # CIFAR-10
    Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),  # ImageNet
)
"""What models are usually trained on."""

ODDS = 1.75
"""Another convention is worth a word if the odds of an error are so many times lower with it. Any
network errs a little less or more on images that are a little brighter or darker; an overfitted one
may err a quarter less on what it was never given."""

HINT = 1.2
"""From such odds on it is worth a look at more images."""

LEAST_GAIN = 0.01
"""And if it errs on so many images less."""

SIGNIFICANCE = 0.001
"""Of the test whether that is by chance; small, because several conventions are tried."""

BATCH = 64
FEW, MANY = 256, 2048
"""Images on which all conventions are tried; on which the best is, where the few do not decide."""

FEWEST = 30
"""With fewer images errors tell nothing."""

SECONDS = 4.0
"""About as long as either may take; but never less than one batch."""

USUAL_SHAPES = (
    (1, 28, 28), (3, 28, 28), (1, 32, 32), (3, 32, 32), (3, 64, 64), (3, 96, 96), (3, 224, 224),
)  # fmt: skip


REPAINT = {
    (1, 3): ", or save gray pictures as RGB without alpha (for arrays: images.repeat(1, 3, 1, 1))",
    (3, 1): ', or save the pictures in gray (Pillow\'s convert("L"))',
}
"""Channels that there are, and that a model takes -> what can be done."""


def check_shape_taken(name: str, model: nn.Module, images: Tensor) -> None:
    """Check on a few images (N, C, H, W) that the model called `name` takes their shape.

    Raises:
        InputError: it does not; where it takes one of the usual shapes, the message says which.
    """
    own = tuple(images.shape[1:])
    if _answers(model, images):
        return
    for shape in ((1, *own[1:]), (3, *own[1:]), *USUAL_SHAPES):
        if shape != own and _answers(model, torch.zeros(len(images), *shape)):
            raise InputError(
                f"model '{name}' cannot take images of {shape_text(own)} (channels x height x"
                f" width), but for example of {shape_text(shape)}; attack it on images like those"
                f" it was trained on{REPAINT.get((own[0], shape[0]), '')}"
            )
    logits_from(name, model, images)  # says what the model says


class Labelled(Protocol):
    """Images that are read when they are needed."""

    def __len__(self) -> int:
        """Return how many there are."""

    def batch(self, start: int, stop: int) -> ImageSplit:
        """Read the images numbered start, ..., stop - 1, as far as there are some."""


def doubts(
    name: str, module: nn.Module, given: Preprocessing, data: Labelled, seconds: float = SECONDS
) -> Iterator[str]:
    """Say what speaks against the way in which a model is used, a sentence each.

    Args:
        name: what the user calls it.
        module: the model without its preprocessing, in eval mode.
        given: the preprocessing that the user asked for.
        data: the images, of which it reads at most `MANY`.
        seconds: as `SECONDS`.
    """
    began = time.monotonic()
    first = to_unit(data.batch(0, BATCH).images)
    scores = logits_from(name, given.around(module), first).float().cpu()
    took = time.monotonic() - began
    single = answers_by_one_number(given.around(module), first[:2].to(device_of(module)))
    yield from _of_scores(name, scores, single)
    if len(data) < FEWEST:
        return
    affordable = int(seconds / max(took * len(CONVENTIONS), 1e-6)) * BATCH
    few = data.batch(0, min(max(affordable, BATCH), FEW))
    tried = {each: _wrong(name, each.around(module), few) for each in _conventions(given, few)}
    wrong = tried[given]
    best = min(tried, key=lambda convention: int(tried[convention].sum()))
    better = tried[best]
    if _gains(wrong, better, HINT) and not _far_better(wrong, better):
        affordable = int(seconds / max(took * 2, 1e-6)) * BATCH
        stop = min(max(affordable, BATCH), MANY, len(data))
        if stop > len(few):
            more = data.batch(len(few), stop)
            wrong = torch.cat([wrong, _wrong(name, given.around(module), more)])
            better = torch.cat([better, _wrong(name, best.around(module), more)])
            few = ImageSplit(few.images, torch.cat([few.labels, more.labels]))
    errors, n = int(wrong.sum()), len(wrong)
    classes = len(few.labels.unique())
    guessing = 1 - 1 / classes
    asked = f"model '{name}' errs on {errors / n:.1%} of the first {n} images"
    if _far_better(wrong, better) and rate(int(better.sum()), n).high < guessing:
        yield (
            f"{asked}, but on {int(better.sum()) / n:.1%} {_with_flags(best, name)}; check what it"
            " was trained on (in Python these go into winnrobust.load, or into the model)"
        )
    elif rate(errors, n).high >= guessing:
        yield (
            f"{asked}, which is no better than guessing among their {classes} classes (it knows"
            f" {scores.shape[1]}); check its weights, the order of the classes, and its"
            " normalization (--input-range, --mean and --std; in Python input_range, mean and std"
            " of winnrobust.load, or the model's own)"
        )


def doubts_of_images(data: Labelled) -> Iterator[str]:
    """Say what is odd about the images themselves, a sentence each."""
    first = data.batch(0, BATCH).images
    if first.dtype == torch.uint8 and first.max() == 1:
        yield (
            f"the first {len(first)} images hold only 0 and 1, where 255 is white, so all are"
            " black; if 1 is white give them as floats"
        )


def _of_scores(name: str, scores: Tensor, is_single: bool) -> Iterator[str]:
    """Say what is odd about the logits (n, K) of a model, or the single one, and 0 before it."""
    if is_single:
        yield (
            f"model '{name}' returns one number for each image: it is taken for the logit of class"
            " 1, against 0 for class 0"
        )
        if (scores >= 0).all() and (scores <= 1).all():
            yield (
                f"model '{name}' seems to return a probability (all are between 0 and 1), not a"
                " logit, and then it never says 0; give it without its last sigmoid"
            )
    elif (scores >= 0).all() and torch.allclose(scores.sum(1), torch.ones(1), atol=1e-3):
        yield (
            f"model '{name}' seems to return probabilities (they add up to 1), not logits; that"
            " hides its gradients, so give it without its last softmax"
        )


def _conventions(given: Preprocessing, few: ImageSplit) -> list[Preprocessing]:
    """Return what is tried on images (N, C, H, W), the one that was asked for first."""
    fitting = [each for each in CONVENTIONS if len(each.mean) in (1, few.images.shape[1])]
    return list(dict.fromkeys([given, *fitting]))


def _gains(wrong: Tensor, better: Tensor, least: float) -> bool:
    """Tell whether the odds of an error (N,) are `least` times lower with another convention."""
    n = len(wrong)
    one, other = int(wrong.sum()), int(better.sum())
    # Half an error each more, so that there are odds where there are no errors.
    odds = [(count + 0.5) / (n - count + 0.5) for count in (one, other)]
    return (one - other) / n >= LEAST_GAIN and odds[0] / odds[1] >= least


def _far_better(wrong: Tensor, better: Tensor) -> bool:
    """Tell whether they are far lower, and not by chance."""
    gained, lost = int((wrong & ~better).sum()), int((~wrong & better).sum())
    return _gains(wrong, better, ODDS) and mcnemar(gained, lost) < SIGNIFICANCE


def _wrong(name: str, model: nn.Module, some: ImageSplit) -> Tensor:
    parts = [prediction(name, model, to_unit(part)) for part in some.images.split(BATCH)]
    return torch.cat(parts) != some.labels


def _with_flags(convention: Preprocessing, name: str) -> str:
    flags = []
    if (convention.low, convention.high) != (0, 1):
        flags.append(f"--input-range {name}={convention.low:g},{convention.high:g}")
    if convention.std != (1,):
        flags.append(f"--mean {name}={_listed(convention.mean)}")
        flags.append(f"--std {name}={_listed(convention.std)}")
    return f"with {' '.join(flags)}" if flags else "without --input-range, --mean and --std"


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _answers(model: nn.Module, images: Tensor) -> bool:
    try:
        logits(model, images.to(device_of(model)))
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception:  # anyone's module may raise anything
        return False
    return True
