"""Our FGSM against foolbox's on a really trained model."""

import foolbox
import pytest
import torch
from torch import Tensor, nn

import winnrobust
from winnrobust.attacks import logits_of
from winnrobust.attacks.fgsm import fgsm

EPSILON = 0.125


@pytest.fixture(scope="session")
def foolbox_examples(trained) -> Tensor:
    model, images, labels = trained

    class Logits(nn.Module):
        """foolbox takes bare logits only."""

        def forward(self, batch: Tensor) -> Tensor:
            return logits_of(model(batch))

    attack = foolbox.attacks.FGSM()
    victim = foolbox.PyTorchModel(Logits().eval(), bounds=(0, 1), device="cpu")
    _, clipped, _ = attack(victim, images, labels, epsilons=EPSILON)
    return clipped


def errors(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    with torch.no_grad():
        return int((logits_of(model(images)).argmax(1) != labels).sum())


def test_same_examples(trained, foolbox_examples):
    model, images, labels = trained
    ours = fgsm(model, images, labels, epsilon=EPSILON).images
    differ = (ours - foolbox_examples).abs() > 1e-6
    # Where the gradient is nearly 0 its sign may depend on the order of float32 additions.
    assert differ.float().mean() < 1e-4


def test_same_adversarial_error(trained, foolbox_examples):
    model, images, labels = trained
    clean_errors = errors(model, images, labels)
    foolbox_errors = errors(model, foolbox_examples, labels)
    # The comparison says something: the model has learnt, and the attack harms it.
    assert clean_errors < 0.2 * len(labels)
    assert foolbox_errors > 2 * clean_errors
    # One batch, as foolbox was given: float32 sums may differ between batch sizes.
    table = winnrobust.evaluate(
        {"net": model}, images, labels, epsilons=[EPSILON], batch_size=len(labels)
    ).transfer
    row = table.iloc[0]
    assert row.clean_errors_source == clean_errors
    assert row.source_errors == foolbox_errors
