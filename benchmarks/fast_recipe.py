"""Choose the fast recipe on validation images, step by step from the paper's settings.

    python -m benchmarks.fast_recipe choose runs/fast-recipe
    python -m benchmarks.fast_recipe report runs/fast-recipe reports/performance/fast-recipe
    python -m benchmarks.fast_recipe test runs/fast-0 runs/fast-1 runs/fast-2 --known known.json \
        --out reports/performance/fast-recipe

What is tried and what decides is in `reports/performance/fast-recipe/protocol.md`, written before.
The same command goes on where it was interrupted. `test` alone uses test images.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import pandas as pd
import torch

from benchmarks.command import Command
from benchmarks.matched_pairs import verdict
from benchmarks.time_to_robustness import (
    TITLES,
    Known,
    Timed,
    errors,
    figure_of,
    label_of,
    measure,
    table_of,
)
from winnrobust.data.datasets import ImageSplit, load_dataset
from winnrobust.reporting.figures import save_figure
from winnrobust.reporting.runs import load_run
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.files import write_json, write_text
from winnrobust.training.config import make_config
from winnrobust.training.recipes import RECIPES
from winnrobust.training.run_folder import RunFolder
from winnrobust.workflows.training import complete_run, resume_run

CPU = torch.device("cpu")
Changes = dict[str, Any]
SYNTHESIS = {
    "synthesis_every": 100, "negatives_per_class": 20, "synthesis_pool_share": 0.8,
    "synthesis_per_image": True, "synthesis_lr": 0.05,
}  # fmt: skip
STEPS: dict[str, dict[str, Changes]] = {
    "synthesis": {
        "15 steps": SYNTHESIS | {"synthesis_max_steps": 15},
        "60 steps": SYNTHESIS | {"synthesis_max_steps": 60},
    },
    "batch": {"50": {"batch_size": 50}},
    "averaging": {"0.999": {"average_decay": 0.999}},
    "alpha": {"0.03": {"alpha": 0.03}, "0.1": {"alpha": 0.1}},
    "penalty": {"half": {"gp_share": 0.5}},
    "fakes": {"40 %": {"negatives_share": 0.4}},
    "pool": {"newest half": {"pool_newest": 0.5}},
    "learning rate": {"0.003": {"lr": 0.003}, "0.01": {"lr": 0.01}},
}
"""The protocol's candidates, by step and name; the last step is one of its deviations."""
IMAGES, SECONDS, VALIDATION = 10_000, 200.0, 5_000
WORSE = 0.003
"""By how much a candidate's clean error may be above that of what it would replace."""
GOALS = {"clean": 0.67, "fgsm": 12.89, "pgd": 18.24}
"""Errors of the paper's recipe after 31 epochs, in percent; the seeds' mean is to be no larger."""
CURVE_IMAGES = 1_000
"""Validation images that every epoch's error is drawn from."""
COLUMNS = {"clean": "clean, %", "fgsm": "FGSM, %", "pgd": "PGD-20, %"}


def folder_of(work: Path, candidate: str) -> Path:
    return work / candidate.strip().replace(" ", "-").replace("%", "percent")


def train_for(path: Path, seconds: float, **settings: Any) -> list[dict[str, Any]]:
    """Train a WINN for `seconds` of processor time; the log of the epochs that ended in time."""
    config = make_config({"method": "winn", "dataset": "mnist", "keep_every": 1} | settings)
    if not RunFolder(path).model.exists():
        complete_run(path, config.replace(epochs=1), None, CPU)
    while True:
        rows = list(load_run(path).metrics)
        spent = [row["cpu_seconds"] for row in rows]
        more = int((seconds - sum(spent)) / min(spent))  # at most so many may still end in time
        if more < 1:
            ended = pd.Series(spent).cumsum() <= seconds
            return [row for row, in_time in zip(rows, ended, strict=True) if in_time]
        resume_run(path, {"epochs": len(rows) + more}, None, CPU)


def measured(path: Path, rows: list[dict[str, Any]], images: ImageSplit, known: Known) -> Changes:
    """What the last of these epochs makes of images, and how its training went."""
    last = rows[-1]["epoch"]
    reached = sum(row.get("synthesis_reached", 0) for row in rows) / len(rows)
    seconds = sum(row["cpu_seconds"] for row in rows)
    return {"epochs": last, "seconds": seconds, "ascents that reached": reached} | known.of(
        RunFolder(path).epoch_model(last), images
    )


def choose(work: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Follow the protocol's search; the settings that came out, and a row per candidate."""
    known = Known(work / "validation.json", errors)
    valid = load_dataset("mnist").valid
    images = ImageSplit(valid.images[-VALIDATION:], valid.labels[-VALIDATION:])

    def of(name: str, settings: Changes) -> Changes:
        path = folder_of(work, name)
        rows = train_for(path, SECONDS, limit_train=IMAGES, **settings)
        return measured(path, rows, images, known)

    chosen: dict[str, Any] = {}
    best = of("paper", chosen)
    table = [{"step": "", "candidate": "the paper's", "kept": "yes"} | best]
    for step, candidates in STEPS.items():
        found = {name: of(f"{step} {name}", chosen | change) for name, change in candidates.items()}
        allowed = [n for n, row in found.items() if row["clean"] <= best["clean"] + WORSE]
        winner = min(allowed, key=lambda name: found[name]["pgd"], default=None)
        if winner is not None and found[winner]["pgd"] >= best["pgd"]:
            winner = None
        for name, row in found.items():
            kept = "yes" if name == winner else "no"
            table.append({"step": step, "candidate": name, "kept": kept} | row)
        if winner is not None:
            chosen, best = chosen | candidates[winner], found[winner]
        write_json(work / "chosen.json", {"settings": chosen, "after": step})
        click.echo(pd.DataFrame(table).to_markdown(index=False))
    return chosen, pd.DataFrame(table)


def percent(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.rename(columns=COLUMNS)
    for column in COLUMNS.values():
        shown[column] = (100 * shown[column]).map("{:.2f}".format)
    shown["seconds"] = shown["seconds"].map("{:.0f}".format)
    shown["ascents that reached"] = shown["ascents that reached"].map("{:.1%}".format)
    return shown


def ascents_by_epoch(work: Path, names: list[str]) -> pd.DataFrame:
    """Which share of the ascents stopped at their threshold, by epoch: a column per candidate."""
    columns = {
        name: {
            row["epoch"]: f"{row['synthesis_reached']:.1%}"
            for row in load_run(folder_of(work, name)).metrics
        }
        for name in names
    }
    return pd.DataFrame(columns).fillna("").rename_axis("epoch").reset_index()


@click.group()
def main() -> None:
    """The fast recipe, chosen on validation images."""
    keep_freed_memory()


@main.command("choose", cls=Command)
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
def choose_command(work: Path) -> None:
    """Follow the protocol's search in the folder WORK."""
    choose(work)


@main.command("report", cls=Command)
@click.argument("work", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def report_command(work: Path, out: Path) -> None:
    """Write what the search in WORK came to, and its provenance, to OUT."""
    chosen, search = choose(work)
    recipe = RECIPES["fast"]
    unlike = {key: recipe.get(key) for key in chosen | recipe if chosen.get(key) != recipe.get(key)}
    kept = [f"{row.step} {row.candidate}" for row in search.itertuples() if row.kept == "yes"]
    about = provenance.describe()
    parts = [
        "# The fast recipe, chosen on validation images",
        f"Made by `{about['command']}` at commit {about['commit']}, {about['time']}. What was"
        " tried and what decided is in [protocol.md](protocol.md), written before.",
        percent(search).to_markdown(index=False, disable_numparse=True),
        f"Errors of the last {VALIDATION:,} validation images, no test image, after the epochs that"
        f" ended within {SECONDS:g} seconds of processor time on {IMAGES:,} training images. Kept"
        " were "
        + ", ".join(f"`{name} = {value}`" for name, value in chosen.items())
        + ". These are the settings of `--recipe fast`"
        + "".join(f", but for `{key}`, which is {value} there" for key, value in unlike.items())
        + ".",
        "## Which share of the ascents stopped at their threshold",
        ascents_by_epoch(work, ["paper", kept[-1]]).to_markdown(index=False, disable_numparse=True),
        "Where nearly none does, the early stopping of the paper's Algorithm 1 has no effect: every"
        " ascent takes as many steps as it may.",
    ]
    write_text(out / "report.md", "\n\n".join(parts) + "\n")
    write_json(
        out / "manifest.json", about | {"chosen": chosen, "search": search.to_dict("records")}
    )


def goal_table(runs: Sequence[Timed]) -> pd.DataFrame:
    """A row per error: the mean over the seeds beside what it was to come to."""
    rows = []
    for name, goal in GOALS.items():
        ours = 100 * fmean(run.chosen[name] for run in runs)
        row = {"error": TITLES[name], "goal, %": f"{goal:.2f}", "ours, %": f"{ours:.2f}"}
        rows.append(row | {"verdict": verdict(ours, 0, goal)})
    return pd.DataFrame(rows)


def seed_table(runs: Sequence[Timed]) -> pd.DataFrame:
    """A row per run: what it took, what the validation error chose, and its errors."""
    rows = []
    for run in runs:
        took = {"epochs": run.chosen["epochs"], "minutes": f"{run.chosen['seconds'] / 60:.1f}"}
        found = {f"{TITLES[name]}, %": f"{100 * run.chosen[name]:.2f}" for name in GOALS}
        rows.append({"seed": run.seed} | took | {"chosen": run.chosen["epoch"]} | found)
    return pd.DataFrame(rows)


@main.command("test", cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--known", type=click.Path(dir_okay=False, path_type=Path),
    help="File (.json) of measured errors to read and add to.",
)  # fmt: skip
def test_command(runs: Sequence[Path], out: Path, known: Path | None) -> None:
    """Attack RUNS, which kept every epoch, once on all test images; write OUT/test.md."""
    lines = measure(runs, [label_of(path) for path in runs], CURVE_IMAGES, Known(known, errors))
    about = provenance.describe()
    tables = [table_of(lines), goal_table(lines), seed_table(lines)]
    shown = [table.to_markdown(index=False, disable_numparse=True) for table in tables]
    parts = [
        "# The fast recipe, tested",
        f"Made by `{about['command']}` at commit {about['commit']}, {about['time']}, by [the"
        " protocol](protocol.md). Errors of the epoch with the least validation error, on all test"
        " images of MNIST; mean over seeds, and range. Minutes are processor time of a training"
        " process of one thread.",
        shown[0],
        "What the paper's recipe came to after 31 epochs, and what this one did:",
        shown[1],
        shown[2],
        "![Errors over training time](test.png)",
        f"Every epoch, on {CURVE_IMAGES:,} validation images ([numbers](test.csv)).",
    ]
    write_text(out / "test.md", "\n\n".join(parts) + "\n")
    save_figure(figure_of(lines), out / "test.png")
    curves = [{"seed": run.seed} | point for run in lines for point in run.curve]
    write_text(out / "test.csv", pd.DataFrame(curves).to_csv(index=False, float_format="%.6g"))
    rows = [{"seed": run.seed} | run.chosen for run in lines]
    records = [load_run(path) for path in runs]
    made = [{"config": record.config, "manifest": record.manifest} for record in records]
    write_json(out / "test.json", about | {"errors": rows, "runs": made})


if __name__ == "__main__":
    main()
