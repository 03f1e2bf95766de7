"""`winnrobust synthesize`: a trained network in, pictures or arrays of its samples out."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from winnrobust.generation.sampling import NO_NOISE, Noise, Sampler, Samples, draw, ranges_of
from winnrobust.models.checkpoint import load_cascades
from winnrobust.reporting import load_run
from winnrobust.reporting.table import DASH, Table, percent, to_csv, to_text
from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import check_free_file, replacing, write_text
from winnrobust.runtime.progress import log, show_progress
from winnrobust.training.config import make_config
from winnrobust.training.manifest import reopen_run
from winnrobust.training.methods import method_of
from winnrobust.training.run_folder import RunFolder, thresholds_of
from winnrobust.workflows.shared import model_file, write_rows

PICTURE, ARRAYS = ".png", ".npz"
LARGEST_ROW = 100
"""Samples side by side in a picture; of a class with more, they go on below."""


def load_sampler(path: Path, given: Mapping[str, Any] | None = None) -> Sampler:
    """Read what samples are drawn from.

    Args:
        path: a run folder, `zoo:NAME`, or a model file; one that lies in its run's folder is read
            with it, another with the default settings of its method.
        given: settings of the synthesis that the user wants otherwise.

    Raises:
        InputError: it cannot be read.
    """
    file = model_file(path)
    networks, info = load_cascades(file)
    # The run that the file belongs to: its own folder, or that above `epochs`.
    around = [RunFolder(folder) for folder in (file.parent, file.parent.parent)]
    run = next((run for run in around if run.config.is_file() and run.manifest.is_file()), None)
    settings = {"method": info.method, "seed": info.seed, "unsupervised": info.num_classes == 1}
    thresholds = info.thresholds
    if run is not None:
        rows = [row for row in load_run(run.path).metrics if row["epoch"] == info.epoch]
        settings = reopen_run(run.path)[1].flat()
        thresholds = thresholds or (thresholds_of(rows) if rows else ())  # of an older version
    config = make_config({**settings, **(given or {})}, str(run.path if run else file))
    return Sampler(networks, info, config, thresholds)


@dataclass(frozen=True)
class SampleSettings:
    """How samples are drawn; `label` is the class wanted, None for all in turn.

    Settings of the synthesis that are `given`, by the names of their options, and a range of
    thresholds take the place of the run's.
    """

    label: int | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    thresholds: tuple[float, float] | None = None
    noise: Noise = NO_NOISE
    seed: int = 0
    batch_size: int | None = None


def synthesize(
    path: Path,
    out: Sequence[Path],
    count: int,
    device: torch.device,
    settings: SampleSettings = SampleSettings(),
) -> Samples:
    """Draw samples and write them.

    Args:
        path: as for `load_sampler`.
        out: files that do not exist yet: .png for a picture with a row for each class and a .csv
            beside it, .npz for arrays.

    Raises:
        InputError: the model or the settings cannot be used, or a file exists.
    """
    _check_files(out)
    sampler = _with_thresholds(load_sampler(path, settings.given), settings.thresholds)
    known = sampler.info.num_classes
    if settings.label is not None and not 0 <= settings.label < known:
        raise InputError(
            f"there is no class {settings.label}: {path} knows the classes 0 to {known - 1}"
            if known > 1
            else f"{path} was trained without classes; leave out --class"
        )
    numbers = torch.arange(count)
    classes = (
        numbers % known if settings.label is None else torch.full_like(numbers, settings.label)
    )
    log(f"drawing {count} samples from {path} ({device})")
    with show_progress("synthesize", "step") as progress:
        samples = draw(
            sampler,
            classes,
            seed=settings.seed,
            device=device,
            batch_size=settings.batch_size,
            noise=settings.noise,
            progress=progress,
        )
    if distributed.is_main_process():
        metadata = provenance.describe(device) | {
            "model": str(path),
            "header": asdict(sampler.info),
            "config": sampler.config.model_dump(),
            "thresholds": sampler.thresholds,
            "noise": asdict(settings.noise),
            "seed": settings.seed,
        }
        for file in out:
            if file.suffix.lower() == PICTURE:
                write_picture(file, samples)
                write_text(file.with_suffix(".csv"), to_csv(table_of(samples)))
            else:
                arrays = {name: value.numpy() for name, value in vars(samples).items()}
                arrays["labels"] = arrays.pop("classes")
                with replacing(file) as temporary:
                    np.savez_compressed(temporary, provenance=json.dumps(metadata), **arrays)
    return samples


def _with_thresholds(sampler: Sampler, thresholds: tuple[float, float] | None) -> Sampler:
    """A sampler with the user's thresholds, if there are some, that can be drawn from."""
    if thresholds is not None:
        method = sampler.config.method
        if not method_of(sampler.config).has_thresholds:
            raise InputError(
                f"the ascents of method {method} do not stop at a threshold; leave out --threshold"
            )
        sampler = replace(sampler, thresholds=[thresholds] * sampler.info.cascades)
    ranges_of(sampler)  # or it says why there is nothing to draw
    return sampler


def _check_files(out: Sequence[Path]) -> None:
    """Check that samples can be written to these files, before they are drawn."""
    for number, file in enumerate(out):
        if file.suffix.lower() not in (PICTURE, ARRAYS):
            raise InputError(f"{file} must end in {PICTURE} or {ARRAYS}")
        if file in out[:number]:
            raise InputError(f"--out {file} is named twice")
        if distributed.is_main_process():
            check_free_file(file)
            if file.suffix.lower() == PICTURE:
                check_free_file(file.with_suffix(".csv"))


def write_picture(path: Path, samples: Samples) -> None:
    """Write all samples as one picture: each class begins a row; a single one makes a square."""
    order = samples.classes.argsort(stable=True)
    _, counts = samples.classes.unique(return_counts=True)
    wide = math.ceil(math.sqrt(len(order)))
    if len(counts) > 1:
        wide = min(int(counts.max()), LARGEST_ROW)
    write_rows(path, samples.images[order].split(counts.tolist()), wide)


def table_of(samples: Samples) -> pd.DataFrame:
    """One row per sample, in the order of the picture."""
    order = samples.classes.argsort(stable=True)
    names = {"classes": "class", "thresholds": "threshold"}
    columns = {names.get(name, name): x[order].numpy() for name, x in vars(samples).items()}
    del columns["images"]
    return pd.DataFrame({"sample": order.numpy(), **columns})


def summary(samples: Samples) -> str:
    """The samples of every class in a line, for a terminal."""
    rows = [
        [
            str(label),
            str(len(own)),
            f"{own.critic.mean():.3f} ({own.critic.min():.3f} to {own.critic.max():.3f})",
            DASH if own.threshold.isna().any() else f"{own.threshold.mean():.3f}",
            f"{own.steps.mean():.0f}",
            percent(own.reached.mean(), len(own)),
            percent((own.seen == label).mean(), len(own)),
        ]
        for label, own in table_of(samples).groupby("class")
    ]
    header = ["class", "samples", "critic", "threshold", "steps", "stopped early %", "seen as it %"]
    return to_text([Table("Samples", header, rows)])
