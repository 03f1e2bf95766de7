"""Results of versions 1 and 2, which hold counts only: from stored counts to a `Summary`.

Counts are believed if they agree with each other; rates are derived anew. What counts do not tell
stays empty: robust accuracy, and whether the two directions of correction differ.
"""

import itertools
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import BaseModel, create_model

from winnrobust.evaluation.examples import read_file
from winnrobust.evaluation.outcomes import CASE, NO_ATTACK, Made
from winnrobust.evaluation.paired import mcnemar
from winnrobust.evaluation.statistics import COLUMNS, WORST_CASE, Summary, framed
from winnrobust.reporting import stored as kinds
from winnrobust.reporting.results import Results
from winnrobust.reporting.stored import Count, Images, Indicator, Name, Positive, Stored
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.intervals import rate
from winnrobust.runtime.readers import read_npz

Norm = Literal["Linf", "L2"]


def _model(base: type[BaseModel] = Stored, **fields: Any) -> type[BaseModel]:
    required: Any = {name: (kind, ...) for name, kind in fields.items()}
    return create_model("Row", __base__=base, **required)


def _rows(base: type[BaseModel] = Stored, **fields: Any) -> Any:
    return GenericAlias(list, (_model(base, **fields),))


CASED = _model(attack=Name, norm=Norm, epsilon=Positive, source=Name, n=Images)
MADE = _model(attack=Name, source=Name)
ERRORS = {"source_errors": Count, "target_errors": Count, "both_errors": Count}
PAIR = {"first": Name, "second": Name, "n": Images, "first_only": Count, "second_only": Count}
COUNTED = dict.fromkeys(("entries", "zero_entries", "images", "zero_images"), Count)

VERSION_2 = _model(
    dataset=Name,
    split=str,
    n=Images,
    limit=Images | None,
    settings=dict[str, Any],
    models=_rows(kinds.Model, n=Images, clean_errors=Count),
    gradients=_rows(MADE, **COUNTED),
    rows=_rows(CASED, target=Name, **ERRORS),
    paired=_rows(attack=Name, norm=Norm | Literal[""], epsilon=Positive, **PAIR),
    aimed=_rows(CASED, hits=Count),
    costs=_rows(MADE, seconds=Positive, unfinished=Count),
    diagnosis=list[Indicator] | None,
)


ADDED = ("paired", "aimed", "costs")
"""Tables that version 1 did not have."""


def read_results(folder: Path, stored: dict[str, Any], manifest: dict[str, Any]) -> Results:
    """Read a results folder of version 1 or 2.

    Args:
        stored: its results.json.

    Raises:
        InputError: a file is missing or damaged, or counts contradict each other.
    """
    counts = read_counts(stored, folder / "results.json")
    distances = _distances(folder / "distances.npz", counts) if stored["schema"] > 1 else {}
    diagnosis, old = counts["diagnosis"], counts["settings"]
    budget = old.get("budget") if isinstance(old.get("budget"), dict) else {}
    return Results(
        **{name: counts[name] for name in ("dataset", "split", "limit", "n", "models")},
        settings={**budget, "targeted": old.get("aim"), "seconds": old.get("seconds")},
        summary=_summary(counts, distances),
        manifest=manifest,
        examples=read_file(folder / "examples.npz"),
        diagnosis=diagnosis and pd.DataFrame(diagnosis),
        counts_only=True,
    )


def _distances(path: Path, counts: dict[str, Any]) -> dict[Made, np.ndarray]:
    attacks, sources, distances = read_npz(path, ("attacks", "sources", "distances")).values()
    known = {(row["attack"], row["source"]) for row in counts["rows"]}
    pairs = list(zip(map(str, attacks.flat), map(str, sources.flat), strict=False))
    fits = len(pairs) == len(set(pairs)) == attacks.size == sources.size and known.issuperset(pairs)
    if not fits or distances.shape != (len(pairs), counts["n"]) or not (distances >= 0).all():
        raise InputError(f"{path} is damaged (they are not the distances of {counts['n']} images)")
    norms = {row["attack"]: row["norm"].lower() for row in counts["rows"]}
    made = [(attack, norms[attack], source) for attack, source in pairs]
    return dict(zip(made, distances, strict=True))


def read_counts(stored: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check the counts of a results.json, and bring those of version 1 to the form of version 2.

    Raises:
        InputError: it is damaged, or counts contradict each other.
    """
    if stored["schema"] == 1:
        stored = {"settings": {}, "diagnosis": None} | {name: [] for name in ADDED} | stored
        stored["rows"] = _filled(stored.get("rows"), "norm", "Linf")
        stored["models"] = _filled(stored.get("models"), "group", None)
    kinds.check(VERSION_2, stored, path)
    try:
        _check_rows(stored)
        _check_paired(stored)
        _check_others(stored)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    return stored


def _filled(rows: Any, key: str, default: Any) -> Any:
    """Add to rows of version 1 what they lack; a model's group is its method."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return rows
    return [{key: default or row.get("method") or row.get("name")} | row for row in rows]


def _summary(stored: dict[str, Any], distances: dict[Made, np.ndarray]) -> Summary:
    """Put the counts of an evaluation into the tables that reports read."""
    n, models = stored["n"], _frame(stored, "models")
    clean = dict(zip(models.name, models.clean_errors, strict=True))
    rows, paired, aimed = (_frame(stored, name) for name in ("rows", "paired", "aimed"))
    rows["clean_errors_source"] = rows.source.map(clean)
    rows["clean_errors_target"] = rows.target.map(clean)
    _add_rates(rows, "adversarial_error", rows.source_errors, rows.n)
    _add_rates(rows, "correction_rate", rows.source_errors - rows.both_errors, rows.source_errors)
    models = models.rename(columns={"clean_errors": "errors"}).assign(model=models.name, draws=1)
    _add_rates(models, "error", models.errors, models.n)
    _add_rates(aimed, "hit_rate", aimed.hits, aimed.n)
    costs = _frame(stored, "costs").rename(columns={"unfinished": "out_of_time"}).assign(failure="")
    left = costs.rename(columns={"out_of_time": "not_attacked"})
    left = left[["attack", "source", "not_attacked"]]
    rows = rows.merge(left, "left", on=["attack", "source"]).fillna({"not_attacked": 0})
    renamed = {"adversarial_error": "error", "source": "model", "source_errors": "errors"}
    renamed |= {f"adversarial_error_{end}": f"error_{end}" for end in ("low", "high")}
    own = rows[rows.source == rows.target].rename(columns=renamed)
    norms = dict(zip(rows.attack, rows.norm, strict=True))
    costs, gradients = (
        frame.assign(norm=frame.attack.map(norms)) for frame in (costs, _frame(stored, "gradients"))
    )
    paired = paired[paired.attack != WORST_CASE]
    tests = list(map(mcnemar, paired.first_only, paired.second_only))
    frames = {
        "clean": models,
        "errors": own,
        "transfer": rows,
        "corrections": framed("corrections", []),
        "robust": framed("robust", []),
        "corruption": framed("corruption", []),
        "rounded": framed("rounded", []),
        "paired": paired.assign(p_value=tests),
        "targeted": aimed,
        "costs": costs,
        "gradients": gradients,
    }
    return Summary(
        **{name: frame.reindex(columns=COLUMNS[name].split()) for name, frame in frames.items()},
        distances=distances,
        random_models=dict.fromkeys(clean, False),
        n=n,
    )


def _frame(stored: dict[str, Any], name: str) -> pd.DataFrame:
    """Rows as a table, with the norms' names of today."""
    (kind,) = get_args(VERSION_2.model_fields[name].annotation)
    frame = pd.DataFrame(stored[name], columns=[*kind.model_fields])
    return frame.assign(norm=frame.norm.str.lower()) if "norm" in frame else frame


def _add_rates(frame: pd.DataFrame, name: str, count: pd.Series, total: pd.Series) -> None:
    found = [rate(*pair) for pair in zip(count.astype(int), total.astype(int), strict=True)]
    for place, end in enumerate(("", "_low", "_high")):
        frame[name + end] = [each[place] for each in found]


# --- do the counts agree? -----------------------------------------------------------------------


def _check_rows(stored: dict[str, Any]) -> None:
    """One row for every attack, epsilon, source and target, none of which contradicts another."""
    n, rows, models = stored["n"], _frame(stored, "rows"), _frame(stored, "models")
    if not models.name.is_unique or (models.n != n).any() or (models.clean_errors > n).any():
        raise ValueError("models have one name, or err on more images than there are")
    cases = rows[CASE].drop_duplicates()
    wanted = cases.merge(models.name.rename("source"), "cross").merge(
        models.name.rename("target"), "cross"
    )
    keys = [*CASE, "source", "target"]
    if len(rows) != len(wanted) or len(rows.merge(wanted, on=keys)) != len(rows) or not len(rows):
        raise ValueError("there must be one row per attack, epsilon, source and target")
    if not cases.drop_duplicates(["attack", "norm"]).attack.is_unique:
        raise ValueError("an attack has two norms")
    own = rows[rows.source == rows.target].set_index([*CASE, "source"])
    same = own.loc[pd.MultiIndex.from_frame(rows[[*CASE, "source"]])]
    possible = _possible(n, rows.source_errors, rows.target_errors, rows.both_errors) & (
        rows.n == n
    )
    for column in ("source_errors", "target_errors", "both_errors"):
        possible &= rows.source_errors == same[column].to_numpy()
    _refuse(rows[keys], possible)


def _possible(n: int, first: pd.Series, second: pd.Series, both: pd.Series) -> pd.Series:
    """Whether four groups of images give these counts: both wrong, one of them, none."""
    groups = pd.concat([both, first - both, second - both, n - first - second + both], axis=1)
    return groups.min(axis=1) >= 0


def _check_paired(stored: dict[str, Any]) -> None:
    """Paired rows fit the errors of both models, and there are all of them or none."""
    n, paired, rows = stored["n"], _frame(stored, "paired"), _frame(stored, "rows")
    own = rows[rows.source == rows.target].rename(
        columns={"source": "name", "source_errors": "errors"}
    )
    clean = _frame(stored, "models").rename(columns={"clean_errors": "errors"})
    clean = clean.assign(attack=NO_ATTACK, norm="", epsilon=0.0)
    errors = pd.concat([part[[*CASE, "name", "errors"]] for part in (clean, own)])
    paired = paired[paired.attack != WORST_CASE]
    for side in ("first", "second"):
        of_side = errors.rename(columns={"name": side, "errors": f"{side}_errors"})
        paired = paired.merge(of_side, "left")
    both = paired.first_errors - paired.first_only
    possible = _possible(n, paired.first_errors, paired.second_errors, both) & (paired.n == n)
    possible &= both == paired.second_errors - paired.second_only
    _refuse(paired[[*CASE, "first", "second"]], possible)
    pairs = zip(paired["first"], paired.second, strict=True)
    found = set(zip(*(paired[name] for name in CASE), map(frozenset, pairs), strict=True))
    wanted = len(errors[CASE].drop_duplicates()) * len(list(itertools.combinations(clean.name, 2)))
    if len(paired) and not len(found) == len(paired) == wanted:
        raise ValueError("there must be one paired row per attack, epsilon and pair of models")


def _check_others(stored: dict[str, Any]) -> None:
    """Targets, costs, gradients and the diagnosis speak of what there is."""
    rows, aimed, keys = _frame(stored, "rows"), _frame(stored, "aimed"), [*CASE, "source"]
    known = aimed.merge(rows[rows.source == rows.target], "left", on=keys)
    fits = (aimed.n == stored["n"]) & ~aimed.duplicated(keys) & (aimed.hits <= known.source_errors)
    _refuse(aimed[keys], fits)
    made = [*stored["gradients"], *stored["costs"]]
    unknown = {row["attack"] for row in made} - set(rows.attack)
    models = {row["source"] for row in made} | {row["model"] for row in stored["diagnosis"] or []}
    for name in sorted(unknown | (models - set(rows.source))):
        raise ValueError(f"'{name}' is not a model or attack of it")


def _refuse(keys: pd.DataFrame, possible: pd.Series) -> None:
    for row in keys[~possible].itertuples(index=False, name=None):
        raise ValueError(f"the counts of {', '.join(map(str, row))} contradict others")
