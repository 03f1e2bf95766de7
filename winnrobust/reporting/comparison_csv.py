"""The comparison as one flat CSV."""

from typing import Any

import pandas as pd

from winnrobust.reporting.paper import PaperRow, paper_row
from winnrobust.reporting.results import Results

NOTHING_PUBLISHED = PaperRow(None, None, None)


def comparison_csv(results: Results) -> str:
    """Return a row per attack, epsilon and model; shares, not percent."""
    reference = results.names[0]
    rows = []
    for attack, norm, epsilon in results.cases:
        for model in results.ordered:
            name = model["name"]
            own = results.rows[attack, epsilon, name, name]
            published = paper_row(results.dataset, model["arch"], model["method"], attack, epsilon)
            paper = (published if results.limit is None else None) or NOTHING_PUBLISHED
            row: dict[str, Any] = {
                "dataset": results.dataset,
                "attack": attack,
                "norm": norm,
                "epsilon": epsilon,
                "model": name,
                "network": model["arch"],
                "n": own.n,
                "test_error": model["clean_error"],
                "adversarial_error": own.adversarial_error,
                "adversarial_error_low": own.adversarial_error_low,
                "adversarial_error_high": own.adversarial_error_high,
                "adversarial_error_paper": _share(paper.adversarial_error),
            }
            for label, source, target, value in (
                ("model", reference, name, paper.correction_rate_by_method),
                ("reference", name, reference, paper.correction_rate_by_baseline),
            ):
                pair = results.rows[attack, epsilon, source, target]
                for part in ("", "_low", "_high"):
                    rate = None if source == target else getattr(pair, f"correction_rate{part}")
                    row[f"correction_rate_by_{label}{part}"] = rate
                row[f"correction_rate_by_{label}_paper"] = _share(value)
            rows.append(row)
    return pd.DataFrame(rows).to_csv(index=False)


def _share(percentage: float | None) -> float | None:
    return None if percentage is None else round(percentage / 100, 6)
