"""Error over training time: how long does a recipe take to a given robustness?

    winnrobust train --recipe paper --dataset mnist --keep-every 1 --seed 0 --out runs/paper-0
    winnrobust train --recipe fast --dataset mnist --keep-every 1 --seed 0 --out runs/fast-0
    python benchmarks/time_to_robustness.py runs/paper-0 runs/fast-0 --figure curves.png

Attacks the kept epochs of every run on validation images for the curves, and the model that the
validation error chose on the test images, once, for the table. Time is the processor time of the
training process, validation included: with one thread it is what a wall clock shows on a machine
that does nothing else, and it does not suffer where runs share one. With `--known` an interrupted
measurement goes on, and a longer one repeats nothing.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.command import Command
from benchmarks.matched_pairs import spread
from winnrobust.attacks import Attack
from winnrobust.data.datasets import Dataset, ImageSplit, load_dataset
from winnrobust.evaluation import EvaluationSettings, Summary
from winnrobust.evaluation import run as evaluate
from winnrobust.models.checkpoint import load_model
from winnrobust.reporting.figures import COLORS, save_figure
from winnrobust.reporting.runs import load_run
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import file_sha256, write_json
from winnrobust.runtime.readers import read_json
from winnrobust.training.config import flat
from winnrobust.training.run_folder import RunFolder

EPSILON = 0.125
SHARE = 0.25
"""Of the first label's time: what a recipe is asked to need for the same errors."""
MEASURES = ("clean", "fgsm", "pgd")
TITLES = {"clean": "no attack", "fgsm": f"FGSM at {EPSILON}", "pgd": f"PGD-20 at {EPSILON}"}


@dataclass(frozen=True)
class Timed:
    """A training run with its time line.

    Attributes:
        label: recipe, or what the run changes in it.
        curve: a row per kept epoch: epoch, seconds, the validation error that chooses, and the
            errors on the validation images that are attacked.
        chosen: the epoch that the validation error chose, its time, the errors on test images, and
            how many epochs it was chosen from, which took how many seconds.
    """

    label: str
    seed: int
    curve: list[dict[str, float]]
    chosen: dict[str, Any]


class Known:
    """Errors measured before: of a model and images with these hashes.

    Args:
        file: a JSON file that keeps them; None to forget them.
        measure: measures those of the model in a file on images; a file is for one such function.
    """

    def __init__(
        self, file: Path | None, measure: Callable[[Path, ImageSplit], dict[str, float]]
    ) -> None:
        self.file = file
        self.measure = measure
        self.errors: dict[str, dict[str, float]] = (
            read_json(file) if file is not None and file.exists() else {}
        )

    def of(self, model: Path, split: ImageSplit) -> dict[str, float]:
        """Return the errors of a model on images; measure what is not known yet."""
        key = f"{file_sha256(model)} on {split.sha256()}"
        if key not in self.errors:
            self.errors[key] = self.measure(model, split)
            if self.file is not None:
                write_json(self.file, self.errors)
        return self.errors[key]


def attacked_file(
    model: Path, split: ImageSplit, attacks: Sequence[str | Attack], epsilons: Sequence[float]
) -> Summary:
    """Attack the model in a file on images, at L-infinity bounds."""
    network, _ = load_model(model)
    settings = EvaluationSettings(attacks=attacks, epsilons={"linf": epsilons}, num_examples=0)
    with TemporaryDirectory() as folder:
        found = evaluate(
            {"model": network}, split.images, split.labels, settings, folder=Path(folder)
        )
    return found.summary


def errors(model: Path, split: ImageSplit) -> dict[str, float]:
    found = attacked_file(model, split, ["fgsm", "pgd"], [EPSILON])
    attacked = found.errors.set_index("attack").error
    return {"clean": found.clean.error[0], "fgsm": attacked["fgsm"], "pgd": attacked["pgd"]}


def timed(path: Path, label: str, dataset: Dataset, images: int, known: Known) -> Timed:
    folder, record = RunFolder(path), load_run(path)
    curve, seconds, at = [], 0.0, {}
    for row in record.metrics:
        model = folder.epoch_model(row["epoch"])
        if "cpu_seconds" not in row or not model.exists():
            raise InputError(
                f"{path} has not every epoch's weights and processor time; train it by this version"
                " with --keep-every 1"
            )
        seconds += row["cpu_seconds"]
        at[row["epoch"]] = seconds
        found = known.of(model, dataset.valid.first(images))
        at_epoch = {"epoch": row["epoch"], "seconds": seconds}
        curve.append(at_epoch | {"valid_error": row["valid_error"]} | found)
    _, info = load_model(folder.model)
    chosen = {"epoch": info.epoch, "chosen at": at[info.epoch]}
    chosen |= {"epochs": len(record.metrics), "seconds": seconds}
    return Timed(label, info.seed, curve, chosen | known.of(folder.model, dataset.test))


def stopped(path: Path, run: Timed, dataset: Dataset, limit: float, known: Known) -> Timed | None:
    """What a run would have come to, had it been stopped after `limit` seconds; None where it had
    not ended an epoch by then."""
    kept = [row for row in run.curve if row["seconds"] <= limit]
    if not kept:
        return None
    best = min(reversed(kept), key=lambda row: row["valid_error"])  # of equal ones the last
    chosen = {"epoch": best["epoch"], "chosen at": best["seconds"]}
    chosen |= {"epochs": kept[-1]["epoch"], "seconds": kept[-1]["seconds"]}
    found = known.of(RunFolder(path).epoch_model(int(best["epoch"])), dataset.test)
    return Timed(f"{run.label}, stopped", run.seed, [], chosen | found)


def label_of(path: Path) -> str:
    return str(load_run(path).setting("recipe") or "paper")


def table_of(runs: list[Timed]) -> pd.DataFrame:
    """A row per label: what its runs came to, mean and range over seeds, in percent."""
    rows = []
    for label in dict.fromkeys(run.label for run in runs):
        of_label = [run for run in runs if run.label == label]
        row: dict[str, Any] = {
            "recipe": label,
            "seeds": len(of_label),
            "epochs": "/".join(str(run.chosen["epochs"]) for run in of_label),
            "minutes": round(statistics.mean(run.chosen["seconds"] for run in of_label) / 60, 1),
        }
        for measure in MEASURES:
            values = [100 * run.chosen[measure] for run in of_label]
            row[f"{TITLES[measure]}, %"] = spread(values)
        rows.append(row)
    table = pd.DataFrame(rows)
    table.insert(4, "of the first's time", (table.minutes / table.minutes[0]).map("{:.0%}".format))
    return table


def figure_of(runs: list[Timed]) -> Figure:
    """A panel per measure, a line per run, a colour per label."""
    runs = [run for run in runs if run.curve]
    labels = list(dict.fromkeys(run.label for run in runs))
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    for axes, measure in zip(figure.subplots(1, 3), MEASURES, strict=True):
        for run in runs:
            axes.plot(
                [row["seconds"] / 60 for row in run.curve],
                [100 * row[measure] for row in run.curve],
                "o-", markersize=3, color=COLORS[labels.index(run.label) % len(COLORS)],
                label=run.label if run is next(r for r in runs if r.label == run.label) else None,
            )  # fmt: skip
        axes.set_title(TITLES[measure], fontsize=10)
        axes.set_xlabel("training, minutes of one core")
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("{x:g}")
            axis.set_tick_params(which="both", labelsize=7)
        axes.set_ylabel("error on validation images, %")
        axes.grid(color="#dddddd", linewidth=0.6, which="both")
        axes.legend(frameon=False, fontsize=8)
    return figure


def measure(paths: Sequence[Path], labels: Sequence[str], images: int, known: Known) -> list[Timed]:
    """Attack the kept epochs of runs on `images` validation images, and what they chose on all
    test images.

    Args:
        labels: a name for each run; runs of one name differ in their seed.
        known: what need not be measured again.
    """
    datasets = {flat(load_run(path).config)["dataset"] for path in paths}
    if len(datasets) > 1:
        raise InputError(f"runs of {' and '.join(sorted(datasets))} cannot be compared")
    data = load_dataset(datasets.pop())
    pairs = list(zip(paths, labels, strict=True))
    return [timed(path, label, data, images, known) for path, label in tqdm(pairs, desc="runs")]


def measure_in_time(
    paths: Sequence[Path], labels: Sequence[str], images: int, known: Known
) -> list[Timed]:
    """As `measure`, and each run that is not of the first label once more: stopped after `SHARE` of
    the time that the first label's runs took, on average.

    Nothing in a training depends on how many epochs are to come, so that a run that is stopped is
    one that was asked for fewer.
    """
    lines = measure(paths, labels, images, known)
    data = load_dataset(flat(load_run(paths[0]).config)["dataset"])
    limit = SHARE * statistics.mean(
        line.chosen["seconds"] for line in lines if line.label == labels[0]
    )
    others = [
        stopped(path, line, data, limit, known)
        for path, line in zip(paths, lines, strict=True)
        if line.label != labels[0]
    ]
    return lines + [line for line in others if line is not None]


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--images", default=2_000, show_default=True, help="Validation images for curves.")
@click.option("--figure", type=click.Path(path_type=Path), help="File for the curves (.png).")
@click.option(
    "--known", type=click.Path(dir_okay=False, path_type=Path),
    help="File (.json) of measured errors to read and add to.",
)  # fmt: skip
def main(runs: tuple[Path, ...], images: int, figure: Path | None, known: Path | None) -> None:
    """Attack the kept epochs of RUNS; the first is what the others' time is compared with."""
    keep_freed_memory()
    lines = measure_in_time(runs, [label_of(path) for path in runs], images, Known(known, errors))
    click.echo(table_of(lines).to_markdown(index=False))
    if figure is not None:
        save_figure(figure_of(lines), figure)


if __name__ == "__main__":
    main()
