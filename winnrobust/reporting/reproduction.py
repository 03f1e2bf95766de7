"""A table of the paper beside ours: means over seeds, intervals, and whether the order agrees."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind

from winnrobust.evaluation.statistics import SIGNIFICANCE, differences
from winnrobust.reporting.paper import (
    AGREES,
    NOISE,
    REVERSED,
    paper_row,
    paper_test_error,
    reading_note,
)
from winnrobust.reporting.results import CLEAN, Case, Results
from winnrobust.reporting.runs import RunRecord
from winnrobust.reporting.table import DASH, Table, percent, share_with_interval
from winnrobust.reporting.verdict import names
from winnrobust.reporting.words import sentence

NO_DATA = "not run: no data"
TEST_ERROR, ADVERSARIAL_ERROR = "test error", "adversarial error"
BY_METHOD = "correction by it of the baseline's errors"
BY_BASELINE = "correction by the baseline of its errors"

FIGURE_COLUMNS = (
    "dataset", "network", "method", "epsilon", "quantity", "paper", "paper_dataset", "mean", "low",
    "high", "sd", "n", "seeds", "epochs", "hours", "cpu_hours", "budget", "given", "order",
)  # fmt: skip
"""Shares are in [0, 1], and NaN where there is none; `low` and `high` are the 95 % interval of a
network, on average over the seeds, which covers the choice of the n test images (or errors); `sd`
is over the seeds, n - 1 in the denominator; `seeds` are those that have the figure; epochs, hours
of wall-clock time and of the training process are means over the seeds; `given` says how many
networks were not trained by the budget; `order` says whether an error stands to those of the other
methods as in the paper, a correction to the other one."""


class Group(NamedTuple):
    """Networks that a table compares with each other; see reproductions.toml."""

    dataset: str
    arch: str
    methods: tuple[str, ...]
    published: str
    epsilons: tuple[float, ...]


@dataclass(frozen=True)
class Target:
    """A table of the paper; see reproductions.toml."""

    title: str
    groups: tuple[Group, ...]
    attacked: bool


@dataclass(frozen=True)
class TrainingBudget:
    """How much training a table may take; see reproductions.toml."""

    summary: str
    seeds: tuple[int, ...]
    epochs: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    stand_ins: Mapping[str, str] = field(default_factory=dict)


class Reproduced(NamedTuple):
    """What became of a group of networks.

    Attributes:
        group: what the table wants.
        results: their evaluation; None where there is no data.
        runs: (method, seed) -> the training.
        given: those of them that the budget did not train.
    """

    group: Group
    results: Results | None
    runs: Mapping[tuple[str, int], RunRecord]
    given: AbstractSet[tuple[str, int]]


def _read(kind: str) -> dict[str, dict[str, Any]]:
    """What reproductions.toml has of a kind, by name, with tuples for lists."""
    place = resources.files("winnrobust.reporting").joinpath("reproductions.toml")
    found: dict[str, dict[str, Any]] = tomllib.loads(place.read_text("utf-8"))[kind]
    return {
        name: {key: tuple(x) if isinstance(x, list) else x for key, x in fields.items()}
        for name, fields in found.items()
    }


_GROUPS = {name: Group(**fields) for name, fields in _read("group").items()}

TARGETS = {
    name: Target(**fields | {"groups": tuple(_GROUPS[group] for group in fields["groups"])})
    for name, fields in _read("target").items()
}
"""Name on the command line -> table; "table4-cifar10" is not in the paper."""

BUDGETS = {name: TrainingBudget(**fields) for name, fields in _read("budget").items()}
"""Name on the command line -> budget."""

MNIST_EPSILONS = TARGETS["table3"].groups[0].epsilons


# --- figures --------------------------------------------------------------------------------------


def figures_of(target: Target, budget: str, reproduced: Sequence[Reproduced]) -> pd.DataFrame:
    """One row per network, epsilon and quantity; columns as `FIGURE_COLUMNS`."""
    parts = [
        _of_group(found, epsilon)
        for found in reproduced
        for epsilon in (found.group.epsilons if target.attacked else (0.0,))
    ]
    return pd.concat(parts, ignore_index=True).assign(budget=budget)[list(FIGURE_COLUMNS)]


def _of_group(found: Reproduced, epsilon: float) -> pd.DataFrame:
    group, results = found.group, found.results
    quantities = (ADVERSARIAL_ERROR, BY_METHOD, BY_BASELINE) if epsilon else (TEST_ERROR,)
    measured = _measured(group, results, epsilon)
    compared = pd.DataFrame() if results is None else _compared(results)
    by_quantity = measured.groupby(["method", "quantity"])
    summed = by_quantity[["share", "low", "high", "n"]].mean().rename(columns={"share": "mean"})
    summed["sd"], summed["seeds"] = by_quantity.share.std(), by_quantity.share.count()
    rows = pd.MultiIndex.from_product([group.methods, quantities], names=["method", "quantity"])
    frame = summed.reindex(rows).fillna({"n": 0, "seeds": 0}).astype({"n": int, "seeds": int})
    frame = frame.reset_index()
    of_row = list(zip(frame.method, frame.quantity, strict=True))
    orders = [_order(group, measured, compared, results, epsilon, *key) for key in of_row]
    effort = pd.DataFrame([_effort(found, method) for method in frame.method])
    return pd.concat([frame, effort], axis=1).assign(
        dataset=group.dataset if results is None else results.dataset,
        network=group.arch,
        epsilon=epsilon,
        paper=[_paper(group, method, epsilon)[quantity] for method, quantity in of_row],
        paper_dataset=group.published,
        given=[sum(name == method for name, _ in found.given) for method in frame.method],
        order=NO_DATA if results is None else orders,
    )


def _measured(group: Group, results: Results | None, epsilon: float) -> pd.DataFrame:
    """One row per network and quantity that it has; n is what the share is of."""
    rows = []
    models = [] if results is None else results.models
    found = {(model["method"], model["seed"]): model["name"] for model in models}
    case = Case("fgsm", "linf", epsilon) if epsilon else CLEAN
    for (method, seed), name in found.items():
        assert results is not None
        error, baseline = results.errors[case, name][:3], found.get((group.methods[0], seed))
        rows.append((method, ADVERSARIAL_ERROR if epsilon else TEST_ERROR, *error, results.n))
        if epsilon and baseline not in (None, name):
            for quantity, pair in ((BY_METHOD, (baseline, name)), (BY_BASELINE, (name, baseline))):
                row = results.transfer[case, *pair]
                rate = row.correction_rate, row.correction_rate_low, row.correction_rate_high
                rows.append((method, quantity, *rate, row.source_errors))
    columns = ["method", "quantity", "share", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).dropna(subset="share")


def _compared(results: Results) -> pd.DataFrame:
    """Every two methods' errors, over their seeds however those were trained."""
    methods = {model["name"]: model["method"] for model in results.models}
    return differences(results.own, results.summary.paired, methods)


def _paper(group: Group, method: str, epsilon: float) -> dict[str, float]:
    """The paper's figures, by quantity, as shares; NaN where it has none."""
    if epsilon == 0:
        given = {TEST_ERROR: paper_test_error(group.published, group.arch, method)}
    else:
        row = paper_row(group.published, group.arch, method, "fgsm", epsilon)
        given = {
            ADVERSARIAL_ERROR: row.adversarial_error if row else None,
            BY_METHOD: row.correction_rate_by_method if row else None,
            BY_BASELINE: row.correction_rate_by_baseline if row else None,
        }
    return {name: math.nan if value is None else value / 100 for name, value in given.items()}


def _effort(found: Reproduced, method: str) -> dict[str, float]:
    """What a method's training took, on average over its seeds; NaN where that is not known."""
    runs = [run for (name, _), run in found.runs.items() if name == method]
    if not runs:
        return dict.fromkeys(("epochs", "hours", "cpu_hours"), math.nan)
    seconds = np.mean([run.manifest.get("training_seconds", math.nan) for run in runs])
    cpu = np.mean([sum(row.get("cpu_seconds", math.nan) for row in run.metrics) for run in runs])
    epochs = np.mean([run.manifest["epochs"] for run in runs])
    return {"epochs": epochs, "hours": seconds / 3600, "cpu_hours": cpu / 3600}


# --- is the order that of the paper? --------------------------------------------------------------


def _order(
    group: Group, measured: pd.DataFrame, compared: pd.DataFrame, results: Results | None,
    epsilon: float, method: str, quantity: str,
) -> str:  # fmt: skip
    if results is None:
        return NO_DATA
    if quantity in (TEST_ERROR, ADVERSARIAL_ERROR):
        return _order_of_errors(group, compared, method, epsilon, quantity)
    paper = _paper(group, method, epsilon)
    of_paper = paper[BY_METHOD] - paper[BY_BASELINE]
    of_method = measured[measured.method == method].groupby("quantity").share
    shares = [
        of_method.get_group(name) for name in (BY_METHOD, BY_BASELINE) if name in of_method.groups
    ]
    if math.isnan(of_paper) or len(shares) < 2:
        return DASH
    ours = shares[0].mean() - shares[1].mean()
    if min(map(len, shares)) > 1 and max(map(np.ptp, shares)) > 0:
        certain = ttest_ind(*shares, equal_var=False).pvalue < SIGNIFICANCE
    else:
        certain = _directions_differ(group, results, epsilon, method)
    return _agreement(ours, of_paper) if certain else NOISE


def _directions_differ(group: Group, results: Results, epsilon: float, method: str) -> bool:
    """Whether the two directions of correction differ in every pair of networks, beyond noise.

    By the paired test; where only counts are known, by bounds that hold whatever the dependence.
    """
    methods = {model["name"]: model["method"] for model in results.models}
    rows = results.summary.corrections
    rows = rows[(rows.attack == "fgsm") & (rows.epsilon == epsilon)]
    pairs = rows["first"].map(methods) + " " + rows.second.map(methods)
    baseline = group.methods[0]
    rows = rows[pairs.isin([f"{baseline} {method}", f"{method} {baseline}"])]
    excluded = (rows.difference_low > 0) | (rows.difference_high < 0)
    certain = (rows.p_value < SIGNIFICANCE).where(rows.p_value.notna(), excluded)
    return bool(certain.all()) and len(rows) > 0


def _order_of_errors(
    group: Group, compared: pd.DataFrame, method: str, epsilon: float, quantity: str
) -> str:
    """Compare a method with each other one; say it once where all agree."""
    case = ("fgsm", epsilon) if epsilon else (CLEAN.attack, 0.0)
    tested = {
        (row.first, row.second): row
        for row in compared.itertuples()
        if (row.attack, row.epsilon) == case
    }
    said: dict[str, list[str]] = {}
    for other in group.methods:
        paper = _paper(group, method, epsilon)[quantity] - _paper(group, other, epsilon)[quantity]
        row, sign = tested.get((method, other)), 1
        if row is None:
            row, sign = tested.get((other, method)), -1
        if row is not None and paper and not math.isnan(paper):
            word = NOISE if row.within_noise else _agreement(sign * row.difference, paper)
            said.setdefault(word, []).append(other)
    if len(said) == 1:
        return next(iter(said))
    return "; ".join(f"{word}: {', '.join(others)}" for word, others in said.items()) or DASH


def _agreement(ours: float, paper: float) -> str:
    return AGREES if ours * paper > 0 else REVERSED


# --- tables ---------------------------------------------------------------------------------------


def reproduction_tables(target: Target, figures: pd.DataFrame) -> list[Table]:
    """The table in the paper's layout, once for each reading of epsilon.

    Args:
        target: which.
        figures: from `figures_of`.
    """
    return [_table(target, part) for _, part in figures.groupby("epsilon", sort=False)]


def _table(target: Target, figures: pd.DataFrame) -> Table:
    quantities = list(figures.quantity.unique())
    orders = ["order of errors", "order of corrections"][: len(quantities)]
    header = ["data", "network", "method"]
    header += [name for quantity in quantities for name in (f"{quantity}, %", "paper")]
    header += [*orders, "seeds", "epochs", "hours", "CPU hours"]
    rows = []
    for network, part in figures.groupby(["dataset", "network", "method"], sort=False):
        of = {row.quantity: row for row in part.itertuples()}
        pairs = [(_text(of[name]), percent(of[name].paper, 10_000) or DASH) for name in quantities]
        first = of[quantities[0]]
        effort = [
            str(first.seeds),
            f"{first.epochs:g}",
            f"{first.hours:.2f}",
            f"{first.cpu_hours:.2f}",
        ]
        effort = [DASH if text == "nan" or not first.seeds else text for text in effort]
        order = [of[quantity].order for quantity in quantities[: len(orders)]]
        rows.append([*network, *(text for pair in pairs for text in pair), *order, *effort])
    epsilon = figures.epsilon.iloc[0]
    title = f"{target.title}, epsilon {epsilon:g}" if target.attacked else target.title
    return Table(title, header, rows, " ".join(_notes(figures, epsilon)))


def _text(row: Any) -> str:
    if row.order == NO_DATA:
        return NO_DATA
    text = share_with_interval(row.mean, row.low, row.high, row.n) or DASH
    return text if math.isnan(row.sd) else f"{text} ± {percent(row.sd, row.n)}"


def _notes(figures: pd.DataFrame, epsilon: float) -> list[str]:
    networks = figures[figures.seeds > 0].drop_duplicates(["dataset", "network", "method"])
    given, budget = networks[networks.given > 0], figures.budget.iloc[0]
    all_given = len(given) > 0 and (networks.given == networks.seeds).all()
    named = names(f"{row.dataset}-{row.network}-{row.method}" for row in given.itertuples())
    notes = [sentence("reproduction", "given")] if all_given else [
        sentence("reproduction", "budget", name=budget, summary=BUDGETS[budget].summary),
        *([sentence("reproduction", "partly given", networks=named)] if len(given) else []),
    ]  # fmt: skip
    for (dataset, published), part in figures.groupby(["dataset", "paper_dataset"], sort=False):
        notes.append(reading_note(published, "fgsm", epsilon))
        slots = {"dataset": dataset, "n": part.n.max(), "published": published}
        if dataset != published:
            notes.append(sentence("reproduction", "other data", **slots))
    about = ("intervals", "corrections" if epsilon else "test errors", "effort")
    return [note for note in notes if note] + [sentence("reproduction", key) for key in about]
