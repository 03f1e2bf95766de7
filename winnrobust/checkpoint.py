"""The only code that reads or writes model files: safetensors with a JSON header, never pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from winnrobust.errors import InputError
from winnrobust.files import replacing
from winnrobust.models import ARCHITECTURES, IntrospectiveNetwork

HEADER = "winnrobust"
"""The header entry that marks a safetensors file as ours."""


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself.

    Attributes:
        arch, in_channels, image_size, num_classes: what the network is built from.
        dataset, method, seed: what it was trained on, how, from which seed.
        epoch: the epoch its weights are from, counted from 1.
        valid_error: its error on the validation images, 0 to 1.
    """

    arch: str
    in_channels: int
    image_size: int
    num_classes: int
    dataset: str
    method: str
    seed: int
    epoch: int
    valid_error: float


def save_model(path: Path, network: IntrospectiveNetwork, info: ModelInfo) -> None:
    """Write the network's weights and `info`, all or nothing."""
    write_tensors(path, network.state_dict(), {"kind": "model", **asdict(info)})


def load_model(path: Path) -> tuple[IntrospectiveNetwork, ModelInfo]:
    """Read a model written by `save_model`, on the CPU and in eval mode.

    Raises:
        InputError: missing, truncated or foreign file, unknown architecture, wrong shapes, or
            weights that are not finite.
    """
    tensors, header = read_tensors(path, "model")
    try:
        info = ModelInfo(**{key: value for key, value in header.items() if key != "kind"})
        texts = (info.arch, info.dataset, info.method)
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"{path}: its header names no architecture, data set or method")
        if info.arch not in ARCHITECTURES:
            raise InputError(
                f"{path}: unknown architecture '{info.arch}'; known are {', '.join(ARCHITECTURES)}"
            )
        sizes = (info.in_channels, info.image_size, info.num_classes)
        if not all(isinstance(size, int) and 1 <= size <= 4096 for size in sizes):
            raise InputError(f"{path}: its header has impossible image or class sizes {sizes}")
    except TypeError:
        raise InputError(f"{path}: its header lacks or adds fields; it is damaged") from None
    # On the meta device nothing is allocated for what the header merely claims.
    with torch.device("meta"):
        network = ARCHITECTURES[info.arch](*sizes)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
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
    network.load_state_dict(tensors, assign=True)
    return network.eval(), info


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Write named tensors and a JSON header to a safetensors file, all or nothing."""
    payload = save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        metadata={HEADER: json.dumps(header, sort_keys=True)},
    )
    with replacing(path) as temporary:
        temporary.write_bytes(payload)


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote, with a header of the given `kind`.

    Raises:
        InputError: no such file, truncated, not safetensors, or not one of ours.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({error}); it may be truncated or corrupt"
        ) from None
    if not isinstance(header, dict) or header.get("kind") != kind:
        raise InputError(f"{path} is a safetensors file, but not a winnrobust {kind}")
    return tensors, header
