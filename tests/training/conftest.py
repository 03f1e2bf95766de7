"""Data so small that an epoch takes a fraction of a second."""

import pytest

from winnrobust.data.datasets import Dataset


@pytest.fixture(scope="package")
def few_digits(digits: Dataset) -> Dataset:
    """60 digits to train on, 50 to validate, 50 to test."""
    return Dataset(
        "mnist5k", 10, digits.train.first(60), digits.valid.first(50), digits.test.first(50)
    )
