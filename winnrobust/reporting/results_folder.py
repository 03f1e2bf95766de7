"""The results folder: an evaluation written down, and read again without any model."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from winnrobust.evaluation import Evaluation, Examples
from winnrobust.evaluation.diagnosis import DIAGNOSIS_COLUMNS
from winnrobust.evaluation.metrics import COST_COLUMNS, GRADIENT_COLUMNS
from winnrobust.reporting import stored as counts
from winnrobust.reporting.comparison_csv import comparison_csv
from winnrobust.reporting.examples_figure import examples_figure
from winnrobust.reporting.figures import save_figure
from winnrobust.reporting.results import Results
from winnrobust.reporting.schema import check
from winnrobust.reporting.table import to_latex, to_markdown
from winnrobust.reporting.tables import comparison_tables
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import replacing, write_json, write_text
from winnrobust.runtime.readers import read_json


def write_results(
    folder: Path,
    evaluation: Evaluation,
    models: Sequence[Mapping[str, Any]],
    manifest: dict[str, Any],
    dataset: str,
    limit: int | None,
    split: str = "test",
    diagnosis: pd.DataFrame | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Results:
    """Write an evaluation with its tables, its figure of examples and its provenance.

    Args:
        folder: where to; it exists.
        evaluation: what was found.
        models: one mapping per model with `MODEL_KEYS`; the reference comes first. A model without
            a group is its own.
        manifest: provenance, stored as it is.
        dataset, limit, split: what was attacked; limit is None for the whole split.
        diagnosis: as `evaluation.diagnosis.diagnose` returns it; None if it was not asked.
        settings: what the attacks were given (see `settings` in schema.json).
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
        rows.append({"group": model["name"]} | dict(model) | errors)
    results = Results(
        dataset=dataset,
        split=split,
        limit=limit,
        n=rows[0]["n"],
        models=rows,
        table=evaluation.table,
        worst=evaluation.worst,
        paired=evaluation.paired,
        aimed=evaluation.aimed,
        gradients=evaluation.gradients,
        costs=evaluation.costs,
        examples=evaluation.examples,
        manifest=manifest,
        distances=evaluation.distances,
        diagnosis=diagnosis,
        settings=dict(settings or {}),
    )
    write_json(folder / "manifest.json", manifest)
    with replacing(folder / "examples.npz") as temporary:
        np.savez_compressed(temporary, **vars(evaluation.examples))
    with replacing(folder / "distances.npz") as temporary:
        np.savez_compressed(temporary, **_distance_arrays(results))  # type: ignore[arg-type]
    save_figure(examples_figure(results.examples), folder / "examples.png")
    tables = comparison_tables(results)
    write_text(folder / "table.md", to_markdown(tables))
    write_text(folder / "table.tex", to_latex(tables))
    write_text(folder / "table.csv", comparison_csv(results))
    write_text(folder / "results.csv", results.table.to_csv(index=False))
    write_json(
        folder / "results.json",
        {
            "schema": counts.SCHEMA,
            "dataset": dataset,
            "split": split,
            "n": results.n,
            "limit": limit,
            "settings": results.settings,
            "models": rows,
            "gradients": _records(results.gradients),
            "rows": _records(results.table),
            "worst": _records(results.worst),
            "paired": _records(results.paired),
            "aimed": _records(results.aimed),
            "costs": _records(results.costs),
            "diagnosis": None if diagnosis is None else _records(diagnosis),
        },
    )
    return results


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    # as objects: a column of integers with gaps stays one of integers and nulls
    return table.astype(object).where(table.notna(), None).to_dict("records")


def is_results(path: Path) -> bool:
    """Tell whether a folder holds results."""
    return (path / "results.json").is_file()


def load_results(folder: Path) -> Results:
    """Read a results folder of this version or an earlier one.

    Raises:
        InputError: it is none, one of its files is missing or damaged, or of a later version.
    """
    path = folder / "results.json"
    stored = counts.read_stored(path)
    models = counts.models_of(stored, path)
    table = counts.table_of(stored, path)
    worst, paired = counts.worst_of(stored, path), counts.paired_of(stored, path)
    counts.check_names(stored, path)
    manifest = read_json(folder / "manifest.json")
    check(manifest, "results_manifest", folder / "manifest.json")
    diagnosis = stored["diagnosis"]
    results = Results(
        dataset=stored["dataset"],
        split=stored["split"],
        limit=stored["limit"],
        n=stored["n"],
        models=models,
        table=table,
        worst=worst,
        paired=paired,
        aimed=counts.aimed_of(stored, path),
        gradients=pd.DataFrame(stored["gradients"], columns=list(GRADIENT_COLUMNS)),
        costs=pd.DataFrame(stored["costs"], columns=list(COST_COLUMNS)),
        examples=_load_examples(folder / "examples.npz", table),
        manifest=manifest,
        diagnosis=None
        if diagnosis is None
        else pd.DataFrame(diagnosis, columns=list(DIAGNOSIS_COLUMNS)),
        settings=stored["settings"],
    )
    if stored["schema"] > 1:
        results.distances.update(_load_distances(folder / "distances.npz", results))
    return results


def _load_examples(path: Path, table: pd.DataFrame) -> Examples:
    examples = Examples(**_arrays(path, Examples.__dataclass_fields__))
    try:
        examples.check_shapes()
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} is damaged ({error})") from None
    kept = set(
        zip(examples.case_attacks, examples.case_epsilons, examples.case_sources, strict=True)
    )
    if kept != set(zip(table.attack, table.epsilon, table.source, strict=True)):
        raise InputError(f"{path} is damaged (its attacks and models are not those attacked)")
    return examples


def _distance_arrays(results: Results) -> dict[str, np.ndarray]:
    """D pairs of an attack and a model, and (D, n) distances."""
    return {
        "attacks": np.array([attack for attack, _ in results.distances], str),
        "sources": np.array([source for _, source in results.distances], str),
        "distances": np.array([*results.distances.values()], np.float32).reshape(-1, results.n),
    }


def _load_distances(path: Path, results: Results) -> dict[tuple[str, str], np.ndarray]:
    attacks, sources, distances = _arrays(path, ("attacks", "sources", "distances")).values()
    known = {(row.attack, row.source) for row in results.table.itertuples()}
    if (
        distances.dtype != np.float32
        or attacks.shape != sources.shape
        or distances.shape != (*attacks.shape, results.n)
        or not (distances >= 0).all()
    ):
        raise InputError(f"{path} is damaged (it holds no distances of {results.n} images)")
    pairs = [(str(attack), str(source)) for attack, source in zip(attacks, sources, strict=True)]
    if len(set(pairs)) != len(pairs) or not known.issuperset(pairs):
        raise InputError(f"{path} is damaged (its attacks and models are not those attacked)")
    return dict(zip(pairs, distances, strict=True))


def _arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Read the arrays of these names, and no other, out of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if set(arrays) != set(names):
                raise ValueError(f"it must hold {', '.join(names)}")
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is missing or damaged ({error})") from None
