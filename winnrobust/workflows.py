"""What the commands do, from start to end: the layers of the package put in a row."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from winnrobust import distributed, provenance, training
from winnrobust.checkpoint import ModelInfo, load_model
from winnrobust.config import TrainConfig, option_name
from winnrobust.data import Dataset, load_dataset, to_unit
from winnrobust.errors import InputError
from winnrobust.evaluation import Evaluation
from winnrobust.evaluation import run as evaluate_models
from winnrobust.evaluation.inputs import checked_attacks
from winnrobust.files import check_free, new_folder, read_json
from winnrobust.models import IntrospectiveNetwork
from winnrobust.progress import bar, say
from winnrobust.reporting import load_run, training_figure, write_report, write_results
from winnrobust.run_folder import RunFolder

REFERENCE_METHOD = "baseline"
"""The method that the others are compared with, named first."""


def stamp() -> str:
    """The local time, for the names of folders; the same in all processes of a job."""
    return distributed.from_first(datetime.now().strftime("%Y%m%d-%H%M%S"))


def load_data(name: str, root: Path | None) -> Dataset:
    """As `load_dataset`; of several processes the first goes ahead and downloads."""
    if distributed.is_first():
        dataset = load_dataset(name, root)
        distributed.wait_for_all()
    else:
        distributed.wait_for_all()
        dataset = load_dataset(name, root)
    return dataset


# --- training ---------------------------------------------------------------------------------


def train_run(
    path: Path, config: TrainConfig, data_root: Path | None, device: torch.device
) -> None:
    """Train a new run in the folder `path`, which must not hold anything yet."""
    dataset = load_data(config.dataset, data_root)
    run = training.start_run(path, config, dataset, device)
    say(f"training {config.method} {config.arch} on {dataset.name} ({device}) in {path}")
    _train(run, config, dataset, device)


def resume_run(
    path: Path, given: dict[str, Any], data_root: Path | None, device: torch.device
) -> None:
    """Go on with the run in `path`; `given` are settings that the user asked for again.

    Raises:
        InputError: no such run, or `given` contradicts its configuration (but for more epochs).
    """
    run, config = training.reopen_run(path)
    for name, value in given.items():
        if name != "epochs" and value != getattr(config, name):
            raise InputError(
                f"{path} was started with {option_name(name)} {getattr(config, name)}, not {value};"
                " leave the option out, or start a new run"
            )
    config = replace(config, epochs=given.get("epochs", config.epochs))
    finished = len(load_run(path).metrics)
    if finished >= config.epochs and read_json(run.manifest).get("status") == "complete":
        say(f"{path} is complete: {finished} epochs; a larger --epochs trains it further")
        return
    if finished > config.epochs:
        raise InputError(
            f"{path} has {finished} epochs already; --epochs {config.epochs} cannot take any back"
        )
    dataset = load_data(config.dataset, data_root)
    training.note_resumption(run, config, device)
    say(f"resuming {config.method} {config.arch} on {dataset.name} ({device}) in {path}")
    _train(run, config, dataset, device)


def _train(run: RunFolder, config: TrainConfig, dataset: Dataset, device: torch.device) -> None:
    try:
        training.train(run, config, dataset, device)
    except KeyboardInterrupt:
        say(f"stopped; go on with: winnrobust train --resume --out {run.path}")
        say("or, if this was quickstart or compare, with the same command again")
        raise
    if distributed.is_first():
        training_figure([load_run(run.path)], run.path / "training.png")


# --- finding runs -----------------------------------------------------------------------------


def new_run_path(runs: Path, config: TrainConfig) -> Path:
    """Name a new run after its time and what it trains."""
    parts = (stamp(), config.dataset, config.arch, config.method, f"seed{config.seed}")
    return runs / "-".join(parts)


def find_runs(runs: Path) -> list[tuple[Path, TrainConfig]]:
    """All run folders right under `runs` with their configurations, the last started first.

    Folders that are no runs of ours are passed over.
    """
    found = []
    for file in runs.glob("*/config.json"):
        with suppress(InputError):
            _, config = training.reopen_run(file.parent)
            found.append((file.stat().st_mtime, file.parent, config))
    return [(path, config) for _, path, config in sorted(found, key=itemgetter(0), reverse=True)]


def newest_run_like(runs: Path, given: dict[str, Any]) -> Path:
    """Find the newest run with the data set, architecture, method and seed in `given`, if any.

    Raises:
        InputError: there is none.
    """
    wanted = {name: given[name] for name in ("dataset", "arch", "method", "seed") if name in given}
    for path, config in find_runs(runs):
        if all(getattr(config, name) == value for name, value in wanted.items()):
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
    found = [(path, config) for path, config in find_runs(runs) if RunFolder(path).model.exists()]
    # Stable: complete runs before those that are still being trained or were given up.
    for path, config in sorted(found, key=lambda item: not _is_complete(item[0])):
        if config.dataset == (dataset or config.dataset) and config.arch == (arch or config.arch):
            dataset, arch = config.dataset, config.arch
            newest.setdefault(config.method, path)
    if not newest:
        wanted = " ".join(f"of {name}" for name in (dataset, arch) if name)
        raise InputError(
            f"no trained run {wanted + ' ' if wanted else ''}under {runs}; train one with"
            " 'winnrobust train', or name runs or .safetensors files"
        )
    return list(newest.values())


# --- attacking --------------------------------------------------------------------------------


def _is_complete(path: Path) -> bool:
    manifest = read_json(RunFolder(path).manifest)
    return isinstance(manifest, dict) and manifest.get("status") == "complete"


def say_what_differs(candidates: Sequence["Candidate"]) -> None:
    """Say in what else than their method the models' training differs, so that nobody misses it."""
    told = {
        candidate.name: read_json(RunFolder(candidate.path).config)
        | {"complete": _is_complete(candidate.path)}
        for candidate in candidates
        if candidate.path.is_dir()
    }
    for name in (
        "dataset",
        "arch",
        "seed",
        "epochs",
        "batch_size",
        "lr",
        "limit_train",
        "complete",
    ):
        values = {model: settings.get(name) for model, settings in told.items()}
        if len(set(values.values())) > 1:
            listed = ", ".join(f"{model} {value}" for model, value in values.items())
            say(f"note: the runs differ in {name}: {listed}")


@dataclass(frozen=True)
class Candidate:
    """A trained model to be attacked.

    Attributes:
        name: what tables call it.
        path: its run folder, or its model file if that was named.
        network, info: the model.
        sha256: hash of its file.
    """

    name: str
    path: Path
    network: IntrospectiveNetwork
    info: ModelInfo
    sha256: str


def load_candidates(paths: Sequence[Path]) -> list[Candidate]:
    """Load run folders or model files, the baseline first, each under a name of its own.

    A model is named after its method; where a method comes more than once, after its seed too; and
    where that is not enough, after its path.

    Raises:
        InputError: a path is neither a run nor a model, or given twice.
    """
    loaded = []
    for path in paths:
        model = RunFolder(path).model if path.is_dir() else path
        if path.is_dir() and not model.exists():
            raise InputError(
                f"{path} holds no model.safetensors; it is no run, or has no epoch yet"
            )
        loaded.append((path, *load_model(model), _file_sha256(model)))
    loaded.sort(key=lambda item: item[2].method != REFERENCE_METHOD)
    names = _distinct(
        (info.method, f"{info.method}-seed{info.seed}", f"{info.method} ({path})")
        for path, _, info, _ in loaded
    )
    return [Candidate(name, *item) for name, item in zip(names, loaded, strict=True)]


def _distinct(choices: Iterable[tuple[str, ...]]) -> list[str]:
    """Take from every tuple of names the first that no other tuple has."""
    listed = list(choices)
    names = []
    for own in listed:
        free = [name for name in own if sum(name in other for other in listed) == 1]
        if not free:
            raise InputError("the same run or model was named twice")
        names.append(free[0])
    return names


def attack_runs(
    paths: Sequence[Path],
    out: Path,
    *,
    attacks: Sequence[str],
    epsilons: Sequence[float],
    dataset_name: str | None,
    data_root: Path | None,
    limit: int | None,
    batch_size: int | None,
    device: torch.device,
) -> Evaluation:
    """Attack the models at `paths` with each other as judges and write the results to `out`.

    Raises:
        InputError: models or data cannot be used, or `out` exists.
    """
    checked_attacks(attacks)
    candidates = load_candidates(paths)
    trained_on = list(dict.fromkeys(candidate.info.dataset for candidate in candidates))
    if dataset_name is None and len(trained_on) > 1:
        raise InputError(
            f"the models were trained on {' and '.join(trained_on)}; say with --dataset which test"
            " images to attack"
        )
    dataset = load_data(dataset_name or trained_on[0], data_root)
    test = dataset.test.first(limit)
    with _new_folder(out) as folder:
        models = ", ".join(f"{candidate.name} ({candidate.path})" for candidate in candidates)
        say_what_differs(candidates)
        say(f"attacking {models} on {len(test)} test images of {dataset.name} ({device})")
        with bar(len(test), "attack", unit="image") as status:
            evaluation = evaluate_models(
                {candidate.name: candidate.network for candidate in candidates},
                to_unit(test.images),
                test.labels,
                attacks=attacks,
                epsilons=epsilons,
                batch_size=batch_size,
                device=device,
                progress=lambda done, total: status.update(done - status.n),
            )
        data = {"name": dataset.name, "split": "test", "n": len(test), "sha256": test.sha256()}
        manifest = provenance.describe(device) | {
            "data": data,
            "batch_size": evaluation.batch_size,
            "models": {candidate.name: _provenance_of(candidate) for candidate in candidates},
        }
        if distributed.is_first():
            write_results(
                folder,
                evaluation,
                [_row(candidate) for candidate in candidates],
                manifest,
                dataset.name,
                limit if len(test) < len(dataset.test) else None,
            )
    return evaluation


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """As `new_folder`, by the first process; the others get a path that they must not write to."""
    if distributed.is_first():
        with new_folder(path) as folder:
            yield folder
    else:
        yield path
    distributed.wait_for_all()


def _row(candidate: Candidate) -> dict[str, Any]:
    """What results say of a model besides its errors."""
    parameters = sum(parameter.numel() for parameter in candidate.network.parameters())
    return {
        "name": candidate.name,
        "method": candidate.info.method,
        "arch": candidate.info.arch,
        "path": str(candidate.path),
        "parameters": parameters,
        "epoch": candidate.info.epoch,
        "seed": candidate.info.seed,
        "weights_sha256": candidate.sha256,
    }


def _provenance_of(candidate: Candidate) -> dict[str, Any]:
    """A model's own header, and its run's settings, manifest and metrics where there is a run."""
    told: dict[str, Any] = {"header": asdict(candidate.info)}
    if candidate.path.is_dir():
        run = load_run(candidate.path)
        told |= {"config": run.config, "manifest": run.manifest, "metrics": run.metrics}
    return told


def _file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- comparing --------------------------------------------------------------------------------


def compare(
    config: TrainConfig,
    runs: Path,
    out: Path,
    *,
    epsilons: Sequence[float],
    data_root: Path | None,
    device: torch.device,
) -> Path:
    """Train the baseline and `config.method` (what is there already is resumed or kept), attack
    both on the whole test set, write results and report, and return the HTML page.

    Raises:
        InputError: as training and attacking; or `out` exists, before anything is trained.
    """
    load_data(config.dataset, data_root)
    if distributed.is_first():
        check_free(out)
    paths = []
    for method in dict.fromkeys((REFERENCE_METHOD, config.method)):
        name = f"{config.dataset}-{config.arch}-{method}-seed{config.seed}"
        path = runs / name
        settings = replace(config, method=method)
        if distributed.from_first(path.exists()):
            resume_run(path, asdict(settings), data_root, device)
        else:
            train_run(path, settings, data_root, device)
        paths.append(path)
    with _new_folder(out) as folder:
        attack_runs(
            paths,
            folder / "results",
            attacks=["fgsm"],
            epsilons=epsilons,
            dataset_name=None,
            data_root=data_root,
            limit=None,
            batch_size=None,
            device=device,
        )
        if distributed.is_first():
            write_report([folder / "results"], folder)
    return out / "index.html"
