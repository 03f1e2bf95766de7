"""Cheaper gradients of convolutions on few channels: the same numbers, and nothing left behind."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from winnrobust.attacks import loss_gradient
from winnrobust.evaluation import evaluate
from winnrobust.evaluation.pixel_gradient import matrix_products
from winnrobust.evaluation.speed import sped_up
from winnrobust.runtime.errors import InputError

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 4


class Net(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.head = nn.LazyLinear(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.tanh(self.conv(images)).flatten(1))


def frozen_net(conv: nn.Module, images: Tensor = IMAGES) -> Net:
    model = Net(conv).eval()
    model(images)
    return model.requires_grad_(False)


def cheaper(model: nn.Module, images: Tensor = IMAGES, labels: Tensor = LABELS):
    return sped_up([model], [matrix_products], images, labels)


def is_cheaper(model: Net) -> bool:
    return "forward" in model.conv.__dict__


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 4),
    outputs=st.integers(9, 20),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    size=st.tuples(st.integers(6, 11), st.integers(6, 11)),
    last=st.booleans(),
)
def test_gradients_are_those_of_torch(
    channels, outputs, kernel, stride, padding, dilation, size, last
):
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, max(outputs, 3 * channels), kernel, stride, padding, dilation)
    images = torch.rand(5, channels, *size)
    labels = torch.arange(5) % 4
    model = frozen_net(conv, images)
    if last:
        model.to(memory_format=torch.channels_last)
    before = loss_gradient(model, images, labels)
    with cheaper(model, images, labels):
        assert is_cheaper(model)
        after = loss_gradient(model, images, labels)
    torch.testing.assert_close(after.logits, before.logits)
    torch.testing.assert_close(after.gradient, before.gradient, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_a_finite_difference_and_can_be_differentiated_again():
    torch.manual_seed(0)
    model = frozen_net(nn.Conv2d(3, 16, 3, padding=1)).double()
    images = IMAGES[:2].double().requires_grad_()
    with cheaper(model, IMAGES[:2].double(), LABELS[:2]):
        assert is_cheaper(model)
        assert torch.autograd.gradcheck(model, images)
        assert torch.autograd.gradgradcheck(model, images)


class Doubled(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


@pytest.mark.parametrize(
    "conv",
    [
        Doubled(3, 16, 3),
        nn.Conv2d(3, 18, 3, groups=3),
        nn.Conv2d(3, 16, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 16, 3, padding="same"),
        nn.Conv2d(3, 2, 5),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 16, 3)),
    ],
    ids=["a subclass", "groups", "reflected", "padding by name", "a large patch", "weight norm"],
)
def test_others_stay_as_they_are(conv):
    model = frozen_net(conv)
    before = loss_gradient(model, IMAGES, LABELS).gradient
    with cheaper(model):
        assert not is_cheaper(model)
        assert torch.equal(loss_gradient(model, IMAGES, LABELS).gradient, before)


class ByItsOwnGradient(Net):
    def forward(self, images: Tensor) -> Tensor:
        energy = torch.func.grad(lambda pixels: self.conv(pixels).square().sum())
        return self.head(energy(images).flatten(1))


def test_a_model_that_cannot_take_it_stays_as_it_is():
    torch.manual_seed(0)
    model = ByItsOwnGradient(nn.Conv2d(3, 16, 3)).eval()
    model(IMAGES)
    model.requires_grad_(False)
    before = loss_gradient(model, IMAGES, LABELS).gradient
    with cheaper(model):
        assert not is_cheaper(model)
        assert torch.equal(loss_gradient(model, IMAGES, LABELS).gradient, before)


def test_weights_that_get_a_gradient_get_it():
    model = frozen_net(nn.Conv2d(3, 16, 3))
    images = IMAGES.clone().requires_grad_()
    with cheaper(model):
        model.requires_grad_(True)
        model(images).sum().backward()
    assert model.conv.weight.grad is not None
    assert images.grad is not None


class Wrapped(nn.Module):
    def __init__(self, net: nn.Module, how) -> None:
        super().__init__()
        self.net = net
        self.how = how

    def forward(self, images: Tensor) -> Tensor:
        return self.how(self.net, images)


def in_bfloat16(net, images):
    with torch.autocast("cpu", torch.bfloat16):
        return net(images).float()


def by_its_own_gradient(net, images):
    return net(images) + torch.func.grad(lambda pixels: net(pixels).sum())(images).mean()


@pytest.mark.parametrize("how", [in_bfloat16, by_its_own_gradient])
@pytest.mark.parametrize("order", [1, -1])
def test_models_that_share_a_convolution_can_all_be_evaluated(how, order):
    torch.manual_seed(0)
    net = frozen_net(nn.Conv2d(3, 16, 3))
    models = dict([("plain", net), ("other", Wrapped(net, how))][::order])
    alone = evaluate({"other": models["other"]}, IMAGES, LABELS)
    both = evaluate(models, IMAGES, LABELS)
    own = both[(both.source == "other") & (both.target == "other")]
    assert own.source_errors.item() == alone.source_errors.item()


def test_a_copy_computes_with_its_own_weights():
    model = frozen_net(nn.Conv2d(3, 16, 3))
    images = IMAGES.clone().requires_grad_()
    with cheaper(model):
        copied = copy.deepcopy(model)
        copied.conv.weight.zero_()
        copied.conv.bias.zero_()
        assert is_cheaper(copied)
        assert torch.equal(copied.conv(images), torch.zeros(6, 16, 6, 6))
        assert not torch.equal(model.conv(images), torch.zeros(6, 16, 6, 6))


def test_parameters_made_in_inference_mode_are_no_traceback():
    with torch.inference_mode():
        model = Net(nn.Conv2d(3, 16, 3))
        model(IMAGES)
        with pytest.raises(InputError):
            evaluate({"net": model}, IMAGES, LABELS)


def test_evaluation_leaves_nothing_behind():
    torch.manual_seed(0)
    model = Net(nn.Conv2d(3, 16, 3))
    model(IMAGES)
    evaluate({"net": model}, IMAGES, LABELS)
    assert not is_cheaper(model)
    own = model.conv.forward  # a method bound to the instance by its owner
    model.conv.forward = own
    evaluate({"net": model}, IMAGES, LABELS)
    assert model.conv.__dict__["forward"] is own
