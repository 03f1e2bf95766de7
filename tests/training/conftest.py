"""Data so small that an epoch takes a fraction of a second."""

import pytest

from winnrobust.data.datasets import Dataset, ImageSplit

SIZE = 10


@pytest.fixture(scope="package")
def few_digits(digits: Dataset) -> Dataset:
    """60 digits of 10x10 pixels to train on, 50 to validate, 50 to test."""

    def part(split: ImageSplit, count: int) -> ImageSplit:
        return ImageSplit(split.images[:count, :, ::3, ::3].contiguous(), split.labels[:count])

    return Dataset(
        "mnist5k", 10, part(digits.train, 60), part(digits.valid, 50), part(digits.test, 50)
    )
