"""Beyond the paper: a gradient penalty on margins, with and without introspection.

    python -m benchmarks.beyond runs/beyond/* --out reports/paper/beyond --work results/beyond

What is compared, measured and decided is in `reports/paper/beyond/protocol.md`, written before
these networks were trained. Outcomes are kept in `--work`, so that the same command goes on where
it was interrupted. `--part` measures less; the tables say of how many seeds they are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from benchmarks.command import Command, load_classifier
from benchmarks.matched_pairs import STABLE, USUAL, differing
from benchmarks.plain import EPSILON
from winnrobust.attacks import PGD
from winnrobust.data.datasets import load_dataset
from winnrobust.evaluation import EvaluationSettings, run
from winnrobust.evaluation.diagnosis import diagnose, overall
from winnrobust.evaluation.outcomes import finished, read_outcomes
from winnrobust.models.checkpoint import load_model
from winnrobust.reporting.runs import RunRecord
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import file_sha256, write_json, write_text
from winnrobust.runtime.readers import read_json
from winnrobust.training.run_folder import RunFolder

MAY_DIFFER = ("method", "margin_radius", "seed")
"""Settings in which two networks may differ, besides those that a method does not use."""
FEW, DIAGNOSED = 1000, 256
STRONG = f"autoattack, linf {EPSILON}"
GOAL, CLEAN_GOAL = 12.0, 1.0
KNOWN = ("seed", "epoch", "diagnosis")
"""Columns that are no errors."""
PARTS: dict[str, tuple[int | None, Sequence[Any], dict[str, list[float]]]] = {
    "all": (None, (USUAL, STABLE, PGD), {"linf": [EPSILON]}),
    "linf": (FEW, ("aa-fast",), {"linf": [EPSILON, 2 * EPSILON]}),
    "l2": (FEW, ("aa-fast",), {"l2": [1.5]}),
    "autoattack": (FEW, ("autoattack",), {"linf": [EPSILON]}),
}
"""Name -> how many test images are attacked, by what, and how far."""


def kind_of(record: RunRecord) -> str:
    radius = record.setting("margin_radius")
    return f"{record.setting('method')}{f', margins {radius:g}' if radius else ''}"


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Raise an InputError unless networks differ in nothing but what is compared.

    What only a WINN uses may differ from what a baseline has there.
    """
    for one in records:
        rivals = [each for each in records if each.setting("method") == one.setting("method")]
        differ = [name for name in differing([one, rivals[0]]) if name not in MAY_DIFFER]
        shared = ("epochs", "batch_size", "average_decay", "lr", "limit_train")
        differ += [key for key in shared if one.setting(key) != records[0].setting(key)]
        if differ:
            raise InputError(f"{one.name} differs from the others in {', '.join(set(differ))}")


def measured(path: Path, parts: Sequence[str], work: Path) -> dict[str, float]:
    """The errors of a network's chosen epoch on test images, in percent, and its diagnosis.

    Args:
        parts: what to measure; what was measured before comes, too.
    """
    test = load_dataset("mnist").test
    network, _ = load_model(RunFolder(path).model)
    folder = work / file_sha256(RunFolder(path).model)[:12]
    found: dict[str, Any] = {}
    for part in (*PARTS, "diagnosis"):
        if part == "diagnosis":
            file = folder / "diagnosis.json"
            if part not in parts and not file.exists():
                continue
            if not file.exists():
                few = test.first(DIAGNOSED)
                table = diagnose({"net": network}, few.images / 255, few.labels, epsilon=EPSILON)
                write_json(file, {"overall": overall(table)["net"]})
            found["diagnosis"] = read_json(file)["overall"]
            continue
        n, attacks, epsilons = PARTS[part]
        images = test if n is None else test.first(n)
        if part not in parts and sum(map(len, finished(folder / part))) < len(images):
            continue
        settings = EvaluationSettings(attacks=attacks, epsilons=epsilons, num_examples=0)
        summary = run(
            {"net": network}, images.images, images.labels, settings, folder=folder / part
        ).summary
        if n is None:
            found["clean"] = 100 * float(summary.clean.error[0])
        for row in summary.errors.itertuples():
            found[f"{row.attack}, {row.norm} {row.epsilon:g}"] = 100 * float(row.error)
    return found


def mean_table(figures: pd.DataFrame) -> pd.DataFrame:
    """A row per kind of network: the mean of every figure over its seeds, and their range."""
    rows = []
    for kind, part in figures.groupby("network", sort=False):
        row: dict[str, Any] = {"network": kind, "seeds": len(part)}
        for name in figures.columns.drop(
            ["network", "seed", "epoch", "diagnosis"], errors="ignore"
        ):
            values = part[name].dropna()
            row[name] = ""
            if len(values):
                row[name] = f"{values.mean():.2f}"
            if len(values) > 1:
                row[name] += f" ({values.min():.2f} to {values.max():.2f})"
        rows.append(row)
    return pd.DataFrame(rows)


def goal_text(figures: pd.DataFrame) -> str:
    """Whether a network with introspection came to the goal, as far as it was measured."""
    mine = figures[figures.network.str.startswith("winn, margins")]
    if not {STRONG, "clean"} <= set(mine) or mine[STRONG].dropna().empty:
        return f"The goal, at most {GOAL:g} % under AutoAttack, was not measured yet."
    known = mine.dropna(subset=[STRONG])
    strong, clean = known[STRONG].mean(), known["clean"].mean()
    verdict = "reached" if strong <= GOAL and clean <= CLEAN_GOAL else "missed"
    seeds = f"the mean of {len(known)} seeds" if len(known) > 1 else "on one seed only"
    return (
        f"The goal, at most {GOAL:g} % under AutoAttack and {CLEAN_GOAL:g} % without an attack, is"
        f" {verdict}: {strong:.2f} % and {clean:.2f} %, {seeds}."
    )


def agreement(path: Path, work: Path) -> str:
    """What AutoAttack and `aa-fast` break of the same images; nothing where one did not run."""
    folder = work / file_sha256(RunFolder(path).model)[:12]
    if any(not sum(map(len, finished(folder / part))) for part in ("linf", "autoattack")):
        return ""
    found = {}
    for part, attack in (("linf", "aa-fast"), ("autoattack", "autoattack")):
        rows = read_outcomes(folder / part)
        rows = rows[(rows.attack == attack) & (rows.epsilon - EPSILON).abs().lt(1e-6)]
        found[attack] = rows.set_index("image").sort_index()
    ours, theirs = found["aa-fast"], found["autoattack"]
    passes = [int(each.gradients.sum() + each.queries.sum()) for each in (ours, theirs)]
    return (
        f"Linf {EPSILON:g}, of {len(ours):,} images: {int((~ours.correct & ~theirs.correct).sum())}"
        f" broken by both, {int((ours.correct & ~theirs.correct).sum())} by AutoAttack alone,"
        f" {int((~ours.correct & theirs.correct).sum())} by aa-fast alone, which took"
        f" {100 * passes[0] / passes[1]:.1f} % of AutoAttack's passes"
    )


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--work", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--part", "parts", multiple=True, type=click.Choice([*PARTS, "diagnosis"]),
    default=[*PARTS, "diagnosis"], show_default="all",
    help="What to measure. Repeat it. What is in WORK already is reported, too.",
)  # fmt: skip
def main(runs: Sequence[Path], out: Path, work: Path, parts: Sequence[str]) -> None:
    """Attack the networks of RUNS; write report.md, figures.csv and manifest.json to OUT."""
    keep_freed_memory()
    torch.set_num_threads(1)
    records = [load_classifier(path, arch="vanilla") for path in runs]
    check_comparable(records)
    rows = []
    for path, record in zip(runs, records, strict=True):
        known = {"network": kind_of(record), "seed": record.setting("seed")}
        known["epoch"] = record.manifest["best"]["epoch"]
        rows.append(known | measured(path, parts, work))
        click.echo(rows[-1])
    both = [
        f"* {kind_of(record)}, seed {record.setting('seed')}: {told}"
        for path, record in zip(runs, records, strict=True)
        if (told := agreement(path, work))
    ]
    figures = pd.DataFrame(rows).sort_values(["network", "seed"])
    about = provenance.describe()
    text = [
        "# Beyond the paper: a gradient penalty on margins",
        f"Made by `{about['command']}` at commit {about['commit']}, {about['time']}. What is"
        " compared, and why, is in [the protocol](protocol.md), written before. MNIST, vanilla CNN,"
        f" errors in percent: of all test images; under aa-fast and AutoAttack of {FEW:,}."
        " No network has seen an adversarial example.",
        f"**{goal_text(figures)}**",
        "## Mean and range over the seeds",
        mean_table(figures).to_markdown(index=False, disable_numparse=True),
        "## Every network",
        figures.to_markdown(index=False, floatfmt=".2f"),
        "## aa-fast beside AutoAttack",
        "\n".join(both) or "AutoAttack was not measured.",
    ]
    write_text(out / "report.md", "\n\n".join(text) + "\n")
    write_text(out / "figures.csv", figures.to_csv(index=False, float_format="%.6g"))
    kept = [{"config": each.config, "manifest": each.manifest} for each in records]
    write_json(out / "manifest.json", about | {"runs": kept})


if __name__ == "__main__":
    main()
