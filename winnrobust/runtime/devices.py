"""Where tensors live."""

import torch
from torch import Tensor, nn

from winnrobust.runtime.distributed import local_gpu
from winnrobust.runtime.errors import InputError


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is CUDA where there is one, else the CPU.

    Plain `cuda` is this process's own GPU: the first, or under torchrun the one of its local rank.
    Convolutions there compute in float32 from now on, not in TF32, which is PyTorch's default.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "meta":  # has shapes, but no numbers
            raise RuntimeError
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", local_gpu())
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(
            f"--device {name} cannot be used here; use 'cpu', 'auto'"
            + (" or 'cuda'" if torch.cuda.is_available() else " (no CUDA device was found)")
        ) from None
    return device


def waits(device: torch.device) -> bool:
    """Tell whether to look at a tensor on the device is to wait for it."""
    return device.type != "cpu"


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device, without waiting for what a GPU still has to do.

    >>> moved(torch.ones(2), torch.device("cpu"))
    tensor([1., 1.])
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def device_of(model: nn.Module) -> torch.device:
    """Return where a module expects its images: beside its first parameter or buffer."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
