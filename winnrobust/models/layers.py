"""Layers that more than one architecture uses."""

from torch import nn

LAYER_NORM_EPS = 1e-12
"""Variance epsilon of the authors' layer normalization (TensorFlow's)."""


def layer_norm(channels: int) -> nn.GroupNorm:
    """Layer norm for images: moments over C, H, W of one image, scale and shift per channel."""
    return nn.GroupNorm(1, channels, eps=LAYER_NORM_EPS)
