"""Reading a training run for a report: no weights, no training code."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnrobust.reporting.stored import Epoch, RunManifest, check
from winnrobust.reporting.table import evenly_spread
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import read_json, read_json_lines
from winnrobust.training.config import flat
from winnrobust.training.run_folder import RunFolder

PICTURES_PER_RUN = 4
"""Pictures of pseudo-negatives shown per run: the first, the last, and some between."""


@dataclass(frozen=True)
class RunRecord:
    """What a report shows of a run.

    Attributes:
        name: what tables and legends call it.
        config, manifest: the run's JSON files.
        metrics: one row per finished epoch.
        samples: epoch -> picture of its pseudo-negatives.
    """

    name: str
    config: dict[str, Any]
    manifest: dict[str, Any]
    metrics: list[dict[str, Any]]
    samples: dict[int, Path] = field(default_factory=dict)

    def setting(self, name: str) -> Any:
        """A setting by its option's name, in its group or not; None if there is none."""
        return flat(self.config).get(name)


def is_run(path: Path) -> bool:
    """Tell whether a folder is a training run."""
    run = RunFolder(path)
    return run.config.is_file() and run.manifest.is_file()


def load_run(path: Path) -> RunRecord:
    """Read a run folder, finished or not.

    Raises:
        InputError: it is not a run, or one of its files is damaged.
    """
    if not is_run(path):
        raise InputError(f"{path} is not a training run (no config.json and manifest.json in it)")
    run = RunFolder(path)
    config = check(dict[str, Any], read_json(run.config), run.config)
    manifest = read_json(run.manifest)
    check(RunManifest, manifest, run.manifest)
    metrics = read_json_lines(run.metrics) if run.metrics.exists() else []
    check(list[Epoch], metrics, run.metrics)
    method = str(flat(config).get("method", path.name))
    return RunRecord(method, config, manifest, metrics, find_samples(path))


def find_samples(path: Path) -> dict[int, Path]:
    """Find the pictures of pseudo-negatives in a run folder, by epoch."""
    pictures = sorted(RunFolder(path).samples(0).parent.glob("epoch-*.png"))
    numbered = [(picture.stem.removeprefix("epoch-"), picture) for picture in pictures]
    return {int(number): picture for number, picture in numbered if number.isdecimal()}


def chosen_samples(run: RunRecord) -> dict[int, Path]:
    """Some of a run's pictures by epoch, evenly spread, the first and the last among them."""
    return {epoch: run.samples[epoch] for epoch in evenly_spread([*run.samples], PICTURES_PER_RUN)}
