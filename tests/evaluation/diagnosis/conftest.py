"""Honest models: what a diagnosis must leave alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import logits_of, loss_gradient
from winnrobust.data.datasets import Dataset, to_unit

EPSILON = 0.125


def train(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float = 0.0) -> None:
    """One pass of training; with an epsilon, on FGSM examples from a random start.

    Wong, Rice, Kolter: Fast is better than free, ICLR 2020.
    """
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for chosen in torch.randperm(len(labels), generator=generator).split(50):
        clean, truth = images[chosen], labels[chosen]
        start = clean + epsilon * (2 * torch.rand(clean.shape, generator=generator) - 1)
        uphill = loss_gradient(model, start.clamp(0, 1), truth).gradient.sign() if epsilon else 0
        moved = (start + 1.25 * epsilon * uphill).clamp(clean - epsilon, clean + epsilon)
        loss = F.cross_entropy(logits_of(model(moved.clamp(0, 1))), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="session")
def hardened(trained: tuple[nn.Module, Tensor, Tensor], digits: Dataset) -> nn.Module:
    """The trained network after two more passes, on adversarial examples."""
    model = copy.deepcopy(trained[0])
    images = to_unit(digits.train.images)
    for epsilon in (EPSILON / 2, EPSILON):
        train(model, images, digits.train.labels, epsilon)
    return model.eval()


@pytest.fixture(scope="session")
def quick(digits: Dataset) -> nn.Module:
    """A small network, trained on digits: hundreds of attacks on it take no time."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    for layer in (model[1], model[3]):
        nn.init.kaiming_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
    for _ in range(3):
        train(model, to_unit(digits.train.images), digits.train.labels)
    return model.eval()


@pytest.fixture(scope="session")
def some_digits(digits: Dataset) -> tuple[Tensor, Tensor]:
    """A hundred digits to attack."""
    few = digits.test.first(100)
    return to_unit(few.images), few.labels
