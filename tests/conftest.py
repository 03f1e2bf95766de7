"""What many tests share: tiny data, a tiny network, real digits."""

import pytest
import torch

from winnrobust.data import Dataset, ImageSplit, load_dataset


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


@pytest.fixture
def blank_split() -> ImageSplit:
    """Four black 28x28 images of classes 0 to 3."""
    return ImageSplit(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.arange(4))
