import pytest
import torch
from torch import nn

from winnrobust.models import ARCHITECTURES, SCALABLE, blank, build
from winnrobust.models.densenet import DenseLayer
from winnrobust.runtime.randomness import stream
from winnrobust.training.methods.losses import gradient_penalty


def network(arch: str, channels: int = 1, size: int = 28, seed: int = 0):
    return build(arch, channels, size, 10, stream(seed, "weights"))


@pytest.mark.parametrize(
    ("arch", "channels", "size", "parameters"),
    [
        ("vanilla", 1, 28, 312_149),
        ("resnet32", 1, 28, 463_877),
        ("resnet32", 3, 32, 464_165),
    ],
)
def test_parameter_counts_are_the_papers(arch, channels, size, parameters):
    assert sum(p.numel() for p in network(arch, channels, size).parameters()) == parameters


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
@pytest.mark.parametrize(("arch", "blocks"), [("resnet13", 2), ("resnet20", 3)])
def test_parameter_counts_of_smaller_resnets(arch, blocks, channels, size):
    """By hand: convolutions, norms (scale and shift), 64 -> 10 with bias, the critic's 11."""
    kernels = 9 * (
        channels * 16
        + 2 * blocks * 16 * 16
        + 16 * 32 + (2 * blocks - 1) * 32 * 32
        + 32 * 64 + (2 * blocks - 1) * 64 * 64
    )  # fmt: skip
    norms = 16 + 16 + (blocks - 1) * 32 + 16 + 32 + (blocks - 1) * 64
    norms += 32 + 64 + (blocks - 1) * 128 + 64
    found = sum(p.numel() for p in network(arch, channels, size).parameters())
    assert found == kernels + 2 * norms + 650 + 11


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_parameter_count_of_densenet(channels, size):
    """Every layer sees all channels before it and adds 12; transitions keep them all."""
    inputs = [*range(16, 76, 12)], [*range(76, 136, 12)], [*range(136, 208, 12)]
    layers = sum(2 * n + 9 * 12 * n for n in [*inputs[0], *inputs[1], *inputs[2]])
    transitions = sum(2 * n + n * n for n in (76, 136))
    expected = 9 * 16 * channels + layers + transitions + 2 * 208 + (208 * 10 + 10) + 11
    assert sum(p.numel() for p in network("densenet20", channels, size).parameters()) == expected


@pytest.mark.parametrize(
    ("arch", "layers"),
    [("resnet13", 13 + 1), ("resnet20", 20), ("resnet32", 32), ("densenet20", 20)],
)
def test_layers_are_what_the_name_counts(arch, layers):
    """Convolutions and the classifier; ResNet-13 counts its convolutions alone."""
    model = network(arch)
    kernels = [m for m in model.features.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(kernels) + 1 == layers


def test_a_dense_layer_keeps_what_it_got_and_adds_its_growth():
    x = torch.rand(2, 7, 5, 5)
    out = DenseLayer(7)(x)
    assert out.shape == (2, 19, 5, 5)
    assert torch.equal(out[:, :7], x)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_the_gradient_penalty_reaches_every_weight_before_the_critics_bias(arch, channels, size):
    """All but the last biases, and those between ReLUs, which do not change the slope of f."""
    model = network(arch, channels, size)
    real, fake = (torch.rand(2, channels, size, size) * 2 - 1 for _ in range(2))
    gradient_penalty(model, real, fake, torch.rand(2)).penalty.mean().backward()
    for name, parameter in model.named_parameters():
        between_relus = arch == "wgan-resnet" and name.endswith("bias")
        if between_relus or name in ("critic.bias", "classifier.bias"):
            assert parameter.grad is None or not parameter.grad.any()
        else:
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_outputs_logits_and_one_critic_value_per_image(arch, channels, size):
    output = network(arch, channels, size)(torch.rand(3, channels, size, size))
    assert output.logits.shape == (3, 10)
    assert output.critic.shape == (3,)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_forward_takes_unit_images_and_forward_signed_signed_ones(arch):
    model, images = network(arch), torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(model(images), model.forward_signed(images * 2 - 1))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_critic_is_one_linear_unit_on_the_logits(arch):
    model = network(arch)
    output = model(torch.rand(2, 1, 28, 28))
    by_hand = output.logits @ model.critic.weight[0] + model.critic.bias
    torch.testing.assert_close(output.critic, by_hand)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_images_of_a_batch_do_not_influence_each_other(arch):
    model, images = network(arch), torch.rand(5, 1, 28, 28)
    together = model(images).logits
    alone = torch.cat([model(image[None]).logits for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_flat_image_gives_finite_outputs(arch):
    assert network(arch)(torch.zeros(1, 1, 28, 28)).logits.isfinite().all()


def test_initialization_follows_the_authors():
    model = network("vanilla")
    kernel = model.features[3].weight  # 64 channels in, 5x5: fan-in 1,600
    nominal = (1.3 * 2 / 1600) ** 0.5
    assert kernel.abs().max() <= 2 * nominal
    assert kernel.std().item() == pytest.approx((2.012 / 1600) ** 0.5, rel=0.02)
    assert model.features[3].bias.abs().max() == 0
    assert 0.005 < model.critic.weight.std().item() < 0.05
    assert model.critic.bias.item() == 0


def test_same_seed_same_weights_other_seed_other_weights():
    first, again, other = network("vanilla"), network("vanilla"), network("vanilla", seed=1)
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_resnet_shortcut_averages_and_pads_channels_on_both_sides():
    block = network("resnet32").features[8]  # the first block of stage 2
    x = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, 16, 4, 4)
    shortcut = block.shortcut(x)
    assert shortcut.shape == (1, 32, 2, 2)
    assert shortcut[0, :8].abs().max() == 0
    assert shortcut[0, 24:].abs().max() == 0
    assert shortcut[0, 8].tolist() == [[2.5, 4.5], [10.5, 12.5]]


@pytest.mark.parametrize(
    ("arch", "size", "parameters"),
    [("cnn64", 64, 2_354_177), ("wgan-resnet", 32, 1_053_825)],
)
def test_critics_without_classes_have_the_papers_parameters(arch, size, parameters):
    critic = build(arch, 3, size, 1, stream(0, "weights"))
    assert sum(p.numel() for p in critic.parameters()) == parameters
    output = critic(torch.rand(2, 3, size, size))
    assert torch.equal(output.logits.squeeze(1), output.critic), "its only logit is the critic"


@pytest.mark.parametrize("arch", SCALABLE)
def test_a_width_scales_every_channel(arch):
    whole, half = (blank(arch, 3, 32, 1, width) for width in (1.0, 0.5))
    shapes = [
        [module.weight.shape for module in network.modules() if isinstance(module, nn.Conv2d)]
        for network in (whole, half)
    ]
    for of_whole, of_half in zip(*shapes, strict=True):
        assert of_half[0] * 2 == of_whole[0]
        assert of_half[2:] == of_whole[2:]


def test_the_layer_that_gives_the_critics_value_starts_small():
    alone = build("vanilla", 1, 28, 1, stream(0, "weights"))
    assert alone.classifier.weight.std().item() == pytest.approx(0.02, rel=0.2)
