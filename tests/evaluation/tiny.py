"""Models so small that what attacks do to them is known beforehand, and attacks just as small."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from winnrobust.attacks import Attack, AttackResult, NormName, Run, find
from winnrobust.evaluation import EvaluationSettings, RunResult, run


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


def evaluation(
    models: dict[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    attacks: list[str] | None = None,
    linf: list[float] | None = None,
    *,
    l2: list[float] | None = None,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **settings,
) -> RunResult:
    """Run an evaluation, in a folder that is thrown away unless one is given."""
    names = attacks or ["fgsm"]
    epsilons = {"linf": linf or [0.125]}
    if l2 or any(find(name).norm == "l2" for name in names):
        epsilons["l2"] = l2 or [1.5]
    chosen = EvaluationSettings(attacks=names, epsilons=epsilons, **settings)
    with TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        return run(models, images, labels, chosen, folder=place, progress=progress)


def described(name: str, function, norm: NormName = "linf", **more) -> Attack:
    return Attack(name, norm, "none", "nothing", "A test's.", "nowhere", function, **more)


def attack_called(
    name: str,
    move: Callable[[Tensor, float, Run], Tensor],
    norm: NormName = "linf",
    targeted: bool = False,
) -> Attack:
    """An attack that puts images where `move` says for an epsilon."""

    def function(model, images, labels, *, epsilon, run=None):
        return AttackResult.untouched(move(images, epsilon, run))

    return described(name, function, norm=norm, targeted=targeted)


UP = attack_called("up", lambda images, epsilon, run: (images + epsilon).clamp(0, 1))
DOWN = attack_called("down", lambda images, epsilon, run: (images - epsilon).clamp(0, 1))
DOWN_L2 = attack_called(
    "down-l2", lambda images, epsilon, run: (images - epsilon / 2**0.5).clamp(0, 1), norm="l2"
)


def nearest(model: Threshold, images: Tensor, labels: Tensor, *, run: Run) -> AttackResult:
    """The smallest move of a `Threshold`'s pixel that breaks it, and 0.01 more."""
    value = images.flatten(1)[:, model.pixel]
    wrong = run.clean_pass(model, images, labels).answer.logits.argmax(1) != labels
    distance = torch.where(wrong, 0.0, (value - model.threshold).abs() + 0.01)
    # What lies beyond this is not found.
    distance[distance > 0.35] = torch.inf
    found = images.clone()
    sign = torch.where(labels == 1, -1, 1)
    found.flatten(1)[:, model.pixel] += torch.where(distance < torch.inf, sign * distance, 0.0)
    result = AttackResult.untouched(found)
    return AttackResult(
        found, result.gradients, result.queries, result.unfinished, distance=distance
    )


NEAREST = described("nearest", nearest, norm="l2", minimum_norm=True)
