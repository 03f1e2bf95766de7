"""A few images that are kept whole, for figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

Case = tuple[str, float, str]
"""(attack, epsilon, source)"""


@dataclass(frozen=True)
class Examples:
    """The first K evaluated images with what attacks made of them, for M models and R cases.

    A case is one (attack, epsilon, source). All fields are plain arrays:
    `np.savez(path, **vars(examples))` stores them, `Examples(**np.load(path))` brings them back.

    Attributes:
        models: (M,) str, the names in the order of the prediction axes.
        images: (K, C, H, W) float32 in [0, 1].
        labels: (K,) int64.
        clean_predictions: (M, K) int64.
        case_attacks, case_epsilons, case_sources: (R,) str, float64, str.
        adversarials: (R, K, C, H, W) float32 in [0, 1].
        predictions: (R, M, K) int64, what every model sees in them.
    """

    models: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    clean_predictions: np.ndarray
    case_attacks: np.ndarray
    case_epsilons: np.ndarray
    case_sources: np.ndarray
    adversarials: np.ndarray
    predictions: np.ndarray

    def check_shapes(self) -> None:
        """Check that the arrays fit together, as they do unless a file was damaged.

        Raises:
            ValueError: they do not.
        """
        models, cases = self.models.shape, self.case_epsilons.shape
        images = self.images.shape[:1]
        expected = {
            "labels": images,
            "clean_predictions": models + images,
            "case_attacks": cases,
            "case_sources": cases,
            "adversarials": cases + self.images.shape,
            "predictions": cases + models + images,
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has the shape {getattr(self, name).shape}, not {shape}")
        if self.images.ndim != 4:
            raise ValueError(f"images have the shape {self.images.shape}")

    def case(self, attack: str, epsilon: float, source: str) -> int:
        """Return the index of a case on the R axes.

        Raises:
            KeyError: there is none.
        """
        found = np.flatnonzero(
            (self.case_attacks == attack)
            & (self.case_epsilons == epsilon)
            & (self.case_sources == source)
        )
        if not len(found):
            raise KeyError((attack, epsilon, source))
        return int(found[0])


def empty_examples(
    models: Sequence[str], cases: Sequence[Case], images: Tensor, labels: Tensor
) -> Examples:
    """Return `Examples` of these images (K, C, H, W) and labels (K,), to be filled in place."""
    attacks, epsilons, sources = zip(*cases, strict=True)
    kept = images.cpu().numpy().copy()
    return Examples(
        models=np.array(models),
        images=kept,
        labels=labels.numpy().copy(),
        clean_predictions=np.full((len(models), len(kept)), -1, np.int64),
        case_attacks=np.array(attacks),
        case_epsilons=np.array(epsilons),
        case_sources=np.array(sources),
        adversarials=np.zeros((len(cases), *kept.shape), np.float32),
        predictions=np.full((len(cases), len(models), len(kept)), -1, np.int64),
    )


def fill(kept: np.ndarray, start: int, batch: Tensor) -> None:
    """Write a batch that begins at image `start` into `kept` (K, ...), as far as there is room."""
    room = max(len(kept) - start, 0)
    kept[start : start + len(batch)] = batch[:room].cpu().numpy()


def combined(parts: Sequence[Examples]) -> Examples:
    """Put together what several processes filled in, each at places of its own."""
    first = parts[0]
    return replace(
        first,
        # untouched places hold -1 and 0
        clean_predictions=np.maximum.reduce([part.clean_predictions for part in parts]),
        predictions=np.maximum.reduce([part.predictions for part in parts]),
        adversarials=np.sum([part.adversarials for part in parts], axis=0),
    )
