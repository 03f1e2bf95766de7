"""What the commands do, from start to end: the layers of the package put in a row."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from winnrobust import training
from winnrobust.config import TrainConfig, option_name
from winnrobust.data import load_dataset
from winnrobust.errors import InputError
from winnrobust.files import read_json
from winnrobust.progress import say
from winnrobust.training import RunFolder


def new_run_path(runs: Path, config: TrainConfig) -> Path:
    """Name a new run after its time and what it trains."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    parts = (stamp, config.dataset, config.arch, config.method, f"seed{config.seed}")
    return runs / "-".join(parts)


def train_run(
    path: Path, config: TrainConfig, data_root: Path | None, device: torch.device
) -> None:
    """Train a new run in the folder `path`, which must not hold anything yet."""
    dataset = load_dataset(config.dataset, data_root)
    run = training.start_run(path, config, dataset, device)
    say(f"training {config.method} {config.arch} on {dataset.name} ({device}) in {path}")
    training.train(run, config, dataset, device)


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
    manifest = read_json(run.manifest)
    finished = manifest.get("epochs", 0) if manifest.get("status") == "complete" else 0
    if finished >= config.epochs:
        say(f"{path} is complete: {finished} epochs; --epochs above that trains it further")
        return
    dataset = load_dataset(config.dataset, data_root)
    training.note_resumption(run, config, device)
    say(f"resuming {config.method} {config.arch} on {dataset.name} ({device}) in {path}")
    training.train(run, config, dataset, device)


def newest_run_like(runs: Path, config: TrainConfig) -> Path:
    """Find the newest run with the data set, architecture, method and seed of `config`.

    Raises:
        InputError: there is none.
    """
    wanted = ("dataset", "arch", "method", "seed")
    for path in find_runs(runs):
        found = read_json(RunFolder(path).config)
        if all(found.get(name) == getattr(config, name) for name in wanted):
            return path
    what = ", ".join(f"{name} {getattr(config, name)}" for name in wanted)
    raise InputError(f"no run to resume under {runs} with {what}; name it with --out")


def find_runs(runs: Path) -> list[Path]:
    """All run folders right under `runs`, the newest first."""
    found = [path.parent for path in runs.glob("*/config.json")]
    return sorted(found, key=lambda path: (path / "config.json").stat().st_mtime, reverse=True)
