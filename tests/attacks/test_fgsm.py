"""FGSM against answers worked out by hand."""

import pytest
import torch
from torch import nn

from winnrobust.attacks import ATTACKS, Target, logits_of
from winnrobust.attacks.fgsm import fgsm
from winnrobust.models import ClassifierOutput
from winnrobust.runtime.errors import InputError


class Linear(nn.Module):
    """Logits = weight @ pixels for images (N, 1, 2, 2); the gradient is known on paper."""

    def __init__(self, weight: list[list[float]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight.T


def image(*pixels: float) -> torch.Tensor:
    return torch.tensor(pixels).reshape(1, 1, 2, 2)


# For label 0 the loss grows along (second row - first row) = (+, -, 0, +): sign(0) must be 0.
MODEL_WEIGHT = [[1.0, 2.0, 0.0, -1.0], [2.0, 1.0, 0.0, 1.0]]


def test_step_follows_the_sign_of_the_gradient_and_is_clipped():
    images = image(0.5, 0.5, 0.5, 0.95)
    result = fgsm(Target(Linear(MODEL_WEIGHT), images, torch.tensor([0])), [0.125])
    torch.testing.assert_close(result.adversarials[0], image(0.625, 0.375, 0.5, 1.0))


def test_the_true_label_decides_the_direction_and_zero_is_the_lower_limit():
    images = image(0.05, 0.5, 0.5, 0.5)
    result = fgsm(Target(Linear(MODEL_WEIGHT), images, torch.tensor([1])), [0.125])
    torch.testing.assert_close(result.adversarials[0], image(0.0, 0.625, 0.5, 0.375))


def test_true_label_even_where_the_model_is_wrong():
    # The model says 1, the label is 0: the attack goes on raising the loss of label 0.
    images = image(1.0, 0.0, 0.5, 0.5)
    model = Linear(MODEL_WEIGHT)
    assert model(images).argmax(1).item() == 1
    result = fgsm(Target(model, images, torch.tensor([0])), [0.1])
    torch.testing.assert_close(result.adversarials[0], image(1.0, 0.0, 0.5, 0.6))


def test_gradient_statistics_count_exact_zeros():
    # The third pixel has no gradient. A margin of 200 saturates the softmax of float32, so the
    # second image has no gradient at all.
    images = torch.cat([image(0.5, 0.5, 0.5, 0.5), image(1.0, 0.0, 0.0, 0.0)])
    model = Linear([[201.0, 1.0, 3.0, 0.0], [1.0, 201.0, 3.0, 0.0]])
    statistics = fgsm(Target(model, images, torch.tensor([0, 0])), [0.1]).gradients
    assert statistics.entries == 8
    assert statistics.zero_entries == 2 + 4
    assert statistics.images == 2
    assert statistics.zero_images == 1


def test_several_epsilons_are_the_single_ones_and_zero_is_the_image(network, batch):
    images, labels = batch
    epsilons = [0.0, 0.0625, 0.125, 1.0]
    together = fgsm(Target(network, images, labels), epsilons).adversarials
    for epsilon, adversarials in zip(epsilons, together, strict=True):
        alone = fgsm(Target(network, images, labels), [epsilon]).adversarials[0]
        assert torch.equal(adversarials, alone)
        assert (adversarials - images).abs().max() <= epsilon + 1e-6
        assert adversarials.min() >= 0
        assert adversarials.max() <= 1
    assert torch.equal(together[0], images)


def test_one_gradient_serves_all_epsilons(network, batch):
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    fgsm(Target(network, *batch), [0.1, 0.2, 0.3])
    assert len(calls) == 1


def test_batch_size_does_not_matter(network, batch):
    images, labels = batch
    whole = fgsm(Target(network.double(), images.double(), labels), [0.1]).adversarials[0]
    single = [
        fgsm(Target(network, images[i : i + 1].double(), labels[i : i + 1]), [0.1]).adversarials[0]
        for i in range(len(images))
    ]
    torch.testing.assert_close(torch.cat(single), whole)


def test_the_loss_is_summed_so_that_tiny_gradients_survive_large_batches():
    # Logits 0 and -101: the gradient holds exp(-101), a float32 denormal of about 1e-44. A mean
    # over 100 images would make it 0.
    model = Linear([[0.0, 0.0, 0.0, 0.0], [-101.5, 1.0, 0.0, 0.0]])
    images = image(1.0, 0.5, 0.5, 0.5).expand(100, 1, 2, 2)
    labels = torch.zeros(100, dtype=torch.int64)
    assert fgsm(Target(model, images[:1], labels[:1]), [0.1]).gradients.zero_images == 0
    assert fgsm(Target(model, images, labels), [0.1]).gradients.zero_images == 0


def test_nothing_of_the_caller_is_changed(network, batch):
    images, labels = batch
    before = images.clone()
    network.train()
    next(network.parameters()).grad = torch.ones_like(next(network.parameters()))
    flags = [parameter.requires_grad for parameter in network.parameters()]
    adversarials = fgsm(Target(network, images, labels), [0.1]).adversarials[0]
    adversarials.zero_()
    assert torch.equal(images, before)
    assert not images.requires_grad
    assert network.training
    assert flags == [parameter.requires_grad for parameter in network.parameters()]
    first, *others = network.parameters()
    assert torch.equal(first.grad, torch.ones_like(first))
    assert all(parameter.grad is None for parameter in others)
    assert not adversarials.requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_does_not_matter(mode, network, batch):
    images, labels = batch
    expected = fgsm(Target(network, images, labels), [0.1]).adversarials[0]
    with mode():
        found = fgsm(Target(network, images * 1, labels * 1), [0.1]).adversarials[0]
    assert torch.equal(found, expected)


class Returns(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer(images)


@pytest.mark.parametrize(
    "answer",
    [lambda images: images.detach().flatten(1), lambda images: torch.ones(len(images), 4)],
    ids=["detached", "constant"],
)
def test_logits_without_gradient_are_an_error(answer):
    with pytest.raises(InputError, match=r"no gradient to follow.*square"):
        fgsm(Target(Returns(answer), image(0.1, 0.2, 0.3, 0.4), torch.tensor([0])), [0.1])


def test_logits_that_depend_on_parameters_only_are_an_error():
    model = Linear(MODEL_WEIGHT)
    constant = Returns(lambda images: model.weight[:, :1].T.expand(len(images), 2))
    with pytest.raises(InputError, match="no gradient to follow"):
        fgsm(Target(constant, image(0.1, 0.2, 0.3, 0.4), torch.tensor([0])), [0.1])


def test_gradients_that_are_no_numbers_are_counted_and_followed_nowhere():
    # The root's slope at 0 is infinite, and 0 times it is NaN, though every logit is finite.
    def answer(images):
        pixels = images.flatten(1)
        other = pixels[:, 1] + (pixels[:, 0] * 0).sqrt() + (pixels[:, 2] - 0.5).clamp(min=0).sqrt()
        return torch.stack([torch.zeros_like(other), other], 1)

    images = torch.cat([image(0.1, 0.2, 0.6, 0.4), image(0.1, 0.2, 0.5, 0.4)])
    result = fgsm(Target(Returns(answer), images, torch.tensor([0, 0])), [0.1])
    assert result.gradients.nonfinite_images == 2
    assert result.gradients.zero_images == 0
    torch.testing.assert_close(result.adversarials[0][0], image(0.1, 0.3, 0.7, 0.4)[0])
    torch.testing.assert_close(result.adversarials[0][1, 0, 0], torch.tensor([0.1, 0.3]))


def test_logits_of_tensor_and_of_output_with_logits():
    logits = torch.zeros(2, 3)
    assert logits_of(logits) is logits
    assert logits_of(ClassifierOutput(logits, torch.zeros(2))) is logits


@pytest.mark.parametrize("output", [None, (torch.zeros(2, 3),), {"logits": torch.zeros(2, 3)}])
def test_other_outputs_are_an_error(output):
    with pytest.raises(InputError, match=f"returns {type(output).__name__}.*logits"):
        logits_of(output)


def test_registry():
    attack = ATTACKS["fgsm"]
    assert (attack.name, attack.norm, attack.function) == ("fgsm", "Linf", fgsm)
    assert all(name == attack.name for name, attack in ATTACKS.items())
