"""An adaptive attack on a detector: PGD that looks for errors which score high.

Detectors are to be attacked by somebody who knows them (Carlini, Wagner: Adversarial Examples Are
Not Easily Detected, 2017), and by gradients that do not undo what is reached already (Bryniarski,
Hingun, Pachuca, Wang, Carlini: Evading Adversarial Example Detection Defenses with Orthogonal
Projected Gradient Descent, ICLR 2022, whose selective variant is used here).
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from winnrobust.attacks import NORMS, answer
from winnrobust.attacks.gradients import gradient_of, log_odds
from winnrobust.attacks.pgd import RELATIVE_STEP
from winnrobust.generation.detection.detectors import Detector

STEPS = 40
WEIGHTS = (0.0, 0.1, 1.0, 10.0)
"""Of the detector's score in the objective, in units of its standard deviation on clean images."""


def adaptive_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    detector: Detector,
    *,
    epsilon: float,
    steps: int = STEPS,
) -> tuple[Tensor, Tensor]:
    """Look in the L-infinity ball for wrong answers that the detector takes for real images.

    From the image PGD raises loss + w * score, once for every weight w; and once the loss where the
    model is right, but the score where it is wrong. Of all points on these paths that the model
    gets wrong, the one with the highest score is kept.

    Args:
        model, images, labels: images (N, C, H, W) in [0, 1] with their true classes (N,).
        detector: from logits to scores.
        epsilon: of the ball, in units of the images, in [0, 1].
        steps: of each path.

    Returns:
        Images (N, C, H, W), unchanged where no wrong answer was found, and where one was (N,) bool.

    Raises:
        InputError: the model has no gradient.
    """
    ball = NORMS["linf"]
    best = images.clone()
    highest = torch.full(labels.shape, -torch.inf, device=labels.device)
    for objective in _objectives(model, images, labels, detector):
        points = images
        for _ in range(steps + 1):
            seen = gradient_of(objective, model, points)
            scores = detector(seen.logits)
            better = (seen.logits.argmax(1) != labels) & (scores > highest)
            best[better], highest[better] = points[better], scores[better]
            ahead = points + RELATIVE_STEP * epsilon / steps * ball.steepest(seen.gradient)
            points = ball.project(ahead, images, epsilon)
    return best, highest > -torch.inf


def _objectives(
    model: nn.Module, images: Tensor, labels: Tensor, detector: Detector
) -> Iterator[Callable[[Tensor], Tensor]]:
    """What the paths raise, (N,) from the logits (N, K)."""
    scale = detector(answer(model, images).logits).std(unbiased=False).clamp_min(1e-6)

    def selective(logits: Tensor) -> Tensor:
        wrong = logits.argmax(1) != labels
        return torch.where(wrong, detector(logits), log_odds(logits, labels))

    yield selective
    for weight in WEIGHTS:

        def weighted(logits: Tensor, weight: float = weight) -> Tensor:
            return log_odds(logits, labels) + weight / scale * detector(logits)

        yield weighted
