"""Anyone's model: from what a user names to a module that takes images and returns logits.

Nothing is ever unpickled. But a factory and an exported program are code, and loading one runs it:
use only those whose author you trust.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from torch import nn

from winnrobust.external.exported import load_exported
from winnrobust.external.factory import call_factory
from winnrobust.external.onnx import load_onnx
from winnrobust.external.preprocessing import Preprocessing
from winnrobust.external.torchscript import load_torchscript
from winnrobust.external.weights import PICKLE_SUFFIXES, load_weights, unpickled_hint
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import check_file

LOADERS: dict[str, Callable[[Path], nn.Module]] = {
    ".pt": load_torchscript,
    ".pth": load_torchscript,
    ".pt2": load_exported,
    ".onnx": load_onnx,
}
"""Suffix of a file -> what reads it."""

KINDS = (
    "package.module:factory, a TorchScript archive (.pt), a torch.export program (.pt2) or an ONNX"
    " file (.onnx)"
)


def load_module(spec: str, weights: Path | None = None) -> nn.Module:
    """Load a model from elsewhere, on the CPU and in eval mode.

    Args:
        spec: `package.module:factory`, or a file whose suffix is in `LOADERS`.
        weights: a safetensors file with the state dict of what the factory makes.

    Raises:
        InputError: it cannot be loaded; the message says why and what to do.
    """
    path = Path(spec)
    suffix = path.suffix.lower()
    if suffix in LOADERS:
        if weights is not None:
            raise InputError(f"{spec} has its weights inside; leave out --weights")
        check_file(path)
        return LOADERS[suffix](path).eval()
    if suffix in PICKLE_SUFFIXES:
        raise InputError(f"{spec} is a pickle, {unpickled_hint(path)}")
    if suffix == ".safetensors":
        raise InputError(
            f"{spec} holds weights alone; name what they belong to as well: --model"
            f" NAME=package.module:factory --weights NAME={spec}"
        )
    if ":" not in spec:
        raise InputError(f"{spec} is no model from elsewhere; it must be {KINDS}")
    module = call_factory(spec)
    if weights is not None:
        load_weights(module, weights)
    return module.eval()


def files_of(spec: str, weights: Path | None = None) -> list[Path]:
    """Name the files that `load_module` reads, the one with the weights first, if there is one.

    Of a factory's code it is the file of the module named, which must have been imported.
    """
    path = Path(spec)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        beside = path.with_name(path.name + ".data")  # where exporters put large weights
        return [path, beside] if beside.is_file() else [path]
    if suffix in LOADERS:
        return [path]
    code = getattr(sys.modules[spec.partition(":")[0]], "__file__", None)
    return [*([weights] if weights else []), *([Path(code)] if code else [])]


__all__ = ["LOADERS", "Preprocessing", "files_of", "load_module"]
