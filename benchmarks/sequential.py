"""Is it allowed to stop when it is decided? Evaluations by the thousand, without any network.

    python -m benchmarks.sequential

Images that a model gets wrong are marks on balls in an urn; they are drawn without putting them
back, looked at when `winnrobust attack` looks, and the two ways of stopping are set against looking
again and again at intervals and tests that are made for one look.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import betainc

from benchmarks.command import Command
from winnrobust.evaluation.always_valid import may_differ_by, mcnemar, share
from winnrobust.evaluation.sequential import looks
from winnrobust.reporting.figures import save_figure
from winnrobust.reporting.table import to_csv
from winnrobust.runtime import provenance
from winnrobust.runtime.files import write_json, write_text
from winnrobust.runtime.intervals import QUANTILE

MISS = 0.05
MARGIN = 0.01
"""Difference of two errors that does not matter."""


class Precision(NamedTuple):
    """N images of which a share is wrong, which is to be known so well."""

    images: int
    error: float
    precision: float


class Pair(NamedTuple):
    """N images of which two models get some wrong alone; difference is the first's less the
    second's.

    `of` is what they differ by that much in: these images, or the distribution that they come from.
    """

    images: int
    alone: float
    difference: float
    of: str = "images"


PRECISIONS = [
    Precision(n, error, precision)
    for n, precision in ((1000, 0.03), (10_000, 0.01), (10_000, 0.03), (50_000, 0.01))
    for error in (0.01, 0.1, 0.3, 0.5)
]
PAIRS = [
    *(Pair(n, alone, 0.0) for n in (1000, 10_000) for alone in (0.02, 0.1, 0.4)),
    *(Pair(10_000, alone, 0.0, "distribution") for alone in (0.1, 0.4)),
    *(Pair(10_000, 0.1, difference) for difference in (0.005, 0.02, 0.05)),
    *(Pair(10_000, 0.4, difference) for difference in (0.02, 0.1, 0.3)),
]


def drawn(counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw images until none are left.

    Args:
        counts: (R, K) how many images of each kind each of R evaluations has, as many in all.

    Returns:
        After how many images one looks (L,), and how many of each kind were drawn (L, R, K).
    """
    places, left, seen = np.array([*looks(int(counts[0].sum()))]), counts.copy(), []
    for step in np.diff(places, prepend=0):
        left = _less(left, step, rng)
        seen.append(counts - left)
    return places, np.stack(seen)


def _less(left: np.ndarray, step: int, rng: np.random.Generator) -> np.ndarray:
    """Take `step` images out of each row (R, K), kind after kind."""
    taken, to_take, rest = [], np.full(len(left), step), left.sum(1)
    for kind in left.T:
        rest = rest - kind
        taken.append(rng.hypergeometric(kind, rest, to_take))
        to_take = to_take - taken[-1]
    return left - np.stack(taken, 1)


# --- how well an error is known ---------------------------------------------------------------


def wilson(count: np.ndarray, n: int, *_: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval of one look, for arrays."""
    spread, value = QUANTILE**2 / n, count / n
    half = np.sqrt(spread * (value * (1 - value) + spread / 4))
    return (value + spread / 2 - half) / (1 + spread), (value + spread / 2 + half) / (1 + spread)


def known_well(case: Precision, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Simulate evaluations with `--precision`, by each kind of interval."""
    wrong = round(case.error * case.images)
    truth = wrong / case.images
    places, seen = drawn(np.tile([wrong, case.images - wrong], (count, 1)), rng)
    rows = []
    for name, interval in (("always-valid", share), ("Wilson, again and again", wilson)):
        stopped = np.full(count, case.images)
        missed, ever = np.zeros(count, bool), np.zeros(count, bool)
        going = np.ones(count, bool)
        for n, errors in zip(places, seen[..., 0], strict=True):
            low, high = interval(errors, int(n), case.images)
            out = (truth < low - 1e-9) | (truth > high + 1e-9)
            ever |= out
            value = errors / n
            enough = (np.maximum(high - value, value - low) <= case.precision) | (n == case.images)
            now = going & enough
            stopped[now], missed[now] = n, out[now]
            going &= ~enough
        taken = {"images taken": float(np.median(stopped)), "of all": stopped.mean() / case.images}
        wrongs = {"wrong at the end": missed.mean(), "wrong at some look": ever.mean()}
        rows.append({**case._asdict(), "rule": name, "evaluations": count, **taken, **wrongs})
    return rows


# --- who is more robust -----------------------------------------------------------------------


def once(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """McNemar's exact test, made for one look, for arrays."""
    fewer, more = np.minimum(first, second), np.maximum(first, second)
    return np.where(more > 0, np.minimum(1, 2 * betainc(np.maximum(more, 1), fewer + 1, 0.5)), 1)


def _wald(value: float, first: Any, second: Any, n: int, _: int) -> np.ndarray:
    """Whether a difference is in the 95 % interval of one look by the normal distribution."""
    mean = (first - second) / n
    return np.abs(mean - value) <= QUANTILE * np.sqrt((first + second) / n - mean**2) / np.sqrt(n)


RULES: dict[str, tuple[Any, Any]] = {
    "always-valid": (mcnemar, may_differ_by),
    "McNemar, again and again": (once, _wald),
}


def decided(
    case: Pair, count: int, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Simulate evaluations with `--until-decided`, by each rule.

    Returns:
        A row for each rule; and how many claims there were until each look.
    """
    shares = [
        (case.alone + case.difference) / 2,
        (case.alone - case.difference) / 2,
        1 - case.alone,
    ]
    if case.of == "images":
        counts = np.tile(np.round(np.array(shares) * case.images).astype(int), (count, 1))
        counts[:, 2] = case.images - counts[:, :2].sum(1)
    else:
        counts = rng.multinomial(case.images, shares, count)
    places, seen = drawn(counts, rng)
    rows, curves = [], []
    for name, (test, may_differ) in RULES.items():
        stopped, claim = np.full(count, case.images), np.full(count, np.nan)
        for n, (first, second, _) in zip(places, np.moveaxis(seen, -1, 1), strict=True):
            going = np.isnan(claim)
            if not going.any():
                break
            some = first[going], second[going]
            sign = np.where(test(*some) < MISS, np.sign(some[0] - some[1]), np.nan)
            possible = [may_differ(end, *some, int(n), case.images) for end in (-MARGIN, MARGIN)]
            within = np.abs(some[0] - some[1]) <= MARGIN * n
            equal = np.isnan(sign) & within & ~possible[0] & ~possible[1]
            claim[going] = np.where(equal, 0, sign)
            stopped[going & ~np.isnan(claim)] = n
            curves.append((name, int(n), np.nanmean(np.abs(np.nan_to_num(claim)))))
        right = np.sign(case.difference)
        false = (np.abs(claim) == 1) & (claim != right)
        if abs(case.difference) > MARGIN:
            false |= claim == 0
        rows.append({
            **case._asdict(), "rule": name, "evaluations": count,
            "images taken": float(np.median(stopped)), "of all": stopped.mean() / case.images,
            "more robust": (claim == right).mean() if right else 0.0,
            "equal": (claim == 0).mean(), "not settled": np.isnan(claim).mean(),
            "false": false.mean(),
        })  # fmt: skip
    return rows, pd.DataFrame(curves, columns=["rule", "images", "claims"])


# --- what is written --------------------------------------------------------------------------


def figure_of(curves: pd.DataFrame, precisions: pd.DataFrame) -> Figure:
    """Draw false claims over images for two models that are equal, and the images that it takes."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for rule, curve in curves.groupby("rule", sort=False):
        left.plot(curve.images, 100 * curve.claims, label=rule)
    left.axhline(100 * MISS, color="black", linewidth=0.8, linestyle=":")
    left.set(xlabel="images looked at", ylabel="false claims so far, %", ylim=(0, None))
    left.set_title("Two models that err equally often")
    left.legend(frameon=False)
    ours = precisions[precisions.rule == "always-valid"]
    for (images, precision), rows in ours.groupby(["images", "precision"]):
        label = f"{images:,} images, ±{100 * precision:g} points"
        right.plot(100 * rows.error, 100 * rows["of all"], marker="o", label=label)
    right.set(xlabel="error, %", ylabel="images taken, % of all", ylim=(0, None))
    right.set_title("Until the error is known")
    right.legend(frameon=False, fontsize="small")
    return figure


def _markdown(frame: pd.DataFrame) -> str:
    """Shares in percent, differences in points."""
    shares = ["error", "alone", "difference", "precision", "of all", "wrong at the end",
              "wrong at some look", "more robust", "equal", "not settled", "false"]  # fmt: skip
    names = {name: f"{name}, %" for name in shares}
    shown = frame.drop(columns="evaluations")
    shown = shown.assign(**{name: (100 * frame[name]).round(1) for name in shares if name in frame})
    return str(shown.rename(columns=names).to_markdown(index=False, intfmt=","))


def text_of(precisions: pd.DataFrame, pairs: pd.DataFrame, count: int, seconds: float) -> str:
    """Return the report, as Markdown."""
    about = provenance.describe()
    ours, naive = (
        [frame[(frame.rule == "always-valid") == valid] for frame in (precisions, pairs)]
        for valid in (True, False)
    )
    most = {
        "interval": ours[0]["wrong at some look"].max(), "claim": ours[1].false.max(),
        "naive interval": naive[0]["wrong at some look"].max(), "naive claim": naive[1].false.max(),
    }  # fmt: skip
    said = {name: f"{100 * value:.1f} %" for name, value in most.items()}
    simulated = count * (len(PRECISIONS) + len(PAIRS))
    return "\n\n".join([
        "# Stop when it is decided",
        f"Made by `{about['command']}` at commit {about['commit']}, {about['time']}:"
        f" {simulated:,} simulated evaluations, {count:,} a line, in {seconds:.0f} s. A rate of 5 %"
        f" has a standard error of {100 * np.sqrt(0.05 * 0.95 / count):.1f} points.",
        "Looks are those of `winnrobust attack --precision` and `--until-decided`, after 32 images"
        " and whenever there are an eighth more; images are drawn at random and not put back.",
        f"**At most {said['interval']} of the always-valid intervals ever miss, and at most"
        f" {said['claim']} of the claims are false, in the worst line. Who looks again and again at"
        f" intervals and tests that are made for one look misses up to {said['naive interval']} and"
        f" claims falsely up to {said['naive claim']} of the time.**",
        "![False claims over images, and images that it takes](sequential.png)",
        "## Until an error is known", _markdown(precisions),
        "Wrong: the interval misses the error of all N images. Images taken: the median.",
        "## Until it is settled who is more robust", _markdown(pairs),
        "Alone: images that only one of the models gets wrong. Equal: they differ by at most"
        f" {100 * MARGIN:g} point. False: the wrong one, or any one of two that err equally often,"
        " is called more robust; or they are called equal and are not. Of the distribution: the two"
        " err equally often in what the images are drawn from, not on just these N. The rule beside"
        " stops when McNemar's p is below 0.05 or the interval of the difference is within the"
        " margin.",
    ]) + "\n"  # fmt: skip


@click.command(cls=Command)
@click.option("--evaluations", default=2000, show_default=True, type=click.IntRange(10),
              help="Simulated for each line of the tables.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of all random numbers.")
@click.option("--out", default=Path("reports/evaluation"), show_default=True,
              type=click.Path(path_type=Path), help="Folder to write to.")  # fmt: skip
def main(evaluations: int, seed: int, out: Path) -> None:
    """Simulate evaluations that stop, and write sequential.md, .csv, .png and .json."""
    click.echo(simulate(evaluations, seed, out))


def simulate(evaluations: int, seed: int, out: Path) -> str:
    """Simulate, write the files, and return the text."""
    began, rng = time.monotonic(), np.random.default_rng(seed)
    precisions = pd.DataFrame(
        [r for case in PRECISIONS for r in known_well(case, evaluations, rng)]
    )
    found = [decided(case, evaluations, rng) for case in PAIRS]
    pairs = pd.DataFrame([row for rows, _ in found for row in rows])
    curves = found[PAIRS.index(Pair(10_000, 0.4, 0.0, "distribution"))][1]
    out.mkdir(parents=True, exist_ok=True)
    save_figure(figure_of(curves, precisions), out / "sequential.png")
    text = text_of(precisions, pairs, evaluations, time.monotonic() - began)
    write_text(out / "sequential.md", text)
    write_text(out / "sequential.csv", to_csv(pd.concat([precisions, pairs], ignore_index=True)))
    details = {"evaluations": evaluations, "seed": seed, "margin": MARGIN, "miss": MISS}
    write_json(out / "sequential.json", provenance.describe() | details)
    return text


if __name__ == "__main__":
    main()
