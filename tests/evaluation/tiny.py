"""Models so small that what attacks do to them is known beforehand, and attacks just as small."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from winnrobust.attacks import NO_GRADIENTS, Attack, AttackResult, Budget, Norm, Target


class Threshold(nn.Module):
    """Says 1 where a pixel of a 1x1x2 image is above its threshold, else 0."""

    def __init__(self, pixel: int, threshold: float, steepness: float = 1.0) -> None:
        super().__init__()
        self.pixel = pixel
        self.threshold = threshold
        self.steepness = steepness

    def forward(self, images: Tensor) -> Tensor:
        logit = self.steepness * (images.flatten(1)[:, self.pixel] - self.threshold)
        return torch.stack([torch.zeros_like(logit), logit], 1)


def pixels(*pairs: tuple[float, float]) -> Tensor:
    return torch.tensor(pairs).reshape(-1, 1, 1, 2)


# "left" looks at the first pixel, "right" at the second. An attack on one moves only its pixel.
MODELS = {"left": Threshold(0, 0.5), "right": Threshold(1, 0.5)}
IMAGES = pixels((0.9, 0.9), (0.6, 0.9), (0.6, 0.4), (0.1, 0.6), (0.4, 0.1))
LABELS = torch.tensor([1, 1, 1, 0, 0])


def attack_called(
    name: str, move: Callable[[Target, float], Tensor], norm: Norm = "Linf", can_aim: bool = False
) -> Attack:
    """An attack that puts every image where `move` says for an epsilon."""

    def function(target: Target, epsilons: Sequence[float], budget: Budget) -> AttackResult:
        return AttackResult([move(target, epsilon) for epsilon in epsilons], NO_GRADIENTS)

    return described(name, function, norm=norm, can_aim=can_aim)


def described(name: str, function, norm: Norm = "Linf", **more) -> Attack:
    return Attack(name, norm, "none", "nothing", "A test's.", "nowhere", function, **more)


UP = attack_called("up", lambda target, epsilon: (target.images + epsilon).clamp(0, 1))
DOWN = attack_called("down", lambda target, epsilon: (target.images - epsilon).clamp(0, 1))
DOWN_L2 = attack_called(
    "down-l2", lambda target, epsilon: (target.images - epsilon / 2**0.5).clamp(0, 1), norm="L2"
)


def nearest(target: Target, epsilons: Sequence[float], budget: Budget) -> AttackResult:
    """The smallest move of a `Threshold`'s pixel that breaks it, and 0.01 more."""
    pixel, threshold = target.model.pixel, target.model.threshold
    value = target.images.flatten(1)[:, pixel]
    wrong = target.clean_logits.argmax(1) != target.labels
    distances = torch.where(wrong, 0.0, (value - threshold).abs() + 0.01)
    # What lies beyond this is not found.
    distances[distances > 0.35] = torch.inf
    adversarials = []
    for epsilon in epsilons:
        found = target.images.clone()
        reached = (distances <= epsilon) & ~wrong
        sign = torch.where(target.labels == 1, -1, 1)
        found.flatten(1)[:, pixel] += torch.where(reached, sign * distances, 0.0)
        adversarials.append(found)
    return AttackResult(adversarials, NO_GRADIENTS, distances)


NEAREST = described("nearest", nearest, norm="L2", minimum_norm=True)
