"""A model by the name of where it lies."""

from pathlib import Path
from typing import Any

from torch import nn

from winnrobust import zoo
from winnrobust.external import load_external
from winnrobust.models.checkpoint import load_model
from winnrobust.runtime.errors import InputError
from winnrobust.workflows.shared import model_file


def load(name: str | Path, **more: Any) -> nn.Module:
    """Load a model, on the CPU and in eval mode.

    Args:
        name: `zoo:NAME` of a trained model that comes along ('winnrobust models' lists them), a run
            folder or a `.safetensors` file of ours, or what `winnrobust attack --model` takes.
        more: `weights`, `arch` and `output`, as for the options of these names.

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
    path, text = Path(name), str(name)
    ours = path.suffix.lower() == ".safetensors" and "weights" not in more
    if text.startswith(zoo.PREFIX) or path.is_dir() or ours:
        network, info = load_model(model_file(path))
        if info.num_classes == 1:
            raise InputError(f"{name} was trained without labels and classifies nothing")
        return network.eval()
    if "weights" in more:
        more["weights"] = Path(more["weights"])
    loaded = load_external(text, **more)
    return loaded.preprocessing.around(loaded.module)
