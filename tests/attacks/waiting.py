"""How often a program would wait for a CUDA device, counted on a CPU."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from winnrobust.runtime import devices

LOOKS = {
    torch.ops.aten._local_scalar_dense.default,  # item, bool, int
    torch.ops.aten.nonzero.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.masked_select.default,
}


class Waits(TorchDispatchMode):
    """Count the operations that need a value, or a size that depends on values, on the host.

    Attributes:
        count: how many there were.
    """

    def __init__(self, monkeypatch) -> None:
        super().__init__()
        self.count = 0
        monkeypatch.setattr(devices, "waits", lambda device: True)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        indexes = function.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put_)
        masked = indexes and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        self.count += function in LOOKS or masked
        return function(*args, **(kwargs or {}))
