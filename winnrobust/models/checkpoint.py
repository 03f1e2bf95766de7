"""The only code that reads or writes model files: safetensors with a JSON header, never pickle."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from winnrobust.models import (
    ARCHITECTURES,
    PADDED,
    PADDINGS,
    SCALABLE,
    IntrospectiveNetwork,
    blank,
)
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import replacing
from winnrobust.runtime.readers import parse_json, read_safetensors

HEADER = "winnrobust"
"""The header entry that marks a safetensors file as ours."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself.

    Attributes:
        arch, in_channels, image_size, num_classes: what the network is built from.
        dataset, method, seed: what it was trained on, how, from which seed.
        epoch: the epoch its weights are from, counted from 1.
        valid_error: its error on the validation images, 0 to 1; None without classes.
        cascades: how many networks the file holds, of which each goes on with the samples of the
            one before; the last is the model.
        thresholds: the lowest and the highest batch mean of each network's critic on real images
            in its last epoch, between which early stopping draws; none where there was no such
            range, or in a file of an older version.
        width: scale of the channels, of architectures that have one.
        padding: of the convolutions, of architectures that have a choice.
    """

    arch: str
    in_channels: int
    image_size: int
    num_classes: int
    dataset: str
    method: str
    seed: int
    epoch: int
    valid_error: float | None
    cascades: int = 1
    thresholds: tuple[tuple[float, float], ...] = ()
    width: float = 1.0
    padding: str = PADDINGS[0]


def save_model(
    path: Path,
    network: IntrospectiveNetwork,
    info: ModelInfo,
    earlier: Sequence[IntrospectiveNetwork] = (),
) -> None:
    """Write the network's weights, those of the cascades before it, and `info`, all or nothing."""
    tensors = network.state_dict()
    for number, before in enumerate(earlier):
        tensors |= {_prefix(number) + name: value for name, value in before.state_dict().items()}
    write_tensors(path, tensors, {"kind": "model", **asdict(info)})


def load_model(path: Path) -> tuple[IntrospectiveNetwork, ModelInfo]:
    """Read a model written by `save_model`, on the CPU and in eval mode.

    Raises:
        InputError: missing, truncated or other file, unknown architecture, wrong shapes, or
            weights that are not finite.
    """
    networks, info = load_cascades(path)
    return networks[-1], info


def load_cascades(path: Path) -> tuple[list[IntrospectiveNetwork], ModelInfo]:
    """Read all networks of a model file, the model last; otherwise as `load_model`."""
    tensors, header = read_tensors(path, "model")
    info = _checked_info(path, header)
    parts = [*map(_prefix, range(info.cascades - 1)), ""]
    # On the meta device nothing is allocated for what the header merely claims.
    with torch.device("meta"):
        networks = [
            blank(
                info.arch,
                info.in_channels,
                info.image_size,
                info.num_classes,
                info.width,
                info.padding,
            )
            for _ in parts
        ]
    states = [network.state_dict() for network in networks]
    expected = {
        part + name: tuple(value.shape)
        for part, state in zip(parts, states, strict=True)
        for name, value in state.items()
    }
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != found:
        name = min(key for key in expected | found if expected.get(key) != found.get(key))
        raise InputError(
            f"{path}: tensor '{name}' has shape {found.get(name)}, {info.arch} on"
            f" {info.in_channels}x{info.image_size}x{info.image_size} images has"
            f" {expected.get(name)}"
        )
    for name, value in tensors.items():
        if value.dtype != torch.float32 or not value.isfinite().all():
            raise InputError(
                f"{path}: tensor '{name}' is not float32 or has NaN or infinite values"
            )
    for part, state, network in zip(parts, states, networks, strict=True):
        network.load_state_dict({name: tensors[part + name] for name in state}, assign=True)
    return [network.eval() for network in networks], info


def _prefix(cascade: int) -> str:
    """What the names of an earlier cascade's tensors begin with."""
    return f"cascade{cascade}."


def _checked_info(path: Path, header: dict[str, Any]) -> ModelInfo:
    """Read a model file's header.

    Raises:
        InputError: it is not one that a network can be built from.
    """
    try:
        info = ModelInfo(**{key: value for key, value in header.items() if key != "kind"})
    except TypeError:
        raise InputError(f"{path}: its header lacks or adds fields; it is damaged") from None
    texts = (info.arch, info.dataset, info.method)
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path}: its header names no architecture, data set or method")
    error = 0 if info.valid_error is None else info.valid_error
    if type(info.seed) is not int or type(info.epoch) is not int or type(error) not in (int, float):
        raise InputError(f"{path}: its header has no usable seed, epoch or validation error")
    if info.arch not in ARCHITECTURES:
        raise InputError(
            f"{path}: unknown architecture '{info.arch}'; known are {', '.join(ARCHITECTURES)}"
        )
    sizes = (info.in_channels, info.image_size, info.num_classes)
    if not all(isinstance(size, int) and 1 <= size <= 4096 for size in sizes):
        raise InputError(f"{path}: its header has impossible image or class sizes {sizes}")
    scaled = info.width == 1 or info.arch in SCALABLE
    if not scaled or not isinstance(info.width, float | int) or not 0 < info.width <= 64:
        raise InputError(f"{path}: its header claims a width of {info.width}")
    if info.padding != PADDINGS[0] and (info.padding not in PADDINGS or info.arch not in PADDED):
        raise InputError(f"{path}: its header claims a padding of {info.padding}")
    if not isinstance(info.cascades, int) or not 1 <= info.cascades <= 4096:
        raise InputError(f"{path}: its header claims {info.cascades} cascades")
    return replace(info, thresholds=_checked_thresholds(path, info))


def _checked_thresholds(path: Path, info: ModelInfo) -> tuple[tuple[float, float], ...]:
    try:
        ranges = tuple((float(low), float(high)) for low, high in info.thresholds)
    except (TypeError, ValueError):
        ranges = ((math.nan, math.nan),)
    fit = len(ranges) in (0, info.cascades)
    if not fit or not all(-math.inf < low <= high < math.inf for low, high in ranges):
        raise InputError(f"{path}: its header has impossible thresholds {info.thresholds}")
    return ranges


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Write named tensors and a JSON header to a safetensors file, all or nothing."""
    payload = save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        metadata={HEADER: json.dumps(header, sort_keys=True)},
    )
    with replacing(path) as temporary:
        temporary.write_bytes(payload)


def tensors_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote, with a header of the given `kind`.

    Raises:
        InputError: no such file, truncated, not safetensors, or not one of ours.
    """
    tensors, texts = read_safetensors(path)
    header = parse_json(texts.get(HEADER, "null"), f"the header of {path}")
    if not isinstance(header, dict) or header.get("kind") != kind:
        raise InputError(f"{path} is a safetensors file, but not a winnrobust {kind}")
    return tensors, header
