"""Adversarial examples as files: arrays as they were found, and pictures of 8 bits judged again."""

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import torch
from numpy.lib import format as npy
from PIL import Image
from torch import nn

from winnrobust.evaluation.examples import Adversarial, stored_adversarial, stored_examples
from winnrobust.evaluation.outcomes import Case, Level
from winnrobust.evaluation.prediction import prediction
from winnrobust.evaluation.state import frozen
from winnrobust.reporting.table import Table, to_csv, to_text
from winnrobust.runtime.files import new_folder, replacing
from winnrobust.runtime.progress import progress_bar

FOLDER = "saved"
"""Of a results folder, the one that they are written to."""

COLUMNS = ("folder", "attack", "norm", "epsilon", "source", "images", "adversarial_8_bits")

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels -> Pillow's name of a picture that has them."""


def save_examples(
    folder: Path, limit: int, modules: Mapping[str, nn.Module], device: torch.device
) -> pd.DataFrame:
    """Write the first adversarial examples of an evaluation to its folder `saved`.

    Those are what a model gets wrong of images that it gets right without the attack. For each
    attack, norm, epsilon and source that found some an `.npz` file that `--data` takes, float32,
    and a folder of PNG files named by image, label and what the source sees in them. A PNG has 8
    bits, which moves pixels by up to 1/510: the source is asked about these anew.

    Args:
        folder: a finished results folder whose adversarial examples were kept.
        limit: how many of each attack, norm, epsilon and source.
        modules: the models by name.
        device: where they are asked.

    Returns:
        `saved.csv`: a row for each attack, norm, epsilon and source, with `COLUMNS`: how many
        there are, and how many of these the source still gets wrong in 8 bits.
    """
    first = next(stored_examples(folder), None)
    if first is None:
        return pd.DataFrame(columns=[*COLUMNS])
    left = dict.fromkeys(first.cases, 0)
    for each in stored_adversarial(folder):
        left[each.case, each.source] += len(each.labels)
    left = {one: min(count, limit) for one, count in left.items()}
    names = {one: _name(number, *one) for number, one in enumerate(left)}
    rows = [(names[one], *one[0], one[1], count) for one, count in left.items()]
    still = dict.fromkeys(left, 0)
    shape = first.images.shape[1:]
    with ExitStack() as stack:
        place = stack.enter_context(new_folder(folder / FOLDER))
        stack.enter_context(frozen(modules.values(), device))
        total = sum(left.values())
        status = stack.enter_context(progress_bar(total, "save examples", unit="image"))
        files = {
            one: _Arrays(place / f"{names[one]}.npz", (count, *shape), stack)
            for one, count in left.items()
            if count
        }
        for found in stored_adversarial(folder):
            one = found.case, found.source
            some = found.first(left[one])
            if len(some.labels):
                files[one].add(some)
                still[one] += _write_pictures(place / names[one], some, modules[found.source])
                left[one] -= len(some.labels)
                status.update(len(some.labels))
        table = pd.DataFrame(rows, columns=[*COLUMNS[:-1]]).assign(
            adversarial_8_bits=still.values()
        )
        (place / "saved.csv").write_text(to_csv(table), encoding="utf-8")
    return table


def _name(number: int, case: Case, source: str) -> str:
    text = f"{number:02d}-{case.attack}-{case.norm}-{case.epsilon:.4g}-{source}"
    return re.sub(r"[^\w.+@-]+", "_", text)


def _write_pictures(place: Path, found: Adversarial, module: nn.Module) -> int:
    """Write PNG files, and count those of them that the model still gets wrong."""
    bytes_ = (found.images * 255).round().clip(0, 255).astype(np.uint8)
    again = prediction(found.source, module, torch.from_numpy(bytes_).float() / 255).numpy()
    if bytes_.shape[1] in MODES:
        place.mkdir(exist_ok=True)
        for pixels, label, number, seen in zip(
            bytes_, found.labels, found.numbers, again, strict=True
        ):
            picture = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
            name = f"{number:06d}-label{label}-seen{seen}.png"
            Image.fromarray(picture, MODES[len(pixels)]).save(place / name)
    return int((again != found.labels).sum())


class _Arrays:
    """An `.npz` file with images, labels and the images' numbers, written part by part."""

    def __init__(self, path: Path, shape: Sequence[int], stack: ExitStack) -> None:
        self.parts: list[Adversarial] = []
        self.images = stack.enter_context(self._open(path, shape))

    @contextmanager
    def _open(self, path: Path, shape: Sequence[int]) -> Iterator[IO[bytes]]:
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            with archive.open("images.npy", "w", force_zip64=True) as file:
                npy.write_array_header_1_0(file, header)
                yield file
            for name in ("labels", "numbers"):
                with archive.open(f"{name}.npy", "w") as file:
                    npy.write_array(file, np.concatenate([getattr(x, name) for x in self.parts]))

    def add(self, found: Adversarial) -> None:
        """Write some more images and what belongs to them."""
        self.images.write(np.ascontiguousarray(found.images, "<f4").tobytes())
        self.parts.append(found._replace(images=found.images[:0]))


def saved_text(table: pd.DataFrame) -> str:
    """Return the table for a terminal."""
    header = ["attack", "norm and epsilon", "source", "images", "still wrong in 8 bits"]
    rows = [
        [row.attack, str(Level(row.norm, row.epsilon)), row.source, *map(str, row[-2:])]
        for row in table.itertuples(index=False)
    ]
    return to_text([Table("Saved adversarial examples", header, rows)])
