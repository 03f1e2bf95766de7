"""Initial weights by their names, and the paddings of the vanilla CNN."""

import math

import pytest
import torch
import torch.nn.functional as F

from winnrobust.models import blank, build
from winnrobust.models.checkpoint import ModelInfo, load_model, save_model
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods.settings import check_settings


def layers(kind: str):
    network = build("vanilla", 1, 28, 10, stream(0, "weights"), initialization=kind)
    convolutions = [m for m in network.features if isinstance(m, torch.nn.Conv2d)]
    return convolutions, network.classifier, network.critic


def test_tf_is_the_default():
    default = build("vanilla", 1, 28, 10, stream(0, "weights"))
    assert torch.equal(layers("tf")[0][1].weight, default.features[3].weight)
    std = math.sqrt(2.6 / 1600)
    weight = layers("tf")[0][1].weight
    assert weight.abs().max() <= 2 * std
    assert weight.std().item() == pytest.approx(0.88 * std, rel=0.02)


def test_dcgan_draws_convolutions_within_two_standard_deviations_of_0_02():
    convolutions, classifier, _ = layers("dcgan")
    for layer in convolutions:
        assert layer.weight.abs().max() <= 0.04
        assert layer.weight.std().item() == pytest.approx(0.88 * 0.02, rel=0.05)
    assert classifier.weight.abs().max() > 0.045
    assert classifier.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert all(not layer.bias.any() for layer in [*convolutions, classifier])


def test_torch_draws_weights_and_biases_within_one_over_the_root_of_fan_in():
    convolutions, classifier, critic = layers("torch")
    for layer, fan_in in [(convolutions[0], 25), (convolutions[1], 1600), (classifier, 256)]:
        bound = 1 / math.sqrt(fan_in)
        assert 0.9 * bound < layer.bias.abs().max() <= bound or layer is classifier
        assert 0.9 * bound < layer.weight.abs().max() <= bound
    assert layer.bias.any()
    assert not critic.bias.any()


@pytest.mark.parametrize("kind", ["dcgan", "torch"])
def test_the_critic_starts_as_ever(kind):
    assert layers(kind)[2].weight.abs().max() < 0.08
    assert layers(kind)[2].weight.any()


def test_one_sided_padding_is_tensorflows():
    """SAME of 28 pixels, kernel 5, stride 2: one pixel to the left, two to the right."""
    network = blank("vanilla", 1, 28, 10, padding="one-sided")
    images = torch.rand(2, 1, 28, 28, generator=stream(0, "images"))
    first = next(m for m in network.features if isinstance(m, torch.nn.Conv2d))
    expected = F.conv2d(F.pad(images, (1, 2, 1, 2)), first.weight, first.bias, stride=2)
    torch.testing.assert_close(network.features[:2](images), expected)
    assert network(images).logits.shape == (2, 10)


def test_a_model_file_says_its_padding(tmp_path):
    network = build("vanilla", 1, 28, 10, stream(0, "weights"), padding="one-sided")
    info = ModelInfo("vanilla", 1, 28, 10, "mnist", "winn", 0, 1, 0.1, padding="one-sided")
    save_model(tmp_path / "model.safetensors", network, info)
    loaded, found = load_model(tmp_path / "model.safetensors")
    images = torch.rand(2, 1, 28, 28, generator=stream(0, "images"))
    assert found.padding == "one-sided"
    assert torch.equal(loaded(images).logits, network.eval()(images).logits)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initialization": "he"}, "unknown initialization 'he'; known are tf, dcgan, torch"),
        ({"padding": "none"}, "unknown padding 'none'; known are symmetric, one-sided"),
        ({"arch": "resnet32", "padding": "one-sided"}, "--padding is for vanilla only"),
    ],
)
def test_what_is_not_known_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        check_settings(TrainConfig(**settings))
