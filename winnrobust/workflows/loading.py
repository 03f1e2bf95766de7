"""A model by the name of where it lies."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from winnrobust import zoo
from winnrobust.external import load_external
from winnrobust.models.checkpoint import load_model
from winnrobust.runtime.errors import InputError
from winnrobust.workflows.shared import model_file


def load(
    name: str | Path,
    *,
    weights: Path | str | None = None,
    arch: str | None = None,
    output: str | None = None,
    input_range: Sequence[float] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> nn.Module:
    """Load a model, on the CPU and in eval mode.

    Args:
        name: `zoo:NAME` of a trained model that comes along ('winnrobust models' lists them), a run
            folder or a `.safetensors` file of ours; or what `winnrobust attack --model` takes.
        weights, arch, output, input_range, mean, std: as the options of `winnrobust attack` of
            these names, for models from elsewhere.

    Returns:
        A module that takes images (N, C, H, W) in [0, 1]; what a library says of a model's
        normalization is in it.

    Raises:
        InputError: there is no such model, or it cannot be read.

    >>> import torch, winnrobust
    >>> model = winnrobust.load("zoo:mnist-vanilla-winn")
    >>> model(torch.rand(2, 1, 28, 28)).logits.shape
    torch.Size([2, 10])
    """
    if arch is None and is_ours(name):
        network, info = load_model(model_file(Path(name)))
        if info.num_classes == 1:
            raise InputError(f"{name} was trained without labels and classifies nothing")
        return network.eval()
    file = None if weights is None else Path(weights)
    loaded = load_external(str(name), file, arch=arch, output=output)
    wanted: dict[str, Any] = {}
    if input_range is not None:
        wanted["low"], wanted["high"] = input_range
    for field, value in (("mean", mean), ("std", std)):
        if value is not None:
            wanted[field] = (value,) if isinstance(value, int | float) else tuple(value)
    return replace(loaded.preprocessing, **wanted).around(loaded.module)


def is_ours(name: str | Path) -> bool:
    """Tell whether a name is one of our own models': of the zoo, a run folder, or a file."""
    path = Path(name)
    is_file = path.suffix.lower() == ".safetensors"
    return str(name).startswith(zoo.PREFIX) or path.is_dir() or is_file
