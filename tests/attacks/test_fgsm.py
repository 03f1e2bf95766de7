"""FGSM against answers worked out by hand."""

import torch

from tests.attacks.models import LABEL, Answers, Linear, attacked, image
from winnrobust.attacks import CleanPass, Run

# For label 0 the loss grows along (second row - first row) = (+, -, 0, +): sign(0) must be 0.
MODEL = Linear([[1.0, 2.0, 0.0, -1.0], [2.0, 1.0, 0.0, 1.0]])


def test_a_step_follows_the_sign_of_the_gradient_and_is_clipped():
    result = attacked("fgsm", MODEL, image(0.5, 0.5, 0.5, 0.95), LABEL, 0.125)
    torch.testing.assert_close(result.images, image(0.625, 0.375, 0.5, 1.0))


def test_the_true_label_decides_the_direction_and_zero_is_the_lower_limit():
    result = attacked("fgsm", MODEL, image(0.05, 0.5, 0.5, 0.5), torch.tensor([1]), 0.125)
    torch.testing.assert_close(result.images, image(0.0, 0.625, 0.5, 0.375))


def test_what_the_model_gets_wrong_already_moves_as_well():
    # The model says 1, the label is 0: the attack goes on raising the loss of label 0.
    images = image(1.0, 0.0, 0.5, 0.5)
    assert MODEL(images).argmax(1).item() == 1
    result = attacked("fgsm", MODEL, images, LABEL, 0.1)
    torch.testing.assert_close(result.images, image(1.0, 0.0, 0.5, 0.6))


def test_several_epsilons_are_the_single_ones_and_zero_is_the_image(network, batch):
    epsilons = [0.0, 0.0625, 0.125, 1.0]
    together = attacked("fgsm", network, *batch, epsilons)
    for epsilon, result in zip(epsilons, together, strict=True):
        assert torch.equal(result.images, attacked("fgsm", network, *batch, epsilon).images)
        assert (result.images - batch[0]).abs().max() <= epsilon + 1e-6
    assert torch.equal(together[0].images, batch[0])


def test_one_gradient_serves_all_epsilons_and_is_counted_once():
    model = Linear([[1.0, 2.0, 0.0, -1.0], [2.0, 1.0, 0.0, 1.0]])
    images = image(0.5, 0.5, 0.5, 0.5)
    run = Run(clean=CleanPass(model, images, LABEL))
    results = attacked("fgsm", model, images, LABEL, [0.0, 0.1, 0.2], run)
    assert [result.gradients.tolist() for result in results] == [[0], [1], [0]]
    assert [result.statistics.on_host().images for result in results] == [0, 1, 0]
    attacked("fgsm", model, images, LABEL, 0.3, run)
    assert model.seen == [1]


def test_tiny_gradients_survive_large_batches():
    # A mean over 100 images would take two digits of a float32 denormal.
    model = Answers(
        lambda images: torch.stack([images[:, 0, 0, 0] * 0, images[:, 0, 0, 0] * 1e-44 - 1], 1)
    )
    images = image(0.5, 0.5, 0.5, 0.5).expand(100, 1, 2, 2)
    result = attacked("fgsm", model, images, LABEL.expand(100), 0.1)
    assert result.statistics.on_host().zero_images == 0
    torch.testing.assert_close(result.images[:, 0, 0, 0], torch.full((100,), 0.6))


def test_the_loss_can_be_chosen():
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], [9.0, 0.0, -0.5])
    images = image(0.5, 0.5, 0.5, 0.5)
    by_margin = attacked("fgsm", model, images, LABEL, 0.1, loss="margin").images
    torch.testing.assert_close(by_margin, image(0.6, 0.5, 0.5, 0.5))  # the nearest class alone
    own = attacked("fgsm", model, images, LABEL, 0.1, loss=lambda logits, labels: -logits[:, 1])
    torch.testing.assert_close(own.images, image(0.4, 0.5, 0.5, 0.5))
