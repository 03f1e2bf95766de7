"""The numbers of a report for other programs: CSV and JSON, shares in [0, 1]."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from winnrobust.evaluation.diagnosis import overall
from winnrobust.evaluation.statistics import aggregate
from winnrobust.reporting.comparison import Compared
from winnrobust.reporting.results import CLEAN, Results
from winnrobust.reporting.runs import RunRecord
from winnrobust.reporting.tables import published_row
from winnrobust.reporting.verdict import headline, notes

REPORT_SCHEMA = 2
"""Version of report.json."""


def comparison_frame(results: Results) -> pd.DataFrame:
    """A row per attack, epsilon and model, with the paper's figures beside ours; shares."""
    reference, rows = results.names[0], []
    robust = {
        (row.norm, row.epsilon, row.model): row for row in results.summary.robust.itertuples()
    }
    for case in results.cases:
        for model in results.ordered:
            name = model["name"]
            worst = robust.get((case.norm, case.epsilon, name))
            error, paper = results.errors[case, name], published_row(results, model, case)
            row: dict[str, Any] = {
                "dataset": results.dataset, **case._asdict(), "model": name,
                "network": model["arch"], "n": results.n,
                "test_error": results.errors[CLEAN, name].value,
                "robust_accuracy": worst.robust_accuracy if worst else None,
                "robust_accuracy_low": worst.low if worst else None,
                "robust_accuracy_high": worst.high if worst else None,
                "adversarial_error": error.value, "adversarial_error_low": error.low,
                "adversarial_error_high": error.high, "not_attacked": error.not_attacked,
                "adversarial_error_paper": _share(paper.adversarial_error),
            }  # fmt: skip
            for label, source, target, published in (
                ("model", reference, name, paper.correction_rate_by_method),
                ("reference", name, reference, paper.correction_rate_by_baseline),
            ):
                pair = results.transfer.get((case, source, target)) if source != target else None
                for part in ("", "_low", "_high"):
                    found = getattr(pair, f"correction_rate{part}") if pair else None
                    row[f"correction_rate_by_{label}{part}"] = found
                row[f"correction_rate_by_{label}_paper"] = _share(published)
            rows.append(row)
    return pd.DataFrame(rows)


def _share(percentage: float | None) -> float | None:
    return None if percentage is None else round(percentage / 100, 6)


def report_json(
    title: str, results: Sequence[Results], runs: Sequence[RunRecord]
) -> dict[str, Any]:
    """All numbers of a report: the frames of every `Summary`, as lists of rows."""
    return {
        "schema": REPORT_SCHEMA,
        "title": title,
        "evaluations": [evaluation_json(found) for found in results],
        "runs": [
            {"name": run.name, "config": run.config, "manifest": run.manifest} for run in runs
        ],
    }


def evaluation_json(results: Results) -> dict[str, Any]:
    """Everything that is known of an evaluation; shares in [0, 1]."""
    summary, compared = results.summary, Compared(results)
    groups = {model["name"]: model["group"] for model in results.models}
    frames = {
        name: frame for name, frame in vars(summary).items() if isinstance(frame, pd.DataFrame)
    }
    frames |= {"seeds": aggregate(results.own, groups), "differences": results.differences}
    return {
        "dataset": results.dataset,
        "split": results.split,
        "n": results.n,
        "limit": results.limit,
        "settings": results.settings,
        "headline": headline(results),
        "cautions": [caution._asdict() for caution in compared.cautions],
        "notes": notes(results),
        "trust": {group: compared.trust(group) for group in results.groups},
        "models": results.ordered,
        **{name: frame.to_dict("records") for name, frame in frames.items()},
        "distances": [
            {
                "attack": attack,
                "model": model,
                "median": float(np.quantile(distances, 0.5, method="inverted_cdf")),
                "none_found": int(np.isinf(distances).sum()),
            }
            for (attack, model), distances in summary.distances.items()
        ],
        "diagnosis": None if results.diagnosis is None else results.diagnosis.to_dict("records"),
        "overall": {} if results.diagnosis is None else overall(results.diagnosis),
        "manifest": results.manifest,
    }
