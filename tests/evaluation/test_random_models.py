"""Models that answer at random are found out, and judged by several draws."""

import pytest
import torch
from torch import nn

from tests.evaluation.tiny import IMAGES, LABELS, MODELS, Threshold, evaluation, pixels
from winnrobust.evaluation import read_outcomes


class Coin(nn.Module):
    """Sees class 1 with the probability that the first pixel has as its value."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        chance = images.flatten(1)[:, 0]
        heads = torch.rand(len(images)) < chance
        # The gradient is that of the probability.
        logit = (2.0 * heads - 1) + chance - chance.detach()
        return torch.stack([torch.zeros_like(logit), logit], 1)


def test_the_share_of_wrong_draws_is_the_probability_of_an_error(tmp_path):
    images, labels = pixels(*[(0.7, 0.0)] * 400), torch.ones(400, dtype=torch.int64)
    found = evaluation({"coin": Coin()}, images, labels, linf=[0.2], folder=tmp_path).summary
    assert found.random_models == {"coin": True}
    assert found.clean.draws.tolist() == [20]
    # Standard deviation over 8,000 draws: sqrt(0.3 * 0.7 / 8000) = 0.005; four of them.
    assert found.clean.error[0] == pytest.approx(0.3, abs=0.02)
    assert found.errors.error[0] == pytest.approx(0.5, abs=0.023)
    assert found.clean.error_low[0] < found.clean.error[0] < found.clean.error_high[0]
    frame = read_outcomes(tmp_path)
    assert set(frame.draws) == {20}
    assert (frame.correct == (2 * frame.correct_draws > frame.draws)).all()
    assert (frame.prediction == 1)[frame.correct].all()


def test_every_image_of_a_noisy_model_that_can_be_broken_is_broken():
    # Noise of 0.1 on the logit, which is the pixel's height above 0.5. At 0.2 below, every draw is
    # wrong; each image can be moved there.
    class Noisy(Threshold):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) + 0.05 * torch.randn(len(images), 2)

    images = pixels(*[(0.5 + 0.002 * height, 0.0) for height in range(50)])
    labels = torch.ones(50, dtype=torch.int64)
    models = {"noisy": Noisy(0, 0.5)}
    found = evaluation(models, images, labels, ["apgd-ce", "fgsm"], [0.4], eot=20).summary
    assert (found.errors.error > 0.97).all()
    assert found.robust.robust_error[0] > 0.97
    # As many draws as that are what a random model gets by itself, and others one.
    alone = evaluation(models, images, labels, ["apgd-ce", "fgsm"], [0.4]).summary
    assert (alone.errors.error > 0.97).all()
    plain = {"plain": Threshold(0, 0.5)}
    once = evaluation(plain, images, labels, ["fgsm"], [0.4]).summary
    assert once.costs.gradients.sum() == len(images)
    assert alone.costs.gradients[alone.costs.attack == "fgsm"].sum() == 20 * len(images)


def test_a_random_model_is_judged_by_draws_without_eot_and_others_by_one():
    models = {"coin": Coin(), "left": MODELS["left"]}
    found = evaluation(models, IMAGES, LABELS, ["pgd"], judge_draws=7).summary
    assert found.random_models == {"coin": True, "left": False}
    assert found.clean.draws.tolist() == [7, 1]
    alone = evaluation({"left": MODELS["left"]}, IMAGES, LABELS, ["pgd"]).summary
    assert found.errors.errors[1] == alone.errors.errors[0]


class Rarely(nn.Module):
    """One of four experts, chosen for a whole batch; they disagree by a little."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) + 0.01 * torch.randint(4, ()) * torch.tensor([1.0, 0.0])


def test_randomness_of_a_whole_batch_is_found_out():
    for seed in range(10):
        torch.manual_seed(seed)
        found = evaluation({"net": Rarely()}, IMAGES, LABELS, seed=seed).summary
        assert found.random_models == {"net": True}


class Rounding(nn.Module):
    """Adds up in another order each time."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) * (1 + 1e-6 * torch.rand(()))


def test_rounding_is_not_randomness():
    assert evaluation({"net": Rounding()}, IMAGES, LABELS).summary.random_models == {"net": False}


def test_layers_that_are_random_in_training_are_held_in_eval_mode():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(2, 2))
    found = evaluation({"net": model}, IMAGES, LABELS).summary
    assert found.random_models == {"net": False}
    assert evaluation({"net": model}, IMAGES, LABELS).summary.errors.equals(found.errors)


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = evaluation({"coin": Coin()}, IMAGES, LABELS, ["pgd"])
    assert torch.equal(torch.rand(3), expected)
    second = evaluation({"coin": Coin()}, IMAGES, LABELS, ["pgd"])
    assert first.summary.transfer.equals(second.summary.transfer)


def test_robust_accuracy_of_a_random_model_does_not_exceed_its_clean_accuracy():
    images = pixels(*[(0.1 + 0.04 * step, 0.0) for step in range(20)])
    labels = torch.ones(20, dtype=torch.int64)
    found = evaluation(
        {"coin": Coin()}, images, labels, ["noise-uniform", "pgd"], [0.02, 0.1]
    ).summary
    accuracy = found.robust.robust_accuracy
    assert accuracy[1] <= accuracy[0] <= 1 - found.clean.error[0]
