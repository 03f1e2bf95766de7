"""A report folder from stored results and runs: one HTML page, Markdown, LaTeX, CSV, figures."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from winnrobust import provenance
from winnrobust.attacks import ATTACKS
from winnrobust.errors import InputError
from winnrobust.evaluation.intervals import rate
from winnrobust.files import replacing, write_json, write_text
from winnrobust.reporting.figures import error_figure, examples_figure, to_png, training_curves
from winnrobust.reporting.findings import findings
from winnrobust.reporting.results import Results, is_results, load_results
from winnrobust.reporting.runs import RunRecord, find_samples, is_run, load_run
from winnrobust.reporting.tables import (
    Table,
    comparison_csv,
    comparison_tables,
    markdown_text,
    ordered_models,
    share_with_interval,
    to_latex,
    to_markdown,
)

PICTURES_PER_RUN = 4
"""Pictures of pseudo-negatives shown per run: the first, the last, and some between."""


@dataclass(frozen=True)
class Report:
    """All that a report shows, before it is laid out.

    Attributes:
        title: the headline.
        results: the evaluations, each a section.
        runs: the training runs behind them, or given by themselves.
    """

    title: str
    results: list[Results]
    runs: list[RunRecord]


def write_report(paths: Sequence[Path], out: Path) -> None:
    """Build the report of results folders and run folders in `out`, index.html last.

    Results bring the training curves of their runs along, and the pictures of pseudo-negatives
    where the run folder is still there.

    Args:
        paths: results folders and run folders, in any mix.
        out: an existing folder.

    Raises:
        InputError: a path is neither, or damaged.
    """
    report = read_report(paths)
    figures = _figures(report)
    for name, picture in figures.items():
        with replacing(out / "figures" / name) as temporary:
            temporary.write_bytes(picture)
    tables = _all_tables(report)
    write_text(out / "table.md", to_markdown(tables))
    write_text(out / "table.tex", to_latex(tables))
    write_text(out / "table.csv", "".join(_csv_parts(report)))
    for index, results in enumerate(report.results):
        name = "results.csv" if len(report.results) == 1 else f"results-{index + 1}.csv"
        write_text(out / name, results.table.to_csv(index=False))
    write_text(out / "report.md", _markdown(report, figures))
    write_json(
        out / "manifest.json",
        provenance.describe()
        | {
            "inputs": {
                str(path.relative_to(out) if path.is_relative_to(out) else path): _input_sha256(
                    path
                )
                for path in paths
            },
            "results": [results.manifest for results in report.results],
            "runs": [{"config": run.config, "manifest": run.manifest} for run in report.runs],
        },
    )
    write_text(out / "index.html", _html(report, figures))


def read_report(paths: Sequence[Path]) -> Report:
    """Read everything a report needs.

    Raises:
        InputError: a path is neither results nor a run, or damaged.
    """
    results, runs = [], []
    for path in paths:
        if is_results(path):
            results.append(load_results(path))
        elif is_run(path):
            runs.append(load_run(path))
        else:
            raise InputError(
                f"{path} is neither a results folder (results.json) nor a training run"
                " (config.json and manifest.json)"
            )
    known = {_identity(run) for run in runs}
    for found in results:
        for run in _runs_behind(found):
            if _identity(run) not in known:
                known.add(_identity(run))
                runs.append(run)
    return Report(_title(results, runs), results, runs)


def _runs_behind(results: Results) -> Iterable[RunRecord]:
    """The runs of the attacked models, out of the results' own manifest."""
    stored = results.manifest.get("models", {})
    for model in ordered_models(results):
        told = stored.get(model["name"], {})
        if "config" not in told:
            continue
        folder = Path(model["path"])
        manifest = told.get("manifest", {})
        # The folder may hold another run by now: its pictures count only if it is the same one.
        same = is_run(folder) and _manifest_of(folder) == manifest
        samples = find_samples(folder) if same else {}
        yield RunRecord(model["name"], told["config"], manifest, told.get("metrics", []), samples)


def _manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run folder, None where something in it is damaged: results stand alone."""
    try:
        return load_run(folder).manifest
    except InputError:
        return None


def _identity(run: RunRecord) -> str:
    return json.dumps([run.config, run.manifest], sort_keys=True)


def _title(results: list[Results], runs: list[RunRecord]) -> str:
    if not results:
        return "Training: " + ", ".join(dict.fromkeys(run.name for run in runs))
    names = [model["name"] for model in ordered_models(results[0])]
    data = ", ".join(dict.fromkeys(found.dataset for found in results))
    if len(names) == 1:
        return f"How robust is {names[0]}? ({data})"
    return f"{' and '.join((', '.join(names[1:]), names[0]))} under attack ({data})"


def _all_tables(report: Report) -> list[Table]:
    tables = [table for results in report.results for table in comparison_tables(results)]
    return tables or [runs_table(report.runs)]


def runs_table(runs: Sequence[RunRecord]) -> Table:
    """Validation and test errors of runs, for a report without attacks."""
    rows = []
    for run in runs:
        test, best = run.manifest.get("test"), run.manifest.get("best", {})
        error = rate(test["errors"], test["n"]) if test else None
        rows.append(
            [
                run.name,
                str(run.config.get("arch", "")),
                str(run.config.get("dataset", "")),
                str(len(run.metrics)),
                f"{100 * best['valid_error']:.2f} (epoch {best['epoch']})" if best else "",
                share_with_interval(*error, test["n"]) if error and test else "not finished",
            ]
        )
    return Table(
        "Training runs, errors in %",
        ["method", "network", "data", "epochs", "best validation error", "test error [95 %]"],
        rows,
        "No attack results were given: 'winnrobust attack' makes them.",
    )


def _csv_parts(report: Report) -> Iterable[str]:
    """The comparison as CSV; several evaluations follow each other under one header."""
    for index, results in enumerate(report.results):
        text = comparison_csv(results)
        yield text if index == 0 else text.split("\n", 1)[1]
    if not report.results:
        table = runs_table(report.runs)
        for row in (table.header, *table.rows):
            yield ",".join(f'"{cell}"' for cell in row) + "\n"


def _figures(report: Report) -> dict[str, bytes]:
    figures = {}
    for index, results in enumerate(report.results):
        mark = "" if len(report.results) == 1 else f"-{index + 1}"
        names = [model["name"] for model in ordered_models(results)]
        figures[f"errors{mark}.png"] = to_png(error_figure(results, names))
        figures[f"examples{mark}.png"] = to_png(examples_figure(results.examples))
    trained = [run for run in report.runs if run.metrics]
    if trained:
        figures["training.png"] = to_png(training_curves(trained))
    for number, run in enumerate(report.runs):
        for epoch in _chosen(list(run.samples)):
            name = f"pseudo-negatives-{number + 1}-epoch-{epoch:04d}.png"
            figures[name] = run.samples[epoch].read_bytes()
    return figures


def _chosen(epochs: list[int]) -> list[int]:
    """Some epochs, evenly spread, the first and the last among them."""
    if len(epochs) <= PICTURES_PER_RUN:
        return epochs
    last = len(epochs) - 1
    return [epochs[round(i * last / (PICTURES_PER_RUN - 1))] for i in range(PICTURES_PER_RUN)]


def _html(report: Report, figures: dict[str, bytes]) -> str:
    environment = Environment(
        loader=PackageLoader("winnrobust.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    sections = []
    for index, results in enumerate(report.results):
        mark = "" if len(report.results) == 1 else f"-{index + 1}"
        sections.append(
            {
                "heading": f"Evaluation {index + 1}: {results.dataset}",
                "findings": findings(results),
                "tables": comparison_tables(results),
                "errors": _data_uri(figures[f"errors{mark}.png"]),
                "examples": _data_uri(figures[f"examples{mark}.png"])
                if len(results.examples.images)
                else "",
            }
        )
    if not sections:
        sections.append(
            {
                "heading": "Training runs",
                "findings": ["Training only: nothing was attacked yet."],
                "tables": [runs_table(report.runs)],
                "errors": "",
                "examples": "",
            }
        )
    samples = [
        {
            "name": run.name,
            "pictures": [
                {"epoch": epoch, "uri": _data_uri(run.samples[epoch].read_bytes())}
                for epoch in _chosen(list(run.samples))
            ],
        }
        for run in report.runs
        if run.samples
    ]
    return environment.get_template("page.html.jinja").render(
        title=report.title,
        byline=_byline(report),
        sections=sections,
        curves=_data_uri(figures["training.png"]) if "training.png" in figures else "",
        samples=samples,
        threat_model=_threat_model(report),
        commands=_commands(report),
        provenance=_provenance_blocks(report),
    )


def _markdown(report: Report, figures: dict[str, bytes]) -> str:
    parts = [f"# {markdown_text(report.title)}\n\n{markdown_text(_byline(report))}\n"]
    for index, results in enumerate(report.results):
        mark = "" if len(report.results) == 1 else f"-{index + 1}"
        parts += [f"{markdown_text(sentence)}\n" for sentence in findings(results)]
        parts.append(f"![Errors with and without attack](figures/errors{mark}.png)\n")
        parts.append(to_markdown(comparison_tables(results)))
        if len(results.examples.images):
            parts.append(f"![Adversarial examples](figures/examples{mark}.png)\n")
    if not report.results:
        parts.append(to_markdown([runs_table(report.runs)]))
    if "training.png" in figures:
        parts.append("## Training\n\n![Training curves](figures/training.png)\n")
    pictures = [name for name in figures if name.startswith("pseudo-negatives")]
    parts += [f"![{name.removesuffix('.png')}](figures/{name})\n" for name in pictures]
    if report.results:
        parts.append("## Threat model\n")
        parts.append("".join(f"- {sentence}\n" for sentence in _threat_model(report)))
    parts.append("## Commands\n")
    parts.append("".join(f"    {command}\n" for command in _commands(report)))
    parts.append("Provenance of every figure: `manifest.json` beside this file.\n")
    return "\n".join(parts)


def _byline(report: Report) -> str:
    manifests = [results.manifest for results in report.results] or [
        run.manifest for run in report.runs
    ]
    first = manifests[0]
    commit = first.get("commit")
    version = f"winnrobust {first.get('winnrobust', '?')}"
    if commit:
        version += f", commit {commit[:10]}"
        if first.get("uncommitted_changes"):
            version += " with uncommitted changes"
    processor = first.get("machine", {}).get("processor", "unknown machine")
    return f"{version} · {str(first.get('time', ''))[:10]} · {processor}"


def _threat_model(report: Report) -> list[str]:
    """Who the attacker is, in words, for all attacks of the report."""
    sentences = [
        "The attacker knows the attacked model fully (white box) and the true label, and wants any"
        " wrong class (untargeted). A correction rate judges examples made against one model by"
        " another, which is a transfer to it."
    ]
    epsilons = dict.fromkeys(
        epsilon for results in report.results for epsilon in results.table.epsilon
    )
    sentences += [
        f"Every pixel may change by at most epsilon = {epsilon:g} of the range [0, 1], which is"
        f" {2 * epsilon:g} on [-1, 1] and {255 * epsilon:.1f} of 255 grey levels; results are"
        " clipped to [0, 1]."
        for epsilon in epsilons
    ]
    names = dict.fromkeys(name for results in report.results for name in results.table.attack)
    sentences += [
        f"{name}: {ATTACKS[name].summary} ({ATTACKS[name].source})"
        for name in names
        if name in ATTACKS
    ]
    return [
        *sentences,
        "All test images count, also those that a model gets wrong without an attack.",
        "Weights were chosen by validation error alone.",
    ]


def _commands(report: Report) -> list[str]:
    manifests = [run.manifest for run in report.runs]
    manifests += [results.manifest for results in report.results]
    return list(dict.fromkeys(m["command"] for m in manifests if m.get("command")))


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


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _input_sha256(path: Path) -> str:
    name = "results.json" if is_results(path) else "config.json"
    return hashlib.sha256((path / name).read_bytes()).hexdigest()
