"""A trial: a few runs that differ in a setting or two, on validation images.

    python -m benchmarks.trial runs/icn/* --out reports/paper/icn --known known.json
    python -m benchmarks.trial runs/longer/* --out reports/paper/longer --at 20 --at 31 --at 60

What is asked, trained and decided is in `protocol.md` of the folder that is written to, written
before. The runs have to have kept every epoch. No test image is used.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from benchmarks.command import Command, load_classifier
from benchmarks.matched_pairs import ATTACKS, STABLE, USUAL, differing, spread
from benchmarks.plain import EPSILON
from benchmarks.time_to_robustness import Known, attacked_file
from winnrobust.data.datasets import ImageSplit, load_dataset
from winnrobust.reporting.runs import RunRecord
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import write_json, write_text
from winnrobust.training.run_folder import RunFolder

VALIDATION = 5_000
"""Validation images that are attacked, the last ones."""
LAST = 3
"""Epochs whose mean stands for a network."""
SHOWN = ("method", "epochs", "keep_every")
"""Settings that are in the table anyway, or do not matter."""
COLUMNS = {"clean": "no attack"} | {each.name: ATTACKS[each.name] for each in (USUAL, STABLE)}
LOGGED = {"negatives_loss": "loss of the negatives", "synthesis_steps": "steps of an ascent"}
"""What the log has of an epoch -> column; of the last one, where a run has it."""


def errors(model: Path, split: ImageSplit) -> dict[str, float]:
    found = attacked_file(model, split, [USUAL, STABLE], [EPSILON])
    return {"clean": found.clean.error[0]} | dict(found.errors[["attack", "error"]].to_numpy())


def rows_of(
    path: Path, record: RunRecord, at: Sequence[int], split: ImageSplit, known: Known
) -> Iterator[dict[str, Any]]:
    """Of each of the epochs `at` (none: of the last one) what it and the two before err on."""
    metrics = list(record.metrics)
    for end in at or [len(metrics)]:
        if not LAST <= end <= len(metrics):
            continue
        window: Sequence[Mapping[str, Any]] = metrics[end - LAST : end]
        models = [RunFolder(path).epoch_model(row["epoch"]) for row in window]
        missing = [model for model in models if not model.exists()]
        if missing:
            raise InputError(f"{missing[0]} is missing; train with --keep-every 1")
        found = [known.of(model, split) for model in models]
        shares = {key: [100 * one[key] for one in found] for key in COLUMNS}
        last = window[-1]
        logged = {title: f"{last[key]:.4g}" for key, title in LOGGED.items() if key in last}
        shown = {f"{title}, %": spread(shares[key]) for key, title in COLUMNS.items()}
        yield {"epochs": f"{window[0]['epoch']} to {end}"} | shown | logged


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--at",
    multiple=True,
    type=click.IntRange(min=LAST),
    help="An epoch to attack, with the two before; repeat it. [default: the last]",
)
@click.option(
    "--known", type=click.Path(dir_okay=False, path_type=Path),
    help="File (.json) of measured errors to read and add to.",
)  # fmt: skip
def main(runs: Sequence[Path], out: Path, at: Sequence[int], known: Path | None) -> None:
    """Attack the last epochs of RUNS on validation images; write report.md and manifest.json."""
    keep_freed_memory()
    torch.set_num_threads(1)
    records = [load_classifier(path) for path in runs]
    valid = load_dataset("mnist").valid
    split = ImageSplit(valid.images[-VALIDATION:], valid.labels[-VALIDATION:])
    measured = Known(known, errors)
    names = ["method", *(name for name in differing(records) if name not in SHOWN)]
    rows = [
        {name: record.setting(name) for name in names} | row
        for path, record in zip(runs, records, strict=True)
        for row in rows_of(path, record, at, split, measured)
    ]
    if not rows:
        raise InputError(f"no run has the epochs that were asked for, or at least {LAST} of them")
    table = pd.DataFrame(rows, dtype=object).fillna("")
    about = provenance.describe()
    parts = [
        "# A trial on validation images",
        f"Made by `{about['command']}` at commit {about['commit']}, {about['time']}, by [the"
        f" protocol](protocol.md). Errors on the last {VALIDATION:,} validation images of MNIST, no"
        f" test image, epsilon {EPSILON}; mean and range of {LAST} epochs of one training.",
        table.to_markdown(index=False, disable_numparse=True),
    ]
    write_text(out / "report.md", "\n\n".join(parts) + "\n")
    made = [{"config": record.config, "manifest": record.manifest} for record in records]
    write_json(out / "manifest.json", about | {"table": table.to_dict("records"), "runs": made})


if __name__ == "__main__":
    main()
