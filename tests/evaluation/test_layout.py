"""Channels last where it can be had, and the same answers either way."""

import pytest
import torch
from torch import nn

from winnrobust.evaluation import evaluate
from winnrobust.evaluation.layout import channels_last
from winnrobust.evaluation.speed import sped_up

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 4


class Net(nn.Module):
    def __init__(self, flatten) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4 * 8 * 8, 4)
        self.flatten = flatten

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.flatten(torch.relu(self.conv(images))))


def is_channels_last(model: Net) -> bool:
    return model.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_convolutions_are_turned():
    model = Net(lambda x: x.flatten(1)).eval()
    before = model(IMAGES)
    with sped_up([model], [channels_last], IMAGES, LABELS):
        assert is_channels_last(model)
        torch.testing.assert_close(model(IMAGES), before)
    assert not is_channels_last(model)


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: x.view(len(x), -1),  # raises where the memory is not in order
        lambda x: torch.as_strided(x, (len(x), 256), (256, 1)),  # reads it in the wrong order
    ],
    ids=["fails", "answers differently"],
)
def test_a_model_that_cannot_take_it_stays_as_it_is(flatten):
    model = Net(flatten).eval()
    before = model(IMAGES)
    with sped_up([model], [channels_last], IMAGES, LABELS):
        assert not is_channels_last(model)
        assert torch.equal(model(IMAGES), before)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["first", "last"])
def test_one_that_cannot_take_it_speaks_for_all_that_share_its_convolutions(order):
    model = Net(lambda x: x.flatten(1)).eval()
    other = Net(lambda x: x.view(len(x), -1)).eval()
    other.conv = model.conv
    with sped_up([model, other][order], [channels_last], IMAGES, LABELS):
        assert not is_channels_last(model)
        other(IMAGES)


def test_evaluation_gives_the_layout_back():
    model = Net(lambda x: x.flatten(1))
    evaluate({"net": model}, IMAGES, LABELS)
    assert not is_channels_last(model)
