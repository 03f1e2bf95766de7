"""What a network makes of validation and test images, in all processes together."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from winnrobust.data.datasets import Dataset, ImageSplit, to_unit
from winnrobust.models import ClassifierOutput, IntrospectiveNetwork
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError

BATCH = 500


def validate(
    network: IntrospectiveNetwork, dataset: Dataset, device: torch.device
) -> dict[str, float]:
    """What the log says of the validation images: errors, or without classes the mean critic.

    Raises:
        InputError: as `count_errors`.
    """
    if dataset.num_classes == 1:
        return {"valid_critic": mean_critic(network, dataset.valid, device)}
    n, errors = len(dataset.valid), count_errors(network, dataset.valid, device)
    return {"valid_errors": errors, "valid_n": n, "valid_error": errors / n}


def mean_critic(network: IntrospectiveNetwork, split: ImageSplit, device: torch.device) -> float:
    """The critic's mean over the images of `split`.

    Raises:
        InputError: it is NaN or infinite.
    """
    total = torch.zeros((), dtype=torch.float64)
    for output, _ in _answers(network, split, device):
        total += output.critic.sum().double().cpu()
    mean = float(distributed.all_reduce(total.to(device))) / len(split)
    if not math.isfinite(mean):
        raise diverged("the critic's values are no longer finite")
    return mean


def count_errors(network: IntrospectiveNetwork, split: ImageSplit, device: torch.device) -> int:
    """Count the images of `split` that the network puts into a wrong class.

    Raises:
        InputError: the network's logits are NaN or infinite.
    """
    errors = torch.zeros((), dtype=torch.int64, device=device)
    for output, labels in _answers(network, split, device):
        if not output.logits.isfinite().all():
            raise diverged("the network's logits are no longer finite")
        errors += (output.logits.argmax(1) != labels).sum()
    return int(distributed.all_reduce(errors))


def _answers(
    network: IntrospectiveNetwork, split: ImageSplit, device: torch.device
) -> Iterator[tuple[ClassifierOutput, Tensor]]:
    """The network's answers to this process's images, and their labels, in batches."""
    network.eval()
    mine = distributed.shard(len(split))
    batches = zip(split.images[mine].split(BATCH), split.labels[mine].split(BATCH), strict=True)
    for images, labels in batches:
        with torch.no_grad():
            output = network(to_unit(images.to(device)))
        yield output, labels.to(device)


def diverged(what: str) -> InputError:
    """The error that ends a training whose numbers are no longer finite."""
    return InputError(
        f"{what}: training has diverged; lower --lr or --alpha and start anew (what earlier epochs"
        " wrote is kept)"
    )
