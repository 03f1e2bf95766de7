"""The loss that attacks climb: exact where float32's usual form of it is not."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from winnrobust.attacks.passes import cross_entropy

LOGIT = st.floats(-60, 60, width=32)


@given(st.lists(LOGIT, min_size=2, max_size=6), st.data())
def test_loss_and_gradient_are_those_of_cross_entropy_in_float64(values, data):
    label = torch.tensor([data.draw(st.integers(0, len(values) - 1))])
    exact = torch.tensor([values], dtype=torch.float64, requires_grad=True)
    ours = exact.detach().float().requires_grad_()
    expected, found = F.cross_entropy(exact, label), cross_entropy(ours, label)
    torch.testing.assert_close(found.item(), expected.item(), rtol=1e-4, atol=1e-6)
    (slope,) = torch.autograd.grad(expected, exact)
    (our_slope,) = torch.autograd.grad(found.sum(), ours)
    torch.testing.assert_close(our_slope.double(), slope, rtol=1e-4, atol=1e-6)


def test_the_label_keeps_its_gradient_when_the_model_is_certain():
    """At a margin of 30, 1 - p is 1e-13: the usual form rounds the label's gradient to 0."""
    logits = torch.tensor([[30.0, 0.0]], requires_grad=True)
    label = torch.tensor([0])
    (usual,) = torch.autograd.grad(F.cross_entropy(logits, label), logits)
    (ours,) = torch.autograd.grad(cross_entropy(logits, label).sum(), logits)
    assert usual[0, 0] == 0
    exact = torch.exp(torch.tensor(-30.0))
    torch.testing.assert_close(ours, torch.tensor([[-exact, exact]]), rtol=1e-5, atol=0)
