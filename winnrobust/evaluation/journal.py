"""Judged batches in a folder, one file each, so that an interrupted evaluation goes on."""

import json
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from winnrobust.attacks import GradientStatistics
from winnrobust.evaluation.counts import Effort, Judged
from winnrobust.evaluation.plan import Plan
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import replacing

NAME = re.compile(r"(\d+)-(\d+)\.npz")
"""A batch's file: the number of its first image, and of the first that is not in it any more."""


def finished(folder: Path) -> list[range]:
    """Return the numbers of the images of batches in `folder`, in their order.

    No image is in two of them: where two processes cut the images at other places at the same
    time, some batches are passed over.
    """
    found = sorted(
        (int(match[1]), int(match[2]))
        for match in map(NAME.fullmatch, os.listdir(folder) if folder.exists() else ())
        if match
    )
    batches: list[range] = []
    for start, stop in found:
        if start >= (batches[-1].stop if batches else 0):
            batches.append(range(start, stop))
    return batches


def missing(n: int, size: int, done: Iterable[range]) -> list[range]:
    """Cut what of `n` images is in no batch of `done` into batches of at most `size`.

    Args:
        done: batches that do not overlap, in their order.
    """
    batches, start = [], 0
    for batch in [*done, range(n, n)]:
        batches += [
            range(first, min(first + size, batch.start))
            for first in range(start, batch.start, size)
        ]
        start = batch.stop
    return batches


def write_batch(folder: Path, start: int, judged: Judged, kept: Sequence[Tensor]) -> None:
    """Write a batch that begins at image `start`, all or nothing.

    Args:
        kept: for each case, the first adversarial examples that are kept whole.
    """
    efforts = [
        [attack, source, *effort.gradients, effort.seconds, effort.unfinished]
        for (attack, source), effort in judged.efforts.items()
    ]
    arrays: dict[str, Any] = {
        "clean": judged.clean.numpy(),
        "predictions": judged.predictions.numpy(),
        "kept": torch.stack(list(kept)).numpy(),
        "efforts": np.array(json.dumps(efforts)),
        "measured": np.array(json.dumps(list(judged.distances))),
    }
    if judged.aims is not None:
        arrays["aims"] = judged.aims.numpy()
    if judged.distances:
        arrays["distances"] = torch.stack(list(judged.distances.values())).numpy()
    stop = start + judged.clean.shape[1]
    with replacing(_file(folder, range(start, stop))) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_batch(folder: Path, batch: range, plan: Plan) -> tuple[Judged, list[Tensor]]:
    """Read what `write_batch` wrote.

    Raises:
        InputError: the file is damaged, or not of an evaluation with this plan.
    """
    path = _file(folder, batch)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: torch.from_numpy(arrays[name]) for name in arrays if arrays[name].ndim}
            efforts = json.loads(str(arrays["efforts"]))
            measured = json.loads(str(arrays["measured"]))
        judged = Judged(
            clean=found["clean"],
            predictions=found["predictions"],
            aims=found.get("aims"),
            efforts={
                (attack, source): Effort(GradientStatistics(*numbers), seconds, unfinished)
                for attack, source, *numbers, seconds, unfinished in efforts
            },
            distances={
                (attack, source): distances
                for (attack, source), distances in zip(
                    measured, found.get("distances", ()), strict=True
                )
            },
        )
        models, cases = len(plan.models), len(plan.cases)
        if (
            judged.clean.shape != (models, len(batch))
            or judged.predictions.shape != (cases, models, len(batch))
            or len(found["kept"]) != cases
        ):
            raise ValueError("it is of other models or attacks")
    except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} is damaged ({error}); remove it, and its images are attacked again"
        ) from None
    return judged, list(found["kept"])


def _file(folder: Path, batch: range) -> Path:
    return folder / f"{batch.start:07d}-{batch.stop:07d}.npz"
