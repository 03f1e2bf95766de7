import pytest
import torch

from winnrobust.models import build


@pytest.fixture
def network():
    """An untrained network of ours for 12x12 gray images; it returns a ClassifierOutput."""
    return build("vanilla", 1, 12, 10, torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def batch():
    """Eight random images and labels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(8, 1, 12, 12, generator=generator)
    return images, torch.randint(10, (8,), generator=generator)
