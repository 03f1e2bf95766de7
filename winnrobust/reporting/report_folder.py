"""A report folder: one HTML page, Markdown, LaTeX, CSV, JSON, figures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from winnrobust.reporting.comparison_csv import comparison_csv
from winnrobust.reporting.page import to_html
from winnrobust.reporting.report import (
    Lead,
    Report,
    byline_of,
    commands_of,
    marks_of,
    read_report,
    runs_table,
    title_of,
)
from winnrobust.reporting.report_figures import draw_figures
from winnrobust.reporting.results_folder import is_results
from winnrobust.reporting.table import Table, markdown_text, to_latex, to_markdown
from winnrobust.reporting.tables import comparison_tables
from winnrobust.reporting.threat import threat_model
from winnrobust.reporting.tidy import report_json
from winnrobust.reporting.verdict import verdict
from winnrobust.runtime import provenance
from winnrobust.runtime.files import file_sha256, replacing, write_json, write_text

FORMATS = ("html", "md", "tex", "csv", "json")


def write_report(
    paths: Sequence[Path],
    out: Path,
    formats: Sequence[str] = FORMATS,
    lead: Lead | None = None,
) -> None:
    """Build the report of results folders and run folders in `out`, index.html last.

    Results bring the training curves of their runs along, and the pictures of pseudo-negatives
    where the run folder is still there.

    Args:
        paths: results folders and run folders, in any mix.
        out: an existing folder.
        formats: which of `FORMATS` to write. Figures come as files with Markdown and LaTeX, and
            inside the HTML page.
        lead: what comes first.

    Raises:
        InputError: a path is neither, or damaged.
    """
    report = replace(read_report(paths), lead=lead)
    figures = draw_figures(report) if {"html", "md", "tex"} & set(formats) else {}
    if {"md", "tex"} & set(formats):
        for name, picture in figures.items():
            with replacing(out / "figures" / name) as temporary:
                temporary.write_bytes(picture)
    if "md" in formats:
        write_text(out / "table.md", to_markdown(_all_tables(report)))
        write_text(out / "report.md", _markdown(report, figures))
    if "tex" in formats:
        write_text(out / "table.tex", to_latex(_all_tables(report)))
    if "csv" in formats:
        write_text(out / "table.csv", "".join(_csv_parts(report)))
        for results, mark in zip(report.results, marks_of(report), strict=True):
            write_text(out / f"results{mark}.csv", results.table.to_csv(index=False))
    if "json" in formats:
        write_json(out / "report.json", report_json(report))
    write_json(out / "manifest.json", _manifest(report, paths, out))
    if "html" in formats:
        write_text(out / "index.html", to_html(report, figures))


def _manifest(report: Report, paths: Sequence[Path], out: Path) -> dict[str, object]:
    return provenance.describe() | {
        "inputs": {
            str(path.relative_to(out) if path.is_relative_to(out) else path): _input_sha256(path)
            for path in paths
        },
        "results": [results.manifest for results in report.results],
        "runs": [{"config": run.config, "manifest": run.manifest} for run in report.runs],
    }


def _input_sha256(path: Path) -> str:
    name = "results.json" if is_results(path) else "config.json"
    return file_sha256(path / name)


def _all_tables(report: Report) -> list[Table]:
    tables = [table for results in report.results for table in comparison_tables(results)]
    return [*_leading(report), *(tables or [runs_table(report.runs)])]


def _leading(report: Report) -> Sequence[Table]:
    return report.lead.tables if report.lead else ()


def _csv_parts(report: Report) -> Iterable[str]:
    """The comparison as CSV; several evaluations follow each other under one header."""
    for index, results in enumerate(report.results):
        text = comparison_csv(results)
        yield text if index == 0 else text.split("\n", 1)[1]
    if not report.results:
        table = runs_table(report.runs)
        for row in (table.header, *table.rows):
            yield ",".join(f'"{cell}"' for cell in row) + "\n"


def _markdown(report: Report, figures: Mapping[str, bytes]) -> str:
    parts = [f"# {markdown_text(title_of(report))}\n\n{markdown_text(byline_of(report))}\n"]
    if report.lead:
        parts.append(to_markdown(report.lead.tables))
    for results, mark in zip(report.results, marks_of(report), strict=True):
        told = verdict(results)
        parts += [f"**Warning: {markdown_text(sentence)}**\n" for sentence in told.warnings]
        parts += [f"{markdown_text(sentence)}\n" for sentence in (*told.claims, *told.notes)]
        parts += [
            f"![{what}](figures/{name}{mark}.png)\n"
            for name, what in (
                ("errors", "Errors with and without attack"),
                ("curves", "Error over epsilon"),
                ("distances", "Distances of the nearest adversarial examples"),
            )
            if f"{name}{mark}.png" in figures
        ]
        parts.append(to_markdown(comparison_tables(results)))
        if f"examples{mark}.png" in figures:
            parts.append(f"![Adversarial examples](figures/examples{mark}.png)\n")
        parts.append("### Threat model\n")
        parts.append("".join(f"- {markdown_text(text)}\n" for text in threat_model(results)))
    if not report.results:
        parts.append(to_markdown([runs_table(report.runs)]))
    if "training.png" in figures:
        parts.append("## Training\n\n![Training curves](figures/training.png)\n")
    pictures = [name for name in figures if name.startswith("pseudo-negatives")]
    parts += [f"![{name.removesuffix('.png')}](figures/{name})\n" for name in pictures]
    parts.append("## Commands\n")
    parts.append("".join(f"    {' '.join(text.split())}\n" for text in commands_of(report)))
    parts.append("Provenance of every figure: `manifest.json` beside this file.\n")
    return "\n".join(parts)
