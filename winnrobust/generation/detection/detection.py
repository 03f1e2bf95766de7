"""Detectors of models, measured on out-of-distribution images and adversarial examples."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from winnrobust.attacks import Attack, Run, run_attack
from winnrobust.evaluation.prediction import errors_named, logits_from
from winnrobust.evaluation.state import frozen
from winnrobust.generation.detection.adaptive import STEPS, adaptive_attack
from winnrobust.generation.detection.auroc import auroc
from winnrobust.generation.detection.detectors import Detector
from winnrobust.runtime.devices import device_of

DETECTION_COLUMNS = (
    "model", "detector", "against", "epsilon", "n_real", "n_other", "auroc", "auroc_low",
    "auroc_high",
)  # fmt: skip

ADAPTIVE = "adaptive"
"""What the adaptive attack is called."""


@dataclass(frozen=True)
class Trial:
    """What detectors are tried on.

    Attributes:
        images: (N, C, H, W) in [0, 1], N at least 4. The first half are the real ones; the others
            are attacked, so that both sets are independent.
        labels: (N,) int64.
        others: name -> images (M, C, H, W) in [0, 1] of other data.
        attacks: in the L-infinity norm.
        epsilon: of the attacks.
        steps: of the adaptive attack.
        seed: of the attacks' random numbers.
        batch_size: images at once.
    """

    images: Tensor
    labels: Tensor
    others: Mapping[str, Tensor] = field(default_factory=dict)
    attacks: Sequence[Attack] = ()
    epsilon: float = 0.125
    steps: int = STEPS
    seed: int = 0
    batch_size: int = 250

    @property
    def half(self) -> int:
        """How many of the images are the real ones."""
        return len(self.images) // 2


def detect(
    models: Mapping[str, nn.Module],
    detectors: Mapping[str, Mapping[str, Detector]],
    trial: Trial,
    *,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Measure how well detectors tell real images from others, as areas under ROC curves.

    Adversarial examples count where the model is right without and wrong with the attack. One
    attack more, `ADAPTIVE`, knows each detector and makes examples against it.

    Args:
        models: name -> module that returns logits.
        detectors: model -> detector's name -> detector.
        trial: the images and the attacks.
        device: where to work; None leaves each model where it is.
        progress: called with (done, total), counted in images times attacks and detectors.

    Returns:
        A row for each model, detector and kind of other images; columns `DETECTION_COLUMNS`.
        Where nothing was found to detect, the area is NaN.

    Raises:
        InputError: a model does not answer with finite logits, or has no gradient.
    """
    rounds = sum(len(trial.attacks) + len(detectors[name]) for name in models)
    done, total = 0, rounds * (len(trial.images) - trial.half)

    def advance(images: int) -> None:
        nonlocal done
        done += images
        progress(done, total)

    with frozen(models.values(), device):
        rows = [
            (name, *row)
            for name, model in models.items()
            for row in _rows(name, model, detectors[name], trial, advance)
        ]
    return pd.DataFrame(rows, columns=list(DETECTION_COLUMNS))


def _rows(
    name: str,
    model: nn.Module,
    detectors: Mapping[str, Detector],
    trial: Trial,
    advance: Callable[[int], None],
) -> Iterator[tuple]:
    """Yield the rows of one model, without its name."""
    real = _logits(name, model, trial.images[: trial.half], trial.batch_size)
    others = {
        (kind, 0.0): _logits(name, model, images, trial.batch_size)
        for kind, images in trial.others.items()
    }
    broken = _attacked(name, model, detectors, trial, advance)
    others |= {(each.name, trial.epsilon): broken[each.name, ""] for each in trial.attacks}
    for detector, score in detectors.items():
        kinds = others | {(ADAPTIVE, trial.epsilon): broken[ADAPTIVE, detector]}
        for (kind, epsilon), logits in kinds.items():
            scores = _scores(score, real), _scores(score, logits)
            yield detector, kind, epsilon, *map(len, scores), *auroc(*scores)


def _attacked(
    name: str,
    model: nn.Module,
    detectors: Mapping[str, Detector],
    trial: Trial,
    advance: Callable[[int], None],
) -> dict[tuple[str, str], Tensor]:
    """Return the logits on what broke the model, by attack and, for the adaptive one, detector.

    Only images count that the model gets right to begin with.
    """
    broken: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
    place = device_of(model)
    attacked, truth = trial.images[trial.half :], trial.labels[trial.half :]
    for first in range(0, len(attacked), trial.batch_size):
        batch = slice(first, first + trial.batch_size)
        images, labels = attacked[batch].to(place), truth[batch].to(place)
        with errors_named(name, images):
            right = logits_from(name, model, images).argmax(1) == labels
            run = Run(seed=trial.seed, first=first)
            for attack in trial.attacks:
                (found,) = run_attack(attack, model, images, labels, [trial.epsilon], run=run)
                seen = logits_from(name, model, found.images)
                broken[attack.name, ""].append(seen[right & (seen.argmax(1) != labels)].cpu())
                advance(len(images))
            for detector, score in detectors.items():
                made, wrong = adaptive_attack(
                    model, images, labels, score, epsilon=trial.epsilon, steps=trial.steps
                )
                broken[ADAPTIVE, detector].append(
                    logits_from(name, model, made)[right & wrong].cpu()
                )
                advance(len(images))
    return {key: torch.cat(parts) for key, parts in broken.items()}


def _logits(name: str, model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    parts = images.split(batch_size)
    return torch.cat([logits_from(name, model, part).cpu() for part in parts])


def _scores(detector: Detector, logits: Tensor) -> np.ndarray:
    with torch.no_grad():
        return detector(logits).double().numpy()
