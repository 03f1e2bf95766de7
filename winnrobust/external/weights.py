"""A state dict from a safetensors file, into a module that fits it exactly."""

from collections.abc import Collection
from pathlib import Path

from torch import nn

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import read_safetensors

PICKLE_SUFFIXES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
"""What state dicts that are pickles are usually called."""

NAMED = 3
"""How many tensors of a kind an error names."""


def unpickled_hint(path: Path) -> str:
    """Say that a pickle is not loaded, and how its owner makes a safetensors file of it."""
    convert = (
        "import torch, safetensors.torch as s; s.save_file({k: v.clone().contiguous() for k, v in"
        f" torch.load('{path}', weights_only=True).items()}}, '{path.with_suffix('.safetensors')}')"
    )
    return (
        "which can run any code when it is loaded, so winnrobust never does; if it is a state dict,"
        f' convert it (python -c "{convert}") and give the result with --weights'
    )


def load_weights(module: nn.Module, path: Path) -> None:
    """Load the state dict in the safetensors file `path` into `module`.

    Raises:
        InputError: the file is unreadable or a pickle, or does not have exactly the tensors of the
            module, in their shapes.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise InputError(f"{path} is a pickle, {unpickled_hint(path)}")
    tensors, _ = read_safetensors(path)
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
