"""Gradients that pass straight through what hides them, on networks whose answer is known."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import (
    PGD,
    SQUARE,
    CleanPass,
    Run,
    find,
    loss_gradient,
    run_attack,
    with_settings,
)
from winnrobust.attacks.bpda import straight_through, through
from winnrobust.runtime.errors import InputError

IMAGES = torch.tensor([[0.55, 0.45], [0.48, 0.52], [0.9, 0.1]]).view(3, 1, 1, 2)
LABELS = torch.tensor([0, 1, 0])


class Brighter(nn.Module):
    """Says which of two pixels is brighter."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Defended(nn.Module):
    def __init__(self, before=lambda images: images, after=lambda logits: logits) -> None:
        super().__init__()
        self.network, self.before, self.after = Brighter(), before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.network(self.before(images)))


def no_grad(images: Tensor) -> Tensor:
    with torch.no_grad():
        return images.clone()


class Unseen(nn.Module):
    """A network under its own no_grad, with the gradient of something else."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Brighter()

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            found = self.network(images)
        lie = -5 * images.flatten(1)
        return found + lie - lie.detach()


HIDING = {
    "rounded": Defended(before=lambda images: (20 * images).round() / 20),
    "detached": Defended(before=torch.detach),
    "no_grad": Defended(before=no_grad),
    "ripple": Defended(before=lambda images: images + 0.02 * (400 * images).sin()),
    "one-hot": Defended(after=lambda logits: F.one_hot(logits.argmax(1), 2).float()),
    "saturated": Defended(after=lambda logits: (1e6 * logits).softmax(1)),
    "unseen": Unseen(),
}


@pytest.mark.parametrize("name", HIDING)
def test_auto_finds_the_gradient_inside(name):
    model = HIDING[name]
    around = straight_through(model, IMAGES)
    expected = loss_gradient(Brighter(), IMAGES, LABELS, "margin").gradient
    found = loss_gradient(around, IMAGES, LABELS, "margin")
    assert torch.allclose(found.gradient, expected)
    # The answers are the model's own, whether a gradient is wanted or not.
    with torch.no_grad():
        assert torch.equal(around(IMAGES), model(IMAGES))
        assert torch.equal(found.logits.argmax(1), model(IMAGES).argmax(1))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", HIDING)
def test_what_stops_pgd_does_not_stop_it_straight_through(name):
    attack = find("bpda:auto:pgd(loss='margin')")
    (result,) = run_attack(attack, HIDING[name], IMAGES, LABELS, [0.15], run=Run())
    assert (HIDING[name](result.images).argmax(1) != LABELS).tolist() == [True, True, False]


def test_rounding_in_the_middle_of_a_module_is_passed():
    class Whole(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (20 * images.flatten(1)).round() / 20

    around = straight_through(Whole(), IMAGES)
    expected = loss_gradient(Brighter(), IMAGES, LABELS, "margin").gradient
    assert torch.allclose(loss_gradient(around, IMAGES, LABELS, "margin").gradient, expected)


def test_the_answer_is_the_models_where_the_logits_inside_have_another():
    bonus = torch.tensor([0.0, 1.0])
    model = Defended(after=lambda logits: logits + bonus * (logits[:, :1] > 0.8))
    around = straight_through(model, IMAGES)
    assert around.exits == ["network"]
    seen = loss_gradient(around, IMAGES, LABELS, "margin")
    assert seen.logits.argmax(1).tolist() == model(IMAGES).argmax(1).tolist() == [0, 1, 1]


def test_logits_of_something_else_are_not_taken_for_the_models():
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.darker, self.brighter = Defended(after=torch.neg), Brighter()

        def forward(self, images: Tensor) -> Tensor:
            self.darker(images)
            return F.one_hot(self.brighter(images).argmax(1), 2).float()

    around = straight_through(TwoHeads(), IMAGES)
    expected = loss_gradient(Brighter(), IMAGES, LABELS, "margin").gradient
    assert torch.allclose(loss_gradient(around, IMAGES, LABELS, "margin").gradient, expected)


def test_the_gradient_at_the_images_is_not_that_of_the_model_as_it_is():
    model = HIDING["rounded"]
    run = Run(clean=CleanPass(model, IMAGES, LABELS))
    (result,) = run_attack(find("bpda:auto:fgsm"), model, IMAGES, LABELS, [0.15], run=run)
    assert (model(result.images).argmax(1) != LABELS).tolist() == [True, True, False]


def test_an_honest_model_keeps_its_gradient():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    images, labels = torch.rand(5, 1, 4, 4), torch.arange(5) % 3
    own = loss_gradient(net, images, labels)
    around = loss_gradient(straight_through(net, images), images, labels)
    assert torch.allclose(own.gradient, around.gradient, atol=1e-6)
    assert torch.equal(own.logits, around.logits)


def test_a_layer_by_name_and_one_without_a_slope():
    class Steps(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return (values > 0.5).float()

    net = nn.Sequential(nn.Flatten(), Steps(), nn.Linear(2, 2, bias=False))
    nn.init.eye_(net[2].weight)
    slope = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]).view(3, 1, 1, 2)
    for module in ("1", "auto"):
        around = straight_through(net, IMAGES, module)
        assert torch.equal(loss_gradient(around, IMAGES, LABELS, "margin").gradient, slope)
        assert not any(layer._forward_hooks for layer in net.modules())


def test_what_cannot_be_passed_through_is_one_line():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(InputError, match="no layer 'front'; it has 0, 1"):
        straight_through(net, IMAGES, "front")
    around = straight_through(net, IMAGES, "0")
    with pytest.raises(InputError, match="has the shape of its input"):
        loss_gradient(around, IMAGES, LABELS)
    with pytest.raises(InputError, match="'square' follows no gradient"):
        through("auto", SQUARE)


def test_its_name_and_settings_are_those_of_the_attack():
    found = find("bpda:net.front:pgd(steps=3)")
    assert found.name == "bpda:net.front:pgd(steps=3)"
    assert found == through("net.front", PGD(steps=3))
    assert with_settings(found, restarts=4, queries=9).settings == {"steps": 3, "restarts": 4}
    with pytest.raises(InputError, match="unknown attack"):
        find("bpda:auto:nothing")
