"""R+FGSM against answers worked out by hand."""

import torch

from tests.attacks.models import LABEL, Answers, Linear, attacked, image
from winnrobust.attacks import logits


def test_it_steps_along_the_gradient_of_the_random_corner():
    # The loss of label 0 rises away from the image in the first pixel, on both sides.
    def valley(images):
        other = (images.flatten(1)[:, 0] - 0.5).abs() - 100
        return torch.stack([torch.zeros_like(other), other], 1)

    images = image(0.5, 0.5, 0.5, 0.5).expand(16, 1, 2, 2)
    result = attacked("rfgsm", Answers(valley), images, LABEL.expand(16), 0.1)
    moved = (result.images - 0.5).flatten(1)
    torch.testing.assert_close(moved[:, 0].abs(), torch.full((16,), 0.1))
    torch.testing.assert_close(moved[:, 1:].abs(), torch.full((16, 3), 0.05))
    assert 0 < (moved[:, 0] > 0).sum() < 16  # both corners were drawn


def test_the_second_step_can_undo_the_first():
    # Everywhere the loss rises with the pixels: half come back from 0.45, half go on from 0.55.
    model = Linear([[0.0] * 4, [1.0, 1.0, 1.0, 1.0]], [100.0, 0.0])
    images = image(0.5, 0.5, 0.5, 0.5).expand(16, 1, 2, 2)
    result = attacked("rfgsm", model, images, LABEL.expand(16), 0.1)
    assert {round(value, 4) for value in result.images.flatten().tolist()} == {0.5, 0.6}


def test_restarts_attack_what_is_not_broken_yet():
    # Wrong only at 0.6, where half of the random steps lead.
    model = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]], [0.59, 0.0])
    images = image(0.5, 0.5, 0.5, 0.5).expand(32, 1, 2, 2)
    once, often = (
        attacked("rfgsm", model, images, LABEL.expand(32), 0.1, restarts=restarts)
        for restarts in (1, 8)
    )
    errors = [int(logits(model, result.images).argmax(1).sum()) for result in (once, often)]
    assert 4 < errors[0] < 28
    assert errors[1] >= 31
    assert once.gradients.tolist() == [1] * 32
    assert often.gradients.float().mean() < 3
