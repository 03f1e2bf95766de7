"""Results of versions 1 and 2, which hold counts only: from stored counts to a `Summary`.

Counts are believed if they agree with each other; rates are derived anew. What counts do not tell
stays empty: robust accuracy, paired tests of worst cases and of correction rates.
"""

import itertools
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, create_model

from winnrobust.evaluation import statistics
from winnrobust.evaluation.paired import TAIL, exact_bounds, mcnemar
from winnrobust.evaluation.statistics import NO_ATTACK, WORST_CASE, Summary
from winnrobust.reporting.stored import (
    Count,
    Images,
    Indicator,
    Model,
    Name,
    Positive,
    Stored,
    check,
)
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.intervals import rate

CASE = ["attack", "norm", "epsilon"]
Norm = Literal["Linf", "L2"]


def _model(base: type[BaseModel] = Stored, **fields: Any) -> Any:
    return create_model(
        "Row", __base__=base, **{name: (kind, ...) for name, kind in fields.items()}
    )


CASED = _model(attack=Name, norm=Norm, epsilon=Positive, source=Name, n=Images)
PAIRED = _model(
    attack=Name, norm=Norm | Literal[""], epsilon=Positive, first=Name, second=Name, n=Images,
    first_only=Count, second_only=Count,
)  # fmt: skip
MADE = _model(attack=Name, source=Name)
COUNTED = ("entries", "zero_entries", "images", "zero_images")

VERSION_2 = _model(
    dataset=Name,
    split=str,
    n=Images,
    limit=Images | None,
    settings=dict[str, Any],
    models=list[_model(Model, n=Images, clean_errors=Count)],
    gradients=list[_model(MADE, **dict.fromkeys(COUNTED, Count))],
    rows=list[
        _model(CASED, target=Name, source_errors=Count, target_errors=Count, both_errors=Count)
    ],
    paired=list[PAIRED],
    aimed=list[_model(CASED, hits=Count)],
    costs=list[_model(MADE, seconds=Positive, unfinished=Count)],
    diagnosis=list[Indicator] | None,
)


def read_counts(stored: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check the counts of a results.json, and bring those of version 1 to the form of version 2.

    Raises:
        InputError: it is damaged, or counts contradict each other.
    """
    if stored["schema"] == 1:
        added = {"settings": {}, "paired": [], "aimed": [], "costs": [], "diagnosis": None}
        stored = added | stored | {"rows": _filled(stored.get("rows"), "norm", "Linf")}
        stored["models"] = _filled(stored.get("models"), "group", None)
    check(VERSION_2, stored, path)
    names = [model["name"] for model in stored["models"]]
    if not names or len(set(names)) != len(names) or not stored["rows"]:
        raise InputError(f"{path} must have models, each of another name, and rows")
    _check_rows(stored, names, path)
    _check_paired(stored, names, path)
    _check_others(stored, set(names), path)
    return stored


def _filled(rows: Any, key: str, default: Any) -> Any:
    """Add to rows of version 1 what they lack; a model's group is its method."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return rows
    return [{key: default or row.get("method") or row.get("name")} | row for row in rows]


def settings_of(stored: dict[str, Any]) -> dict[str, Any]:
    """The settings, by the names that they have today."""
    old = stored["settings"]
    budget = old.get("budget") if isinstance(old.get("budget"), dict) else {}
    return {**budget, "targeted": old.get("aim"), "seconds": old.get("seconds")}


def summary_of(stored: dict[str, Any], distances: dict[tuple[str, str], np.ndarray]) -> Summary:
    """Put the counts of an evaluation into the tables that reports read."""
    n = stored["n"]
    clean = {model["name"]: model["clean_errors"] for model in stored["models"]}
    rows, paired, aimed = (_frame(stored, name) for name in ("rows", "paired", "aimed"))
    rows = rows.assign(
        clean_errors_source=rows.source.map(clean), clean_errors_target=rows.target.map(clean)
    )
    _add_rates(rows, "adversarial_error", rows.source_errors, rows.n)
    _add_rates(rows, "correction_rate", rows.source_errors - rows.both_errors, rows.source_errors)
    cleaned = pd.DataFrame(clean.items(), columns=["model", "errors"]).assign(n=n, draws=1)
    _add_rates(cleaned, "error", cleaned.errors, cleaned.n)
    _add_rates(aimed, "hit_rate", aimed.hits, aimed.n)
    costs = _frame(stored, "costs").rename(columns={"unfinished": "out_of_time"})
    unfinished = costs.rename(columns={"source": "model", "out_of_time": "not_attacked"})
    own = rows[rows.source == rows.target].rename(
        columns={"source": "model", "source_errors": "errors"}
        | {f"adversarial_error{end}": f"error{end}" for end in ("", "_low", "_high")}
    )
    own = own.merge(unfinished[["attack", "model", "not_attacked"]], "left")
    paired = paired[paired.attack != WORST_CASE]
    tests = map(mcnemar, paired.first_only, paired.second_only)
    return Summary(
        clean=cleaned[list(statistics.CLEAN_COLUMNS)],
        errors=own.fillna({"not_attacked": 0})[list(statistics.ERROR_COLUMNS)],
        transfer=rows[list(statistics.TRANSFER_COLUMNS)],
        corrections=_corrections(rows, list(clean)),
        robust=pd.DataFrame(columns=list(statistics.ROBUST_COLUMNS)),
        paired=paired.assign(p_value=list(tests))[list(statistics.PAIRED_COLUMNS)],
        targeted=aimed[list(statistics.TARGETED_COLUMNS)],
        distances=distances,
        costs=costs.reindex(columns=list(statistics.COST_COLUMNS)),
        gradients=_frame(stored, "gradients").reindex(columns=list(statistics.GRADIENT_COLUMNS)),
        random_models=dict.fromkeys(clean, False),
        n=n,
    )


def _frame(stored: dict[str, Any], name: str) -> pd.DataFrame:
    """Rows as a table, with the norms' names of today."""
    kind = VERSION_2.model_fields[name].annotation.__args__[0]
    frame = pd.DataFrame(stored[name], columns=list(kind.model_fields))
    return frame.assign(norm=frame.norm.str.lower()) if "norm" in frame else frame


def _add_rates(frame: pd.DataFrame, name: str, count: pd.Series, total: pd.Series) -> None:
    found = [rate(*pair) for pair in zip(count.astype(int), total.astype(int), strict=True)]
    for column, values in zip(("", "_low", "_high"), range(3), strict=True):
        frame[name + column] = [each[values] for each in found]


def _corrections(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Both directions of every pair, with exact bounds that hold whatever their dependence."""
    corrected = rows.source_errors - rows.both_errors
    counts = {
        (*case, source, target): (right, total)
        for *case, source, target, right, total in zip(
            *(rows[name] for name in (*CASE, "source", "target")), corrected, rows.source_errors,
            strict=True,
        )
    }  # fmt: skip
    found = []
    for case in dict.fromkeys(key[:3] for key in counts):
        for pair in itertools.combinations(names, 2):
            ways = [counts[*case, *way] for way in (pair, pair[::-1])]
            known = all(total for _, total in ways)
            (a, a_low, a_high), (b, b_low, b_high) = (
                (right / total, *exact_bounds(right, total, TAIL / 2)) if known else [math.nan] * 3
                for right, total in ways
            )
            found.append((*case, *pair, a, b, a - b, a_low - b_high, a_high - b_low, math.nan))
    return pd.DataFrame(found, columns=list(statistics.CORRECTION_COLUMNS))


# --- do the counts agree? -----------------------------------------------------------------------


def _check_rows(stored: dict[str, Any], names: list[str], path: Path) -> None:
    """One row for every attack, epsilon, source and target, none of which contradicts another."""
    n, rows = stored["n"], _frame(stored, "rows")
    for model in stored["models"]:
        if model["n"] != n or model["clean_errors"] > n:
            raise InputError(f"{path}: model '{model['name']}' errs on more images than there are")
    cases = rows[CASE].drop_duplicates()
    keys = pd.MultiIndex.from_frame(rows[[*CASE, "source", "target"]])
    wanted = {(*case, *pair) for case in cases.itertuples(index=False, name=None)
              for pair in itertools.product(names, names)}  # fmt: skip
    norms = cases.drop_duplicates(["attack", "norm"])
    if not keys.is_unique or set(keys) != wanted or not norms.attack.is_unique:
        raise InputError(f"{path} must have one row per attack, epsilon, source and target")
    errors = rows[["source_errors", "target_errors"]]
    own = rows[rows.source == rows.target].set_index([*CASE, "source"]).both_errors
    itself = own.loc[pd.MultiIndex.from_frame(rows[[*CASE, "source"]])].to_numpy()
    wrong = (
        (rows.n != n)
        | (errors.max(axis=1) > n)
        | (rows.both_errors > errors.min(axis=1))
        | (rows.both_errors < errors.sum(axis=1) - n)
        | (rows.source_errors != itself)
        | ((rows.source == rows.target) & (rows.target_errors != rows.source_errors))
    )
    _refuse(rows[[*CASE, "source", "target"]], wrong, path)


def _check_paired(stored: dict[str, Any], names: list[str], path: Path) -> None:
    """Paired rows fit the errors of both models, and there are all of them or none."""
    n, rows, paired = stored["n"], _frame(stored, "rows"), _frame(stored, "paired")
    own = rows[rows.source == rows.target]
    errors = {
        (NO_ATTACK, "", 0.0, model["name"]): model["clean_errors"] for model in stored["models"]
    }
    errors |= dict(
        zip(zip(*(own[c] for c in (*CASE, "source")), strict=True), own.source_errors, strict=True)
    )
    paired = paired[paired.attack != WORST_CASE]
    cases = list(zip(*(paired[name] for name in CASE), strict=True))
    first, second = (
        np.array(
            [errors.get((*case, name), -1) for case, name in zip(cases, paired[side], strict=True)]
        )
        for side in ("first", "second")
    )
    wrong = (
        (paired.n != n)
        | (np.minimum(first, second) < 0)
        | (first - second != paired.first_only - paired.second_only)
        | (first < paired.first_only)
        | (first + paired.second_only > n)
    )
    _refuse(paired[[*CASE, "first", "second"]], wrong, path)
    found = {
        (case, frozenset(pair))
        for case, *pair in zip(cases, paired["first"], paired.second, strict=True)
    }
    wanted = {
        (key[:3], frozenset(pair)) for key in errors for pair in itertools.combinations(names, 2)
    }
    if len(paired) and (len(found) != len(paired) or found != wanted):
        raise InputError(f"{path} must have one paired row per attack, epsilon and pair of models")


def _check_others(stored: dict[str, Any], names: set[str], path: Path) -> None:
    """Targets, costs, gradients and the diagnosis speak of what there is."""
    rows, aimed = _frame(stored, "rows"), _frame(stored, "aimed")
    key = [*CASE, "source"]
    most = rows.drop_duplicates(key).set_index(key).source_errors
    most = most.reindex(pd.MultiIndex.from_frame(aimed[key])).to_numpy()
    wrong = (aimed.n != stored["n"]) | aimed.duplicated(key) | ~(aimed.hits <= most)
    _refuse(aimed[key], wrong, path)
    attacks = set(rows.attack)
    spoken = [(row["attack"], row["source"]) for row in (*stored["gradients"], *stored["costs"])]
    unknown = [attack for attack, _ in spoken if attack not in attacks]
    models = [source for _, source in spoken] + [row["model"] for row in stored["diagnosis"] or []]
    unknown += [model for model in models if model not in names]
    if unknown:
        raise InputError(f"{path} speaks of '{unknown[0]}', which is not a model or attack of it")


def _refuse(keys: pd.DataFrame, wrong: pd.Series, path: Path) -> None:
    for row in keys[wrong].itertuples(index=False, name=None):
        raise InputError(f"{path}: the counts of {', '.join(map(str, row))} contradict others")
