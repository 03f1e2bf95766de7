"""A network that a method trains beside the classifier, for the sake of its pseudo-negatives."""

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from winnrobust.models.checkpoint import tensors_under
from winnrobust.runtime import distributed
from winnrobust.synthesis.adam_state import load_moments, moments_to_tensors

Network = TypeVar("Network", bound=nn.Module)


class SideNetwork(Generic[Network]):
    """A module and the optimizer of its parameters, which several processes train as one."""

    def __init__(self, module: Network, optimizer: torch.optim.Optimizer) -> None:
        self.module = module
        self.optimizer = optimizer

    def descend(self, loss: Tensor) -> None:
        """Take a step down `loss`, this process's share of it, and touch no other network."""
        parameters = list(self.module.parameters())
        self.optimizer.zero_grad()
        loss.backward(inputs=parameters)
        distributed.all_reduce_gradients(parameters)
        self.optimizer.step()

    def state(self, name: str) -> dict[str, Tensor]:
        """Weights and moments, under names that begin with `name`."""
        weights = self.module.state_dict()
        moments = moments_to_tensors(self.optimizer.state_dict())
        return {f"{name}.weights.{key}": value for key, value in weights.items()} | {
            f"{name}.moments.{key}": value for key, value in moments.items()
        }

    def restore(self, name: str, state: dict[str, Tensor]) -> None:
        """Undo `state`.

        Raises:
            RuntimeError, ValueError: a weight, or a moment, is missing or has another shape.
        """
        self.module.load_state_dict(tensors_under(f"{name}.weights.", state))
        load_moments(self.optimizer, tensors_under(f"{name}.moments.", state))
