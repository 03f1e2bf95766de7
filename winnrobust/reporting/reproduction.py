"""A table of the paper beside ours: means over seeds, intervals, and whether the order agrees."""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact, ttest_ind

from winnrobust.evaluation.metrics import NO_ATTACK
from winnrobust.evaluation.seeds import SIGNIFICANCE, differences
from winnrobust.reporting.order import AGREES, NOISE, REVERSED
from winnrobust.reporting.paper import paper_row, paper_test_error, reading_note
from winnrobust.reporting.reproductions import BUDGETS, Group, Target
from winnrobust.reporting.results import Results
from winnrobust.reporting.runs import RunRecord
from winnrobust.reporting.table import DASH, Table, listed, percent, share_with_interval
from winnrobust.runtime.intervals import rate

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
    "cpu_hours",
    "budget",
    "given",
    "order",
)
"""Shares are in [0, 1], and NaN where there is none; `low` and `high` are the 95 % Wilson interval
of one network with the mean, which covers the choice of the n test images (or errors); `sd` is over
the seeds, n - 1 in the denominator; `seeds` are those that have the figure; epochs, hours of
wall-clock time and of the training process are means over the seeds; `given` says how many networks
were not trained by the budget; `order` says whether an error stands to those of the other methods
as in the paper, a correction to the other one."""


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


def figures_of(target: Target, budget: str, reproduced: Sequence[Reproduced]) -> pd.DataFrame:
    """One row per network, epsilon and quantity; columns as `FIGURE_COLUMNS`."""
    rows = []
    for found in reproduced:
        group, results = found.group, found.results
        dataset = group.dataset if results is None else results.dataset
        compared = pd.DataFrame() if results is None else _compared(results)
        for epsilon in group.epsilons if target.attacked else (0.0,):
            for method in group.methods:
                given = sum(name == method for name, _ in found.given)
                about = *_effort(found, method), budget, given
                for quantity, paper in _paper(group, method, epsilon).items():
                    key = dataset, group.arch, method, epsilon, quantity, paper, group.published
                    if results is None:
                        rows.append((*key, *[math.nan] * 4, 0, 0, *about, NO_DATA))
                    else:
                        ours = _ours(group, results, method, epsilon, quantity)
                        order = _order(group, results, compared, method, epsilon, quantity)
                        rows.append((*key, *ours, *about, order))
    return pd.DataFrame(rows, columns=list(FIGURE_COLUMNS))


def reproduction_tables(target: Target, figures: pd.DataFrame) -> list[Table]:
    """The table in the paper's layout, once for each reading of epsilon.

    Args:
        target: which.
        figures: from `figures_of`.
    """
    return [_table(target, part) for _, part in figures.groupby("epsilon", sort=False)]


def _table(target: Target, figures: pd.DataFrame) -> Table:
    quantities = list(figures.quantity.unique())
    header = ["data", "network", "method"]
    for quantity in quantities:
        header += [f"{quantity}, %", "paper"]
    header += ["order of errors", *(["order of corrections"] if target.attacked else [])]
    header += ["seeds", "epochs", "hours", "CPU hours"]
    rows = []
    for names, part in figures.groupby(["dataset", "network", "method"], sort=False):
        of = {row.quantity: row for row in part.itertuples()}
        cells = [*names]
        for quantity in quantities:
            cells += [_text(of[quantity]), percent(of[quantity].paper, 10_000) or DASH]
        cells += [of[quantity].order for quantity in quantities[:2]]
        first = of[quantities[0]]
        known = first.seeds > 0
        if known:
            hours = ("" if math.isnan(x) else f"{x:.2f}" for x in (first.hours, first.cpu_hours))
            cells += [str(first.seeds), f"{first.epochs:g}", *(text or DASH for text in hours)]
        rows.append(cells + [DASH] * (len(header) - len(cells)))
    epsilon = figures.epsilon.iloc[0]
    title = f"{target.title}, epsilon {epsilon:g}" if target.attacked else target.title
    return Table(title, header, rows, " ".join(_notes(figures, epsilon)))


def _budget_note(figures: pd.DataFrame) -> str:
    """Which settings the networks were trained with."""
    networks = figures[figures.seeds > 0].drop_duplicates(["dataset", "network", "method"])
    given = networks[networks.given > 0]
    if len(given) and (given.given == given.seeds).all() and len(given) == len(networks):
        return "All networks were given, each trained with settings of its own."
    name = figures.budget.iloc[0]
    note = f"Budget '{name}': {BUDGETS[name].summary}."
    if len(given):
        names = [f"{row.dataset}-{row.network}-{row.method}" for row in given.itertuples()]
        note += f" Given, with settings of their own: {listed(names)}."
    return note


def _notes(figures: pd.DataFrame, epsilon: float) -> list[str]:
    notes = [_budget_note(figures)]
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
        " differ."
    )
    if epsilon:
        notes.append(
            "The order of corrections is that of the two directions, by Fisher's exact test, or"
            " Welch's over seeds."
        )
    else:
        notes.append("The paper's figures are of one training each: 0.01 % is a single image.")
    notes.append(
        "Epochs and hours are those of a training, on average: wall-clock time, on a machine that"
        " may have done other work, and time of the process."
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
    known = _by_seed(group, results, method, epsilon, quantity)
    if not len(known):
        return math.nan, math.nan, math.nan, math.nan, 0, 0
    shares = known[:, 0] / known[:, 1]
    mean, n = float(shares.mean()), round(float(known[:, 1].mean()))
    interval = rate(round(mean * n), n)
    sd = float(shares.std(ddof=1)) if len(shares) > 1 else math.nan
    return mean, interval.low, interval.high, sd, n, len(known)


def _by_seed(
    group: Group, results: Results, method: str, epsilon: float, quantity: str
) -> np.ndarray:
    """How many of how many: a row for each seed, (seeds, 2), without those that have none."""
    by_seed: dict[int, dict[str, str]] = {}
    for model in results.models:
        by_seed.setdefault(model["seed"], {})[model["method"]] = model["name"]
    counts = [
        _counts(results, names[method], names[group.methods[0]], epsilon, quantity)
        for names in by_seed.values()
    ]
    return np.array([(count, total) for count, total in counts if total]).reshape(-1, 2)


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


def _compared(results: Results) -> pd.DataFrame:
    """Every two methods' errors, over their seeds however those were trained."""
    methods = {model["name"]: model["method"] for model in results.models}
    return differences(results.errors, results.paired, methods)


def _order(
    group: Group,
    results: Results,
    compared: pd.DataFrame,
    method: str,
    epsilon: float,
    quantity: str,
) -> str:
    if quantity in (TEST_ERROR, ADVERSARIAL_ERROR):
        return _order_of_errors(group, compared, method, epsilon, quantity)
    return _order_of_corrections(group, results, method, epsilon)


def _order_of_corrections(group: Group, results: Results, method: str, epsilon: float) -> str:
    """Compare the two directions, whose errors are of different images."""
    paper = _paper(group, method, epsilon)
    of_paper = paper[BY_METHOD] - paper[BY_BASELINE]
    counts = [_by_seed(group, results, method, epsilon, name) for name in (BY_METHOD, BY_BASELINE)]
    if math.isnan(of_paper) or not all(map(len, counts)):
        return DASH
    shares = [count[:, 0] / count[:, 1] for count in counts]
    if min(map(len, shares)) > 1 and max(map(np.ptp, shares)) > 0:
        p_value = ttest_ind(*shares, equal_var=False).pvalue
    else:
        sums = [count.sum(0) for count in counts]
        p_value = fisher_exact([(right, total - right) for right, total in sums]).pvalue
    if p_value >= SIGNIFICANCE:
        return NOISE
    return _agreement(shares[0].mean() - shares[1].mean(), of_paper)


def _order_of_errors(
    group: Group, compared: pd.DataFrame, method: str, epsilon: float, quantity: str
) -> str:
    """Compare a method with each other one; say it once where all agree."""
    case = ("fgsm", epsilon) if epsilon else (NO_ATTACK, 0.0)
    tested = {
        (row.first, row.second): row
        for row in compared.itertuples()
        if (row.attack, row.epsilon) == case
    }
    said: dict[str, list[str]] = {}
    for other in group.methods:
        paper = _paper(group, method, epsilon)[quantity] - _paper(group, other, epsilon)[quantity]
        pair = method, other
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
    return AGREES if ours * paper > 0 else REVERSED


def _effort(found: Reproduced, method: str) -> tuple[float, float, float]:
    """Epochs, hours and CPU hours of a method's training, on average over its seeds.

    NaN for none, and where a run of an older version does not say.
    """
    runs = [run for (name, _), run in found.runs.items() if name == method]
    if not runs:
        return math.nan, math.nan, math.nan
    epochs = np.mean([run.manifest["epochs"] for run in runs])
    seconds = np.mean([run.manifest.get("training_seconds", math.nan) for run in runs])
    cpu = np.mean([sum(row.get("cpu_seconds", math.nan) for row in run.metrics) for run in runs])
    return float(epochs), float(seconds) / 3600, float(cpu) / 3600
