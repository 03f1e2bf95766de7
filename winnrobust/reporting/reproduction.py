"""A table of the paper beside ours: means over seeds, intervals, and whether the order agrees."""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind

from winnrobust.evaluation.outcomes import CLEAN, Case
from winnrobust.evaluation.statistics import SIGNIFICANCE, differences
from winnrobust.reporting import paper
from winnrobust.reporting.results import Results, rows_of
from winnrobust.reporting.runs import RunRecord
from winnrobust.reporting.table import DASH, Table, percent, share_with_interval
from winnrobust.reporting.verdict import names
from winnrobust.reporting.words import read_toml, sentence
from winnrobust.training.config import SETTINGS

NO_DATA = "not run: no data"
TEST_ERROR, ADVERSARIAL_ERROR = "test error", "adversarial error"
STABLE_ERROR = "adversarial error, stable loss"
BY_METHOD = "correction by it of the baseline's errors"
BY_BASELINE = "correction by the baseline of its errors"

QUANTITIES = {
    TEST_ERROR: "test_error",
    ADVERSARIAL_ERROR: "adversarial_error",
    STABLE_ERROR: "",
    BY_METHOD: "correction_rate_by_method",
    BY_BASELINE: "correction_rate_by_baseline",
}
"""What a table shows -> what `paper.published` calls it. The paper's attack, and so corrections,
have the loss in its usual form."""

STABLE_ATTACK = "fgsm(loss='ce-stable')"
MATCHED = (
    "recipe", "batch_size", "lr", "adam_beta1", "adam_beta2", "adam_eps", "average_decay", "width",
    "padding", "initialization", "flip", "limit_train", "hold_out", "margin_radius",
)  # fmt: skip
"""Settings that two networks have in common that differ in the method only; so are the number of
epochs, and what chooses one."""

FIGURE_COLUMNS = (
    "dataset", "network", "method", "epsilon", "quantity", "paper", "paper_dataset", "mean", "low",
    "high", "sd", "n", "seeds", "epochs", "hours", "cpu_hours", "budget", "given", "unlike",
    "order",
)  # fmt: skip
"""Shares are in [0, 1], and NaN where there is none; `low` and `high` are the 95 % interval of a
network, on average over the seeds, which covers the choice of the n test images (or errors); `sd`
is over the seeds, n - 1 in the denominator; `seeds` are those that have the figure; epochs, hours
of wall-clock time and of the training process are means over the seeds; `given` says how many
networks were not trained by the budget; `unlike` what a training has not in common with the
baseline's, besides the method; `order` whether an error stands to those of the other methods as in
the paper, a correction to the other one, and where these were not trained alike."""


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
    return {
        name: {key: tuple(x) if isinstance(x, list) else x for key, x in fields.items()}
        for name, fields in read_toml("reproductions.toml")[kind].items()
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
    measured = _measured(group, results, epsilon).groupby(["method", "quantity"])
    summed = measured[["mean", "low", "high", "n"]].mean()
    summed["sd"], summed["seeds"] = measured["mean"].std(), measured["mean"].count()
    quantities = [name for name in QUANTITIES if (name != TEST_ERROR) == (epsilon > 0)]
    rows = pd.MultiIndex.from_product([group.methods, quantities], names=["method", "quantity"])
    frame = summed.reindex(rows).fillna({"n": 0, "seeds": 0}).astype({"n": int, "seeds": int})
    frame = frame.reset_index()
    papers = {method: _paper(group, method, epsilon) for method in group.methods}
    of_row = list(zip(frame.method, frame.quantity, strict=True))
    effort = pd.DataFrame([_effort(found, method) for method in frame.method])
    return pd.concat([frame, effort], axis=1).assign(
        dataset=group.dataset if results is None else results.dataset,
        network=group.arch,
        epsilon=epsilon,
        paper=[papers[method][quantity] for method, quantity in of_row],
        paper_dataset=group.published,
        given=[sum(name == method for name, _ in found.given) for method in frame.method],
        unlike=[", ".join(_unlike(found, group.methods[0], name)) or DASH for name in frame.method],
        order=NO_DATA if results is None else [
            _order_of_errors(found, papers, epsilon, *key)
            if key[1] in (TEST_ERROR, ADVERSARIAL_ERROR, STABLE_ERROR)
            else _order_of_corrections(found, papers[key[0]], epsilon, measured, key[0])
            for key in of_row
        ],
    )  # fmt: skip


def _measured(group: Group, results: Results | None, epsilon: float) -> pd.DataFrame:
    """One row per network and quantity that it has; n is what the share is of."""
    rows = []
    models = [] if results is None else results.models
    found = {(model["method"], model["seed"]): model["name"] for model in models}
    case = _case(epsilon)
    for (method, seed), name in found.items():
        assert results is not None
        error, baseline = results.errors[case, name][:3], found.get((group.methods[0], seed))
        rows.append((method, ADVERSARIAL_ERROR if epsilon else TEST_ERROR, *error, results.n))
        if stable := results.errors.get((case._replace(attack=STABLE_ATTACK), name)):
            rows.append((method, STABLE_ERROR, *stable[:3], results.n))
        if epsilon and baseline not in (None, name):
            for quantity, pair in ((BY_METHOD, (baseline, name)), (BY_BASELINE, (name, baseline))):
                row = results.transfer[case, *pair]
                rate = row.correction_rate, row.correction_rate_low, row.correction_rate_high
                rows.append((method, quantity, *rate, row.source_errors))
    columns = ["method", "quantity", "mean", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).dropna(subset="mean")


def _case(epsilon: float) -> Case:
    return Case(paper.ATTACK, "linf", epsilon) if epsilon else CLEAN


def _paper(group: Group, method: str, epsilon: float) -> dict[str, float]:
    """The paper's figures, by quantity, as shares; NaN where it has none."""
    found = paper.published(group.published, group.arch, method, _case(epsilon))
    return {quantity: found.get(key, math.nan) for quantity, key in QUANTITIES.items()}


def _effort(found: Reproduced, method: str) -> dict[str, float]:
    """What a method's training took, on average over its seeds; NaN where that is not known."""
    took = [
        {
            "epochs": run.manifest["epochs"],
            "hours": run.manifest.get("training_seconds", math.nan) / 3600,
            "cpu_hours": sum(row.get("cpu_seconds", math.nan) for row in run.metrics) / 3600,
        }
        for (name, _), run in found.runs.items()
        if name == method
    ]
    return pd.DataFrame(took, columns=["epochs", "hours", "cpu_hours"]).mean(skipna=False).to_dict()


# --- is the order that of the paper? --------------------------------------------------------------


def _unlike(found: Reproduced, first: str, second: str) -> list[str]:
    """What the trainings of two methods have not in common, of any seed that both have."""
    names: dict[str, None] = {}
    for (method, seed), run in found.runs.items():
        other = found.runs.get((second, seed))
        if method == first and other is not None:
            one, two = _how(run), _how(other)
            names |= {name: None for name in one if one[name] != two[name]}
    return list(names)


def _how(run: RunRecord) -> dict[str, Any]:
    """What two networks that differ in the method only have in common; a setting that is newer than
    the run was what it is by default."""
    known = {name: run.setting(name) for name in MATCHED}
    defaults = {name: SETTINGS[name].info.default for name in MATCHED}
    attacked = "valid_attacked_error" in run.manifest.get("best", {})
    return {
        "epochs": run.manifest["epochs"],
        **{name: defaults[name] if value is None else value for name, value in known.items()},
        "selection": "under attack" if attacked else "clean",
    }


def _marked(word: str, unlike: Sequence[str]) -> str:
    """An order's word, with what keeps it from being one of methods."""
    return f"{word}, not matched ({', '.join(unlike)})" if unlike else word


def _order_of_errors(
    found: Reproduced, papers: Mapping[str, Mapping[str, float]], epsilon: float, method: str,
    quantity: str,
) -> str:  # fmt: skip
    """Compare a method with each other one, over their seeds; say it once where all agree."""
    results = found.results
    assert results is not None
    methods = {model["name"]: model["method"] for model in results.models}
    compared = differences(results.own, results.summary.paired, methods)
    compared = rows_of(compared, [_case(epsilon)])
    said: dict[str, list[str]] = {}
    for row in compared[(compared["first"] == method) | (compared.second == method)].itertuples():
        theirs = papers[row.first][quantity] - papers[row.second][quantity]
        if theirs and not math.isnan(theirs):
            word = paper.NOISE if row.within_noise else _agreement(row.difference, theirs)
            word = _marked(word, _unlike(found, row.first, row.second))
            said.setdefault(word, []).append(row.second if row.first == method else row.first)
    if len(said) == 1:
        return next(iter(said))
    return "; ".join(f"{word}: {', '.join(others)}" for word, others in said.items()) or DASH


def _order_of_corrections(
    found: Reproduced, papers: Mapping[str, float], epsilon: float, measured: Any, method: str
) -> str:
    """Compare the two directions: over seeds by Welch's test, of one seed by the paired one."""
    results, baseline = found.results, found.group.methods[0]
    assert results is not None
    theirs = papers[BY_METHOD] - papers[BY_BASELINE]
    ours = [measured["mean"].get_group((method, name)) for name in (BY_METHOD, BY_BASELINE)
            if (method, name) in measured.groups]  # fmt: skip
    if math.isnan(theirs) or len(ours) < 2:
        return DASH
    if min(map(len, ours)) > 1 and max(map(np.ptp, ours)) > 0:
        p_value = ttest_ind(*ours, equal_var=False).pvalue
    else:
        methods = {model["name"]: model["method"] for model in results.models}
        rows = rows_of(results.summary.corrections, [_case(epsilon)])
        pairs = zip(rows["first"].map(methods), rows.second.map(methods), strict=True)
        of_pair = np.array([set(pair) == {baseline, method} for pair in pairs], bool)
        p_value = rows[of_pair].p_value.max()
    if math.isnan(p_value):
        return DASH
    noise = p_value >= SIGNIFICANCE
    word = paper.NOISE if noise else _agreement(ours[0].mean() - ours[1].mean(), theirs)
    return _marked(word, _unlike(found, baseline, method))


def _agreement(ours: float, theirs: float) -> str:
    return paper.AGREES if ours * theirs > 0 else paper.REVERSED


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
    orders = {quantities[0]: "order of errors"}
    orders |= {BY_METHOD: "order of corrections"} if BY_METHOD in quantities else {}
    header = ["data", "network", "method"]
    for quantity in quantities:
        header += [f"{quantity}, %", "paper"] if QUANTITIES[quantity] else [f"{quantity}, %"]
    header += [*orders.values(), "seeds", "epochs", "hours", "CPU hours"]
    rows = []
    for network, part in figures.groupby(["dataset", "network", "method"], sort=False):
        of = {row.quantity: row for row in part.itertuples()}
        ours: list[str] = []
        for name in quantities:
            theirs = [percent(of[name].paper, 10_000) or DASH] if QUANTITIES[name] else []
            ours += [_text(of[name]), *theirs]
        first, order = of[quantities[0]], [of[name].order for name in orders]
        effort = [f"{first.epochs:g}", f"{first.hours:.2f}", f"{first.cpu_hours:.2f}"]
        effort = [str(first.seeds or DASH), *(DASH if text == "nan" else text for text in effort)]
        rows.append([*network, *ours, *order, *effort])
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
    named = names(f"{row.dataset}-{row.network}-{row.method}" for row in given.itertuples())
    notes = [sentence("reproduction", "budget", name=budget, summary=BUDGETS[budget].summary)]
    if len(given) and (networks.given == networks.seeds).all():
        notes = [sentence("reproduction", "given")]
    elif len(given):
        notes.append(sentence("reproduction", "partly given", networks=named))
    for (ours, theirs), part in figures.groupby(["dataset", "paper_dataset"], sort=False):
        notes.append(paper.reading_note(theirs, Case(paper.ATTACK, paper.NORM, epsilon)))
        slots = {"dataset": ours, "n": part.n.max(), "published": theirs}
        notes += [sentence("reproduction", "other data", **slots)] if ours != theirs else []
    about = ["intervals", *(["losses", "corrections"] if epsilon else ["test errors"]), "effort"]
    if (networks.unlike != DASH).any():
        about.insert(1, "not matched")
    return [note for note in notes if note] + [sentence("reproduction", key) for key in about]
