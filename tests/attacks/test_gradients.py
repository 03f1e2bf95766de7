"""Losses, gradients and what is counted of them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.attacks.models import LABEL, Answers, Linear, image
from winnrobust.attacks import LOSSES, CleanPass, answer, logits, logits_of, loss_gradient
from winnrobust.attacks.gradients import find_loss
from winnrobust.models import ClassifierOutput
from winnrobust.runtime.errors import InputError

LOGIT = st.floats(-10, 10, width=32)  # float64's cross-entropy has all its digits there


def slope(loss, values, label):
    """The gradient of a loss by name, with respect to logits."""
    values = values.clone().requires_grad_()
    (found,) = torch.autograd.grad(LOSSES[loss](values, label).sum(), values)
    return found


@given(st.lists(LOGIT, min_size=2, max_size=6), st.data())
def test_the_stable_loss_rises_with_cross_entropy_and_along_its_gradient(values, data):
    label = torch.tensor([data.draw(st.integers(0, len(values) - 1))])
    exact = torch.tensor([values], dtype=torch.float64)
    stable = LOSSES["ce-stable"](exact.float(), label)
    torch.testing.assert_close(
        F.softplus(stable.double()), F.cross_entropy(exact, label).reshape(1), rtol=1e-4, atol=1e-6
    )
    expected, found = slope("ce", exact, label), slope("ce-stable", exact.float(), label)
    expected = expected / expected.abs().max()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lead", [30.0, 1e3, 1e6])
def test_the_stable_loss_keeps_its_gradient_however_certain_the_model_is(lead):
    certain = torch.tensor([[lead, 0.0, 0.0]])
    assert slope("ce", certain, LABEL)[0, 0] == 0  # rounded to 0 where it is exp(-lead)
    assert slope("ce-stable", certain, LABEL).tolist() == [[-1, 0.5, 0.5]]
    assert slope("margin", certain, LABEL).abs().sum() == 2


def test_losses_by_hand():
    ranked = torch.tensor([[2.0, 5.0, 1.0]])
    assert LOSSES["margin"](ranked, LABEL).item() == 3
    assert LOSSES["margin"](ranked, torch.tensor([1])).item() == -3
    torch.testing.assert_close(LOSSES["ce"](ranked, LABEL), F.cross_entropy(ranked, LABEL)[None])


def test_an_unknown_loss_is_an_error_with_the_list():
    with pytest.raises(InputError, match=r"unknown loss 'hinge'; known are ce-stable, ce, margin"):
        find_loss("hinge")


def test_the_gradient_is_the_losses_and_each_images_own():
    model = Linear([[1.0, 2.0, 0.0, -1.0], [2.0, 1.0, 0.0, 1.0]])
    images, labels = torch.cat([image(0.1, 0.2, 0.3, 0.4), image(0.9, 0.1, 0.3, 0.0)]), [0, 1]
    seen = loss_gradient(model, images, torch.tensor(labels), loss="margin")
    torch.testing.assert_close(seen.losses, torch.tensor([0.7, -0.8]))
    assert seen.gradient.flatten(1).tolist() == [[1, -1, 0, 2], [-1, 1, 0, -2]]
    assert seen.predictions.tolist() == [[1, 1]]


def test_a_loss_can_be_any_function_of_logits_and_labels():
    model = Linear([[1.0, 2.0, 0.0, -1.0], [2.0, 1.0, 0.0, 1.0]])
    seen = loss_gradient(
        model, image(0.1, 0.2, 0.3, 0.4), LABEL, loss=lambda logits, labels: -logits[:, 0]
    )
    assert seen.gradient.flatten().tolist() == [-1, -2, 0, 1]


def test_statistics_count_exact_zeros_and_tiny_gradients():
    model = Linear([[1.0, -1.0, 0.0, 1e-12], [0.0, 0.0, 0.0, 0.0]])

    def faint(images):  # the second image's gradient is 1e-12, the third's is 0
        scale = torch.tensor([1.0, 1e-12, 0.0])[:, None]
        return model(images) * scale

    seen = loss_gradient(Answers(faint), image(*[0.5] * 4).expand(3, 1, 2, 2), LABEL.expand(3))
    found = seen.statistics.on_host()
    assert found == (12, 1 + 1 + 4, 3, 1, 2, 0)
    assert found.plus(found) == (24, 12, 6, 2, 4, 0)


def test_gradients_that_are_not_numbers_are_counted_and_followed_nowhere():
    # The root's slope at 0 is infinite, and 0 times it is NaN, though every logit is finite.
    def rooted(images):
        pixels = images.flatten(1)
        other = pixels[:, 1] + (pixels[:, 0] * 0).sqrt() + (pixels[:, 2] - 0.5).clamp(min=0).sqrt()
        return torch.stack([torch.zeros_like(other), other], 1)

    seen = loss_gradient(Answers(rooted), image(0.1, 0.2, 0.5, 0.4), LABEL)
    assert seen.statistics.on_host().nonfinite_images == 1
    assert seen.gradient.isfinite().all()
    assert seen.gradient.flatten()[:2].tolist() == [0, 1]


@pytest.mark.parametrize(
    "detached",
    [lambda images: images.detach().flatten(1), lambda images: torch.ones(len(images), 4)],
    ids=["detached", "constant"],
)
def test_logits_without_gradient_are_an_error(detached):
    with pytest.raises(InputError, match=r"no gradient to follow.*square"):
        loss_gradient(Answers(detached), image(0.1, 0.2, 0.3, 0.4), LABEL)


def test_logits_that_depend_on_parameters_only_are_an_error():
    model = Linear([[1.0, 2.0, 0.0, -1.0]] * 2)
    constant = Answers(lambda images: model.weight[:, :1].T.expand(len(images), 2))
    with pytest.raises(InputError, match="no gradient to follow"):
        loss_gradient(constant, image(0.1, 0.2, 0.3, 0.4), LABEL)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "returns NoneType; it must return a tensor of logits"),
        ([1], "returns list; it must return a tensor of logits"),
        ((torch.zeros(2, 3),) * 2, "returns a tuple of 0, 1; say which are the logits"),
        ({"scores": torch.zeros(2, 3)}, "a dict of scores; say which are the logits with --output"),
    ],
)
def test_what_is_no_logits_is_an_error(output, message):
    with pytest.raises(InputError, match=message):
        logits_of(output)


def test_logits_of_tensor_and_of_output_with_logits():
    found = torch.zeros(2, 3)
    assert logits_of(found) is found
    assert logits_of(ClassifierOutput(found, torch.zeros(2))) is found


class Alternating(nn.Module):
    """Logits (0, s) with s = 3, -1, 3, -1, ... times the first pixel, draw after draw."""

    def __init__(self) -> None:
        super().__init__()
        self.draws = 0

    def forward(self, images):
        slope = 3.0 if self.draws % 2 == 0 else -1.0
        self.draws += 1
        other = slope * images.flatten(1)[:, 0]
        return torch.stack([torch.zeros_like(other), other], 1)


def test_draws_are_averaged_and_each_ones_class_is_kept():
    images = image(0.5, 0.5, 0.5, 0.5)
    said = answer(Alternating(), images, eot=4)
    assert said.logits.tolist() == [[0, 0.5]]
    assert said.predictions.flatten().tolist() == [1, 0, 1, 0]
    seen = loss_gradient(Alternating(), images, LABEL, eot=4)
    assert seen.gradient.flatten().tolist() == [1, 0, 0, 0]
    assert torch.equal(seen.predictions, said.predictions)
    assert seen.statistics.on_host().images == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_gets_images_of_its_own_dtype(dtype):
    got = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).to(dtype)
    model.register_forward_pre_hook(lambda _, inputs: got.append(inputs[0].dtype))
    images = image(0.1, 0.2, 0.3, 0.4)
    seen = loss_gradient(model, images, LABEL)
    assert got == [dtype]
    assert seen.gradient.dtype == torch.float32
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert logits(model, images).dtype == seen.losses.dtype == expected


def test_the_clean_pass_is_made_when_asked_for_and_once():
    model = Linear([[1.0, 2.0, 0.0, -1.0], [2.0, 1.0, 0.0, 1.0]])
    images = image(0.1, 0.2, 0.3, 0.4)
    clean = CleanPass(model, images, LABEL)
    assert model.seen == []
    gradient = clean.gradient()
    assert clean.gradient() is gradient
    assert torch.equal(clean.answer.logits, gradient.logits)
    assert model.seen == [1]
    assert torch.equal(clean.of(torch.tensor([0])).answer.logits, gradient.logits)
    assert model.seen == [1]


def test_the_clean_gradient_goes_towards_the_target():
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    clean = CleanPass(model, image(*[0.5] * 4), LABEL, targets=torch.tensor([2]))
    assert clean.gradient("margin").gradient.flatten()[1] > 0
