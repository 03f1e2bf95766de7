"""What a training changes from step to step, how an epoch of it is stored, and restored."""

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from winnrobust.data.datasets import Dataset
from winnrobust.models import IntrospectiveNetwork
from winnrobust.models.checkpoint import (
    ModelInfo,
    read_tensors,
    save_model,
    tensors_under,
    write_tensors,
)
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import replacing, write_text
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis.adam_state import load_moments, moments_to_tensors
from winnrobust.training.averaging import WeightAverage
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods import Method, adam_of, method_of, network_of
from winnrobust.training.run_folder import RunFolder, thresholds_of

SAMPLES_PER_CLASS = 10
"""Pseudo-negatives of each class in an epoch's picture; without classes there are as many rows."""


@dataclass
class Progress:
    """How far a run is: a row of metrics per finished epoch, the best of them so far by its
    `selection_error` (without classes, for which there is none, the last), and which made
    pseudo-negatives."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_valid_error: float = math.inf
    negative_epochs: list[int] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """The last finished epoch, counted from 1; 0 before the first."""
        return len(self.history)

    def improves(self, row: Mapping[str, Any]) -> bool:
        """Tell whether an epoch with these metrics is kept; ties go to the later epoch."""
        return selection_error(row) <= self.best_valid_error

    def note(self, row: dict[str, Any]) -> None:
        """Another epoch is finished, with these metrics."""
        if self.improves(row):
            self.best_epoch, self.best_valid_error = row["epoch"], selection_error(row)
        self.history.append(row)

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.history[-1]["elapsed"] if self.history else 0.0


def selection_error(row: Mapping[str, Any]) -> float:
    """What chooses an epoch: the error on validation images, under attack if it was measured so."""
    return float(row.get("valid_attacked_error", row.get("valid_error", 0.0)))


def keeps(config: TrainConfig, epoch: int) -> bool:
    """Tell whether a run was asked to keep the weights after this epoch."""
    return config.keep_every is not None and epoch % config.keep_every == 0


@dataclass
class TrainingState:
    """All that a training changes; `earlier` are the networks of the cascades before this one.

    The network of the `average` of the weights over the steps is validated and kept.
    """

    network: IntrospectiveNetwork
    average: WeightAverage
    optimizer: torch.optim.Optimizer
    method: Method
    earlier: list[IntrospectiveNetwork] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)


def fresh_state(config: TrainConfig, dataset: Dataset, device: torch.device) -> TrainingState:
    """What a run starts from; all of it follows from the configuration and its seed."""
    shape = dataset.channels, dataset.image_size, dataset.num_classes
    network = network_of(config, shape, stream(config.seed, "weights")).to(device)
    if device.type == "cpu":
        network.to(memory_format=torch.channels_last)  # twice as fast there, same results
    return TrainingState(
        network,
        WeightAverage(network, config.optimization.average_decay),
        adam_of(config, network.parameters()),
        method_of(config)(config, *shape, device),
    )


def save_epoch(
    run: RunFolder,
    state: TrainingState,
    config: TrainConfig,
    dataset: Dataset,
    negatives: Tensor | None,
) -> None:
    """Write all that an epoch leaves; the state last, because it makes the epoch count.

    The `negatives` that it made are (num_classes, n, C, H, W) in [-1, 1].
    """
    progress, average = state.progress, state.average.module
    if negatives is not None:
        header = {"kind": "pseudo-negatives"}
        write_tensors(run.negatives(progress.epoch), {"images": negatives}, header)
        _save_samples(run.samples(progress.epoch), negatives)
        progress.negative_epochs.append(progress.epoch)
    info = _model_info(state, config, dataset)
    if keeps(config, progress.epoch):
        save_model(run.epoch_model(progress.epoch), average, info, state.earlier)
    if progress.best_epoch == progress.epoch:
        save_model(run.model, average, info, state.earlier)
    write_text(run.metrics, "".join(json.dumps(row) + "\n" for row in progress.history))
    write_tensors(run.state, _tensors(state), {"kind": "training state", **asdict(progress)})


def _model_info(state: TrainingState, config: TrainConfig, dataset: Dataset) -> ModelInfo:
    history, earlier = state.progress.history, len(state.earlier)
    ends = history[config.epochs - 1 : -1 : config.epochs][:earlier]  # of the cascades before
    return ModelInfo(
        arch=config.model.arch,
        in_channels=dataset.channels,
        image_size=dataset.image_size,
        num_classes=dataset.num_classes,
        dataset=config.data.dataset,
        method=config.method,
        seed=config.seed,
        epoch=state.progress.epoch,
        valid_error=history[-1].get("valid_error"),
        cascades=earlier + 1,
        thresholds=thresholds_of([*ends, history[-1]]),
        width=config.model.width,
        padding=config.model.padding,
    )


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    """All tensors of a state, under names that say whose they are."""
    parts = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": moments_to_tensors(state.optimizer.state_dict()),
        "method": state.method.state(),
        **{f"cascade{number}": net.state_dict() for number, net in enumerate(state.earlier)},
    }
    return {f"{part}.{name}": x for part, tensors in parts.items() for name, x in tensors.items()}


def restore(state: TrainingState, run: RunFolder) -> None:
    """Load the state of the last finished epoch of `run` into a fresh one.

    Raises:
        InputError: its files are damaged, or do not fit the configuration.
    """
    tensors, header = read_tensors(run.state, "training state")
    del header["kind"]
    if set(header) != {item.name for item in fields(Progress)}:
        raise InputError(f"{run.state} was written by another version of winnrobust; start again")
    state.progress = Progress(**header)
    if state.method.selected_under_attack and not all(map(_attacked, state.progress.history)):
        state.progress.best_valid_error = math.inf  # an older version's, without attack
    try:
        _load(state, tensors, run)
    except InputError:
        raise
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{run.state} does not fit the run's configuration ({str(error).splitlines()[0]})"
        ) from None


def _attacked(row: Mapping[str, Any]) -> bool:
    return "valid_attacked_error" in row


def _load(state: TrainingState, tensors: dict[str, Tensor], run: RunFolder) -> None:
    state.network.load_state_dict(tensors_under("network.", tensors))
    state.average.load_state_dict(tensors_under("average.", tensors))
    load_moments(state.optimizer, tensors_under("optimizer.", tensors))
    negatives = [
        read_tensors(run.negatives(epoch), "pseudo-negatives")[0]["images"]
        for epoch in state.progress.negative_epochs
    ]
    state.method.restore(tensors_under("method.", tensors), negatives)
    while before := tensors_under(f"cascade{len(state.earlier)}.", tensors):
        state.earlier.append(copy.deepcopy(state.average.module))
        state.earlier[-1].load_state_dict(before)
    history = state.progress.history
    if [row["epoch"] for row in history] != list(range(1, len(history) + 1)):
        raise ValueError("its history is not one row per epoch")
    float(history[-1]["elapsed"])


def _save_samples(path: Path, negatives: Tensor) -> None:
    """Write a picture with one row per class, or a square of rows without classes."""
    rows = SAMPLES_PER_CLASS if len(negatives) == 1 else 1
    shown = (negatives[:, : SAMPLES_PER_CLASS * rows] + 1) / 2
    wide = min(SAMPLES_PER_CLASS, shown.shape[1])
    with replacing(path) as temporary:
        torchvision.utils.save_image(shown.flatten(0, 1), temporary, nrow=wide)
