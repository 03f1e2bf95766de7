"""The results folder: metadata beside the outcomes of every image; read again without any model.

`results.json` is written first, with the status "running", and last, with "complete"; in between
come `outcomes/`, `examples/`, `diagnosis.json`, `manifest.json`, and the tables. Folders of
versions 1 and 2 hold counts in results.json instead (see `legacy`).
"""

from pathlib import Path
from typing import Any

import pandas as pd

from winnrobust.evaluation.diagnosis import DIAGNOSIS_COLUMNS
from winnrobust.evaluation.examples import read_examples
from winnrobust.evaluation.outcomes import finished
from winnrobust.evaluation.statistics import summarize
from winnrobust.reporting import legacy
from winnrobust.reporting.figures import examples_figure, save_figure
from winnrobust.reporting.results import Results
from winnrobust.reporting.stored import Indicator, Manifest, Metadata, check
from winnrobust.reporting.table import to_csv, to_latex, to_markdown
from winnrobust.reporting.tables import comparison_frame, comparison_tables
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import write_json, write_text
from winnrobust.runtime.readers import read_json

NEWEST = 3
"""The version of results.json that is written; it and all before it are read."""


OF_RESULTS = ("dataset", "split", "limit", "n", "population", "settings", "models")
"""What `Results` have of results.json."""


def is_results(path: Path) -> bool:
    """Tell whether a folder holds results."""
    return (path / "results.json").is_file()


def write_metadata(folder: Path, metadata: Metadata) -> None:
    """Write results.json, which makes a folder one of results."""
    write_json(folder / "results.json", metadata.model_dump(mode="json", by_alias=True))


def read_metadata(folder: Path) -> Metadata:
    """Read results.json of version 3, of a finished evaluation or not.

    Raises:
        InputError: it is missing, damaged or of another version.
    """
    path = folder / "results.json"
    return check(Metadata, read_json(path), path)


def write_diagnosis(folder: Path, diagnosis: pd.DataFrame) -> None:
    """Keep what `evaluation.diagnosis.diagnose` returned."""
    write_json(folder / "diagnosis.json", diagnosis.to_dict("records"))


def read_diagnosis(folder: Path) -> pd.DataFrame | None:
    """Read what `write_diagnosis` wrote, if it did.

    Raises:
        InputError: it is damaged.
    """
    path = folder / "diagnosis.json"
    if not path.exists():
        return None
    rows = check(list[Indicator], read_json(path), path)
    return pd.DataFrame([row.model_dump() for row in rows], columns=list(DIAGNOSIS_COLUMNS))


def write_results(folder: Path, manifest: dict[str, Any]) -> Results:
    """Write the tables of an evaluation whose outcomes are all there, and call it complete.

    Args:
        folder: with the metadata, the outcomes, and what there is of examples and diagnosis.
        manifest: provenance, stored as it is.
    """
    metadata = completed(folder)
    write_json(folder / "manifest.json", manifest)
    results = _from_outcomes(folder, metadata)
    if results.examples is not None and len(results.examples.images):
        case = results.strongest(results.cases or results.corruptions)
        save_figure(examples_figure(results.examples, case), folder / "examples.png")
    tables = comparison_tables(results)
    write_text(folder / "table.md", to_markdown(tables))
    write_text(folder / "table.tex", to_latex(tables))
    write_text(folder / "table.csv", to_csv(comparison_frame(results)))
    write_text(folder / "results.csv", to_csv(results.summary.transfer))
    write_metadata(folder, metadata)
    return results


def completed(folder: Path) -> Metadata:
    """Return what results.json says when all outcomes are there: how many images it took, too."""
    metadata = read_metadata(folder)
    taken = sum(map(len, finished(folder))) if metadata.population else metadata.n
    return metadata.model_copy(update={"status": "complete", "n": taken})


def version_of(folder: Path) -> int:
    """Read of which version the results in a folder are.

    Raises:
        InputError: there are none, or of a later version.
    """
    path = folder / "results.json"
    stored = read_json(path)
    version = stored.get("schema") if isinstance(stored, dict) else None
    if type(version) is not int or not 1 <= version <= NEWEST:
        raise InputError(
            f"{path} is not results of version 1 to {NEWEST}, which this winnrobust reads; a newer"
            " one may have written it"
        )
    return version


def load_results(folder: Path) -> Results:
    """Read a results folder of this version or an earlier one.

    Raises:
        InputError: it is none, is not finished, one of its files is missing or damaged, or it is of
            a later version.
    """
    if version_of(folder) < NEWEST:
        stored = read_json(folder / "results.json")
        return legacy.read_results(folder, stored, _manifest(folder))
    metadata = read_metadata(folder)
    if metadata.status == "running":
        done = sum(map(len, finished(folder)))
        command = metadata.sessions[-1].get("command") if metadata.sessions else None
        raise InputError(
            f"{folder} is not finished: {done} of {metadata.n} images are done;"
            f" '{command or 'the same winnrobust attack'}' goes on"
        )
    return _from_outcomes(folder, metadata)


def _from_outcomes(folder: Path, metadata: Metadata) -> Results:
    summary = summarize(folder, [model.name for model in metadata.models])
    if summary.n != metadata.n:
        raise InputError(
            f"{folder} is damaged: there are outcomes of {summary.n} images, not of {metadata.n}"
        )
    return Results(
        **metadata.model_dump(include=set(OF_RESULTS)),
        summary=summary,
        manifest=_manifest(folder),
        examples=read_examples(folder),
        diagnosis=read_diagnosis(folder),
    )


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = read_json(folder / "manifest.json")
    check(Manifest, manifest, folder / "manifest.json")
    return manifest
