"""Which runs there are, and how far they got."""

from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from winnrobust import zoo
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import read_json
from winnrobust.runtime.progress import log
from winnrobust.training.config import TrainConfig
from winnrobust.training.manifest import reopen_run
from winnrobust.training.run_folder import RunFolder
from winnrobust.workflows.shared import stamp


def new_run_path(runs: Path, config: TrainConfig) -> Path:
    """Name a new run after its time and what it trains."""
    method = f"{config.method}-unsupervised" if config.unsupervised else config.method
    parts = (stamp(), config.data.dataset, config.model.arch, method, f"seed{config.seed}")
    return runs / "-".join(parts)


def find_runs(runs: Path) -> list[tuple[Path, TrainConfig]]:
    """All run folders right under `runs` with their configurations, the last started first.

    Folders that are no runs of ours are passed over.
    """
    found = []
    for file in runs.glob("*/config.json"):
        with suppress(InputError):
            _, config = reopen_run(file.parent)
            found.append((file.stat().st_mtime, file.parent, config))
    return [(path, config) for _, path, config in sorted(found, key=itemgetter(0), reverse=True)]


def newest_run_like(runs: Path, given: dict[str, Any]) -> Path:
    """Find the newest run with the data set, architecture, method and so on in `given`, if any.

    Raises:
        InputError: there is none.
    """
    names = ("dataset", "arch", "method", "seed", "unsupervised")
    wanted = {name: given[name] for name in names if name in given}
    for path, config in find_runs(runs):
        settings = config.flat()
        if all(settings[name] == value for name, value in wanted.items()):
            return path
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
    newest: dict[str, Path] = {}
    # Stable: complete runs before those that are still being trained or were given up.
    for path, config in sorted(_classifiers(runs), key=lambda item: not _is_complete(item[0])):
        own = config.data.dataset, config.model.arch
        if own == (dataset or own[0], arch or own[1]):
            dataset, arch = own
            newest.setdefault(config.method, path)
    if not newest:
        wanted = " ".join(f"of {name}" for name in (dataset, arch) if name)
        raise InputError(
            f"no trained run {wanted + ' ' if wanted else ''}under {runs}; train one with"
            " 'winnrobust train', or name runs or .safetensors files"
        )
    return list(newest.values())


def newest_or_shipped(runs: Path, dataset: str | None, arch: str | None) -> list[Path]:
    """As `newest_of_each_method`; where no classifier was trained at all, the package's own models.

    Raises:
        InputError: neither.
    """
    if _classifiers(runs):
        return newest_of_each_method(runs, dataset, arch)
    shipped = zoo.trained_on(dataset, arch)
    log(
        f"no trained run under {runs}: attacking models that come with winnrobust"
        f" ({', '.join(map(str, shipped))}; 'winnrobust models' lists them)"
    )
    return shipped


def _classifiers(runs: Path) -> list[tuple[Path, TrainConfig]]:
    """Those of `find_runs` that have a model, and one that can be attacked."""
    return [
        (path, config)
        for path, config in find_runs(runs)
        if RunFolder(path).model.exists() and not config.unsupervised
    ]


def _is_complete(path: Path) -> bool:
    manifest = read_json(RunFolder(path).manifest)
    return isinstance(manifest, dict) and manifest.get("status") == "complete"
