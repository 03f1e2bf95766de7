"""TorchScript archives, as `torch.jit.save` writes them."""

from pathlib import Path

import torch
from torch import nn

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import quiet


def load_torchscript(path: Path) -> nn.Module:
    """Load a TorchScript archive on the CPU.

    PyTorch's reader of archives takes nothing else, and runs no Python: a pickle with the same
    suffix is refused.

    Raises:
        InputError: the file is not a whole TorchScript archive.
    """
    try:
        with quiet():
            module: nn.Module = torch.jit.load(path, map_location="cpu")
    except Exception:  # of a damaged archive nearly any may come
        raise InputError(
            f"{path} is not a whole TorchScript archive; if it is a state dict, name what it"
            " belongs to as well: --arch NAME=package.module:factory, in Python"
            " arch='package.module:factory'"
        ) from None
    return module
