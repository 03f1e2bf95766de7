"""A state dict from a file, into a module that fits it exactly."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import check_file, quiet, read_safetensors

PICKLE_SUFFIXES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".tar")
"""What state dicts that `torch.save` wrote are usually called."""

STATE_DICTS = (*PICKLE_SUFFIXES, ".safetensors")
"""What files with nothing but weights are usually called."""

NESTED = ("state_dict", "model_state_dict", "model", "net", "ema_state_dict")
"""Under which keys training scripts keep the weights beside other things; the first counts."""

WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""

NAMED = 3
"""How many tensors of a kind an error names."""

WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""PyTorch's switch against unpickling anything but tensors, whatever others' code asks for."""


@contextmanager
def weights_only() -> Iterator[None]:
    """Let others' code unpickle nothing but tensors for a `with` block."""
    before = os.environ.get(WEIGHTS_ONLY)
    os.environ[WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[WEIGHTS_ONLY]
        else:
            os.environ[WEIGHTS_ONLY] = before


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file, or from one that `torch.save` wrote.

    Of the latter only tensors are read (`weights_only`), never code. A dict around the weights is
    taken off, and so is what DataParallel or torch.compile put before their names.

    Raises:
        InputError: the file is unreadable, or holds other things than tensors.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        found: Any = _load_tensors(path)
    else:
        found, _ = read_safetensors(path)
    for name in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"{path} holds {type(found).__name__}, not a state dict")
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    others = [str(name) for name in found if str(name) not in tensors]
    if others:
        raise InputError(
            f"{path} is not a state dict: {_listed(others)} are not tensors; save"
            " model.state_dict() alone"
        )
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): value for name, value in tensors.items()}
    return tensors


def _load_tensors(path: Path) -> object:
    check_file(path)
    try:
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of a damaged file nearly any may come; torch's words advise to trust it
        raise InputError(
            f"{path} is damaged, or a pickle of more than tensors, which can run any code when it"
            " is loaded, so winnrobust never does; save the weights alone,"
            f" torch.save(model.state_dict(), '{path.name}')"
        ) from None


def load_weights(module: nn.Module, path: Path) -> None:
    """Load the state dict in the file `path` into `module`.

    Raises:
        InputError: as `read_state_dict`; or it does not have exactly the tensors of the module, in
            their shapes.
    """
    tensors = read_state_dict(path)
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    shapes = [
        f"{name} is {_shape(found[name])}, not {_shape(expected[name])}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    faults = [
        f"{len(names)} tensors {what} ({_listed(names)})"
        for what, names in (
            ("missing", expected.keys() - found.keys()),
            ("unexpected", found.keys() - expected.keys()),
            ("in another shape", shapes),
        )
        if names
    ]
    if faults:
        raise InputError(f"{path} does not fit the model: {'; '.join(faults)}")
    module.load_state_dict(tensors)


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:NAMED]
    return ", ".join(shown) + (", ..." if len(names) > NAMED else "")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
