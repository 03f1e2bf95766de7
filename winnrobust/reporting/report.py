"""What a report is made of: evaluations and training runs, read and put together."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from winnrobust.reporting.results import Results
from winnrobust.reporting.results_folder import is_results, load_results
from winnrobust.reporting.runs import RunRecord, find_samples, is_run, load_run
from winnrobust.reporting.table import Table, listed, share_with_interval
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.intervals import rate

NAMES_IN_TITLE = 4
"""With more models than this a title says how many they are."""

PICTURES_PER_RUN = 4
"""Pictures of pseudo-negatives shown per run: the first, the last, and some between."""


@dataclass(frozen=True)
class Lead:
    """What a report begins with, where it has more to show than its evaluations.

    Attributes:
        title: the headline.
        tables: shown first.
    """

    title: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class Report:
    """All that a report shows, before it is laid out.

    Attributes:
        results: the evaluations, each a section.
        runs: the training runs behind them, or given by themselves.
        lead: what comes before them.
    """

    results: list[Results]
    runs: list[RunRecord]
    lead: Lead | None = None


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
    return Report(_with_shared_diagnoses(results), runs)


def _with_shared_diagnoses(results: Sequence[Results]) -> list[Results]:
    """Let a diagnosis count for the same models on the same data where they got none."""
    made = {_weights(found): found.diagnosis for found in results if found.diagnosis is not None}
    shared = []
    for found in results:
        known = made.get(_weights(found))
        if found.diagnosis is None and known is not None:
            found = replace(found, diagnosis=known, diagnosis_is_shared=True)
        shared.append(found)
    return shared


def _weights(results: Results) -> tuple[str, ...]:
    """What tells a diagnosis whether it is of these models; nobody's where that is unknown."""
    hashes = [(model["name"], model["weights_sha256"] or id(results)) for model in results.models]
    return results.dataset, *(f"{name} {hash_}" for name, hash_ in sorted(hashes))


def _runs_behind(results: Results) -> Iterable[RunRecord]:
    """The runs of the attacked models, out of the results' own manifest."""
    stored = results.manifest.get("models", {})
    for model in results.ordered:
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


def title_of(report: Report) -> str:
    """The headline."""
    if report.lead:
        return report.lead.title
    if not report.results:
        return "Training: " + ", ".join(dict.fromkeys(run.name for run in report.runs))
    first, *others = report.results[0].names
    data = ", ".join(dict.fromkeys(found.dataset for found in report.results))
    if not others:
        return f"How robust is {first}? ({data})"
    if len(others) >= NAMES_IN_TITLE:
        return f"{len(others) + 1} models under attack ({data})"
    return f"{listed([*others, first])} under attack ({data})"


def byline_of(report: Report) -> str:
    """Version, date and machine."""
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


def commands_of(report: Report) -> list[str]:
    """The commands that trained and attacked, as they can be typed again."""
    manifests = [run.manifest for run in report.runs]
    manifests += [results.manifest for results in report.results]
    return list(dict.fromkeys(m["command"] for m in manifests if m.get("command")))


def marks_of(report: Report) -> list[str]:
    """What tells the files of several evaluations apart; nothing where there is one."""
    count = len(report.results)
    return [""] if count == 1 else [f"-{index + 1}" for index in range(count)]


def chosen_samples(run: RunRecord) -> dict[int, Path]:
    """Some of a run's pictures by epoch, evenly spread, the first and the last among them."""
    epochs = list(run.samples)
    if len(epochs) > PICTURES_PER_RUN:
        last = len(epochs) - 1
        epochs = [epochs[round(i * last / (PICTURES_PER_RUN - 1))] for i in range(PICTURES_PER_RUN)]
    return {epoch: run.samples[epoch] for epoch in epochs}


def _untested(run: RunRecord) -> str:
    finished = run.manifest.get("status") == "complete"
    return "no labels" if finished and run.config.get("unsupervised") else "not finished"


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
                share_with_interval(*error, test["n"]) if error and test else _untested(run),
            ]
        )
    return Table(
        "Training runs, errors in %",
        ["method", "network", "data", "epochs", "best validation error", "test error [95 %]"],
        rows,
        "No attack results were given: 'winnrobust attack' makes them.",
    )
