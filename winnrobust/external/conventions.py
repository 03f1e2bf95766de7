"""Is a model given what it was trained on? Its clean error tells, and the look of its answers."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from winnrobust.attacks import logits
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

FAR_WORSE = 0.05
"""A clean error that is higher by this, and not by chance, is worth a word."""

SIGNIFICANCE = 0.001
"""Of the test whether it is by chance; small, because several conventions are tried."""

BATCH = 64

USUAL_SHAPES = (
    (1, 28, 28), (3, 28, 28), (1, 32, 32), (3, 32, 32), (3, 64, 64), (3, 96, 96), (3, 224, 224),
)  # fmt: skip


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
                f"model '{name}' takes images of {shape_text(shape)}, these are {shape_text(own)}"
                " (channels x height x width); attack it on images like those it was trained on"
            )
    logits_from(name, model, images)  # says what the model says


def doubts(
    name: str, module: nn.Module, given: Preprocessing, images: Tensor, labels: Tensor
) -> Iterator[str]:
    """Say what speaks against the way in which a model is used, a sentence each.

    Args:
        name: what the user calls it.
        module: the model without its preprocessing, in eval mode.
        given: the preprocessing that the user asked for.
        images, labels: a few hundred, (N, C, H, W) in [0, 1] and (N,).
    """
    scores = logits_from(name, given.around(module), images[:BATCH]).float().cpu()
    if (scores >= 0).all() and torch.allclose(scores.sum(1), torch.ones(1), atol=1e-3):
        yield (
            f"model '{name}' seems to return probabilities (they add up to 1), not logits; that"
            " hides its gradients, so give it without its last softmax"
        )
    guessing = 1 - 1 / len(labels.unique())
    wrong = _wrong(name, given.around(module), images, labels)
    errors = int(wrong.sum())
    asked = f"model '{name}' errs on {errors / len(labels):.1%} of the first {len(labels)} images"
    convention, count = _better(name, module, wrong, images, labels)
    if convention is not None and rate(count, len(labels)).high < guessing:
        yield (
            f"{asked}, but on {count / len(labels):.1%} {_with_flags(convention, name)}; check what"
            " it was trained on"
        )
    elif rate(errors, len(labels)).high >= guessing:
        yield (
            f"{asked}, which is no better than guessing among their {len(labels.unique())} classes"
            f" (it knows {scores.shape[1]}); check its weights, the order of the classes, and"
            " --input-range, --mean and --std"
        )


def _better(
    name: str, module: nn.Module, wrong: Tensor, images: Tensor, labels: Tensor
) -> tuple[Preprocessing | None, int]:
    """Return the best convention, if it is far better than what is `wrong` now, and its errors."""
    tried = {
        convention: _wrong(name, convention.around(module), images, labels)
        for convention in CONVENTIONS
        if len(convention.mean) in (1, images.shape[1])
    }
    best = min(tried, key=lambda convention: int(tried[convention].sum()))
    gained = int((wrong & ~tried[best]).sum())
    lost = int((~wrong & tried[best]).sum())
    far = (gained - lost) / len(labels) >= FAR_WORSE and mcnemar(gained, lost) < SIGNIFICANCE
    return best if far else None, int(tried[best].sum())


def _wrong(name: str, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    parts = [prediction(name, model, part) for part in images.split(BATCH)]
    return torch.cat(parts) != labels


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
