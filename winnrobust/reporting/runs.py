"""Reading a training run for a report: no weights, no training code."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnrobust.reporting.schema import check
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import read_json, read_json_lines
from winnrobust.training.config import flat
from winnrobust.training.run_folder import RunFolder


@dataclass(frozen=True)
class RunRecord:
    """What a report shows of a run.

    Attributes:
        name: what tables and legends call it.
        config: its settings, by the names of their options.
        manifest: its JSON file.
        metrics: one row per finished epoch.
        samples: epoch -> picture of its pseudo-negatives.
    """

    name: str
    config: dict[str, Any]
    manifest: dict[str, Any]
    metrics: list[dict[str, Any]]
    samples: dict[int, Path] = field(default_factory=dict)


def is_run(path: Path) -> bool:
    """Tell whether a folder is a training run."""
    run = RunFolder(path)
    return run.config.is_file() and run.manifest.is_file()


def load_run(path: Path) -> RunRecord:
    """Read a run folder, finished or not.

    Raises:
        InputError: it is no run, or one of its files is damaged.
    """
    if not is_run(path):
        raise InputError(f"{path} is not a training run (no config.json and manifest.json in it)")
    run = RunFolder(path)
    config, manifest = read_json(run.config), read_json(run.manifest)
    check(config, "run_config", run.config)
    config = flat(config)
    check(manifest, "run_manifest", run.manifest)
    method = str(config.get("method", path.name))
    return RunRecord(method, config, manifest, _metrics(run.metrics), find_samples(path))


def find_samples(path: Path) -> dict[int, Path]:
    """Find the pictures of pseudo-negatives in a run folder, by epoch."""
    pictures = sorted(RunFolder(path).samples(0).parent.glob("epoch-*.png"))
    numbered = [(picture.stem.removeprefix("epoch-"), picture) for picture in pictures]
    return {int(number): picture for number, picture in numbered if number.isdecimal()}


def _metrics(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows = read_json_lines(path)
    for row in rows:
        check(row, "metrics", path)
    return rows
