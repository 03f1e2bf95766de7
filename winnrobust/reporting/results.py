"""The results folder: an evaluation written down, and read again without any model."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from winnrobust.errors import InputError
from winnrobust.evaluation import Evaluation, Examples
from winnrobust.evaluation.intervals import rate
from winnrobust.evaluation.metrics import GRADIENT_COLUMNS, PairCounts, results_table
from winnrobust.files import read_json, replacing, write_json, write_text
from winnrobust.reporting.figures import examples_figure, save_figure
from winnrobust.reporting.schema import check
from winnrobust.reporting.tables import comparison_csv, comparison_tables, to_latex, to_markdown

SCHEMA = 1
"""Version of results.json."""

MODEL_KEYS = ("name", "method", "arch", "path", "parameters", "epoch", "seed", "weights_sha256")


@dataclass(frozen=True)
class Results:
    """A results folder in memory.

    Attributes:
        dataset, split, limit: what was attacked; limit is None for the whole split.
        n: number of images.
        models: one row per model, `MODEL_KEYS` and its clean errors, in the order of the tables.
        table: the tidy table, columns as `evaluation.metrics.RESULT_COLUMNS`.
        gradients: zero gradients, columns as `evaluation.metrics.GRADIENT_COLUMNS`.
        examples: the images that were kept.
        manifest: provenance.
    """

    dataset: str
    split: str
    limit: int | None
    n: int
    models: list[dict[str, Any]]
    table: pd.DataFrame
    gradients: pd.DataFrame
    examples: Examples
    manifest: dict[str, Any]


def write_results(
    folder: Path,
    evaluation: Evaluation,
    models: Sequence[Mapping[str, Any]],
    manifest: dict[str, Any],
    dataset: str,
    limit: int | None,
    split: str = "test",
) -> Results:
    """Write an evaluation with its tables, its figure of examples and its provenance.

    Args:
        folder: where to; it exists.
        evaluation: what was found.
        models: one mapping per model with `MODEL_KEYS`; the reference comes first.
        manifest: provenance, stored as it is.
        dataset, limit, split: what was attacked; limit is None for the whole split.
    """
    clean = evaluation.clean.set_index("model")
    rows = []
    for model in models:
        errors = {
            "n": int(clean.n[model["name"]]),
            "clean_errors": int(clean.errors[model["name"]]),
            "clean_error": float(clean.error[model["name"]]),
            "clean_error_low": float(clean.error_low[model["name"]]),
            "clean_error_high": float(clean.error_high[model["name"]]),
        }
        rows.append(dict(model) | errors)
    results = Results(
        dataset, split, limit, rows[0]["n"], rows, evaluation.table, evaluation.gradients,
        evaluation.examples, manifest,
    )  # fmt: skip
    write_json(folder / "manifest.json", manifest)
    with replacing(folder / "examples.npz") as temporary:
        np.savez_compressed(temporary, **vars(evaluation.examples))
    save_figure(examples_figure(results.examples), folder / "examples.png")
    write_tables(results, folder)
    write_text(folder / "results.csv", results.table.to_csv(index=False))
    write_json(
        folder / "results.json",
        {
            "schema": SCHEMA,
            "dataset": dataset,
            "split": split,
            "n": results.n,
            "limit": limit,
            "models": rows,
            "gradients": results.gradients.to_dict("records"),
            "rows": results.table.to_dict("records"),
        },
    )
    return results


def write_tables(results: Results, folder: Path) -> None:
    """Write the paper-like tables as table.md, table.tex and table.csv."""
    tables = comparison_tables(results)
    write_text(folder / "table.md", to_markdown(tables))
    write_text(folder / "table.tex", to_latex(tables))
    write_text(folder / "table.csv", comparison_csv(results))


def is_results(path: Path) -> bool:
    """Tell whether a folder holds results."""
    return (path / "results.json").is_file()


def load_results(folder: Path) -> Results:
    """Read a results folder.

    Raises:
        InputError: it is none, one of its files is missing or damaged, or of another version.
    """
    path = folder / "results.json"
    stored = read_json(path)
    if not isinstance(stored, dict) or stored.get("schema") != SCHEMA:
        raise InputError(
            f"{path} is not results of version {SCHEMA}, the only one this winnrobust reads"
        )
    check(stored, "results", path)
    models = stored["models"]
    manifest = read_json(folder / "manifest.json")
    check(manifest, "results_manifest", folder / "manifest.json")
    return Results(
        dataset=stored["dataset"],
        split=stored["split"],
        limit=stored["limit"],
        n=stored["n"],
        models=[model | _clean_rates(model, stored["n"], path) for model in models],
        table=_table(stored, path),
        gradients=pd.DataFrame(stored["gradients"], columns=list(GRADIENT_COLUMNS)),
        examples=_load_examples(folder / "examples.npz"),
        manifest=manifest,
    )


def _clean_rates(model: dict[str, Any], n: int, path: Path) -> dict[str, float]:
    """Derive a model's clean error and its interval from the counts."""
    if model["n"] != n or model["clean_errors"] > n:
        raise InputError(f"{path}: model '{model['name']}' errs on more images than there are")
    value = rate(model["clean_errors"], n)
    return {
        "clean_error": value.value, "clean_error_low": value.low, "clean_error_high": value.high
    }  # fmt: skip


def _table(stored: dict[str, Any], path: Path) -> pd.DataFrame:
    """Derive the tidy table from the counts; stored rates are not taken on trust."""
    n, names = stored["n"], [model["name"] for model in stored["models"]]
    pairs = [
        PairCounts(**{"norm": "Linf"} | {key: row[key] for key in PairCounts._fields if key in row})
        for row in stored["rows"]
    ]
    cases = dict.fromkeys((pair.attack, pair.epsilon) for pair in pairs)
    wanted = {(*case, *pair) for case in cases for pair in itertools.product(names, names)}
    found = [(pair.attack, pair.epsilon, pair.source, pair.target) for pair in pairs]
    if len(set(names)) != len(names) or len(found) != len(wanted) or set(found) != wanted:
        raise InputError(f"{path} must have one row per attack, epsilon, source and target")
    own = {pair[:4]: pair.source_errors for pair in pairs if pair.source == pair.target}
    for pair, row in zip(pairs, stored["rows"], strict=True):
        most = min(pair.source_errors, pair.target_errors)
        if (
            row["n"] != n
            or max(pair.source_errors, pair.target_errors) > n
            or pair.both_errors > most
            or pair.source_errors != own[pair[:4]]
        ):
            raise InputError(f"{path}: the counts of {', '.join(map(str, pair))} contradict others")
    clean_errors = {model["name"]: model["clean_errors"] for model in stored["models"]}
    return results_table(n, clean_errors, pairs)


def _load_examples(path: Path) -> Examples:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            examples = Examples(**arrays)
            examples.check_shapes()
            return examples
    except (OSError, ValueError, TypeError, EOFError, IndexError, BadZipFile) as error:
        raise InputError(f"{path} is missing or damaged ({error})") from None
