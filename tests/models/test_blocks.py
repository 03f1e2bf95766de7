"""Blocks and whole features, written out once more from the authors' description (method.md A1)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.models import blank
from winnrobust.models.densenet import DenseLayer
from winnrobust.models.layers import layer_norm
from winnrobust.models.resnet import ResidualBlock
from winnrobust.runtime.randomness import stream


def randomised(module: nn.Module) -> nn.Module:
    """Every weight drawn anew, so that no norm is without a scale and a shift; in float64."""
    generator = stream(0, "weights")
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    return module.double()


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=stream(0, "images"), dtype=torch.float64)


def activated(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    return F.silu(F.group_norm(x, 1, norm.weight, norm.bias, 1e-12))


def test_layer_norm_has_one_mean_per_image_a_scale_per_channel_and_a_tiny_epsilon():
    """By hand: mean 0, variance 3e-12, which with the epsilon makes a standard deviation 2e-6."""
    norm = layer_norm(2).double()
    norm.load_state_dict({"weight": torch.tensor([2.0, 4.0]), "bias": torch.tensor([0.0, 10.0])})
    image = torch.tensor([[[1.0, 1.0]], [[1.0, -3.0]]], dtype=torch.float64) * 1e-6
    expected = torch.tensor([[[1.0, 1.0]], [[12.0, 4.0]]], dtype=torch.float64)
    normed = norm(torch.stack([image, image + 1e-3]))
    torch.testing.assert_close(normed, torch.stack([expected, expected]))


@pytest.mark.parametrize(
    ("outputs", "stride", "preactivate"), [(4, 1, True), (4, 1, False), (8, 2, True)]
)
def test_a_residual_block_adds_two_convolutions_to_the_raw_input(outputs, stride, preactivate):
    block, x = randomised(ResidualBlock(4, outputs, stride, preactivate)), drawn(2, 4, 6, 6)
    residual = activated(x, block.norm1) if preactivate else x
    residual = F.conv2d(residual, block.conv1.weight, stride=stride, padding=1)
    residual = F.conv2d(activated(residual, block.norm2), block.conv2.weight, padding=1)
    shortcut = F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, 2, 2)) if stride == 2 else x
    torch.testing.assert_close(block(x), residual + shortcut)


def test_a_resnet_is_a_stem_blocks_at_three_sizes_and_a_mean():
    features, images = randomised(blank("resnet13", 1, 28, 10).features), drawn(2, 1, 28, 28)
    stem, norm, blocks, last_norm = features[0], features[1], features[3:-4], features[-4]
    x = activated(F.conv2d(images, stem.weight, padding=1), norm)
    shapes = []
    for block in blocks:
        x = block(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 28, 28)] * 2 + [(32, 14, 14)] * 2 + [(64, 7, 7)] * 2
    torch.testing.assert_close(features(images), activated(x, last_norm).mean((2, 3)))


def test_a_dense_layer_adds_a_convolution_of_what_it_got():
    layer, x = randomised(DenseLayer(7)), drawn(2, 7, 5, 5)
    added = F.conv2d(activated(x, layer.norm), layer.conv.weight, padding=1)
    torch.testing.assert_close(layer(x), torch.cat([x, added], dim=1))


def test_a_densenet_is_dense_layers_with_two_transitions_and_a_mean():
    """A transition is norm, swish, convolution, mean over 2x2 pixels."""
    features, images = randomised(blank("densenet20", 1, 28, 10).features), drawn(2, 1, 28, 28)
    x = features[1:6](F.conv2d(images, features[0].weight, padding=1))
    x = F.avg_pool2d(F.conv2d(activated(x, features[6]), features[8].weight), 2)
    x = features[10:15](x)
    x = F.avg_pool2d(F.conv2d(activated(x, features[15]), features[17].weight), 2)
    x = features[19:25](x)
    assert x.shape == (2, 208, 7, 7)
    torch.testing.assert_close(features(images), activated(x, features[-4]).mean((2, 3)))
