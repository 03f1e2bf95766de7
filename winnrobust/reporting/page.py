"""The page: one self-contained HTML file, the verdict first."""

import json
from collections.abc import Mapping
from typing import Any

from winnrobust.reporting import tables
from winnrobust.reporting.figures import DPI
from winnrobust.reporting.matrices import correction_matrix, error_matrix
from winnrobust.reporting.report import (
    Report,
    byline_of,
    chosen_samples,
    commands_of,
    marks_of,
    runs_table,
    title_of,
)
from winnrobust.reporting.report_figures import sample_name
from winnrobust.reporting.results import Results
from winnrobust.reporting.templates import data_uri, fill_in
from winnrobust.reporting.threat import threat_model
from winnrobust.reporting.verdict import verdict

CSS_DPI = 96

OPEN_CASES = 2
"""With more attacks and epsilons than this, the paper's tables wait behind a click."""


def to_html(report: Report, figures: Mapping[str, bytes]) -> str:
    """Lay a report out as HTML that needs nothing from elsewhere.

    Args:
        report: what to show.
        figures: as `report_figures.draw_figures` returns them.
    """
    pictures = {name: _picture(png) for name, png in figures.items()}
    samples = [
        {
            "name": run.name,
            "pictures": [
                {"epoch": epoch, "uri": pictures[sample_name(number, epoch)]["uri"]}
                for epoch in chosen_samples(run)
            ],
        }
        for number, run in enumerate(report.runs)
        if run.samples
    ]
    return fill_in(
        "page.html.jinja",
        title=title_of(report),
        byline=byline_of(report),
        lead=report.lead.tables if report.lead else (),
        evaluations=[
            _evaluation(results, mark, pictures)
            for results, mark in zip(report.results, marks_of(report), strict=True)
        ],
        runs_table=runs_table(report.runs),
        curves=pictures.get("training.png"),
        samples=samples,
        commands=commands_of(report),
        provenance=_provenance_blocks(report),
    )


def _evaluation(results: Results, mark: str, pictures: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of an evaluation."""
    several = len(results.models) > 1
    published = tables.paper_tables(results)
    return {
        "dataset": results.dataset,
        "verdict": verdict(results),
        "errors": tables.summary_tables(results),
        "matrices": _matrices(results) if several else [],
        "diagnosis": tables.diagnosis_tables(results),
        "tests": tables.significance_tables(results),
        "paper": published if len(published) <= OPEN_CASES + 1 else published[:1],
        "paper_folded": [] if len(published) <= OPEN_CASES + 1 else published[1:],
        "distances": tables.distance_tables(results),
        "details": ([tables.pair_table(results)] if several else []) + tables.cost_tables(results),
        "threat_model": threat_model(results),
        "figures": {
            name: pictures.get(f"{name}{mark}.png")
            for name in ("errors", "curves", "distances", "examples")
        },
    }


def _matrices(results: Results) -> list[dict[str, Any]]:
    """Both matrices of every attack, by level: those of the strongest attack are shown at once."""
    return [
        {
            "strongest": _both(results, results.strongest(results.cases_at(level))),
            "others": [
                _both(results, case)
                for case in results.cases_at(level)
                if case != results.strongest(results.cases_at(level))
            ],
        }
        for level in results.levels
    ]


def _both(results: Results, case: Any) -> list[Any]:
    return [error_matrix(results, case), correction_matrix(results, case)]


def _provenance_blocks(report: Report) -> list[dict[str, str]]:
    blocks = [
        {
            "title": f"Evaluation on {results.dataset}",
            "text": _pretty({k: v for k, v in results.manifest.items() if k != "models"}),
        }
        for results in report.results
    ]
    blocks += [
        {
            "title": f"Training of {run.name}",
            "text": _pretty({"config": run.config, "manifest": run.manifest}),
        }
        for run in report.runs
    ]
    return blocks


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2)


def _picture(png: bytes) -> dict[str, Any]:
    """A figure inside the page, as wide as it was drawn, so that all have letters of one size."""
    width = int.from_bytes(png[16:20], "big")  # where a PNG says so
    return {"uri": data_uri(png), "width": round(width * CSS_DPI / DPI)}
