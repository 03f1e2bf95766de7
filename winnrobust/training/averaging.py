"""An average of the weights over the steps: the network that is validated and kept."""

from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from winnrobust.models import IntrospectiveNetwork

Tensors = tuple[Tensor, ...] | list[Tensor]


class WeightAverage(AveragedModel):
    """The exponential average of a network's weights; `update_parameters(network)` every step.

    After t steps it keeps min(decay, (1 + t) / (10 + t)) of itself at the next, so that the random
    weights of the start are soon forgotten. With decay 0 it equals the network after every step.

    Source: Polyak, Juditsky 1992; the warm-up is the one that TensorFlow recommends.

    Attributes:
        module: a network with the averaged weights.
    """

    module: IntrospectiveNetwork

    def __init__(self, network: IntrospectiveNetwork, decay: float) -> None:
        def update(averages: Tensors, weights: Tensors, steps: Tensor | int) -> None:
            kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
            get_ema_multi_avg_fn(kept)(averages, weights, steps)

        super().__init__(network, multi_avg_fn=update)
