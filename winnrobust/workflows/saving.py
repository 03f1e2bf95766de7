"""Adversarial examples as files: arrays as they were found, and pictures of 8 bits judged again."""

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import torch
from numpy.lib import format as npy
from PIL import Image
from torch import nn

from winnrobust.data.streams import random_order
from winnrobust.evaluation.examples import Examples, stored_examples
from winnrobust.evaluation.outcomes import Level
from winnrobust.evaluation.prediction import prediction
from winnrobust.evaluation.state import frozen
from winnrobust.reporting import read_metadata
from winnrobust.reporting.table import Table, to_csv, to_text
from winnrobust.runtime.files import new_folder, replacing
from winnrobust.runtime.progress import progress_bar

FOLDER = "saved"
"""Of a results folder, the one that they are written to."""

COLUMNS = (
    "folder", "attack", "norm", "epsilon", "source", "images", "adversarial", "adversarial_8_bits"
)  # fmt: skip

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels -> Pillow's name of a picture that has them."""


def save_examples(
    folder: Path, limit: int, modules: Mapping[str, nn.Module], device: torch.device
) -> pd.DataFrame:
    """Write the first adversarial examples of an evaluation to its folder `saved`.

    For each attack, norm, epsilon and source an `.npz` file that `--data` takes, float32, and a
    folder of PNG files named by image, label and what the source sees in them. A PNG has 8 bits,
    which moves pixels by up to 1/510: the source is asked about these anew.

    Args:
        folder: a finished results folder whose examples were kept.
        limit: how many images.
        modules: the models by name.
        device: where they are asked.

    Returns:
        `saved.csv`: a row for each attack, norm, epsilon and source, with `COLUMNS`: how many
        images are adversarial (the source is wrong), and how many of these still are in 8 bits.
    """
    first = next(stored_examples(folder), None)
    if first is None:
        return pd.DataFrame(columns=list(COLUMNS))
    numbers = image_numbers(folder)
    counts = {names: [0, 0, 0] for names in _names(first)}
    total = min(limit, sum(len(each.labels) for each in stored_examples(folder)))
    with ExitStack() as stack:
        place = stack.enter_context(new_folder(folder / FOLDER))
        stack.enter_context(frozen(modules.values(), device))
        status = stack.enter_context(progress_bar(total, "save examples", unit="image"))
        shape = (total, *first.images.shape[1:])
        files = {names: _Arrays(place / f"{names[0]}.npz", shape, stack) for names in counts}
        start = 0
        for examples in stored_examples(folder):
            some = range(min(len(examples.labels), total - start))
            for case, names in enumerate(counts):
                images = examples.adversarials[case, some.start : some.stop]
                files[names].add(images, examples.labels[some.start : some.stop])
                source = str(names[4])
                wrong = _write(place / str(names[0]), images, examples, case, source,
                               numbers[start:], modules[source])  # fmt: skip
                counts[names] = [old + new for old, new in zip(counts[names], wrong, strict=True)]
            start += len(some)
            status.update(len(some))
        table = pd.DataFrame([(*names, *of) for names, of in counts.items()], columns=[*COLUMNS])
        (place / "saved.csv").write_text(to_csv(table), encoding="utf-8")
    return table


def image_numbers(folder: Path) -> Sequence[int]:
    """Return the numbers of a results folder's images, in the order in which they were attacked."""
    metadata = read_metadata(folder)
    if metadata.population is None:
        return range(metadata.n)
    return random_order(metadata.population, metadata.settings["seed"]).tolist()


def _names(examples: Examples) -> list[tuple[Any, ...]]:
    """Return folder, attack, norm, epsilon and source of all cases."""
    found = []
    for number, (case, source) in enumerate(examples.cases):
        text = f"{number:02d}-{case.attack}-{case.norm}-{case.epsilon:.4g}-{source}"
        found.append((re.sub(r"[^\w.+@-]+", "_", text), *case, source))
    return found


def _write(
    place: Path,
    images: np.ndarray,
    examples: Examples,
    case: int,
    source: str,
    numbers: Sequence[int],
    module: nn.Module,
) -> tuple[int, int, int]:
    """Write images (k, C, H, W) as PNG files, and count images, adversarial ones, and those in
    8 bits."""
    bytes_ = (images * 255).round().clip(0, 255).astype(np.uint8)
    labels = examples.labels[: len(images)]
    model = list(examples.models).index(source)
    seen = examples.predictions[case, model, : len(images)]
    again = prediction(source, module, torch.from_numpy(bytes_).float() / 255).numpy()
    if images.shape[1] in MODES:
        place.mkdir(exist_ok=True)
        for number, pixels, label, answer in zip(numbers, bytes_, labels, again, strict=False):
            picture = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
            name = f"{number:06d}-label{label}-seen{answer}.png"
            Image.fromarray(picture, MODES[len(pixels)]).save(place / name)
    wrong = seen != labels
    return len(images), int(wrong.sum()), int((wrong & (again != labels)).sum())


class _Arrays:
    """An `.npz` file with images and labels, written part by part."""

    def __init__(self, path: Path, shape: Sequence[int], stack: ExitStack) -> None:
        self.labels: list[np.ndarray] = []
        self.images = stack.enter_context(self._open(path, shape))

    @contextmanager
    def _open(self, path: Path, shape: Sequence[int]) -> Iterator[IO[bytes]]:
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            with archive.open("images.npy", "w", force_zip64=True) as file:
                npy.write_array_header_1_0(file, header)
                yield file
            with archive.open("labels.npy", "w") as file:
                npy.write_array(file, np.concatenate(self.labels))

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Write some more images (k, C, H, W) and their labels."""
        self.images.write(np.ascontiguousarray(images, "<f4").tobytes())
        self.labels.append(labels)


def saved_text(table: pd.DataFrame) -> str:
    """Return the table for a terminal."""
    header = ["attack", "norm and epsilon", "source", "images", "adversarial", "in 8 bits"]
    rows = [
        [row.attack, str(Level(row.norm, row.epsilon)), row.source]
        + [str(getattr(row, name)) for name in COLUMNS[5:]]
        for row in table.itertuples()
    ]
    return to_text([Table("Saved adversarial examples", header, rows)])
