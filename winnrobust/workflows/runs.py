"""Which runs there are, and how far they got."""

from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from winnrobust import zoo
from winnrobust.runtime.errors import InputError, brief
from winnrobust.runtime.progress import log
from winnrobust.runtime.readers import check_safetensors, read_json
from winnrobust.training.config import TrainConfig
from winnrobust.training.manifest import reopen_run
from winnrobust.workflows.shared import dated_folder


def new_run_path(runs: Path, config: TrainConfig) -> Path:
    """Name a new run after its time and what it trains."""
    method = f"{config.method}-unsupervised" if config.unsupervised else config.method
    parts = (config.data.dataset, config.model.arch, method, f"seed{config.seed}")
    return dated_folder(runs, *parts)


@dataclass(frozen=True)
class Run:
    """A run folder that can be read; it has a model once an epoch is finished."""

    path: Path
    config: TrainConfig
    is_complete: bool
    has_model: bool


def find_runs(runs: Path) -> list[Run]:
    """All run folders right under `runs`, the last started first.

    Of one that cannot be read a line says why; it stands in nobody's way who did not name it.
    """
    found = []
    for file in runs.glob("*/config.json"):
        try:
            folder, config = reopen_run(file.parent)
            manifest = read_json(folder.manifest)
            if not isinstance(manifest, dict):
                raise InputError(f"{folder.manifest} does not describe a run")
            complete = manifest.get("status") == "complete"
            if has_model := folder.model.is_file():
                check_safetensors(folder.model)
            run = Run(folder.path, config, complete, has_model)
            found.append((file.stat().st_mtime, run))
        except (InputError, OSError) as error:
            log(f"note: {file.parent} is passed over, because it cannot be read: {brief(error)}")
    return [run for _, run in sorted(found, key=itemgetter(0), reverse=True)]


def newest_run_like(runs: Path, given: dict[str, Any]) -> Path:
    """Find the newest run with the data set, architecture, method and so on in `given`, if any.

    Raises:
        InputError: there is none.
    """
    names = ("dataset", "arch", "method", "seed", "unsupervised")
    wanted = {name: given[name] for name in names if name in given}
    for run in find_runs(runs):
        settings = run.config.flat()
        if all(settings[name] == value for name, value in wanted.items()):
            return run.path
    what = ", ".join(f"{name} {value}" for name, value in wanted.items())
    raise InputError(
        f"no run to resume under {runs}{' with ' + what if what else ''}; name it with --out"
    )


def newest_of_each_method(runs: Path, dataset: str | None, arch: str | None) -> list[Path]:
    """Find what `attack` compares when nothing is named.

    Takes the data set and architecture asked for, else those of the newest run, and of each method
    the newest complete run, or the newest with a model where none is complete.

    Raises:
        InputError: no such run.
    """
    return _newest_of_each_method(_classifiers(runs), runs, dataset, arch)


def newest_or_shipped(runs: Path, dataset: str | None, arch: str | None) -> list[Path]:
    """As `newest_of_each_method`; where no classifier was trained at all, the package's own models.

    Raises:
        InputError: neither.
    """
    classifiers = _classifiers(runs)
    if classifiers:
        return _newest_of_each_method(classifiers, runs, dataset, arch)
    shipped = zoo.trained_on(dataset, arch)
    log(
        f"no trained run under {runs}: attacking models that come with winnrobust"
        f" ({', '.join(map(str, shipped))}; 'winnrobust models' lists them)"
    )
    return shipped


def _newest_of_each_method(
    classifiers: list[Run], runs: Path, dataset: str | None, arch: str | None
) -> list[Path]:
    newest: dict[str, Path] = {}
    # Stable: complete runs before those that are still being trained or were given up.
    for run in sorted(classifiers, key=lambda run: not run.is_complete):
        own = run.config.data.dataset, run.config.model.arch
        if own == (dataset or own[0], arch or own[1]):
            dataset, arch = own
            newest.setdefault(run.config.method, run.path)
    if not newest:
        wanted = " ".join(f"of {name}" for name in (dataset, arch) if name)
        raise InputError(
            f"no trained run {wanted + ' ' if wanted else ''}under {runs}; train one with"
            " 'winnrobust train', or name runs or .safetensors files"
        )
    return list(newest.values())


def _classifiers(runs: Path) -> list[Run]:
    """Those of `find_runs` that have a model, and one that can be attacked."""
    return [run for run in find_runs(runs) if run.has_model and not run.config.unsupervised]
