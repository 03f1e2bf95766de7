"""The numbers of a report for other programs: tidy JSON."""

from typing import Any

import numpy as np
import pandas as pd

from winnrobust.evaluation.diagnosis import overall
from winnrobust.evaluation.seeds import aggregate
from winnrobust.reporting.report import Report, title_of
from winnrobust.reporting.results import Results
from winnrobust.reporting.verdict import verdict

REPORT_SCHEMA = 1
"""Version of report.json."""


def report_json(report: Report) -> dict[str, Any]:
    """All numbers of a report, as `report` in schema.json."""
    return {
        "schema": REPORT_SCHEMA,
        "title": title_of(report),
        "evaluations": [evaluation_json(results) for results in report.results],
        "runs": [
            {"name": run.name, "config": run.config, "manifest": run.manifest}
            for run in report.runs
        ],
    }


def evaluation_json(results: Results) -> dict[str, Any]:
    """Everything derived from an evaluation, as `evaluation` in schema.json; shares in [0, 1]."""
    told = verdict(results)
    groups = {model["name"]: model["group"] for model in results.models}
    return {
        "dataset": results.dataset,
        "split": results.split,
        "n": results.n,
        "limit": results.limit,
        "settings": results.settings,
        "verdict": {"warnings": told.warnings, "claims": told.claims, "notes": told.notes},
        "models": results.ordered,
        "errors": _records(results.errors),
        "transfer": _records(results.table),
        "worst": _records(results.worst),
        "paired": _records(results.paired),
        "seeds": _records(aggregate(results.errors, groups)),
        "differences": _records(results.differences),
        "aimed": _records(results.aimed),
        "gradients": _records(results.gradients),
        "costs": _records(results.costs),
        "distances": [
            {
                "attack": attack,
                "model": model,
                "median": _finite(np.quantile(distances, 0.5, method="inverted_cdf")),
                "none_found": int(np.isinf(distances).sum()),
            }
            for (attack, model), distances in results.distances.items()
        ],
        "diagnosis": None if results.diagnosis is None else _records(results.diagnosis),
        "overall": {} if results.diagnosis is None else overall(results.diagnosis),
        "manifest": results.manifest,
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
