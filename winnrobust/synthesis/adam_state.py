"""Adam's moments as named tensors, which a safetensors file can hold, and back."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def load_moments(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimizer the moments that `moments_to_tensors` flattened.

    Raises:
        ValueError: one has another shape than its parameter.
    """
    moments = tensors_to_moments(tensors)
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for index, parameter in enumerate(parameters):
        for name, value in moments.get(index, {}).items():
            if name != "step" and value.shape != parameter.shape:
                raise ValueError(f"moment {name} of parameter {index} has another shape")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


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
