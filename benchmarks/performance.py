"""The performance report: training, time to robustness, what each change does, and the harness.

    python -m benchmarks.performance --run runs/paper-0 --run runs/fast-0 \\
        --ablation "no averaging" runs/fast-0-plain --model runs/fast-0/model.safetensors \\
        --out reports/performance

Everything that is timed is timed here, in one go, so that its ratios are of one machine in one
state: let it be idle. What training took is read from the runs.
"""

from collections.abc import Sequence
from pathlib import Path

import click
import pandas as pd

from benchmarks import harness, time_to_robustness, training
from benchmarks.command import Command
from winnrobust.data.datasets import load_dataset
from winnrobust.reporting.figures import save_figure
from winnrobust.reporting.runs import load_run
from winnrobust.reporting.table import to_csv
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.files import write_json, write_text
from winnrobust.training.config import flat

CURVES = "time-to-robustness.png"


def text_of(
    robustness: pd.DataFrame,
    ablation: pd.DataFrame | None,
    steps: pd.DataFrame,
    peak: float,
    attacks: pd.DataFrame,
    images: int,
) -> str:
    about = provenance.describe()
    machine, versions = about["machine"], about["versions"]
    parts = [
        "# Performance",
        f"Made by `{about['command']}` at commit {about['commit']}, {about['time']}, on"
        f" {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads;"
        f" torch {versions['torch']}. Every timing of a table is from this one run.",
        "## Time to robustness",
        "Errors of the model with the lowest validation error on all test images: mean over seeds,"
        " and range. Minutes are processor time of a training process of one thread. Stopped: the"
        f" same runs, had they ended after {time_to_robustness.SHARE:.0%} of the first's time.",
        robustness.to_markdown(index=False),
        f"![Error over training time]({CURVES})",
        f"A point is an epoch, attacked on {images} validation images; a line is a seed.",
    ]
    if ablation is not None:
        parts += [
            "## What each change gives and costs",
            "Each row changes one thing in the first; same data, epochs and seeds.",
            ablation.to_markdown(index=False),
        ]
    parts += [
        "## Training",
        steps.to_markdown(index=False),
        f"Product of two {training.MATRIX} x {training.MATRIX} float32 matrices:"
        f" {peak / 1e9:.0f} GFLOP/s. A step is loss, gradient, Adam and, but for the reference, the"
        " average; the reference's ascent looks at the critic anew after each step, as the authors'"
        " code does. An epoch is 45,000 images, put together from its parts. Memory is that of a"
        " process at its first epoch.",
        "## Harness",
        "Seconds to attack and to judge; contestants take turns, medians count.",
        attacks.to_markdown(index=False),
    ]
    return "\n\n".join(parts) + "\n"


@click.command(cls=Command)
@click.option(
    "--run", "runs", multiple=True, required=True, type=click.Path(exists=True, path_type=Path),
    help="A training run with kept epochs; those of the paper recipe first. Repeat it.",
)  # fmt: skip
@click.option(
    "--ablation", "ablations", multiple=True, type=(str, click.Path(exists=True, path_type=Path)),
    help="A name and a run that shows what one change does; the unchanged one first. Repeat it.",
)  # fmt: skip
@click.option(
    "--model", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the harness attacks.",
)  # fmt: skip
@click.option("--images", default=2_000, show_default=True, help="Validation images for curves.")
@click.option(
    "--rounds",
    default=5,
    type=click.IntRange(1),
    show_default=True,
    help="Turns of every contestant.",
)
@click.option(
    "--known", type=click.Path(dir_okay=False, path_type=Path),
    help="File (.json) of errors measured before, as time_to_robustness.py keeps them.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
def main(
    runs: Sequence[Path],
    ablations: Sequence[tuple[str, Path]],
    model: Path,
    images: int,
    rounds: int,
    known: Path | None,
    out: Path,
) -> None:
    """Measure everything and write report.md, its figure, curves.csv and provenance."""
    keep_freed_memory()
    dataset = flat(load_run(runs[0]).config)["dataset"]
    attacks = harness.compare(model, dataset, 10_000, 2_000, rounds)
    steps, peak = training.compare("vanilla", rounds)
    errors = time_to_robustness.Known(known, time_to_robustness.errors)
    lines = time_to_robustness.measure_in_time(
        runs, [time_to_robustness.label_of(path) for path in runs], images, errors
    )
    changed = (
        time_to_robustness.measure(
            [path for _, path in ablations], [name for name, _ in ablations], images, errors
        )
        if ablations
        else []
    )
    curves = [
        {"label": line.label, "seed": line.seed} | row for line in lines for row in line.curve
    ]
    write_text(out / "curves.csv", to_csv(pd.DataFrame(curves)))
    save_figure(time_to_robustness.figure_of(lines), out / CURVES)
    table = time_to_robustness.table_of
    text = text_of(table(lines), table(changed) if changed else None, steps, peak, attacks, images)
    write_text(out / "report.md", text)
    records = [load_run(path) for path in (*runs, *(path for _, path in ablations))]
    write_json(
        out / "manifest.json",
        provenance.describe()
        | {
            "against": harness.versions(),
            "test_sha256": load_dataset(dataset).test.sha256(),
            "chosen": [
                {"label": line.label, "seed": line.seed} | line.chosen for line in lines + changed
            ],
            "runs": [{"config": record.config, "manifest": record.manifest} for record in records],
        },
    )
    click.echo(text)


if __name__ == "__main__":
    main()
