"""Adam's moments as named tensors, which a safetensors file can hold, and back."""

from typing import Any

from torch import Tensor


def moments_to_tensors(optimizer_state: dict[str, Any]) -> dict[str, Tensor]:
    """Flatten `optimizer.state_dict()["state"]` to `{"3.exp_avg": ...}`."""
    return {
        f"{index}.{name}": value
        for index, moments in optimizer_state["state"].items()
        for name, value in moments.items()
    }


def tensors_to_moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Undo `moments_to_tensors`."""
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        moments.setdefault(int(index), {})[name] = value
    return moments
