"""Why is ICN so far from the paper? Runs that differ in a setting or two, on validation images.

    python -m benchmarks.icn runs/icn/* --out reports/paper/icn --known known.json

What is asked, trained and decided is in `reports/paper/icn/protocol.md`, written before. The runs
have to have kept every epoch. No test image is used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from benchmarks.command import Command
from benchmarks.matched_pairs import ATTACKS, STABLE, USUAL, spread
from benchmarks.plain import EPSILON
from benchmarks.time_to_robustness import Known, attacked_file
from winnrobust.data.datasets import ImageSplit, load_dataset
from winnrobust.reporting.runs import RunRecord, load_run
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.files import write_json, write_text
from winnrobust.training.run_folder import RunFolder

VALIDATION = 5_000
"""Validation images that are attacked, the last ones."""
LAST = 3
"""Epochs whose mean stands for a network."""
COLUMNS = {"clean": "no attack"} | {each.name: ATTACKS[each.name] for each in (USUAL, STABLE)}


def errors(model: Path, split: ImageSplit) -> dict[str, float]:
    found = attacked_file(model, split, [USUAL, STABLE], [EPSILON])
    return {"clean": found.clean.error[0]} | dict(found.errors[["attack", "error"]].to_numpy())


def row_of(path: Path, record: RunRecord, split: ImageSplit, known: Known) -> dict[str, Any]:
    """What a run was, what its last epochs err on, and what is left of its negatives' loss."""
    last = list(record.metrics)[-LAST:]
    found = [known.of(RunFolder(path).epoch_model(row["epoch"]), split) for row in last]
    row: dict[str, Any] = {
        "method": record.setting("method"),
        "initialization": record.setting("initialization"),
        "weight": record.setting("negatives_weight") if "negatives_loss" in last[-1] else "",
        "epochs": last[-1]["epoch"],
    }
    for name, title in COLUMNS.items():
        row[f"{title}, %"] = spread([100 * one[name] for one in found])
    left = last[-1].get("negatives_loss")
    return row | {"loss of the negatives at the end": "" if left is None else f"{left:.4f}"}


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--known", type=click.Path(dir_okay=False, path_type=Path),
    help="File (.json) of measured errors to read and add to.",
)  # fmt: skip
def main(runs: Sequence[Path], out: Path, known: Path | None) -> None:
    """Attack the last epochs of RUNS on validation images; write report.md and manifest.json."""
    keep_freed_memory()
    torch.set_num_threads(1)
    valid = load_dataset("mnist").valid
    split = ImageSplit(valid.images[-VALIDATION:], valid.labels[-VALIDATION:])
    measured = Known(known, errors)
    records = [load_run(path) for path in runs]
    rows = [row_of(*each, split, measured) for each in zip(runs, records, strict=True)]
    table = pd.DataFrame(rows)
    about = provenance.describe()
    parts = [
        "# ICN: what is behind its distance to the paper",
        f"Made by `{about['command']}` at commit {about['commit']}, {about['time']}, by [the"
        f" protocol](protocol.md). Errors on the last {VALIDATION:,} validation images of MNIST, no"
        f" test image, epsilon {EPSILON}; mean and range of the last {LAST} epochs, one seed.",
        table.to_markdown(index=False, disable_numparse=True),
    ]
    write_text(out / "report.md", "\n\n".join(parts) + "\n")
    made = [{"config": record.config, "manifest": record.manifest} for record in records]
    write_json(out / "manifest.json", about | {"table": table.to_dict("records"), "runs": made})


if __name__ == "__main__":
    main()
