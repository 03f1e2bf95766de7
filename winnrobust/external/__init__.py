"""Anyone's model: from what a user names to a module that takes images and returns logits.

Nothing but tensors is ever unpickled. But a factory and an exported program are code, and loading
one runs it: use only those whose author you trust.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from winnrobust.external.exported import load_exported
from winnrobust.external.factory import call_factory, parse_call, registered
from winnrobust.external.hubs import HUBS, External
from winnrobust.external.onnx import load_onnx
from winnrobust.external.output import Output
from winnrobust.external.preprocessing import Preprocessing
from winnrobust.external.torchscript import load_torchscript
from winnrobust.external.weights import STATE_DICTS, load_weights
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
    "package.module:factory, timm:NAME, torchvision:NAME, hf:NAME, robustbench:NAME, a TorchScript"
    " archive (.pt), a torch.export program (.pt2), an ONNX file (.onnx), a state dict with"
    " --arch, or a name that an installed package registered"
)


def load_external(
    spec: str, weights: Path | None = None, *, arch: str | None = None, output: str | None = None
) -> External:
    """Load a model from elsewhere, on the CPU and in eval mode.

    Args:
        spec: `package.module:factory`, perhaps with arguments in brackets, which are literals;
            `timm:NAME` or another of `HUBS`; or a file whose suffix is in `LOADERS`; or a state
            dict, with `arch`.
        weights: a file with the state dict of what the factory makes: safetensors, or one that
            `torch.save` wrote.
        arch: what a state dict belongs to, written as a `spec`.
        output: which part of its answers are the logits (`Output`).

    Raises:
        InputError: it cannot be loaded; the message says why and what to do.
    """
    if arch is not None:
        if weights is not None or Path(spec).suffix.lower() not in STATE_DICTS:
            raise InputError(f"arch is for a state dict, not for {spec}")
        spec, weights = arch, Path(spec)
    loaded = _load(spec, weights)
    module = loaded.module
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module  # it spreads batches over GPUs, which changes no answer
    if output is not None:
        module = Output(module, output)
    return replace(loaded, module=module.eval())


def load_module(
    spec: str, weights: Path | None = None, *, arch: str | None = None, output: str | None = None
) -> nn.Module:
    """Return the module of `load_external` alone: it wants what it was trained on."""
    return load_external(spec, weights, arch=arch, output=output).module


def _load(spec: str, weights: Path | None) -> External:
    hub, colon, name = spec.partition(":")
    if colon and hub in HUBS:
        return HUBS[hub](name, weights)
    path = Path(spec)
    suffix = path.suffix.lower()
    if suffix in LOADERS:
        if weights is not None:
            raise InputError(f"{spec} has its weights inside; leave out the weights")
        check_file(path)
        return External(LOADERS[suffix](path))
    if suffix in STATE_DICTS:
        raise InputError(
            f"{spec} holds weights alone, if it is a state dict (anything else in it is never"
            f" loaded); name what they belong to, too: --model NAME={spec} --arch"
            " NAME=package.module:factory, in Python arch='package.module:factory'"
        )
    spec = registered(spec)
    if ":" not in spec:
        raise InputError(f"{spec} is not a model from elsewhere; it must be {KINDS}")
    module = call_factory(spec)
    if weights is not None:
        load_weights(module, weights)
    return External(module)


def files_of(spec: str, weights: Path | None = None, arch: str | None = None) -> list[Path]:
    """Name the files that `load_external` reads, the one with the weights first, if there is one.

    Of a factory's code it is the file of the module named, which must have been imported; of a
    model from a hub, whose weights are hashed in memory, none.
    """
    if arch is not None:
        spec, weights = arch, Path(spec)
    path = Path(spec)
    suffix = path.suffix.lower()
    given = [weights] if weights else []
    if spec.partition(":")[0] in HUBS:
        return given
    if suffix == ".onnx":
        beside = path.with_name(path.name + ".data")  # where exporters put large weights
        return [path, beside] if beside.is_file() else [path]
    if suffix in LOADERS:
        return [path]
    code = getattr(sys.modules[parse_call(registered(spec)).module], "__file__", None)
    return [*given, *([Path(code)] if code else [])]


__all__ = [
    "LOADERS",
    "External",
    "Preprocessing",
    "files_of",
    "load_external",
    "load_module",
]
