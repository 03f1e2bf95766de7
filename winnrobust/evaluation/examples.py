"""Images that are kept whole: a few for figures, and adversarial examples to be saved."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from winnrobust.attacks import find
from winnrobust.evaluation.outcomes import Case, parts
from winnrobust.runtime.errors import InputError, brief
from winnrobust.runtime.files import replacing
from winnrobust.runtime.readers import parse_json, read_npz

FOLDER, FOUND = "examples", "adversarial"
"""Of a results folder, those that hold the first images and the adversarial examples."""


AXES = {
    "models": "M",
    "images": "KCHW",
    "labels": "K",
    "clean_predictions": "MK",
    "case_attacks": "R",
    "case_norms": "R",
    "case_epsilons": "R",
    "case_sources": "R",
    "adversarials": "RKCHW",
    "predictions": "RMK",
}
"""Of the arrays of `Examples`."""


@dataclass(frozen=True)
class Examples:
    """The first K evaluated images with what attacks made of them, for M models and R cases.

    A case is one (attack, norm, epsilon, source). All fields are plain arrays:
    `np.savez(path, **vars(examples))` stores them, `Examples(**np.load(path))` brings them back.

    Attributes:
        models: (M,) str, the names in the order of the prediction axes.
        images: (K, C, H, W) float32 in [0, 1].
        labels: (K,) int64.
        clean_predictions: (M, K) int64.
        case_attacks, case_norms, case_epsilons, case_sources: (R,) str, str, float64, str.
        adversarials: (R, K, C, H, W) float32 in [0, 1].
        predictions: (R, M, K) int64, what every model sees in them; -1 for models not asked.
    """

    models: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    clean_predictions: np.ndarray
    case_attacks: np.ndarray
    case_norms: np.ndarray
    case_epsilons: np.ndarray
    case_sources: np.ndarray
    adversarials: np.ndarray
    predictions: np.ndarray

    def check_shapes(self) -> None:
        """Check that the arrays fit together, as they do unless a file was damaged.

        Raises:
            ValueError: they do not.
        """
        sizes: dict[str, int] = {}
        for name, axes in AXES.items():
            shape = getattr(self, name).shape
            known = tuple(map(sizes.setdefault, axes, shape))
            if len(shape) != len(axes) or known != shape:
                raise ValueError(f"{name} have the shape {shape}, which does not fit the others")

    @property
    def cases(self) -> list[tuple[Case, str]]:
        """What is on the R axes: an attack at an epsilon, and the model it was made against."""
        columns = self.case_attacks, self.case_norms, self.case_epsilons, self.case_sources
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [(Case(attack, norm, epsilon), source) for attack, norm, epsilon, source in rows]

    def case(self, case: Case, source: str) -> int:
        """Return the index of a case on the R axes.

        Raises:
            ValueError: there is none.
        """
        return self.cases.index((case, source))


def write_examples(part: Path, examples: Examples) -> None:
    """Write examples beside the part of the outcomes that they belong to, all or nothing.

    Args:
        part: a path that `outcomes.part_path` returns.
    """
    with replacing(_beside(part)) as temporary:
        np.savez_compressed(temporary, **vars(examples))


SHOWN = 64
"""Images that figures may ask for; more are for other programs."""


def stored_examples(folder: Path) -> Iterator[Examples]:
    """Read the examples in a results folder, batch after batch, in the order of the images.

    Raises:
        InputError: a file is damaged.
    """
    for part in parts(folder):
        if (path := _beside(part.path)).exists():
            try:
                yield read_file(path)
            except InputError as error:
                raise InputError(f"{error}; remove that file: figures do without it") from None


def read_examples(folder: Path, most: int = SHOWN) -> Examples | None:
    """Read the first examples in a results folder; None if none were kept.

    Raises:
        InputError: a file is damaged.
    """
    found: list[Examples] = []
    for examples in stored_examples(folder):
        found.append(examples)
        if sum(len(each.labels) for each in found) >= most:
            break
    if not found:
        return None
    joined = {}
    for name, axes in AXES.items():
        if "K" in axes:
            axis = axes.index("K")
            whole = np.concatenate([getattr(each, name) for each in found], axis)
            joined[name] = whole.take(range(min(most, whole.shape[axis])), axis)
    return replace(found[0], **joined)


def _beside(part: Path, folder: str = FOLDER) -> Path:
    return part.parent.parent / folder / f"{part.stem}.npz"


def read_file(path: Path) -> Examples:
    """Read the examples of one file.

    Raises:
        InputError: it is missing or damaged.
    """
    arrays = read_npz(path, [name for name in AXES if name != "case_norms"], ["case_norms"])
    # Until November 2026 an attack had one norm, and files did not name it.
    arrays.setdefault("case_norms", np.array([_only_norm(str(n)) for n in arrays["case_attacks"]]))
    examples = Examples(**arrays)
    try:
        examples.check_shapes()
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} is damaged ({brief(error)})") from None
    return examples


class Adversarial(NamedTuple):
    """Adversarial examples of one batch, by one attack at one bound.

    Attributes:
        case, source: what made them, and of which model they are.
        images: (k, C, H, W) float32 in [0, 1].
        labels: (k,) int64, their true classes.
        numbers: (k,) int64, which images these were.
    """

    case: Case
    source: str
    images: np.ndarray
    labels: np.ndarray
    numbers: np.ndarray

    def first(self, count: int) -> "Adversarial":
        """Return the first so many of them."""
        return Adversarial(self.case, self.source, *(part[:count] for part in self[2:]))


def write_adversarial(part: Path, found: Sequence[Adversarial]) -> None:
    """Write adversarial examples beside the part of the outcomes that they belong to."""
    arrays = {"made": np.array([json.dumps([*each.case, each.source]) for each in found])}
    for place, each in enumerate(found):
        arrays |= {f"{name}{place}": getattr(each, name) for name in STORED}
    with replacing(_beside(part, FOUND)) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def stored_adversarial(folder: Path) -> Iterator[Adversarial]:
    """Read the adversarial examples in a results folder, batch after batch.

    Raises:
        InputError: a file is damaged.
    """
    for part in parts(folder):
        if not (path := _beside(part.path, FOUND)).exists():
            continue
        for place, made in enumerate(read_npz(path, ["made"])["made"].tolist()):
            *case, source = parse_json(made, str(path))
            arrays = read_npz(path, [f"{name}{place}" for name in STORED])
            yield Adversarial(Case(*case), source, *arrays.values())


STORED = ("images", "labels", "numbers")


def _only_norm(attack: str) -> str:
    try:
        return find(attack).norm
    except InputError:
        return "linf"
