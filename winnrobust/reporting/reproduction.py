"""A table of the paper beside ours: means over seeds, intervals, and whether the order agrees."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from winnrobust.evaluation.intervals import rate
from winnrobust.evaluation.metrics import NO_ATTACK
from winnrobust.reporting.order import AGREES, NOISE, REVERSED
from winnrobust.reporting.paper import paper_row, paper_test_error, reading_note
from winnrobust.reporting.results import Results
from winnrobust.reporting.runs import RunRecord
from winnrobust.reporting.table import DASH, Table, percent, share_with_interval
from winnrobust.reproductions import Group, Target

NO_DATA = "not run: no data"
TEST_ERROR, ADVERSARIAL_ERROR = "test error", "adversarial error"
BY_METHOD = "correction by it of the baseline's errors"
BY_BASELINE = "correction by the baseline of its errors"

FIGURE_COLUMNS = (
    "dataset",
    "network",
    "method",
    "epsilon",
    "quantity",
    "paper",
    "paper_dataset",
    "mean",
    "low",
    "high",
    "sd",
    "n",
    "seeds",
    "epochs",
    "hours",
    "order",
)
"""Shares are in [0, 1], and NaN where there is none; `low` and `high` are the 95 % Wilson interval
of one network with the mean, which covers the choice of the n test images (or errors); `sd` is over
the seeds, n - 1 in the denominator; epochs and hours are means over the seeds; `order` says whether
an error stands to those of the other methods as in the paper, a correction to the other one."""


class Reproduced(NamedTuple):
    """What became of a group of networks.

    Attributes:
        group: what the table wants.
        results: their evaluation; None where there is no data.
        runs: (method, seed) -> the training.
    """

    group: Group
    results: Results | None
    runs: Mapping[tuple[str, int], RunRecord]


def figures_of(target: Target, reproduced: Sequence[Reproduced]) -> pd.DataFrame:
    """One row per network, epsilon and quantity; columns as `FIGURE_COLUMNS`."""
    rows = []
    for found in reproduced:
        group, results = found.group, found.results
        dataset = group.dataset if results is None else results.dataset
        for epsilon in group.epsilons if target.attacked else (0.0,):
            for method in group.methods:
                effort = _effort(found, method)
                for quantity, paper in _paper(group, method, epsilon).items():
                    key = dataset, group.arch, method, epsilon, quantity, paper, group.published
                    if results is None:
                        rows.append((*key, *[math.nan] * 4, 0, 0, *effort, NO_DATA))
                    else:
                        ours = _ours(group, results, method, epsilon, quantity)
                        order = _order(group, results, method, epsilon, quantity)
                        rows.append((*key, *ours, *effort, order))
    return pd.DataFrame(rows, columns=list(FIGURE_COLUMNS))


def reproduction_tables(target: Target, figures: pd.DataFrame, note: str) -> list[Table]:
    """The table in the paper's layout, once for each reading of epsilon.

    Args:
        target: which.
        figures: from `figures_of`.
        note: what to say below every table.
    """
    return [_table(target, part, note) for _, part in figures.groupby("epsilon", sort=False)]


def _table(target: Target, figures: pd.DataFrame, note: str) -> Table:
    quantities = list(figures.quantity.unique())
    header = ["data", "network", "method"]
    for quantity in quantities:
        header += [f"{quantity}, %", "paper"]
    header += ["order of errors", *(["order of corrections"] if target.attacked else [])]
    header += ["seeds", "epochs", "hours"]
    rows = []
    for names, part in figures.groupby(["dataset", "network", "method"], sort=False):
        of = {row.quantity: row for row in part.itertuples()}
        cells = [*names]
        for quantity in quantities:
            cells += [_text(of[quantity]), percent(of[quantity].paper, 10_000) or DASH]
        cells += [of[quantity].order for quantity in quantities[:2]]
        first = of[quantities[0]]
        known = first.seeds > 0
        cells += [str(first.seeds), f"{first.epochs:g}", f"{first.hours:.2f}"] if known else []
        rows.append(cells + [DASH] * (len(header) - len(cells)))
    epsilon = figures.epsilon.iloc[0]
    title = f"{target.title}, epsilon {epsilon:g}" if target.attacked else target.title
    return Table(title, header, rows, " ".join([note, *_notes(figures, epsilon)]))


def _notes(figures: pd.DataFrame, epsilon: float) -> list[str]:
    notes = []
    for (dataset, published), part in figures.groupby(["dataset", "paper_dataset"], sort=False):
        notes.append(reading_note(published, "fgsm", epsilon) if epsilon else "")
        if dataset != published:
            notes.append(
                f"Ours are of {dataset} ({part.n.max()} test images), the paper's of {published}:"
                " compare the order, not the figures."
            )
    notes.append(
        "In brackets 95 % intervals, which cover the choice of the test images; after ± the"
        " standard deviation over seeds. The order of errors is that of a method and each other"
        f" one of its network; {NOISE}: by McNemar's test, or Welch's over seeds, they do not"
        " differ. Epochs and hours of wall-clock time are those of a training, on average."
    )
    return [text for text in notes if text]


def _text(row: Any) -> str:
    if row.order == NO_DATA:
        return NO_DATA
    text = share_with_interval(row.mean, row.low, row.high, row.n) or DASH
    return text if math.isnan(row.sd) else f"{text} ± {percent(row.sd, row.n)}"


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


def _ours(
    group: Group, results: Results, method: str, epsilon: float, quantity: str
) -> tuple[float, float, float, float, int, int]:
    """Mean, low, high, sd, n and number of seeds; NaN for the baseline beside itself."""
    by_seed: dict[int, dict[str, str]] = {}
    for model in results.models:
        by_seed.setdefault(model["seed"], {})[model["method"]] = model["name"]
    counts = [
        _counts(results, names[method], names[group.methods[0]], epsilon, quantity)
        for names in by_seed.values()
    ]
    known = np.array([(count, total) for count, total in counts if total])
    if not len(known):
        return math.nan, math.nan, math.nan, math.nan, 0, len(counts)
    shares = known[:, 0] / known[:, 1]
    count, n = (round(float(mean)) for mean in known.mean(0))
    interval = rate(count, n)
    sd = float(shares.std(ddof=1)) if len(shares) > 1 else math.nan
    return float(shares.mean()), interval.low, interval.high, sd, n, len(counts)


def _counts(
    results: Results, name: str, baseline: str, epsilon: float, quantity: str
) -> tuple[int, int]:
    """How many of how many, for a network and the baseline of the same seed."""
    if quantity == TEST_ERROR:
        model = next(model for model in results.models if model["name"] == name)
        return model["clean_errors"], model["n"]
    if quantity == ADVERSARIAL_ERROR:
        own = results.rows["fgsm", epsilon, name, name]
        return own.source_errors, own.n
    if name == baseline:
        return 0, 0
    pair = (baseline, name) if quantity == BY_METHOD else (name, baseline)
    row = results.rows["fgsm", epsilon, *pair]
    return row.source_errors - row.both_errors, row.source_errors


def _order(group: Group, results: Results, method: str, epsilon: float, quantity: str) -> str:
    if quantity in (TEST_ERROR, ADVERSARIAL_ERROR):
        return _order_of_errors(group, results, method, epsilon, quantity)
    paper = _paper(group, method, epsilon)
    ours = [_ours(group, results, method, epsilon, name)[0] for name in (BY_METHOD, BY_BASELINE)]
    return _agreement(ours[0] - ours[1], paper[BY_METHOD] - paper[BY_BASELINE])


def _order_of_errors(
    group: Group, results: Results, method: str, epsilon: float, quantity: str
) -> str:
    """Compare a method with each other one; say it once where all agree."""
    case = ("fgsm", epsilon) if epsilon else (NO_ATTACK, 0.0)
    named = {model["method"]: model["group"] for model in results.models}
    tested = {
        (row.first, row.second): row
        for row in results.differences.itertuples()
        if (row.attack, row.epsilon) == case
    }
    said: dict[str, list[str]] = {}
    for other in group.methods:
        paper = _paper(group, method, epsilon)[quantity] - _paper(group, other, epsilon)[quantity]
        pair = named[method], named[other]
        row, sign = tested.get(pair), 1
        if row is None:
            row, sign = tested.get(pair[::-1]), -1
        if row is not None and paper and not math.isnan(paper):
            word = NOISE if row.within_noise else _agreement(sign * row.difference, paper)
            said.setdefault(word, []).append(other)
    if len(said) == 1:
        return next(iter(said))
    return "; ".join(f"{word}: {', '.join(others)}" for word, others in said.items()) or DASH


def _agreement(ours: float, paper: float) -> str:
    if math.isnan(ours) or math.isnan(paper) or ours == 0:
        return DASH
    return AGREES if ours * paper > 0 else REVERSED


def _effort(found: Reproduced, method: str) -> tuple[float, float]:
    """Epochs and hours of a method's training, on average over its seeds; NaN for none."""
    manifests = [run.manifest for (name, _), run in found.runs.items() if name == method]
    if not manifests:
        return math.nan, math.nan
    epochs = float(np.mean([manifest["epochs"] for manifest in manifests]))
    seconds = float(np.mean([manifest["training_seconds"] for manifest in manifests]))
    return epochs, seconds / 3600
