"""A user's own attack: any function from a model and images to adversarial examples.

Nothing that it returns is believed: like every attack's, its examples must be images within the
ball, and every model judges them anew.
"""

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.attacks.base import Access, Attack, AttackResult, Run
from winnrobust.attacks.gradients import answer
from winnrobust.attacks.norms import NORMS, NormName, per_image
from winnrobust.runtime.errors import InputError

CustomFunction = Callable[[nn.Module, Tensor, Tensor, float], Tensor | np.ndarray]
"""From a model, images (N, C, H, W) in [0, 1], labels (N,) int64 and epsilon to examples."""


def as_attack(
    function: CustomFunction,
    name: str | None = None,
    norm: NormName = "linf",
    *,
    minimum_norm: bool = False,
    access: Access = "unknown",
    source: str | None = None,
) -> Attack:
    """Make an attack of a function `(model, images, labels, epsilon) -> images`.

    The model is in eval mode and without parameter gradients, images are a copy, and gradients are
    on. What the function spends is counted by the images that the model sees, in the mean over the
    batch. A function that takes a keyword `run` is one of ours (`base.AttackFunction`).

    Args:
        function: what makes the examples.
        name: what tables call it; None: the function's name.
        norm: the norm that epsilon bounds.
        minimum_norm: whether it looks for the smallest perturbation. Epsilon is infinite then, and
            what it finds counts at every epsilon that it is within.
        access: what it sees of the model, for reports.
        source: where it comes from; None: module, name and a checksum of the function.

    Raises:
        InputError: it is not a function, or there is no such norm.

    >>> import winnrobust
    >>> def brighter(model, images, labels, epsilon):
    ...     return (images + epsilon).clamp(0, 1)
    >>> winnrobust.as_attack(brighter).name
    'brighter'
    """
    if isinstance(function, ModuleType):
        raise InputError(
            f"{function.__name__} is a module, not an attack; an attack is a name such as 'pgd' or"
            " 'pgd(steps=100)', or in capitals winnrobust.attacks.PGD(steps=100)"
        )
    if not callable(function) or isinstance(function, type):
        raise InputError(
            "an attack must be a name, an attack, or a function (model, images, labels, epsilon) ->"
            f" images, not {type(function).__name__ if not callable(function) else 'a class'}"
        )
    if norm not in NORMS:
        raise InputError(f"the norm of an attack must be {' or '.join(NORMS)}, not {norm!r}")
    own: str = getattr(function, "__name__", type(function).__name__)
    origin = source or code_of(function)
    called = name or ("custom" if own == "<lambda>" else own)

    def attack_of(function: Callable[..., AttackResult]) -> Attack:
        return Attack(
            called, norm, access, "unknown", "An attack of a user's own.", origin, function,
            minimum_norm,
        )  # fmt: skip

    if _takes_run(function):
        return attack_of(cast(Any, function))

    def attacked(
        model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float = math.inf,
        run: Run = Run(),
    ) -> AttackResult:  # fmt: skip
        if run.out_of_time():
            return AttackResult.untouched(images, unfinished=True)
        with _passes(model) as passes, torch.enable_grad():
            made = function(model, images.clone(), labels.clone(), epsilon)
        result = AttackResult.untouched(_examples(called, made, images))
        gradients, queries = (torch.full_like(labels, round(n / len(images))) for n in passes)
        result = AttackResult(result.images, gradients, queries, result.unfinished)
        return _nearest(model, images, labels, result, norm) if minimum_norm else result

    return attack_of(attacked)


def code_of(function: Callable) -> str:
    """Say where a function comes from, with a checksum of its code where that can be read.

    >>> import math
    >>> from winnrobust.attacks import code_of
    >>> code_of(math.floor)
    'math:floor'
    """
    named = function if hasattr(function, "__qualname__") else type(function)
    name = f"{named.__module__}:{named.__qualname__}"
    try:
        code = inspect.getsource(named)
    except (OSError, TypeError):
        return name
    return f"{name}, sha256 {hashlib.sha256(code.encode()).hexdigest()[:12]}"


def _takes_run(function: Callable) -> bool:
    try:
        return "run" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return False


def _examples(name: str, made: object, images: Tensor) -> Tensor:
    """Return what a function made as a tensor on the images' device."""
    if isinstance(made, np.ndarray):
        made = torch.from_numpy(made)
    if not isinstance(made, Tensor) or made.is_complex():
        raise InputError(
            f"attack '{name}' must return a tensor of images, not {type(made).__name__}"
        )
    if made.shape != images.shape:
        raise InputError(
            f"attack '{name}' returned shape {tuple(made.shape)} for images of"
            f" shape {tuple(images.shape)}"
        )
    return made.detach().to(images.device, torch.promote_types(made.dtype, torch.float32))


def _nearest(
    model: nn.Module, images: Tensor, labels: Tensor, result: AttackResult, norm: NormName
) -> AttackResult:
    """Return the examples that the model gets wrong with their distance, else the images."""
    wrong = answer(model, result.images).predictions[0] != labels
    wrong_already = answer(model, images).predictions[0] != labels
    size = NORMS[norm].size(result.images - images)
    distance = torch.where(wrong_already, 0, torch.where(wrong, size, torch.inf))
    keep = per_image(wrong & ~wrong_already)
    return AttackResult(
        torch.where(keep, result.images, images.to(result.images)),
        result.gradients,
        result.queries + 2,
        result.unfinished,
        distance=distance,
    )


@contextmanager
def _passes(model: nn.Module) -> Iterator[list[int]]:
    """Count the images that the model sees with a graph and without; restore its modes."""
    counts = [0, 0]
    modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]

    def count(module: nn.Module, inputs: tuple) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim:
            with_graph = torch.is_grad_enabled() and inputs[0].requires_grad
            counts[0 if with_graph else 1] += len(inputs[0])

    try:
        hook = model.register_forward_pre_hook(count)
    except Exception:  # a ScriptModule may take none
        hook = None
    try:
        yield counts
    finally:
        if hook is not None:
            hook.remove()
        for module, training in modes:
            if module.training != training:
                module.training = training
