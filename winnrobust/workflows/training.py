"""`winnrobust train`: a run from its start, or from where it was stopped."""

from pathlib import Path
from typing import Any

import torch

from winnrobust.data.datasets import Dataset
from winnrobust.reporting import load_run, training_figure
from winnrobust.runtime import distributed
from winnrobust.runtime.devices import resolve_device
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.locks import hold
from winnrobust.runtime.progress import log
from winnrobust.runtime.readers import read_json
from winnrobust.training.config import TrainConfig, make_config, option_name
from winnrobust.training.loop import train as train_network
from winnrobust.training.manifest import note_resumption, reopen_run, start_run
from winnrobust.training.methods.settings import check_given, check_settings, unused_by
from winnrobust.training.run_folder import RunFolder
from winnrobust.workflows.runs import new_run_path
from winnrobust.workflows.shared import training_data


def train(
    out: Path | str | None = None,
    *,
    runs: Path | str = "runs",
    resume: bool = False,
    data_root: Path | str | None = None,
    device: torch.device | str = "auto",
    **settings: Any,
) -> Path:
    """Train a network as `winnrobust train` does: a WINN, or what it is compared with.

    Args:
        out: folder of the run, a new one; None makes one under `runs`.
        resume: go on with the run in `out`, whose own settings count.
        data_root: folder of the data sets.
        device: where to compute; "auto" is CUDA where there is one.
        settings: as the options of `winnrobust train`, such as `dataset`, `arch`, `method`,
            `epochs`, `seed`, with _ for -.

    Returns:
        The run folder; `winnrobust.load` takes it, and so does `winnrobust.evaluate`.

    Raises:
        InputError: a setting is unknown or unused, or the folder holds something else.

    >>> from tempfile import TemporaryDirectory
    >>> import winnrobust
    >>> with TemporaryDirectory() as folder:
    ...     run = winnrobust.train(
    ...         f"{folder}/run", dataset="mnist5k", method="baseline", epochs=1, limit_train=10,
    ...         device="cpu",
    ...     )
    ...     model = winnrobust.load(run)  # doctest: +ELLIPSIS
    training baseline vanilla on mnist5k (cpu) in ...
    """
    place = resolve_device(str(device))
    root = None if data_root is None else Path(data_root)
    config = make_config(settings)
    if resume:
        if out is None:
            raise InputError("name the run to resume with out=")
        resume_run(Path(out), settings, root, place)
        return Path(out)
    check_given(settings, config)
    path = new_run_path(Path(runs), config) if out is None else Path(out)
    train_run(path, config, root, place)
    return path


def train_run(
    path: Path, config: TrainConfig, data_root: Path | None, device: torch.device
) -> None:
    """Train a new run in the folder `path`, which must not hold anything yet."""
    check_settings(config)
    dataset = training_data(config, data_root)
    with hold(path):
        run = start_run(path, config, dataset, device)
        log(f"training {config.method} {config.model.arch} on {dataset.name} ({device}) in {path}")
        _train(run, config, dataset, device)


def complete_run(
    path: Path, config: TrainConfig, data_root: Path | None, device: torch.device
) -> None:
    """Train a run to its end: from its start, from where it was stopped, or not at all.

    Raises:
        InputError: as training; or the run was started with other settings that its method uses.
    """
    if distributed.broadcast(path.exists()):
        idle = unused_by(config)
        asked = {name: value for name, value in config.flat().items() if name not in idle}
        resume_run(path, asked, data_root, device)
    else:
        train_run(path, config, data_root, device)


def resume_run(
    path: Path, given: dict[str, Any], data_root: Path | None, device: torch.device
) -> None:
    """Go on with the run in `path`; `given` are settings that the user asked for again.

    Raises:
        InputError: no such run, or `given` contradicts its configuration (but for more epochs).
    """
    with hold(path):
        run, config = reopen_run(path)
        config = _with_epochs(path, config, given)
        finished = len(load_run(path).metrics)
        if finished >= config.total_epochs and read_json(run.manifest).get("status") == "complete":
            log(f"{path} is complete: {finished} epochs; a larger --epochs trains it further")
            return
        if finished > config.total_epochs:
            raise InputError(
                f"{path} has {finished} epochs already; --epochs {config.epochs} cannot take any"
                " back"
            )
        dataset = training_data(config, data_root)
        note_resumption(run, config, device)
        log(f"resuming {config.method} {config.model.arch} on {dataset.name} ({device}) in {path}")
        _train(run, config, dataset, device)


def _with_epochs(path: Path, config: TrainConfig, given: dict[str, Any]) -> TrainConfig:
    """A stored configuration with the epochs given; the other settings must be those stored."""
    stored = config.flat()
    for name, value in given.items():
        if name != "epochs" and value != stored[name]:
            raise InputError(
                f"{path} was started with {option_name(name)} {stored[name]}, not {value}; leave"
                " the option out, or start a new run"
            )
    epochs, cascades = given.get("epochs", config.epochs), config.generation.cascades
    if epochs != config.epochs and cascades > 1:
        raise InputError(
            f"{path} has {cascades} cascades of {config.epochs} epochs each; that cannot be changed"
            " afterwards"
        )
    return config.replace(epochs=epochs)


def _train(run: RunFolder, config: TrainConfig, dataset: Dataset, device: torch.device) -> None:
    try:
        train_network(run, config, dataset, device)
    except KeyboardInterrupt:
        log(f"stopped; go on with: winnrobust train --resume --out {run.path}")
        log("or, if this was quickstart, compare or reproduce, with the same command again")
        raise
    if distributed.is_main_process():
        training_figure([load_run(run.path)], run.path / "training.png")
