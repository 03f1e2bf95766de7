"""Checks at the edge: what a caller gives is usable, or one line says why not."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from winnrobust.attacks import ATTACKS, PREFIX, Attack, Budget, find
from winnrobust.evaluation.aims import AIMS
from winnrobust.runtime.errors import InputError


def checked_models(models: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the models as a dict of their own.

    Raises:
        InputError: not a mapping from names to modules, or empty.
    """
    if not isinstance(models, Mapping):
        raise InputError(
            f"models must be a dict from name to torch.nn.Module, not {type(models).__name__}"
        )
    if not models:
        raise InputError("there are no models to evaluate; give at least one")
    for name, model in models.items():
        if not isinstance(name, str) or not name:
            raise InputError(f"a model's name must be a non-empty string, not {name!r}")
        if not isinstance(model, nn.Module):
            raise InputError(
                f"model '{name}' must be a torch.nn.Module, not {type(model).__name__}"
            )
        for tensor in (*model.parameters(), *model.buffers()):
            if is_lazy(tensor):
                raise InputError(
                    f"model '{name}' has lazy layers that never saw an image; call it once first"
                )
            if tensor.device.type == "meta":
                raise InputError(
                    f"model '{name}' is on the meta device: its weights have no values"
                )
    return dict(models)


def checked_images(images: Tensor | np.ndarray) -> Tensor:
    """Return images (N, C, H, W) as float32 in [0, 1]; float32 tensors are not copied.

    Raises:
        InputError: another type, dtype or shape, none at all, or values outside [0, 1].
    """
    tensor = _as_tensor("images", images)
    if not tensor.is_floating_point():
        raise InputError(
            f"images must be floating point in [0, 1], not {_dtype_name(tensor)}; divide 8-bit"
            " images by 255"
        )
    if tensor.ndim != 4:
        raise InputError(
            f"images must have the shape (N, C, H, W), not {tuple(tensor.shape)}; a grey image"
            " has C = 1"
        )
    if tensor.numel() == 0:
        raise InputError(f"there are no images to evaluate (shape {tuple(tensor.shape)})")
    tensor = tensor.float()
    low, high = (bound.item() for bound in torch.aminmax(tensor))
    if math.isnan(low):
        raise InputError("images contain NaN; every pixel must be a number in [0, 1]")
    if low < 0 or high > 1:
        raise InputError(
            f"images must lie in [0, 1], these reach from {low:g} to {high:g}; rescale them and"
            " do any normalisation inside the model"
        )
    return tensor


def checked_labels(labels: Tensor | np.ndarray, count: int) -> Tensor:
    """Return labels (count,) as int64 on the CPU.

    Raises:
        InputError: another type, dtype or shape, or negative labels.
    """
    tensor = _as_tensor("labels", labels)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(f"labels must be integers (class numbers), not {_dtype_name(tensor)}")
    if tensor.shape != (count,):
        raise InputError(
            f"labels must have the shape ({count},), one per image, not {tuple(tensor.shape)}"
        )
    tensor = tensor.cpu().long()
    if tensor.min() < 0:
        raise InputError(f"labels must be 0 or more; the lowest is {int(tensor.min())}")
    return tensor


def checked_attacks(attacks: Sequence[str], aim: str | None = None) -> list[Attack]:
    """Return the attacks with these names, each once.

    Args:
        aim: how the classes that they aim at are chosen, if they shall aim.

    Raises:
        InputError: an unknown name, or none; an unknown aim, or an attack that cannot take one.
    """
    if isinstance(attacks, str) or not isinstance(attacks, Sequence):
        raise InputError(f"attacks must be a list of names such as ['fgsm'], not {attacks!r}")
    if not attacks:
        raise InputError(f"there are no attacks to run; known are {', '.join(ATTACKS)}")
    found = [find(str(name)) for name in attacks]
    if aim is not None:
        _check_aim(aim, found)
    return list({attack.name: attack for attack in found}.values())


def check_sources(attacks: Sequence[Attack], models: Mapping[str, nn.Module]) -> None:
    """Check, before hours of other attacks, that those that transfer have a model to do it from.

    Raises:
        InputError: it is not among `models`.
    """
    for attack in attacks:
        if attack.access == "transfer" and attack.name.removeprefix(PREFIX) not in models:
            raise InputError(
                f"'{attack.name}' transfers from a model that is not there; the models are"
                f" {', '.join(models)}"
            )


def _check_aim(aim: str, attacks: Sequence[Attack]) -> None:
    if aim not in AIMS:
        raise InputError(f"unknown aim {aim!r}; known are {', '.join(AIMS)}")
    unable = [attack.name for attack in attacks if not attack.can_aim]
    if unable:
        raise InputError(
            f"{', '.join(unable)} cannot aim at a class; leave out the aim or"
            f" {'this attack' if len(unable) == 1 else 'these attacks'}"
        )


def checked_epsilons(
    epsilons: Sequence[float], name: str = "epsilons", at_most: float = 1
) -> list[float]:
    """Return the perturbation bounds, each once, in the order given.

    Args:
        name: what the argument is called.
        at_most: the largest that makes sense in its norm.

    Raises:
        InputError: none, or one that is not a finite number from 0 to `at_most`.
    """
    try:
        values = list(epsilons)
    except TypeError:
        values = []
    if isinstance(epsilons, str) or not values:
        raise InputError(f"{name} must be a list of numbers such as [0.125], not {epsilons!r}")
    for value in values:
        # The comparison also refuses NaN.
        if not _is_real(value) or not 0 <= value <= at_most or math.isinf(value):
            limits = "of at least 0" if at_most == math.inf else f"from 0 to {at_most:g}"
            raise InputError(
                f"{name} must be numbers {limits}, in the units of [0, 1] images, not {value!r}"
            )
    return list(dict.fromkeys(float(value) for value in values))


def checked_budget(budget: Budget) -> Budget:
    """Return the budget.

    Raises:
        InputError: it is none, or something in it is no integer of at least 1.
    """
    if not isinstance(budget, Budget):
        raise InputError(f"budget must be a winnrobust.attacks.Budget, not {type(budget).__name__}")
    for name, value in budget._asdict().items():
        if value is not None or name == "eot":
            check_count(f"budget.{name}", value, at_least=1)
    return budget


def checked_seconds(seconds: float | None) -> float:
    """Return the time that an attack has; infinite where none was given.

    Raises:
        InputError: it is not a number above 0.
    """
    if seconds is None:
        return math.inf
    if not _is_real(seconds) or not seconds > 0:
        raise InputError(f"seconds must be a number above 0, not {seconds!r}")
    return float(seconds)


def check_count(name: str, value: int, at_least: int) -> None:
    """Check an integer argument.

    Raises:
        InputError: it is no integer or too small.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < at_least:
        raise InputError(f"{name} must be an integer of at least {at_least}, not {value!r}")


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _as_tensor(name: str, value: Tensor | np.ndarray) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if not isinstance(value, np.ndarray):
        raise InputError(
            f"{name} must be a torch tensor or a numpy array, not {type(value).__name__}"
        )
    try:
        # A copy: torch cannot take arrays that are read-only or run backwards.
        return torch.from_numpy(np.array(value, order="C"))
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold plain numbers, not {value.dtype}") from None


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
