"""The performance report: what a step of training costs, and the harness beside others'.

    python -m benchmarks.performance --run reports/mnist-vanilla/runs/mnist-vanilla-baseline-seed0

Everything is timed here, in one go, so that its ratios are of one machine in one state: let it be
idle. What a recipe comes to in which time is in `reports/performance/fast-recipe`.
"""

from pathlib import Path
from typing import Any

import click
import pandas as pd

from benchmarks import harness, training
from benchmarks.command import Command
from winnrobust.data.datasets import load_dataset
from winnrobust.reporting.runs import load_run
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.files import file_sha256, write_json, write_text
from winnrobust.training.run_folder import RunFolder


def text_of(about: dict[str, Any], steps: pd.DataFrame, peak: float, attacks: pd.DataFrame) -> str:
    machine, versions = about["machine"], about["versions"]
    parts = [
        "# Performance",
        f"Made by `{about['command']}` at commit {about['commit']}, {about['time']}, on"
        f" {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads;"
        f" torch {versions['torch']}. Every timing of a table is from this one run.",
        "What a recipe comes to in which time: [fast-recipe](fast-recipe/test.md), and how the fast"
        " one was [chosen](fast-recipe/report.md).",
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
    "--run", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The training run whose model the harness attacks.",
)  # fmt: skip
@click.option(
    "--rounds",
    default=5,
    type=click.IntRange(1),
    show_default=True,
    help="Turns of every contestant.",
)
@click.option("--out", default="reports/performance", show_default=True,
              type=click.Path(path_type=Path), help="Folder to write to.")  # fmt: skip
def main(run: Path, rounds: int, out: Path) -> None:
    """Measure everything and write report.md and its provenance."""
    keep_freed_memory()
    model, dataset = RunFolder(run).model, load_run(run).setting("dataset")
    attacks = harness.compare(model, dataset, 10_000, 2_000, rounds)
    steps, peak = training.compare("vanilla", rounds)
    about = provenance.describe()
    text = text_of(about, steps, peak, attacks)
    write_text(out / "report.md", text)
    compared = {
        "against": harness.versions(),
        "test_sha256": load_dataset(dataset).test.sha256(),
        "model_sha256": file_sha256(model),
    }
    write_json(out / "manifest.json", about | compared)
    click.echo(text)


if __name__ == "__main__":
    main()
