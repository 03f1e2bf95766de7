"""An attack that knows the detector: PGD that looks for errors which score high.

Detectors are to be attacked by who knows them (Carlini, Wagner: Adversarial Examples Are Not Easily
Detected, 2017), and by gradients that do not undo what is reached already (Bryniarski, Hingun,
Pachuca, Wang, Carlini: Evading Adversarial Example Detection Defenses with Orthogonal Projected
Gradient Descent, ICLR 2022, whose selective variant is used here).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from winnrobust.attacks import Target
from winnrobust.attacks.geometry import LINF
from winnrobust.attacks.pgd import RELATIVE_STEP
from winnrobust.attacks.target import Objective
from winnrobust.generation.detection.detectors import Detector

STEPS = 40
WEIGHTS = (0.0, 0.1, 1.0, 10.0)
"""Of the detector's score in the objective, in units of its standard deviation on clean images."""


def hidden(
    target: Target, detector: Detector, epsilon: float, steps: int = STEPS
) -> tuple[Tensor, Tensor]:
    """Look in the L-infinity ball for wrong answers that the detector takes for real images.

    From the image PGD climbs cross-entropy + w * score, once for every weight w; and once the
    cross-entropy where the model is right, but the score where it is wrong. Of all points on these
    paths that the model gets wrong, the one with the highest score is kept.

    Args:
        target: the model, the images and their true labels.
        epsilon: of the ball, in units of the images, in [0, 1].

    Returns:
        Images (N, C, H, W), unchanged where no wrong answer was found, and where one was (N,) bool.

    Raises:
        InputError: the model has no gradient.
    """
    rows = torch.arange(len(target.images), device=target.images.device)
    best = target.images.clone()
    highest = torch.full(rows.shape, -torch.inf, device=rows.device)
    for objective in _objectives(target, detector):
        points = target.images
        for _ in range(steps + 1):
            seen = target.gradient(objective, points, rows)
            scores = detector(seen.logits)
            better = target.reached(seen.logits, rows) & (scores > highest)
            best[better], highest[better] = points[better], scores[better]
            ahead = points + RELATIVE_STEP * epsilon / steps * LINF.steepest(seen.gradient)
            points = LINF.project(ahead, target.images, epsilon)
    return best, highest > -torch.inf


def _objectives(target: Target, detector: Detector) -> Iterator[Objective]:
    """What the paths climb."""
    scale = detector(target.clean_logits).std(unbiased=False).clamp_min(1e-6)

    def selective(logits: Tensor, rows: Tensor) -> Tensor:
        wrong = target.reached(logits, rows)
        return torch.where(wrong, detector(logits), target.cross_entropy(logits, rows))

    yield selective
    for weight in WEIGHTS:

        def weighted(logits: Tensor, rows: Tensor, weight: float = weight) -> Tensor:
            return target.cross_entropy(logits, rows) + weight / scale * detector(logits)

        yield weighted
