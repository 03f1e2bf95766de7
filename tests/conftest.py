"""What many tests share: tiny data, real digits, a really trained network."""

import os

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.data.datasets import Dataset, ImageSplit, load_dataset, to_unit
from winnrobust.models import build

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, and of those that it starts
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The 5,000 embedded MNIST digits."""
    return load_dataset("mnist5k")


@pytest.fixture(scope="session")
def few_digits(digits: Dataset) -> Dataset:
    """200 digits to train on, 100 to validate, 100 to test: an epoch takes less than a second."""
    return Dataset(
        "mnist5k", 10, digits.train.first(200), digits.valid.first(100), digits.test.first(100)
    )


@pytest.fixture(scope="session")
def trained(digits: Dataset) -> tuple[nn.Module, Tensor, Tensor]:
    """A vanilla CNN after one pass over 3,500 real digits, with 1,000 others to attack."""
    images, labels = to_unit(digits.train.images), digits.train.labels
    generator = torch.Generator().manual_seed(0)
    model = build("vanilla", 1, 28, 10, generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for chosen in torch.randperm(len(labels), generator=generator).split(50):
        loss = F.cross_entropy(model(images[chosen]).logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), to_unit(digits.test.images), digits.test.labels


@pytest.fixture
def blank_split() -> ImageSplit:
    """Four black 28x28 images of classes 0 to 3."""
    return ImageSplit(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.arange(4))
