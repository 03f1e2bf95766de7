"""`transfer:surrogate`: from a network that imitates a model whose gradients mislead."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import winnrobust
from tests.cli.conftest import winnrobust as typed
from winnrobust.workflows import surrogates


class StandIn(nn.Module):
    """Says whether the upper half is brighter, with a gradient that says nothing of it."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            upper, lower = images.chunk(2, 2)
            score = 20 * (upper - lower).mean((1, 2, 3))
        found = torch.stack([score, -score], 1)
        made_up = images.flatten(1)[:, :2]
        return found + made_up - made_up.detach()


def data(n: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = 0.4 + 0.2 * torch.rand((n, 1, 16, 16), generator=generator)
    labels = torch.randint(2, (n,), generator=generator)
    images[:, :, :8] += 0.06 * (1 - 2 * labels.float()).view(-1, 1, 1, 1)
    return images, labels


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(surrogates, "STEPS", 150)


def test_examples_transfer_where_the_model_s_own_gradient_misleads(quickly):
    images, labels = data()
    found = winnrobust.evaluate(
        {"net": StandIn().eval(), "again": StandIn().eval()},
        images, labels, ["pgd", "transfer:surrogate"], [0.1],
    )  # fmt: skip
    errors = found.results.summary.errors.query("model == 'net'").set_index("attack").error
    assert errors["pgd"] < 0.1
    assert errors["transfer:surrogate"] > 0.8


def test_one_attack_makes_its_own_surrogate_the_same_each_time(quickly):
    images, labels = data(40)
    model = StandIn().eval()
    before = torch.random.get_rng_state()
    first, again = (
        winnrobust.attack(model, images, labels, "transfer:surrogate", epsilon=0.1)
        for _ in range(2)
    )
    assert first.is_adversarial.float().mean() > 0.8
    assert torch.equal(first.images, again.images)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_model_of_that_name_is_transferred_from_instead(monkeypatch):
    monkeypatch.setattr(surrogates, "train_surrogate", None)  # would not be callable
    images, labels = data(8)
    models = {"net": StandIn().eval(), "surrogate": StandIn().eval()}
    found = winnrobust.evaluate(models, images, labels, ["transfer:surrogate"], [0.1])
    assert len(found.results.summary.errors) == 2


def test_as_typed(quickly, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = data(20)

    np.savez("images.npz", images=images.numpy(), labels=labels.numpy())
    result = typed(
        "attack", "--model", "net=tests.workflows.test_surrogates:StandIn", "--data", "images.npz",
        "--threat", "linf:0.1", "--attacks", "transfer:surrogate", "--no-diagnose", "--out", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "the surrogate of net agrees with it on" in result.output
    assert "transfer:surrogate 0.1" in result.output
