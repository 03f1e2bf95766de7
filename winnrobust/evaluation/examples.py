"""A few images that are kept whole, for figures."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from winnrobust.evaluation.outcomes import parts
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import replacing
from winnrobust.runtime.readers import read_npz

FOLDER = "examples"
"""Of a results folder, the one that holds them."""


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
        predictions: (R, M, K) int64, what every model sees in them; -1 for models not asked.
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


def write_examples(part: Path, examples: Examples) -> None:
    """Write examples beside the part of the outcomes that they belong to, all or nothing.

    Args:
        part: a path that `outcomes.part_path` returns.
    """
    with replacing(_beside(part)) as temporary:
        np.savez_compressed(temporary, **vars(examples))


def read_examples(folder: Path) -> Examples | None:
    """Read all examples in a results folder, in the order of the images; None if none were kept.

    Raises:
        InputError: a file is damaged.
    """
    found = [_read(path) for part in parts(folder) if (path := _beside(part.path)).exists()]
    if not found:
        return None
    along = {"images": 0, "labels": 0, "clean_predictions": 1, "adversarials": 1, "predictions": 2}
    joined = {
        name: np.concatenate([getattr(each, name) for each in found], axis)
        for name, axis in along.items()
    }
    return replace(found[0], **joined)


def _beside(part: Path) -> Path:
    return part.parent.parent / FOLDER / f"{part.stem}.npz"


def _read(path: Path) -> Examples:
    try:
        examples = Examples(**read_npz(path, [field.name for field in fields(Examples)]))
        examples.check_shapes()
    except (InputError, ValueError) as error:
        raise InputError(f"{error}; remove {path.name}, figures can do without") from None
    return examples
