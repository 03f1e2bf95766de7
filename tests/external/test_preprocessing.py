"""Input range and normalisation, and how wrong ones are noticed."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.data.streams import checked_data, open_stream
from winnrobust.external import Preprocessing
from winnrobust.external.conventions import check_shape_taken, doubts
from winnrobust.runtime.errors import InputError


def test_range_comes_first_then_mean_then_deviation():
    images = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    around = Preprocessing(-1, 1, (1.0, 0.5, 0.0), (2.0, 4.0, 0.5)).around(nn.Identity())
    assert around(images).flatten().tolist() == [-1.0, -0.125, 2.0]
    assert Preprocessing(0, 255).around(nn.Identity())(images).flatten().tolist() == [0, 127.5, 255]


def test_nothing_to_do_is_no_wrapper():
    module = nn.Identity()
    assert Preprocessing().around(module) is module


def test_a_mean_for_other_channels_is_refused():
    around = Preprocessing(mean=(0.4, 0.4, 0.4)).around(nn.Identity())
    with pytest.raises(InputError, match="mean has 3 values, but the images have 1 channels"):
        around(torch.zeros(2, 1, 4, 4))


class Trained(nn.Module):
    """Tells dark squares from bright ones: class 1 from the value `border` on, as it sees them."""

    def __init__(self, border, softmax=False):
        super().__init__()
        self.border = border
        self.softmax = softmax

    def forward(self, images):
        scores = 50 * (images.mean((1, 2, 3)) - self.border)
        logits = torch.stack([-scores, scores], 1)
        return logits.softmax(1) if self.softmax else logits


@pytest.fixture
def squares():
    """200 gray squares, dark ones of class 0 and bright ones of class 1; the border is 0.5."""
    values = torch.cat([torch.linspace(0, 0.45, 100), torch.linspace(0.55, 1, 100)])
    return ImageSplit(values.view(-1, 1, 1, 1).expand(-1, 1, 4, 4), (values > 0.5).long())


@pytest.mark.parametrize(
    ("border", "given", "errors", "flags"),
    [
        (127.5, Preprocessing(), "50.0%", "with --input-range net=0,255"),
        (127.5, Preprocessing(-1, 1), "50.0%", "with --input-range net=0,255"),
        (1.1987, Preprocessing(), "50.0%", "with --mean net=0.1307 --std net=0.3081"),
        # all but the one black square are far above 0.5 of 255
        (0.5, Preprocessing(0, 255), "49.5%", "without --input-range, --mean and --std"),
    ],
)
def test_a_wrong_convention_is_noticed_and_the_right_one_named(
    squares, border, given, errors, flags
):
    (doubt,) = doubts("net", Trained(border), given, squares)
    assert f"errs on {errors} of the first 200 images, but on 0.0% {flags};" in doubt


def test_the_right_convention_raises_no_doubt(squares):
    for border, given in ((0.5, Preprocessing()), (0, Preprocessing(-1, 1))):
        assert list(doubts("net", Trained(border), given, squares)) == []


def test_guessing_is_noticed_where_no_convention_helps(squares):
    turned = ImageSplit(squares.images, 1 - squares.labels)
    (doubt,) = doubts("net", Trained(0.5), Preprocessing(), turned)
    assert "errs on 100.0% of the first 200 images, which is no better than guessing" in doubt


def test_probabilities_are_told_from_logits(squares):
    (doubt,) = doubts("net", Trained(0.5, softmax=True), Preprocessing(), squares)
    assert "seems to return probabilities" in doubt


def test_a_really_trained_network_is_given_back_its_range(trained):
    network, images, labels = trained
    module = nn.Sequential(Undone(), network)
    few = ImageSplit(images[:256], labels[:256])
    (doubt,) = doubts("net", module, Preprocessing(high=255), few)
    assert "with --input-range net=-1,1;" in doubt
    assert "in Python these go into winnrobust.load" in doubt
    assert list(doubts("net", module, Preprocessing(-1, 1), few)) == []


def trained_digits(digits, count, steps, shift=0.0, scale=1.0):
    """A small network after some steps on the first `count` digits, less `shift`, over `scale`."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    images = (to_unit(digits.train.images[:count]) - shift) / scale
    labels = digits.train.labels[:count]
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        chosen = torch.randint(count, (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    return net.eval()


def test_a_missing_mean_is_noticed_where_a_few_hundred_images_do_not_tell(digits):
    net = trained_digits(digits, 3500, 1500, 0.1307, 0.3081)
    (doubt,) = doubts("net", net, Preprocessing(), digits.test, seconds=60)
    assert "of the first 1000 images, but on" in doubt
    assert "with --mean net=0.1307 --std net=0.3081;" in doubt
    given = Preprocessing(mean=(0.1307,), std=(0.3081,))
    assert list(doubts("net", net, given, digits.test)) == []


def test_where_a_hint_could_be_followed_up_but_there_are_no_more_images():
    # In [0, 1] 60 of 100 are wrong, in 0 .. 255, where all are bright, 50: that tells nothing.
    values = torch.arange(1, 101) / 100
    labels = torch.cat([torch.arange(60) % 12 >= 5, torch.arange(40) % 8 >= 5]).long()
    data = TensorDataset(values.view(-1, 1, 1, 1).expand(-1, 1, 4, 4), labels)
    stream = checked_data(open_stream(data), None)
    (doubt,) = doubts("net", Trained(0.605), Preprocessing(), stream)
    assert "errs on 60.0% of the first 100 images, which is no better than guessing" in doubt


@pytest.mark.parametrize("count", [40, 100])
def test_an_overfitted_network_gets_no_wrong_advice(digits, count):
    net = trained_digits(digits, count, 200)
    assert (net(to_unit(digits.test.images)).argmax(1) != digits.test.labels).sum() > 250
    assert list(doubts("net", net, Preprocessing(), digits.test, seconds=60)) == []


class OneNumber(Trained):
    """Says how bright squares are by a single number."""

    def forward(self, images):
        return super().forward(images)[:, 1:]


def test_a_model_of_one_logit_is_taken_as_binary_and_it_is_said(squares):
    (said,) = doubts("net", OneNumber(0.5), Preprocessing(), squares)
    assert "returns one number for each image: it is taken for the logit of class 1" in said
    sigmoid = nn.Sequential(OneNumber(0.5), nn.Sigmoid())
    said = list(doubts("net", sigmoid, Preprocessing(), squares))
    assert "seems to return a probability" in said[1]
    assert "without its last sigmoid" in said[1]


class Undone(nn.Module):
    """From [-1, 1] back to what our own models take."""

    def forward(self, images):
        return (images + 1) / 2


def test_another_shape_is_explained():
    colour = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with pytest.raises(
        InputError, match=r"cannot take images of 1x28x28 .*, but for example of 3x32x32"
    ):
        check_shape_taken("net", colour, torch.zeros(2, 1, 28, 28))
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(
        InputError, match=r"cannot take images of 1x40x50 .*, but for example of 3x40x50"
    ):
        check_shape_taken("net", pooled, torch.zeros(2, 1, 40, 50))
    odd = nn.Sequential(nn.Flatten(), nn.Linear(7, 10))
    with pytest.raises(InputError, match="model 'net' cannot classify images of shape"):
        check_shape_taken("net", odd, torch.zeros(2, 1, 28, 28))
    check_shape_taken("net", colour, torch.zeros(2, 3, 32, 32))
