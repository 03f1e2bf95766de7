"""A diagnosis of models built to look robust, each in its own way, and of honest ones."""

from collections.abc import Callable

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from winnrobust.cli.options import names
from winnrobust.evaluation.diagnosis import DIAGNOSIS_COLUMNS, VERDICTS, diagnose, overall
from winnrobust.evaluation.diagnosis.next_steps import (
    STRAIGHT,
    has_no_gradient,
    next_steps,
    suitable_attacks,
    to_type,
)
from winnrobust.runtime.errors import InputError

ATTACK_INDICATORS = {
    "loss along the attack",
    "iterative vs single step",
    "noise vs attack",
    "steps and restarts",
    "error over epsilon",
    "error at epsilon 0.5",
    "black box vs white box",
    "straight through",
    "gradient vs loss",
    "another loss",
    "single step over epsilon",
    "transfer vs white box",
}


def signs(table: pd.DataFrame, model: str = "net") -> dict[str, str]:
    """What was found of a model, without what is ok."""
    found = table[(table.model == model) & ~table.verdict.isin(["ok", "not tested"])]
    return dict(zip(found.indicator, found.verdict, strict=True))


def evidence(table: pd.DataFrame, indicator: str, model: str = "net") -> str:
    (found,) = table[(table.model == model) & (table.indicator == indicator)].evidence
    return found


# --- honest models ----------------------------------------------------------------------------


@pytest.mark.slow
def test_quiet_on_a_trained_and_on_an_adversarially_trained_network(trained, hardened):
    plain, images, labels = trained
    table = diagnose({"plain": plain, "hardened": hardened}, images[:80], labels[:80])
    assert table.columns.tolist() == list(DIAGNOSIS_COLUMNS)
    assert table.groupby("model").indicator.nunique().tolist() == [15, 15]
    assert set(table.verdict) == {"ok"}
    assert overall(table) == {"plain": "ok", "hardened": "ok"}


def test_quiet_on_a_linear_model_where_a_single_step_is_as_good_as_many():
    assert signs(diagnose({"net": Pixel(slope)}, *gray_images())) == {}


# --- models that look robust ------------------------------------------------------------------


class Changed(nn.Module):
    """A model with something done to its images before, and to its logits after."""

    def __init__(
        self,
        model: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda images: images,
        after: Callable[[Tensor], Tensor] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.model = model
        self.before = before
        self.after = after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.model(self.before(images)))


def test_confident_logits_are_attacked_as_any_others(quick, some_digits):
    # Float32's softmax of them is exactly 1.
    confident = Changed(quick, after=lambda logits: 1e4 * logits)
    assert signs(diagnose({"net": confident}, *some_digits)) == {}


def test_a_saturated_softmax_as_the_last_layer(quick, some_digits):
    # Exactly 1 and 0, without a gradient, nor anything for Square to climb. Transfer does not care.
    saturated = Changed(quick, after=lambda logits: (1e4 * logits).softmax(1))
    table = diagnose({"net": saturated, "same": quick}, *some_digits)
    assert signs(table) == {
        "gradients": "broken",
        "loss along the attack": "broken",
        "iterative vs single step": "suspicious",
        "noise vs attack": "suspicious",
        "error at epsilon 0.5": "broken",
        "straight through": "broken",
        "transfer vs white box": "broken",
    }
    assert signs(table, "same") == {}
    assert overall(table) == {"net": "broken", "same": "ok"}
    assert "100 have a gradient of exact zeros" in evidence(table, "gradients")


class Astray(torch.autograd.Function):
    """Changes nothing, but what comes back is as good as random."""

    @staticmethod
    def forward(ctx, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient + gradient.abs().amax() * torch.randn_like(gradient)


def test_gradients_that_are_others_in_every_pass(quick, some_digits):
    table = diagnose({"net": Changed(quick, before=Astray.apply)}, *some_digits)
    assert signs(table)["gradients"] == "suspicious"
    assert "100 one that points elsewhere in a second pass" in evidence(table, "gradients")


def test_quantised_images(quick, some_digits):
    table = diagnose(
        {"net": Changed(quick, before=lambda images: (8 * images).round() / 8)}, *some_digits
    )
    found = signs(table)
    assert found["gradients"] == found["loss along the attack"] == "broken"
    assert found["error at epsilon 0.5"] == found["straight through"] == "broken"
    assert found["noise vs attack"] == "suspicious"
    assert "100 have a gradient of exact zeros" in evidence(table, "gradients")


def test_a_layer_of_noise(quick, some_digits):
    noisy = Changed(quick, before=lambda images: images + 0.1 * torch.randn_like(images)).eval()
    table = diagnose({"net": noisy}, *some_digits)
    found = signs(table)
    assert found["random answers"] == "suspicious"
    assert "100 of 100 images other logits" in evidence(table, "random answers")


def test_no_gradient_is_a_finding_not_an_error(quick, some_digits):
    table = diagnose({"net": Changed(quick, before=torch.detach)}, *some_digits)
    # The network inside has one.
    assert signs(table) == {"gradients": "broken", "straight through": "broken"}
    assert "no gradient to follow" in evidence(table, "gradients")
    assert has_no_gradient(table, "net")
    assert suitable_attacks(table) == [STRAIGHT]
    assert overall(table) == {"net": "broken"}


def test_a_gradient_that_fails(quick, some_digits):
    # numpy() refuses tensors that carry a graph.
    through_numpy = Changed(quick, before=lambda images: torch.from_numpy(images.numpy()))
    table = diagnose({"net": through_numpy}, *some_digits)
    assert signs(table)["gradients"] == "broken"
    assert "RuntimeError: Can't call numpy()" in evidence(table, "gradients")


def test_a_model_that_torch_knows_nothing_of_is_not_tested(some_digits):
    class BlackBox(nn.Module):
        """As a session of another runtime: no parameters, no graph."""

        def forward(self, images: Tensor) -> Tensor:
            return images.detach().flatten(1)[:, ::79][:, :10]

    table = diagnose({"net": BlackBox().eval()}, *some_digits)
    assert signs(table) == {}
    assert overall(table) == {"net": "not tested"}


def test_gradients_that_are_not_finite(quick, some_digits):
    # The root's slope at 0 is infinite, and every digit has black pixels.
    table = diagnose(
        {"net": Changed(quick, before=lambda images: images.sqrt() ** 2)}, *some_digits
    )
    assert signs(table)["gradients"] == "broken"
    assert "100 one that is not finite" in evidence(table, "gradients")


def test_a_ripple_in_front_alone(quick, some_digits):
    table = diagnose(
        {"net": Changed(quick, before=lambda images: images + 0.02 * (400 * images).sin())},
        *some_digits,
    )
    assert signs(table)["straight through"] == "broken"
    assert STRAIGHT in suitable_attacks(table)


def test_log_probabilities_at_a_high_temperature(quick, some_digits):
    cold = Changed(quick, after=lambda logits: (logits / 100).log_softmax(1))
    table = diagnose({"net": cold}, *some_digits, epsilon=0.06)
    assert "another loss" in signs(table)


def test_random_beside_the_grid_of_clean_images_alone(quick, some_digits):
    def noisy_off_grid(images: Tensor) -> Tensor:
        off = (255 * images - (255 * images).round()).abs().amax((1, 2, 3), keepdim=True) > 1e-3
        return images + 0.3 * off * torch.randn_like(images)

    table = diagnose({"net": Changed(quick, before=noisy_off_grid).eval()}, *some_digits)
    assert signs(table)["random answers"] == "suspicious"
    assert "0 of 100 images other logits" in evidence(table, "random answers")


def test_the_gradient_of_a_linear_stand_in(some_digits, quick):
    class StandIn(nn.Module):
        """Its network is functional: nothing inside that could be passed to."""

        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList(p.detach().clone() for p in quick.parameters())

        def forward(self, images: Tensor) -> Tensor:
            first, bias, second, last = self.weights
            with torch.no_grad():
                hidden = (images.flatten(1) @ first.T + bias).relu()
                found = hidden @ second.T + last
            generator = torch.Generator().manual_seed(0)
            linear = images.flatten(1) @ torch.randn(784, 10, generator=generator)
            return found + linear - linear.detach()

    table = diagnose({"net": StandIn().eval()}, *some_digits)
    assert signs(table)["gradient vs loss"] == "broken"
    assert suitable_attacks(table) == ["square", "transfer:surrogate"]
    typed = 'type: --adapt, or --attacks "square,transfer:surrogate"'
    assert next_steps(table, "net")[-1] == typed


def test_several_attacks_are_typed_as_one_list():
    row = {"model": "net", "indicator": "random answers", "verdict": "suspicious"}
    table = pd.DataFrame([row])
    (line,) = to_type(suitable_attacks(table, ["net"]))
    # The option counts once.
    assert line.count("--attacks") == 1
    assert names(line.split('"')[1]) == suitable_attacks(table)


# --- models of a single pixel, which fool one attack and not another --------------------------


class Pixel(nn.Module):
    """Two classes by the first pixel alone: wrong about label 0 where `rise` of it is above 0."""

    def __init__(self, rise: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rise = rise

    def forward(self, images: Tensor) -> Tensor:
        other = self.rise(images[:, 0, 0, 0])
        return torch.stack([torch.zeros_like(other), other], 1)


def gray_images() -> tuple[Tensor, Tensor]:
    return torch.full((60, 1, 8, 8), 0.5), torch.zeros(60, dtype=torch.int64)


def slope(pixel: Tensor) -> Tensor:
    """Wrong above 0.6, and rising steadily."""
    return pixel - 0.6


def trap(pixel: Tensor) -> Tensor:
    """Wrong above 0.6; before that a hill at 0.52 that holds small steps and not a long one."""
    return torch.where(pixel > 0.6, pixel, -1 - (pixel - 0.52).abs())


def shell(pixel: Tensor) -> Tensor:
    """Wrong 0.05 to 0.06 away from 0.5, and rising outwards: long steps jump over it."""
    distance = (pixel - 0.5 + 1e-6).abs()
    return torch.where((distance - 0.055).abs() < 0.005, distance, distance - 2)


def needles(pixel: Tensor) -> Tensor:
    """Wrong in one of fifty places, all over: the more points an attack visits, the better."""
    return torch.where((997 * pixel).frac() < 0.02, pixel, pixel - 2)


def test_an_iterative_attack_worse_than_a_single_step():
    table = diagnose({"net": Pixel(trap)}, *gray_images())
    assert signs(table)["iterative vs single step"] == "broken"
    assert "FGSM: 60 of 60 wrong" in evidence(table, "iterative vs single step")


def test_an_error_that_falls_with_epsilon():
    assert signs(diagnose({"net": Pixel(shell)}, *gray_images()))["error over epsilon"] == "broken"


def test_steps_and_restarts_that_still_help():
    found = signs(diagnose({"net": Pixel(needles)}, *gray_images()))
    assert found == {"steps and restarts": "broken"}


# --- the mode as given ------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.Dropout(0.3), nn.BatchNorm2d(1)])
def test_train_mode(quick, some_digits, layer):
    model = nn.Sequential(layer, quick)
    layer.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = diagnose({"net": model}, *some_digits)
    assert signs(table) == {"train mode": "suspicious"}
    assert layer.training
    assert not quick.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    model.eval()
    assert signs(diagnose({"net": model}, *some_digits)) == {}


def test_train_mode_in_which_it_does_not_answer(quick, some_digits):
    class TwoHeads(nn.Module):
        """As networks with an auxiliary head: two answers in train mode."""

        def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            logits = quick(images)
            return (logits, logits) if self.training else logits

    table = diagnose({"net": TwoHeads()}, *some_digits)
    assert signs(table) == {"train mode": "suspicious"}
    assert "the model returns a tuple" in evidence(table, "train mode")


def test_train_mode_that_makes_no_difference(quick, some_digits):
    quick.train()
    table = diagnose({"net": quick}, *some_digits)
    quick.eval()
    assert signs(table) == {}
    assert "answers as in eval mode" in evidence(table, "train mode")


# --- the table and its makers -----------------------------------------------------------------


def test_batches_change_nothing():
    images, labels = gray_images()
    whole = diagnose({"net": Pixel(needles)}, images, labels)
    told: list[tuple[int, int]] = []
    parts = diagnose(
        {"net": Pixel(needles), "slope": Pixel(slope)},
        images,
        labels,
        batch_size=25,
        progress=lambda *state: told.append(state),
    )
    same = parts[(parts.model == "net") & (parts.indicator != "transfer vs white box")]
    assert same.equals(whole[whole.indicator != "transfer vs white box"])
    assert told == [(25, 120), (50, 120), (60, 120), (85, 120), (110, 120), (120, 120)]


def test_the_seed_decides_also_what_models_draw(quick, some_digits):
    noisy = Changed(quick, before=lambda images: images + 0.1 * torch.randn_like(images)).eval()
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first, second, other = (diagnose({"net": noisy}, *some_digits, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.equals(second)
    assert not first.equals(other)


def test_too_few_images_show_nothing(quick, some_digits):
    images, labels = some_digits
    table = diagnose({"net": quick}, images[:20], labels[:20])
    found = table[table.indicator.isin(ATTACK_INDICATORS)]
    assert set(found.verdict) == {"not tested"}
    assert found.evidence.str.contains("it takes 30").all()
    assert overall(table) == {"net": "not tested"}


def test_any_epsilon_goes(quick, some_digits):
    for epsilon in (0.001, 0.5, 1.0):
        table = diagnose({"net": quick}, *some_digits, epsilon=epsilon)
        assert overall(table) == {"net": "ok"}
    tiny = diagnose({"net": quick}, *some_digits, epsilon=0.001)
    assert "too small an epsilon" in evidence(tiny, "noise vs attack")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0}, "epsilon must be above 0"),
        ({"epsilon": 1.5}, "epsilon must be at most 1"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"models": {}}, "no models"),
        ({"labels": torch.full((100,), 10)}, "labels go up to 10"),
    ],
)
def test_what_cannot_be_used_is_one_line(quick, some_digits, change, message):
    images, labels = some_digits
    with pytest.raises(InputError, match=message):
        diagnose(**{"models": {"net": quick}, "images": images, "labels": labels, **change})


def test_overall_is_the_worst_sign_or_ok_where_most_was_tested():
    def verdicts(*found: str) -> str:
        rows = [("net", str(i), verdict, "", 0, 0, 0.1) for i, verdict in enumerate(found)]
        return overall(pd.DataFrame(rows, columns=list(DIAGNOSIS_COLUMNS)))["net"]

    assert verdicts("ok", "suspicious", "broken", "not tested") == "broken"
    assert verdicts("not tested", "suspicious", "not tested", "not tested") == "suspicious"
    assert verdicts("ok", "ok", "not tested") == "ok"
    assert verdicts("ok", "not tested", "not tested") == "not tested"
    assert verdicts("not tested") == "not tested"
    assert set(VERDICTS) == {"ok", "suspicious", "broken", "not tested"}
