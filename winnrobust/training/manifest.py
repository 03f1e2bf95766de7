"""What a run says of itself: its configuration and its manifest, from start to end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from winnrobust.data.datasets import Dataset
from winnrobust.models.checkpoint import load_model
from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import new_folder, write_json
from winnrobust.runtime.intervals import rate
from winnrobust.runtime.progress import log
from winnrobust.runtime.readers import read_json
from winnrobust.training.config import TrainConfig, flat, make_config
from winnrobust.training.methods.settings import check_settings
from winnrobust.training.run_folder import RunFolder
from winnrobust.training.state import Progress
from winnrobust.training.validation import count_errors

FEW = 0.05
"""A smaller share of ascents that came to their threshold is as good as none."""


def start_run(path: Path, config: TrainConfig, dataset: Dataset, device: torch.device) -> RunFolder:
    """Create the folder of a new run and write its configuration and manifest.

    Where several processes work together, the first writes and the others wait for it.

    Raises:
        InputError: as `check_settings`, or the folder exists.
    """
    check_settings(config)
    if distributed.is_main_process():
        with new_folder(path) as folder:
            write_json(RunFolder(folder).config, config.model_dump())
            manifest = provenance.describe(device) | {
                "status": "training",
                "seed": config.seed,
                "data": _describe_data(dataset, config),
                "resumed": [],
            }
            write_json(RunFolder(folder).manifest, manifest)
    distributed.barrier()
    return RunFolder(path)


def reopen_run(path: Path) -> tuple[RunFolder, TrainConfig]:
    """Open an existing run to go on with it.

    Raises:
        InputError: there is no run, or its files are damaged.
    """
    run = RunFolder(path)
    if not run.config.is_file() or not run.manifest.is_file():
        raise InputError(f"{path} is not a training run (no config.json and manifest.json in it)")
    stored = read_json(run.config)
    settings = flat(stored) if isinstance(stored, dict) else {}
    if not {"dataset", "arch", "method"} <= set(settings):
        raise InputError(f"{run.config} is not the configuration of a training run")
    # A setting that was not set may be one that this version no longer has.
    given = {name: value for name, value in settings.items() if value is not None}
    return run, make_config(given, str(run.config))


def note_resumption(run: RunFolder, config: TrainConfig, device: torch.device) -> None:
    """Record in the manifest that, when and on what machine a run is gone on with."""
    if not distributed.is_main_process():
        return
    manifest = read_json(run.manifest)
    resumed = [*manifest.get("resumed", []), provenance.describe(device)]
    write_json(run.config, config.model_dump())
    write_json(run.manifest, manifest | {"status": "training", "resumed": resumed})


def check_same_data(run: RunFolder, dataset: Dataset, config: TrainConfig) -> None:
    """Check that a run goes on with the data that it began with.

    Raises:
        InputError: it does not.
    """
    if read_json(run.manifest).get("data") != _describe_data(dataset, config):
        raise InputError(
            f"{run.path} was trained on other data than '{dataset.name}' now holds; resume with"
            " the original --data-root or start a new run"
        )


def _describe_data(dataset: Dataset, config: TrainConfig) -> dict[str, Any]:
    train = dataset.train.first(config.data.limit_train)
    parts = {"train": train, "valid": dataset.valid, "test": dataset.test}
    hashes = {name: {"n": len(part), "sha256": part.sha256()} for name, part in parts.items()}
    return {"name": dataset.name, **hashes}


def of_ascents(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a manifest says of a run's ascents: by epoch, the share that came to their threshold
    before they ran out of steps, and what follows if nearly none did."""
    shares = {
        str(row["epoch"]): row["synthesis_reached"] for row in history if "synthesis_reached" in row
    }
    if not shares:
        return {}
    said: dict[str, Any] = {"ascents_stopped_early": shares}
    if max(shares.values()) < FEW:
        said["note"] = (
            f"In no epoch did {FEW:.0%} of the ascents come to their threshold: the early stopping"
            " of the paper's Algorithm 1 has no effect in this training."
        )
    return said


def finish(run: RunFolder, dataset: Dataset, progress: Progress, device: torch.device) -> None:
    """Test the best model, the only use of the test images, and complete the manifest."""
    distributed.barrier()  # for the first process, which wrote the model
    network, info = load_model(run.model)
    manifest = read_json(run.manifest) | {
        "status": "complete",
        "finished": provenance.now(),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs": progress.epoch,
        "training_seconds": progress.elapsed,
    }
    manifest |= of_ascents(progress.history)
    if info.valid_error is None:
        line = f"kept the networks of epoch {info.epoch}, the last: no error to select by"
        manifest["kept"] = {"epoch": info.epoch, "because": "the last"}
    else:
        errors, total = count_errors(network.to(device), dataset.test, device), len(dataset.test)
        error = rate(errors, total)
        line = (
            f"best epoch {info.epoch}: validation error {info.valid_error:.2%},"
            f" test error {error.value:.2%} ({errors} of {total})"
        )
        manifest["best"] = {"epoch": info.epoch, "valid_error": info.valid_error}
        row = progress.history[info.epoch - 1]
        if "valid_attacked_error" in row:
            manifest["best"]["valid_attacked_error"] = row["valid_attacked_error"]
            line = f"chosen by the error under attack, {row['valid_attacked_error']:.2%}; {line}"
        tested = {"epoch": info.epoch, "n": total, "errors": errors, "error": error.value}
        manifest["test"] = tested | {"error_low": error.low, "error_high": error.high}
    if distributed.is_main_process():
        write_json(run.manifest, manifest)
    log(line)
