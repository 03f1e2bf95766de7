"""Baselines and WINNs in pairs, over seeds, once on all test images.

    python -m benchmarks.matched_pairs runs/resnet32-winn/* --protocol protocol.md \
        --out reports/paper/resnet32-winn

What is measured, and the goals, were written down before any of these networks was trained: in the
protocol that is given. Every pair of a variant and a seed differs in its method only, or is
refused; numbers of epochs stand in the table. Outcomes are kept in `--work`, so that the same
command goes on where it was interrupted.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import click
import pandas as pd
import torch

from benchmarks.command import Command, load_classifier
from benchmarks.plain import EPSILON
from winnrobust.attacks import FGSM, PGD, Attack
from winnrobust.data.datasets import ImageSplit, load_dataset
from winnrobust.evaluation import EvaluationSettings, Summary, run
from winnrobust.models.checkpoint import load_model
from winnrobust.reporting.runs import RunRecord
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import file_sha256, write_json, write_text
from winnrobust.runtime.intervals import rate
from winnrobust.training.config import flat
from winnrobust.training.run_folder import RunFolder

USUAL, STABLE = FGSM(loss="ce"), FGSM(loss="ce-stable")
ATTACKS = {USUAL.name: "FGSM, usual", STABLE.name: "FGSM, stable", PGD.name: "PGD-20"}
"""Name of the attack -> column of the tables."""
MEASURES = ("clean", *ATTACKS.values())
BY_WINN = "corrected by the WINN, of the baseline's errors"
BY_BASELINE = "corrected by the baseline, of the WINN's errors"
MAY_DIFFER = ("method", "epochs", "keep_every")
"""Settings in which the networks of a pair may differ; the epochs are shown."""
SHARE = "FGSM, usual, as a share of the baseline's errors"


class Question(NamedTuple):
    """What is asked of the pairs of an architecture; figures are in percent of images or errors."""

    name: str
    paper: dict[tuple[str, str], float]
    """(method, figure) -> what the paper has."""
    pgd_images: int
    """How many test images PGD attacks, the first ones; the others attack all."""
    goals: Sequence[tuple[str, str, float, float]]
    """Method, figure, and the range in which its mean over the seeds should be."""


QUESTIONS = {
    "vanilla": Question(
        "vanilla CNN",
        {
            ("baseline", "clean"): 0.89, ("baseline", "FGSM, usual"): 32.41,
            ("winn", "clean"): 0.67, ("winn", "FGSM, usual"): 7.99,
            ("winn", BY_WINN): 90.00, ("winn", BY_BASELINE): 46.93,
        },
        10_000,
        (
            ("baseline", "FGSM, usual", 29.41, 35.41), ("winn", "FGSM, usual", 0, 8),
            ("winn", BY_WINN, 88, 100), ("winn", BY_BASELINE, 0, 50), ("winn", "clean", 0, 0.7),
        ),
    ),
    "resnet32": Question(
        "ResNet-32",
        {
            ("baseline", "clean"): 0.45, ("baseline", "FGSM, usual"): 11.28,
            ("winn", "clean"): 0.48, ("winn", "FGSM, usual"): 2.05,
            ("winn", BY_WINN): 89.68, ("winn", BY_BASELINE): 43.69,
            ("winn", SHARE): 100 * 2.05 / 11.28,
        },
        1_000,
        (
            ("baseline", "clean", 0, 0.5), ("winn", "clean", 0, 0.5),
            ("winn", "FGSM, usual", 0, 2.3), ("winn", SHARE, 0, 20),
        ),
    ),
}  # fmt: skip
"""By architecture; the paper compares it on MNIST."""


class Trained(NamedTuple):
    """A run, and what its pair is known by."""

    path: Path
    record: RunRecord
    variant: str
    seed: int
    method: str


def differing(records: Sequence[RunRecord]) -> list[str]:
    """The settings in which runs differ; one that a run's version did not have yet is None."""
    names = {name: None for record in records for name in flat(record.config)}
    return [name for name in names if len({str(each.setting(name)) for each in records}) > 1]


def trained(path: Path) -> Trained:
    record = load_classifier(path)
    images = record.manifest["data"]["train"]["n"]
    variant = f"{record.setting('initialization') or 'tf'}, {images:,}"
    return Trained(path, record, variant, record.setting("seed"), record.setting("method"))


def pairs_of(paths: Sequence[Path]) -> list[tuple[Trained, Trained]]:
    """Baseline and WINN of every variant and seed, of one architecture.

    Raises:
        InputError: there are several architectures, or one of which nothing is asked; one of a
            pair is missing, or there twice; or the two differ in more than the method.
    """
    found: dict[tuple[str, int], dict[str, Trained]] = {}
    everything = [trained(path) for path in paths]
    archs = {each.record.setting("arch") for each in everything}
    if len(archs) > 1:
        raise InputError("the runs have different architectures; make a report of each")
    if not archs <= set(QUESTIONS):
        raise InputError(f"the runs are of {archs.pop()}; there are goals for {list(QUESTIONS)}")
    for each in everything:
        pair = found.setdefault((each.variant, each.seed), {})
        if each.method not in ("baseline", "winn") or each.method in pair:
            raise InputError(
                f"{each.path}: {each.variant} wants one baseline and one WINN per seed"
            )
        pair[each.method] = each
    for (variant, seed), pair in found.items():
        told = f"{variant}, seed {seed}"
        if len(pair) < 2:
            raise InputError(f"{told} has a {next(iter(pair))} only; name the other run, too")
        records = [one.record for one in pair.values()]
        differ = [key for key in differing(records) if key not in MAY_DIFFER]
        if differ:
            raise InputError(f"the runs of {told} differ in {', '.join(differ)}; they are no pair")
    return [(found[name]["baseline"], found[name]["winn"]) for name in sorted(found)]


def attacked(
    pair: Sequence[Trained], attacks: Sequence[Attack], images: ImageSplit, work: Path
) -> Summary:
    """Attack both networks of a pair on images; each looks at the other's examples."""
    models = {one.method: load_model(RunFolder(one.path).model)[0] for one in pair}
    settings = EvaluationSettings(attacks=attacks, epsilons={"linf": [EPSILON]}, num_examples=0)
    hashes = [file_sha256(RunFolder(one.path).model)[:8] for one in pair]
    name = "-".join([*hashes, *(attack.name for attack in attacks)])

    def say(done: int, total: int) -> None:
        click.echo(f"\r{pair[0].variant}, seed {pair[0].seed}: {done / total:.0%}", nl=False)

    found = run(models, images.images, images.labels, settings, folder=work / name, progress=say)
    click.echo()
    return found.summary


def rows_of(
    pair: Sequence[Trained], test: ImageSplit, pgd_images: int, work: Path
) -> Iterator[dict[str, Any]]:
    """A row per figure of a pair: what of how many, in percent with its 95 % interval."""
    found = attacked(pair, [USUAL, STABLE], test, work)
    under_pgd = attacked(pair, [PGD], test.first(pgd_images), work)
    known = {"variant": pair[0].variant, "seed": pair[0].seed}

    def row(method: str, figure: str, attack: str, count: int, total: int) -> dict[str, Any]:
        share = rate(count, total)
        ends = {"low": 100 * share.low, "high": 100 * share.high}
        of = {"method": method, "figure": figure, "attack": attack, "count": count, "of": total}
        return known | of | {"percent": 100 * share.value} | ends

    for each in found.clean.itertuples():
        yield row(each.model, "clean", "none", int(each.errors), each.n)
    for each in pd.concat([found.transfer, under_pgd.transfer]).itertuples():
        attack = ATTACKS[each.attack]
        errors = int(each.source_errors)
        if each.source == each.target:
            yield row(each.source, attack, attack, errors, each.n)
        else:
            figure = BY_WINN if each.target == "winn" else BY_BASELINE
            corrected = errors - int(each.both_errors)
            yield row("winn", figure, attack, corrected, errors)


def reached(record: RunRecord) -> str:
    """The least and the largest share of an epoch's ascents that came to their threshold."""
    shares = [100 * share for share in record.manifest.get("ascents_stopped_early", {}).values()]
    return f"{min(shares):.1f} to {max(shares):.1f}" if shares else ""


def network_table(pairs: Sequence[Sequence[Trained]], figures: pd.DataFrame) -> pd.DataFrame:
    """A row per network: what was trained, what chose its epoch, its errors on test images."""
    rows = []
    for one in (one for pair in pairs for one in pair):
        mine = figures[
            (figures.variant == one.variant) & (figures.seed == one.seed)
            & (figures.method == one.method)
        ].set_index("figure")  # fmt: skip
        best = one.record.manifest["best"]
        rows.append(
            {
                "variant": one.variant, "seed": one.seed, "method": one.method,
                "epochs": one.record.manifest["epochs"], "chosen": best["epoch"],
                "validation": f"{100 * best['valid_error']:.2f}",
                "ascents at their threshold, %": reached(one.record),
            }
            | {name: f"{mine.percent[name]:.2f}" for name in MEASURES}
        )  # fmt: skip
    return pd.DataFrame(rows)


def correction_table(figures: pd.DataFrame) -> pd.DataFrame:
    """A row per pair and attack: corrections both ways, with counts."""
    rows = []
    chosen = figures[figures.figure.isin([BY_WINN, BY_BASELINE])]
    for (variant, seed, attack), part in chosen.groupby(["variant", "seed", "attack"], sort=False):
        of = {
            row["figure"]: f"{row['percent']:.2f} ({row['count']:,} of {row['of']:,})"
            for row in part.to_dict("records")
        }
        rows.append({"variant": variant, "seed": seed, "attack": attack} | of)
    return pd.DataFrame(rows)


def over_seeds(figures: pd.DataFrame, variant: str, method: str, figure: str) -> list[float]:
    """A figure of every seed, in percent; corrections are of the usual FGSM."""
    if figure == SHARE:
        return shares(figures, variant, ATTACKS[USUAL.name])
    chosen = figures[
        (figures.variant == variant) & (figures.method == method) & (figures.figure == figure)
    ]
    if figure in (BY_WINN, BY_BASELINE):
        chosen = chosen[chosen.attack == ATTACKS[USUAL.name]]
    return list(chosen.percent)


def spread(values: Sequence[float]) -> str:
    """Mean and range, as text; of one value that alone."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{fmean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def shares(figures: pd.DataFrame, variant: str, attack: str) -> list[float]:
    """A WINN's errors under an attack as a share of its baseline's, in percent, by seed."""
    baseline, winn = (over_seeds(figures, variant, one, attack) for one in ("baseline", "winn"))
    return [100 * w / b if b else math.nan for b, w in zip(baseline, winn, strict=True)]


def mean_table(figures: pd.DataFrame, paper: dict[tuple[str, str], float]) -> pd.DataFrame:
    """A row per variant and method, and the paper's: mean and range over the seeds."""
    rows = []
    for method, names in (("baseline", MEASURES), ("winn", (*MEASURES, BY_WINN, BY_BASELINE))):
        for variant in figures.variant.unique():
            of = {name: spread(over_seeds(figures, variant, method, name)) for name in names}
            rows.append({"method": method, "variant": variant} | of)
        theirs = {name: f"{paper[method, name]:.2f}" for name in names if (method, name) in paper}
        rows.append({"method": method, "variant": "paper"} | theirs)
    return pd.DataFrame(rows).fillna("")


def verdict(ours: float, low: float, high: float) -> str:
    """Say whether a figure in percent is in a range, or by how much not."""
    missed = max(low - ours, ours - high, 0)
    return f"missed by {missed:.2f} points" if missed else "reached"


def goal_table(figures: pd.DataFrame, question: Question) -> pd.DataFrame:
    """A row per goal and variant: the mean over the seeds, and by how much it is missed."""
    rows = []
    for method, figure, low, high in question.goals:
        for variant in figures.variant.unique():
            ours = fmean(over_seeds(figures, variant, method, figure))
            paper = f"{question.paper[method, figure]:.2f}"
            text = f"{method}: {figure}, {low:g} to {high:g} %"
            rows.append({"goal": text, "variant": variant, "ours": f"{ours:.2f}", "paper": paper,
                         "verdict": verdict(ours, low, high)})  # fmt: skip
    return pd.DataFrame(rows)


def ratio_lines(figures: pd.DataFrame) -> str:
    """How many of the baseline's errors a WINN makes, a line per variant."""
    lines = []
    for variant in figures.variant.unique():
        each = [f"{one} {spread(shares(figures, variant, one))} %" for one in ATTACKS.values()]
        lines.append(f"* {variant}: {'; '.join(each)}.")
    return "\n".join(lines)


REPORT = """# Baseline and WINN with the {name}, matched pairs

Made by `{command}` at commit {commit}, {time}, by
[the protocol]({protocol}), where its deviations stand: the networks of a pair differ in their
method, and in nothing else but the epochs that are shown. All {n:,} test images of MNIST, epsilon
{epsilon} on [0, 1], errors in percent. A variant is called after its initialization and its number
of training images.

*Usual* is FGSM with the float32 cross-entropy (log-softmax), as the paper's code has it; *stable*
takes the same loss in a form whose gradient a confident softmax does not round away, and so does
PGD-20, which attacks the first {pgd_images:,} images.

## Mean and range over the seeds

{means}

Corrections are those of the usual FGSM. What a WINN errs on, as a share of what its baseline errs
on (the paper's usual FGSM: {ratio:.1f} %), mean and range over the seeds:

{ratios}

## Goals

{goals}

The goals are the issue's, set before; the mean over the seeds counts.

## Every network

{networks}

`epochs`: how many it was trained; `chosen`: the one with the least validation error (`validation`,
of other images in each variant), of equal ones the last.

## Every pair

{corrections}

All counts, with 95 % intervals (Wilson), are in [figures.csv](figures.csv).
"""


def write_report(
    pairs: Sequence[Sequence[Trained]],
    figures: pd.DataFrame,
    question: Question,
    protocol: str,
    out: Path,
) -> None:
    """Write report.md, figures.csv and manifest.json."""
    now = provenance.describe()
    theirs = {one: question.paper[one, "FGSM, usual"] for one in ("baseline", "winn")}
    tables = {
        "means": mean_table(figures, question.paper), "goals": goal_table(figures, question),
        "networks": network_table(pairs, figures), "corrections": correction_table(figures),
    }  # fmt: skip
    shown = {
        key: table.to_markdown(index=False, disable_numparse=True) for key, table in tables.items()
    }
    text = REPORT.format(
        command=now["command"], commit=now["commit"], time=now["time"], epsilon=EPSILON,
        n=figures.of.max(), ratios=ratio_lines(figures), **shown,
        name=question.name, protocol=protocol, pgd_images=question.pgd_images,
        ratio=100 * theirs["winn"] / theirs["baseline"],
    )  # fmt: skip
    write_text(out / "report.md", text)
    write_text(out / "figures.csv", figures.to_csv(index=False, float_format="%.6g"))
    runs = [
        {
            "folder": one.path.name, "model sha256": file_sha256(RunFolder(one.path).model),
            "config": one.record.config, "manifest": one.record.manifest,
        }
        for pair in pairs for one in pair
    ]  # fmt: skip
    write_json(out / "manifest.json", now | {"runs": runs})


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--protocol", required=True, help="What the report links: a path from OUT.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--work", default=Path("results/matched-pairs"), show_default=True,
    type=click.Path(file_okay=False, path_type=Path), help="Where outcomes are kept.",
)  # fmt: skip
def main(runs: Sequence[Path], protocol: str, out: Path, work: Path) -> None:
    """Attack the pairs of RUNS on all test images; write report.md, figures.csv, manifest.json."""
    keep_freed_memory()
    torch.set_num_threads(1)
    pairs = pairs_of(runs)
    test = load_dataset("mnist").test
    question = QUESTIONS[pairs[0][0].record.setting("arch")]
    rows = [row for pair in pairs for row in rows_of(pair, test, question.pgd_images, work)]
    write_report(pairs, pd.DataFrame(rows), question, protocol, out)


if __name__ == "__main__":
    main()
