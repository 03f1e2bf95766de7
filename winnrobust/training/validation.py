"""What a network makes of validation and test images, in all processes together."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from winnrobust.attacks import PGD, Run, run_attack, with_settings
from winnrobust.data.datasets import Dataset, ImageSplit, to_unit
from winnrobust.models import ClassifierOutput, IntrospectiveNetwork
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError
from winnrobust.training.config import AdversarialSettings

BATCH = 500
ATTACKED = 5_000
"""Validation images, the first ones, that are attacked where that chooses the epoch."""
STEPS = 10
"""Of PGD, which then attacks them in the ball that was trained for."""


def validate(
    network: IntrospectiveNetwork,
    dataset: Dataset,
    device: torch.device,
    attacked: AdversarialSettings | None = None,
) -> dict[str, float]:
    """What the log says of the validation images: errors, or without classes the mean critic.

    Args:
        attacked: whose ball the first of them are attacked in, too; None: they are not.

    Raises:
        InputError: as `count_errors`.
    """
    if dataset.num_classes == 1:
        return {"valid_critic": mean_critic(network, dataset.valid, device)}
    n, errors = len(dataset.valid), count_errors(network, dataset.valid, device)
    found = {"valid_errors": errors, "valid_n": n, "valid_error": errors / n}
    if attacked is not None:
        split = dataset.valid.first(ATTACKED)
        errors, n = count_attacked_errors(network, split, attacked.epsilon, device), len(split)
        found |= {"valid_attacked_errors": errors, "valid_attacked_n": n}
        found["valid_attacked_error"] = errors / n
    return found


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


def count_attacked_errors(
    network: IntrospectiveNetwork, split: ImageSplit, epsilon: float, device: torch.device
) -> int:
    """Count the images of `split` that the network gets wrong when PGD attacks it.

    Always from the same random points, so that epochs are compared by the same attack.

    Args:
        epsilon: L-infinity bound, in [0, 1] pixel units.
    """
    network.eval()
    attack = with_settings(PGD, steps=STEPS)
    mine = distributed.shard(len(split))
    errors = torch.zeros((), dtype=torch.int64, device=device)
    images, labels = split.images[mine].split(BATCH), split.labels[mine].split(BATCH)
    for number, (raw, truth) in enumerate(zip(images, labels, strict=True)):
        clean, truth = to_unit(raw.to(device)), truth.to(device)
        run = Run(first=mine.start + number * BATCH)
        (result,) = run_attack(attack, network, clean, truth, [epsilon], run=run)
        with torch.no_grad():
            errors += (network(result.images).logits.argmax(1) != truth).sum()
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
        f"{what}: training has diverged; lower --lr or --alpha and start again (what earlier epochs"
        " wrote is kept)"
    )
