"""From results.json to the tables of an evaluation: counts are believed, rates derived anew."""

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from winnrobust.evaluation.metrics import (
    NO_ATTACK,
    WORST_CASE,
    PairCounts,
    PairedCounts,
    aim_table,
    paired_table,
    results_table,
    worst_table,
)
from winnrobust.reporting.schema import check
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.intervals import rate
from winnrobust.runtime.readers import read_json

SCHEMA = 2
"""The version of results.json that is written; it and all before it are read."""


def read_stored(path: Path) -> dict[str, Any]:
    """Read a results.json of any version, as one of the newest.

    Raises:
        InputError: it is missing, damaged, or of a version that this winnrobust does not know.
    """
    stored = read_json(path)
    version = stored.get("schema") if isinstance(stored, dict) else None
    if type(version) is not int or not 1 <= version <= SCHEMA:
        raise InputError(
            f"{path} is not results of version 1 to {SCHEMA}, which this winnrobust reads; a newer"
            " one may have written it"
        )
    check(stored, f"results_{version}", path)
    return _from_version_1(stored) if version == 1 else stored


def _from_version_1(stored: dict[str, Any]) -> dict[str, Any]:
    """Add what version 1 did not store, as far as it follows from what it did."""
    rows = [{"norm": "Linf"} | row for row in stored["rows"]]
    attacks = defaultdict(set)
    for row in rows:
        attacks[row["epsilon"]].add(row["attack"])
    worst = [  # the union of a single attack
        {key: row[key] for key in ("norm", "epsilon", "n")}
        | {"model": row["source"], "errors": row["source_errors"]}
        for row in rows
        if row["source"] == row["target"] and len(attacks[row["epsilon"]]) == 1
    ]
    return stored | {
        "settings": {"epsilons": list(attacks)},
        "models": [
            {"group": model["method"] or model["name"]} | model for model in stored["models"]
        ],
        "rows": rows,
        "worst": worst,
        "paired": [],
        "aimed": [],
        "costs": [],
        "diagnosis": None,
    }


def models_of(stored: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The models, each with its clean error and interval derived from the counts.

    Raises:
        InputError: the counts contradict each other.
    """
    models = []
    for model in stored["models"]:
        n, errors = stored["n"], model["clean_errors"]
        if model["n"] != n or errors > n:
            raise InputError(f"{path}: model '{model['name']}' errs on more images than there are")
        value, low, high = rate(errors, n)
        rates = {"clean_error": value, "clean_error_low": low, "clean_error_high": high}
        models.append(model | rates)
    return models


def table_of(stored: dict[str, Any], path: Path) -> pd.DataFrame:
    """The tidy table, one row per attack, epsilon, source and target.

    Raises:
        InputError: a row is missing or twice there, or the counts contradict each other.
    """
    n, names = stored["n"], _names(stored)
    pairs = [_counts(PairCounts, row) for row in stored["rows"]]
    cases = dict.fromkeys((pair.attack, pair.norm, pair.epsilon) for pair in pairs)
    wanted = {(*case, *pair) for case in cases for pair in itertools.product(names, names)}
    found = [pair[:5] for pair in pairs]
    norms = {(attack, norm) for attack, norm, _ in cases}
    if (
        len(set(names)) != len(names)
        or len(found) != len(wanted)
        or set(found) != wanted
        or len(norms) != len({attack for attack, _ in norms})
    ):
        raise InputError(f"{path} must have one row per attack, epsilon, source and target")
    own = {pair[:4]: pair.source_errors for pair in pairs if pair.source == pair.target}
    for pair, row in zip(pairs, stored["rows"], strict=True):
        most = min(pair.source_errors, pair.target_errors)
        if (
            row["n"] != n
            or max(pair.source_errors, pair.target_errors) > n
            or pair.both_errors > most
            or pair.source_errors != own[pair[:4]]
            or (pair.source == pair.target and pair.both_errors != pair.target_errors)
        ):
            raise _contradiction(path, pair)
    clean_errors = {model["name"]: model["clean_errors"] for model in stored["models"]}
    return results_table(n, clean_errors, pairs)


def worst_of(stored: dict[str, Any], path: Path) -> pd.DataFrame:
    """The worst cases: for every norm and epsilon all models or none.

    Raises:
        InputError: a row is missing, twice there or of nothing attacked, or a union is smaller than
            one of its attacks or larger than all of them.
    """
    own = defaultdict(list)
    for row in stored["rows"]:
        if row["source"] == row["target"]:
            own[row["norm"], row["epsilon"], row["source"]].append(row["source_errors"])
    n, errors = stored["n"], {}
    for row in stored["worst"]:
        key = row["norm"], row["epsilon"], row["model"]
        single = own.get(key, [])
        if (
            row["n"] != n
            or key in errors
            or not max(single, default=n + 1) <= row["errors"] <= min(sum(single), n)
        ):
            raise _contradiction(path, (WORST_CASE, *key))
        errors[key] = row["errors"]
    if len(errors) != len({key[:2] for key in errors}) * len(stored["models"]):
        raise InputError(f"{path} must have a worst case of every model or of none")
    return worst_table(n, errors)


def paired_of(stored: dict[str, Any], path: Path) -> pd.DataFrame:
    """The paired comparisons, none or all of them, with the p-values anew.

    Raises:
        InputError: a row is missing, twice there or of nothing attacked, or the counts contradict
            those of the two models.
    """
    n, names = stored["n"], _names(stored)
    errors = {
        (NO_ATTACK, "", 0, model["name"]): model["clean_errors"] for model in stored["models"]
    }
    for row in stored["rows"]:
        key = row["attack"], row["norm"], row["epsilon"], row["source"]
        errors[key] = row["source_errors"]
    for row in stored["worst"]:
        errors[WORST_CASE, row["norm"], row["epsilon"], row["model"]] = row["errors"]
    pairs = [_counts(PairedCounts, row) for row in stored["paired"]]
    for pair, row in zip(pairs, stored["paired"], strict=True):
        first, second = (errors.get((*pair[:3], name)) for name in (pair.first, pair.second))
        if (
            row["n"] != n
            or first is None
            or second is None
            or first - second != pair.first_only - pair.second_only
            or not 0 <= first - pair.first_only <= n - pair.first_only - pair.second_only
        ):
            raise _contradiction(path, pair)
    found = {(*pair[:3], frozenset(pair[3:5])) for pair in pairs}
    cases = {key[:3] for key in errors}
    wanted = {
        (*case, frozenset(pair)) for case in cases for pair in itertools.combinations(names, 2)
    }
    if pairs and (len(found) != len(pairs) or found != wanted):
        raise InputError(f"{path} must have one paired row per attack, epsilon and pair of models")
    return paired_table(n, pairs)


def aimed_of(stored: dict[str, Any], path: Path) -> pd.DataFrame:
    """The aims and how often they were hit.

    Raises:
        InputError: a row is twice there or of nothing attacked, or more images hit their aim, which
            is a wrong class, than the model gets wrong.
    """
    own = {
        (row["attack"], row["norm"], row["epsilon"], row["source"]): row["source_errors"]
        for row in stored["rows"]
    }
    n, hits = stored["n"], {}
    for row in stored["aimed"]:
        key = row["attack"], row["norm"], row["epsilon"], row["source"]
        if row["n"] != n or key in hits or row["hits"] > own.get(key, -1):
            raise _contradiction(path, key)
        hits[key] = row["hits"]
    return aim_table(n, hits)


def check_names(stored: dict[str, Any], path: Path) -> None:
    """Check that gradients, costs and the diagnosis speak of models and attacks that there are.

    Raises:
        InputError: they do not.
    """
    names = set(_names(stored))
    attacks = {row["attack"] for row in stored["rows"]}
    spoken = [(row["attack"], row["source"]) for row in (*stored["gradients"], *stored["costs"])]
    unknown = [attack for attack, _ in spoken if attack not in attacks]
    unknown += [source for _, source in spoken if source not in names]
    unknown += [row["model"] for row in stored["diagnosis"] or [] if row["model"] not in names]
    if unknown:
        raise InputError(f"{path} speaks of '{unknown[0]}', which is no model or attack of it")


def _names(stored: dict[str, Any]) -> list[str]:
    return [model["name"] for model in stored["models"]]


def _counts(kind: Any, row: dict[str, Any]) -> Any:
    return kind(**{key: row[key] for key in kind._fields})


def _contradiction(path: Path, counts: tuple[Any, ...]) -> InputError:
    return InputError(f"{path}: the counts of {', '.join(map(str, counts))} contradict others")
