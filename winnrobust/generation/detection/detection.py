"""Detectors of models, measured on foreign images and adversarial examples."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from winnrobust.attacks import DEFAULT_BUDGET, Attack, Target, check_adversarials
from winnrobust.evaluation.prediction import errors_named, logits_from
from winnrobust.evaluation.state import frozen
from winnrobust.generation.detection.adaptive import STEPS, hidden
from winnrobust.generation.detection.auroc import auroc
from winnrobust.generation.detection.detectors import Detector

DETECTION_COLUMNS = (
    "model",
    "detector",
    "against",
    "epsilon",
    "n_real",
    "n_other",
    "auroc",
    "auroc_low",
    "auroc_high",
)

KNOWING = "knowing"
"""What the attack that knows the detector is called."""


def detect(
    models: Mapping[str, nn.Module],
    detectors: Mapping[str, Mapping[str, Detector]],
    images: Tensor,
    labels: Tensor,
    *,
    foreign: Mapping[str, Tensor],
    attacks: Sequence[Attack],
    epsilon: float,
    steps: int = STEPS,
    seed: int = 0,
    batch_size: int = 250,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Measure how well detectors tell real images from others, as areas under ROC curves.

    The first half of the images are the real ones; the other half is attacked, so that both sets
    are independent. Adversarial examples count where the model is right without and wrong with the
    attack. One attack more, `KNOWING`, knows each detector and makes examples against it.

    Args:
        models: name -> module that returns logits.
        detectors: model -> detector's name -> detector.
        images: (N, C, H, W) in [0, 1], N at least 4.
        labels: (N,) int64.
        foreign: name -> images (M, C, H, W) in [0, 1] of other data.
        attacks: in the L-infinity norm.
        epsilon: of the attacks.
        steps: of the attack that knows the detector.
        device: where to work; None leaves each model where it is.
        progress: called with (done, total), counted in images times attacks and detectors.

    Returns:
        A row for each model, detector and kind of other images; columns `DETECTION_COLUMNS`.
        Where nothing was found to detect, the area is NaN.

    Raises:
        InputError: a model does not answer with finite logits, or has no gradient.
    """
    half = len(images) // 2
    real, attacked, truth = images[:half], images[half:], labels[half:]
    rounds = {name: len(attacks) + len(detectors[name]) for name in models}
    done, total = 0, sum(rounds.values()) * len(attacked)
    rows = []

    def add(
        model: str, detector: str, against: str, size: float, scores: Sequence[np.ndarray]
    ) -> None:
        area = auroc(*scores)
        counts = map(len, scores)
        rows.append((model, detector, against, size, *counts, *area))

    with frozen(models.values(), device):
        for name, model in models.items():

            def answers(pictures: Tensor, name: str = name, model: nn.Module = model) -> Tensor:
                parts = pictures.split(batch_size)
                return torch.cat([logits_from(name, model, part).cpu() for part in parts])

            own = detectors[name]
            others = {(kind, 0.0): answers(pictures) for kind, pictures in foreign.items()}
            knowing: dict[str, list[Tensor]] = {detector: [] for detector in own}
            broken: dict[str, list[Tensor]] = {attack.name: [] for attack in attacks}
            place = next(model.parameters()).device
            for first in range(0, len(attacked), batch_size):
                part = slice(first, first + batch_size)
                pictures, classes = attacked[part].to(place), truth[part].to(place)
                with errors_named(name, pictures):
                    target = Target(model, pictures, classes, first=first, seed=seed)
                    right = target.clean_logits.argmax(1) == classes
                    for attack in attacks:
                        (found,) = attack.function(target, [epsilon], DEFAULT_BUDGET).adversarials
                        check_adversarials(attack, pictures, found, epsilon)
                        seen = logits_from(name, model, found)
                        broken[attack.name].append(seen[right & (seen.argmax(1) != classes)].cpu())
                        done += len(pictures)
                        progress(done, total)
                    for detector, score in own.items():
                        found, wrong = hidden(target, score, epsilon, steps)
                        seen = logits_from(name, model, found)
                        knowing[detector].append(seen[right & wrong].cpu())
                        done += len(pictures)
                        progress(done, total)
            others |= {(kind, epsilon): torch.cat(parts) for kind, parts in broken.items()}
            of_real = answers(real)
            for detector, score in own.items():
                kinds = others | {(KNOWING, epsilon): torch.cat(knowing[detector])}
                for (kind, size), seen in kinds.items():
                    pair = [_scores(score, logits) for logits in (of_real, seen)]
                    add(name, detector, kind, size, pair)
    return pd.DataFrame(rows, columns=list(DETECTION_COLUMNS))


def _scores(detector: Detector, logits: Tensor) -> np.ndarray:
    with torch.no_grad():
        return detector(logits).double().numpy()
