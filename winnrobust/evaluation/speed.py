"""The same answers, sooner: changes to models that are tried before they are used."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from winnrobust.attacks import LossGradient, loss_gradient
from winnrobust.runtime.devices import device_of

TOLERANCE = 1e-3
"""How far answers may move, relative to their size; float32 sums in another order."""


class Change(NamedTuple):
    """Something done to a model's modules, and how to take it back."""

    apply: Callable[[], object]
    undo: Callable[[], object]


Way = Callable[[nn.Module], Change | None]
"""From a model to what could be changed in it, if anything."""


@contextmanager
def sped_up(
    models: Collection[nn.Module], ways: Collection[Way], images: Tensor, labels: Tensor
) -> Iterator[None]:
    """Change those models that are on a CPU, for a `with` block, where they answer as before.

    Args:
        models: held by `frozen`. Those that share modules must all be among them.
        ways: tried one after the other, on each model.
        images: (N, C, H, W) in [0, 1], a few to try it on.
        labels: (N,) int64.
    """
    with ExitStack() as stack:
        for model in models:
            if device_of(model).type != "cpu":
                continue
            concerned = [other for other in models if _share(model, other)]
            for way in ways:
                change = way(model)
                if change is None:
                    continue
                if _works(change, concerned, images, labels):
                    stack.callback(change.undo)
                else:
                    change.undo()
        yield


def _share(first: nn.Module, second: nn.Module) -> bool:
    return not set(first.modules()).isdisjoint(second.modules())


def _works(change: Change, models: Collection[nn.Module], images: Tensor, labels: Tensor) -> bool:
    """Apply a change and tell whether the models answer as before; if not, it is to be undone."""

    def answers() -> list[LossGradient]:
        return [loss_gradient(model, images, labels) for model in models]

    try:
        before = answers()
        change.apply()
        return all(map(_close, before, answers()))
    except Exception:  # anyone's module may raise anything; the attack will say what is wrong
        return False


def _close(before: LossGradient, after: LossGradient) -> bool:
    largest = float(before.gradient.abs().max())
    return torch.allclose(
        after.logits, before.logits, rtol=TOLERANCE, atol=TOLERANCE
    ) and torch.allclose(after.gradient, before.gradient, rtol=0, atol=TOLERANCE * largest)
