"""Scores of samples by a classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.generation.quality.formulas import SPLITS, classifier_score, frechet_distance
from winnrobust.generation.quality.neighbors import nearest
from winnrobust.models import IntrospectiveNetwork
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.intervals import Rate, rate

BATCH = 500

LOW = 0.05


@dataclass(frozen=True)
class Quality:
    """What is known of N samples, and of as many real test images beside them.

    Attributes:
        n: how many.
        score, score_sd: the Inception score's formula on the classifier's probabilities, mean and
            standard deviation of 10 parts.
        distance: FID's formula on its features (before the logits), to the training images.
        agreement: how often it sees the class that a sample was made as; None without classes.
        real_score, real_score_sd, real_distance, real_agreement: the same of the test images, whose
            classes are known: what perfect samples would get.
        nearest, real_nearest: medians of the distances to the nearest training image, L2 on pixels
            in [0, 1]; `nearest_low` and `real_nearest_low`: 5 % are below. Samples much nearer than
            test images are copies.
    """

    n: int
    score: float
    score_sd: float
    distance: float
    agreement: Rate | None
    real_score: float
    real_score_sd: float
    real_distance: float
    real_agreement: Rate
    nearest: float
    nearest_low: float
    real_nearest: float
    real_nearest_low: float


def check_samples(n: int, shape: Sequence[int], train: ImageSplit, test: ImageSplit) -> None:
    """Check that n samples of a shape (C, H, W) can be scored beside real images.

    Raises:
        InputError: they are too few, or more than test images, or of another shape.
    """
    if tuple(shape) != tuple(train.images.shape[1:]):
        raise InputError(
            f"the samples have the shape {tuple(shape)}, the classifier's images"
            f" {tuple(train.images.shape[1:])}"
        )
    if not 2 * SPLITS <= n <= len(test):
        raise InputError(
            f"there are {n} samples; {2 * SPLITS} to {len(test)} can be scored, as many as"
            " there are test images to compare them with"
        )


def score_samples(
    classifier: IntrospectiveNetwork,
    samples: ImageSplit,
    train: ImageSplit,
    test: ImageSplit,
    *,
    labeled: bool = True,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Quality:
    """Score samples by a classifier that had no part in making them.

    Args:
        classifier: of the same data set; it is moved to `device`.
        samples: images, and the classes they were made as.
        train, test: real images. Of the test images as many are taken as there are samples.
        labeled: whether the samples' classes mean anything.
        progress: called with (done, total) images.

    Raises:
        InputError: as `check_samples`.
    """
    n = len(samples)
    check_samples(n, samples.images.shape[1:], train, test)
    classifier.to(device).eval()
    total, done = 2 * n + len(train), 0

    def answers(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Features and probabilities."""
        nonlocal done
        features, logits = [], []
        with torch.no_grad():
            for part in images.split(BATCH):
                features.append(classifier.features(2 * to_unit(part.to(device)) - 1))
                logits.append(classifier.classifier(features[-1]))
                done += len(part)
                progress(done, total)
        probabilities = torch.cat(logits).double().softmax(1)
        return torch.cat(features).cpu().numpy(), probabilities.cpu().numpy()

    train_features, _ = answers(train.images)
    parts: dict[str, Any] = {}
    for name, split in (("", samples), ("real_", test.first(n))):
        features, probabilities = answers(split.images)
        distances, _ = nearest(split.images, train.images)
        right = int((probabilities.argmax(1) == split.labels.numpy()).sum())
        parts[f"{name}score"], parts[f"{name}score_sd"] = classifier_score(probabilities)
        parts[f"{name}distance"] = frechet_distance(features, train_features)
        parts[f"{name}agreement"] = rate(right, n) if labeled or name else None
        parts[f"{name}nearest"] = distances.median().item()
        parts[f"{name}nearest_low"] = distances.quantile(LOW).item()
    return Quality(n=n, **parts)
