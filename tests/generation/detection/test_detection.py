import pytest
import torch
from torch import nn

from winnrobust.attacks import Run, find, run_attack
from winnrobust.generation.detection import (
    ADAPTIVE,
    DETECTION_COLUMNS,
    Trial,
    adaptive_attack,
    detect,
    energy,
    largest_probability,
)


class Slope(nn.Module):
    """Images of one pixel x: logits (0, 10 x - 5), so class 1 from 1/2 on."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(10.0))

    def forward(self, images):
        x = images.flatten(1)[:, 0]
        return torch.stack([0 * x, self.factor * x - 5], dim=1)


def pixels(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def test_detectors_by_hand():
    logits = torch.log(torch.tensor([[1.0, 3.0], [8.0, 8.0]]))
    torch.testing.assert_close(largest_probability(logits).exp(), torch.tensor([0.75, 0.5]))
    torch.testing.assert_close(energy(logits).exp(), torch.tensor([4.0, 16.0]))


def test_the_adaptive_attack_goes_on_until_the_error_scores_high():
    """From 0.45 PGD stops beyond 1/2; certainty grows up to the end of the ball at 0.75."""
    images, labels = pixels(0.45, 0.1), torch.tensor([0, 0])
    (plain,) = run_attack(find("pgd"), Slope(), images, labels, [0.3], run=Run())
    found, wrong = adaptive_attack(Slope(), images, labels, largest_probability, epsilon=0.3)
    assert wrong.tolist() == [True, False]
    assert found[0].item() == pytest.approx(0.75, abs=1e-6)
    assert 0.5 <= plain.images[0].item() <= found[0].item() + 1e-6
    assert found[1].item() == images[1].item(), "what cannot be broken is left as it is"


def test_the_adaptive_attack_prefers_errors_that_score_high():
    """The detector wants x near 0.55: there the error is, though the loss is higher at 0.75."""
    images, labels = pixels(0.45), torch.tensor([0])

    def near(logits):
        return -(logits[:, 1] - 0.5).abs()

    found, wrong = adaptive_attack(Slope(), images, labels, near, epsilon=0.3, steps=100)
    assert wrong.all()
    assert found.item() == pytest.approx(0.55, abs=0.02)


def test_a_table_with_everything_that_was_asked():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, 1, 1, 1, generator=generator)
    labels = (images.flatten() >= 0.5).long()
    model = Slope()
    table = detect(
        {"slope": model},
        {"slope": {"softmax": largest_probability, "energy": energy}},
        Trial(
            images,
            labels,
            others={"half": torch.full((30, 1, 1, 1), 0.5)},
            attacks=[find("fgsm")],
            epsilon=0.1,
            batch_size=7,
        ),
    )
    assert tuple(table.columns) == DETECTION_COLUMNS
    assert list(zip(table.detector, table.against, strict=True)) == [
        (detector, against)
        for detector in ("softmax", "energy")
        for against in ("half", "fgsm", ADAPTIVE)
    ]
    cells = table.set_index(["detector", "against"])
    half = cells.loc["softmax", "half"]
    assert (half.n_real, half.n_other, half.auroc) == (20, 30, 1.0)  # none is as uncertain as 1/2
    near_half = ((images[20:] - 0.5).abs().flatten() <= 0.1).sum()
    assert cells.loc["softmax", "fgsm"].n_other == near_half
    assert cells.loc["softmax", ADAPTIVE].n_other == near_half
    assert cells.loc["softmax", ADAPTIVE].auroc <= cells.loc["softmax", "fgsm"].auroc + 1e-9
    assert model.factor.requires_grad
    assert model.training


def test_nothing_broken_is_nothing_measured():
    images = pixels(*[0.0] * 10, *[1.0] * 10)
    labels = (images.flatten() >= 0.5).long()
    table = detect(
        {"slope": Slope()},
        {"slope": {"softmax": largest_probability}},
        Trial(images, labels, attacks=[find("fgsm")], epsilon=0.1),
    )
    assert table.auroc.isna().all()
    assert table.n_other.tolist() == [0, 0]
