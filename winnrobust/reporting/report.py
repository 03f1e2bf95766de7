"""A report: evaluations and training runs put together, on a page and in files of other formats."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from winnrobust.evaluation.diagnosis import overall
from winnrobust.evaluation.statistics import aggregate
from winnrobust.reporting import tables
from winnrobust.reporting.figures import figures_of, to_png, training_curves
from winnrobust.reporting.folder import is_results, load_results
from winnrobust.reporting.page import Page, Picture, Section, to_html, to_report
from winnrobust.reporting.results import Results
from winnrobust.reporting.runs import RunRecord, chosen_samples, find_samples, is_run, load_run
from winnrobust.reporting.table import Table, share_with_interval, to_csv, to_latex, to_markdown
from winnrobust.reporting.verdict import Verdict, names
from winnrobust.reporting.words import WORDS, framed
from winnrobust.runtime import provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import file_sha256, replacing, write_json, write_text
from winnrobust.runtime.intervals import rate

FORMATS = ("html", "md", "tex", "csv", "json")

REPORT_SCHEMA = 2
"""Version of report.json."""

NAMES_IN_TITLE = 4
"""With more models than this a title says how many they are."""


@dataclass(frozen=True)
class Lead:
    """What a report begins with, where it has more to show than its evaluations."""

    title: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class Report:
    """All that a report shows, before it is laid out.

    Attributes:
        results: the evaluations, each a section.
        runs: the training runs behind them, or given by themselves.
    """

    results: list[Results]
    runs: list[RunRecord]

    @property
    def marked(self) -> list[tuple[Results, str]]:
        """The evaluations, and what tells their files apart; nothing where there is one."""
        several = len(self.results) > 1
        return [(each, f"-{i + 1}" if several else "") for i, each in enumerate(self.results)]

    @property
    def tables(self) -> list[Table]:
        """All tables of the evaluations, or what is known of runs alone."""
        found = [table for results in self.results for table in tables.comparison_tables(results)]
        return found or [framed("runs", runs_frame(self.runs), 1)]


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
    report = read_report(paths)
    page = page_of(report, out, lead) if {"html", "md", "tex"} & set(formats) else None
    shown = [*(lead.tables if lead else ()), *report.tables]
    if page and {"md", "tex"} & set(formats):
        for picture in (picture for section in page.sections for picture in section.pictures):
            with replacing(picture.path) as temporary:
                temporary.write_bytes(picture.png or b"")
    if page and "md" in formats:
        write_text(out / "table.md", to_markdown(shown))
        write_text(out / "report.md", to_report(page, out))
    if "tex" in formats:
        write_text(out / "table.tex", to_latex(shown))
    if "csv" in formats:
        compared = [tables.comparison_frame(results) for results in report.results]
        rows = pd.concat(compared, ignore_index=True) if compared else runs_frame(report.runs)
        write_text(out / "table.csv", to_csv(rows))
        for results, mark in report.marked:
            write_text(out / f"results{mark}.csv", to_csv(results.summary.transfer))
    if "json" in formats:
        evaluations = [evaluation_json(found) for found in report.results]
        runs = [{"name": r.name, "config": r.config, "manifest": r.manifest} for r in report.runs]
        document = {"schema": REPORT_SCHEMA, "title": title_of(report, lead)}
        write_json(out / "report.json", document | {"evaluations": evaluations, "runs": runs})
    write_json(out / "manifest.json", _manifest(report, paths, out))
    if page and "html" in formats:
        write_text(out / "index.html", to_html(page))


# --- reading --------------------------------------------------------------------------------------


def read_report(paths: Sequence[Path]) -> Report:
    """Read everything a report needs.

    Raises:
        InputError: a path is neither results nor a run, or damaged.
    """
    for path in paths:
        if not is_results(path) and not is_run(path):
            raise InputError(
                f"{path} is neither a results folder (results.json) nor a training run"
                " (config.json and manifest.json)"
            )
    results = [load_results(path) for path in paths if is_results(path)]
    runs = [load_run(path) for path in paths if not is_results(path)]
    distinct: dict[str, RunRecord] = {}
    for run in (*runs, *(run for found in results for run in _runs_behind(found))):
        distinct.setdefault(json.dumps([run.config, run.manifest], sort_keys=True), run)
    # A diagnosis counts for the same models on the same data where they got none.
    made = {_weights(found): found.diagnosis for found in results if found.diagnosis is not None}
    shared = [
        replace(found, diagnosis=made[_weights(found)], diagnosis_is_shared=True)
        if found.diagnosis is None and _weights(found) in made
        else found
        for found in results
    ]
    return Report(shared, list(distinct.values()))


def _weights(results: Results) -> tuple[str, ...]:
    """What tells a diagnosis whether it is of these models; nobody's where that is unknown."""
    hashes = [(model["name"], model["weights_sha256"] or id(results)) for model in results.models]
    return results.dataset, *(f"{name} {hash_}" for name, hash_ in sorted(hashes))


def _runs_behind(results: Results) -> Iterable[RunRecord]:
    """The runs of the attacked models, out of the results' own manifest."""
    stored = results.manifest.get("models", {})
    for model in results.ordered:
        known = stored.get(model["name"], {})
        if "config" in known:
            folder, manifest = Path(model["path"]), known.get("manifest", {})
            # The folder may hold another run by now: its pictures count only if it is the same.
            samples = find_samples(folder) if _manifest_in(folder) == manifest else {}
            metrics = known.get("metrics", [])
            yield RunRecord(model["name"], known["config"], manifest, metrics, samples)


def _manifest_in(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run folder, None where something in it is damaged: results stand alone."""
    try:
        return load_run(folder).manifest
    except InputError:
        return None


# --- the page -------------------------------------------------------------------------------------


def page_of(report: Report, folder: Path, lead: Lead | None = None) -> Page:
    """Lay out a report whose files are in `folder`."""
    sections = [Section("", tables=lead.tables)] if lead else []
    for number, (results, mark) in enumerate(report.marked):
        title = f"Evaluation {number + 1}: {results.dataset}" if mark else ""
        sections += _sections(results, mark, folder / "figures", title)
    if not report.results:
        claim = "Training only: nothing was attacked yet."
        sections.append(Section("", claim=claim, tables=report.tables))
    sections += _training(report.runs, folder / "figures")
    manifests = [run.manifest for run in report.runs]
    manifests += [results.manifest for results in report.results]
    commands = dict.fromkeys(m["command"] for m in manifests if m.get("command"))
    origins = {
        f"Evaluation{mark} on {found.dataset}": {
            key: value for key, value in found.manifest.items() if key != "models"
        }
        for found, mark in report.marked
    }
    origins |= {
        f"Training {number + 1}, {run.name}": {"config": run.config, "manifest": run.manifest}
        for number, run in enumerate(report.runs)
    }
    byline = _byline(manifests[len(report.runs) if report.results else 0])
    return Page(title_of(report, lead), byline, sections, list(commands), origins)


def _sections(results: Results, mark: str, folder: Path, title: str) -> list[Section]:
    """An evaluation, the headline first; the rest as words.toml lays it out."""
    pictures = {
        name: Picture(
            folder / f"{name}{mark}.png",
            WORDS["figure"][name],
            to_png(figure),
            True,
            chart=name != "examples",
        )
        for name, figure in figures_of(results).items()
    }
    verdict = Verdict(results)
    first = [tables.headline_table(results), *tables.caution_tables(results)]
    sections = [Section(title, claim=verdict.line, tables=first)]
    for layout in WORDS["section"]:
        shown, behind = (
            getattr(tables, layout[key])(results) if key in layout else []
            for key in ("tables", "folded")
        )
        drawn = [pictures[name] for name in layout.get("pictures", ()) if name in pictures]
        folded = {f"{layout.get('label')} ({len(behind)})": behind}
        text = [layout["text"]] if "text" in layout else []
        if "title" not in layout:
            sections.append(Section("", verdict.notes, shown, drawn))
        elif shown or drawn:
            sections.append(Section(layout["title"], text, shown, drawn, folded=folded))
    return sections


def _training(runs: Sequence[RunRecord], folder: Path) -> list[Section]:
    """Curves of all runs, and the pseudo-negatives of each."""
    sections, words = [], WORDS["figure"]
    measured = [run for run in runs if run.metrics]
    if measured:
        png = to_png(training_curves(measured))
        curves = Picture(folder / "training.png", words["training"], png, True, chart=True)
        sections.append(Section("Training", pictures=[curves]))
    for number, run in enumerate(runs):
        stem, chosen = f"pseudo-negatives-{number + 1}-epoch-", chosen_samples(run).items()
        pictures = [
            Picture(folder / f"{stem}{epoch:04d}.png", f"epoch {epoch}", path.read_bytes())
            for epoch, path in chosen
        ]
        title = f"Pseudo-negatives of {run.name}"
        sections += [Section(title, [words["negatives"]], pictures=pictures)] if pictures else []
    return sections


def title_of(report: Report, lead: Lead | None = None) -> str:
    """What the report is about."""
    if lead:
        return lead.title
    if not report.results:
        return f"Training: {names(dict.fromkeys(run.name for run in report.runs))}"
    data = names(dict.fromkeys(found.dataset for found in report.results))
    shown = report.results[0].names
    of = names(shown) if len(shown) <= NAMES_IN_TITLE else f"{len(shown)} models"
    return f"{of} under attack ({data})"


def _byline(manifest: dict[str, Any]) -> str:
    """Version, date and machine."""
    commit = f", commit {manifest['commit'][:10]}" if manifest.get("commit") else ""
    changed = " with uncommitted changes" if manifest.get("uncommitted_changes") else ""
    processor = manifest.get("machine", {}).get("processor") or "unknown machine"
    version = f"winnrobust {manifest.get('winnrobust', '?')}{commit}{changed}"
    return f"{version} · {str(manifest.get('time', ''))[:10]} · {processor}"


def runs_frame(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Validation and test errors of runs, as text, for a report without attacks."""
    rows = []
    for run in runs:
        tested, best = run.manifest.get("test"), run.manifest.get("best")
        finished = run.manifest.get("status") == "complete"
        untested = "no labels" if finished and run.setting("unsupervised") else "not finished"
        error = tested and share_with_interval(*rate(tested["errors"], tested["n"]), tested["n"])
        row = {"name": run.name, "epochs": len(run.metrics), "test": error or untested}
        row |= {name: run.setting(name) or "" for name in ("arch", "dataset")}
        row["best"] = f"{100 * best['valid_error']:.2f} (epoch {best['epoch']})" if best else ""
        rows.append(row)
    return pd.DataFrame(rows)


# --- numbers for other programs -------------------------------------------------------------------


def evaluation_json(results: Results) -> dict[str, Any]:
    """Everything that is known of an evaluation: the frames of its `Summary` as lists of rows."""
    verdict, diagnosis = Verdict(results), results.diagnosis
    frames = {name: x for name, x in vars(results.summary).items() if isinstance(x, pd.DataFrame)}
    frames |= {
        "seeds": aggregate(results.own, results.group_of),
        "differences": results.differences,
    }
    frames["distances"] = tables.quartiles(results)
    return {
        **{name: getattr(results, name) for name in ("dataset", "split", "n", "limit", "settings")},
        "headline": verdict.line,
        "cautions": [caution._asdict() for caution in verdict.cautions],
        "notes": verdict.notes,
        "trust": {group: verdict.trust(group) for group in results.groups},
        "models": results.ordered,
        **{name: frame.to_dict("records") for name, frame in frames.items()},
        "diagnosis": None if diagnosis is None else diagnosis.to_dict("records"),
        "overall": {} if diagnosis is None else overall(diagnosis),
        "manifest": results.manifest,
    }


def _manifest(report: Report, paths: Sequence[Path], out: Path) -> dict[str, object]:
    inputs = {
        str(path.relative_to(out) if path.is_relative_to(out) else path): file_sha256(
            path / ("results.json" if is_results(path) else "config.json")
        )
        for path in paths
    }
    return provenance.describe() | {
        "inputs": inputs,
        "results": [results.manifest for results in report.results],
        "runs": [{"config": run.config, "manifest": run.manifest} for run in report.runs],
    }
