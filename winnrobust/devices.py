"""Where tensors live."""

import torch

from winnrobust.errors import InputError


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is CUDA where there is one, else the CPU.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(
            f"--device {name} cannot be used here; use 'cpu', 'auto'"
            + (" or 'cuda'" if torch.cuda.is_available() else " (no CUDA device was found)")
        ) from None
    return device
