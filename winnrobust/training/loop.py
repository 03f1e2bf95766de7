"""The one training loop: epochs, steps, validation, the log.

A run is a folder (see `RunFolder`). Whatever is written replaces the old file in one rename, and
the state of an epoch is written last: a kill at any moment leaves the last good epoch, and a
resumed run ends with the same bits as an undisturbed one.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from winnrobust.data.datasets import Dataset, to_unit
from winnrobust.runtime import distributed
from winnrobust.runtime.progress import log, progress_bar
from winnrobust.runtime.randomness import stream
from winnrobust.training.config import TrainConfig
from winnrobust.training.manifest import check_same_data, finish
from winnrobust.training.methods import Batch, Method
from winnrobust.training.run_folder import RunFolder
from winnrobust.training.state import TrainingState, fresh_state, keeps, restore, save_epoch
from winnrobust.training.validation import diverged, validate

LOOK_EVERY = 25
"""In steps: how often a GPU is asked for the losses, which is to wait for it."""

EPOCH_LINE = {
    "epoch": "epoch {epoch:3d}/{epochs}",
    "loss": "loss {loss:.4f}",
    "cross_entropy": "cross-entropy {cross_entropy:.4f}",
    "wasserstein": "Wasserstein {wasserstein:.3f}",
    "gradient_norm": "gradient norm {gradient_norm:.3f}",
    "negatives_loss": "pseudo-negatives' loss {negatives_loss:.4f}",
    "synthesis_steps": "synthesis {synthesis_steps:.0f} steps"
    " ({synthesis_reached:.0%} stopped early)",
    "valid_error": "validation error {valid_error:.2%}",
    "valid_attacked_error": "under attack {valid_attacked_error:.2%}",
    "seconds": "{seconds:.1f} s",
}
"""What a line about an epoch says of its metrics, where they are known."""


def train(run: RunFolder, config: TrainConfig, dataset: Dataset, device: torch.device) -> None:
    """Train until `config.total_epochs`, from the last finished epoch of `run`, then test once.

    Without labels there is nothing to select by or to test: the last epoch's networks are kept.

    Raises:
        InputError: the loss is no longer finite, or the saved state is damaged or was made from
            other data.
    """
    began = time.monotonic()
    state = fresh_state(config, dataset, device)
    if run.state.exists():
        check_same_data(run, dataset, config)
        restore(state, run)
        log(f"going on after epoch {state.progress.epoch} of {config.total_epochs}")
    elapsed_before = state.progress.elapsed
    split = dataset.train.first(config.data.limit_train)
    images, labels = split.images.to(device), split.labels.to(device)

    with _bar(state, config, len(split)) as status:
        for epoch in range(state.progress.epoch + 1, config.total_epochs + 1):
            epoch_began, cpu_began = time.monotonic(), time.process_time()
            if epoch > 1 and (epoch - 1) % config.epochs == 0:  # the next cascade
                state.earlier.append(copy.deepcopy(state.average.module))
            row: dict[str, Any] = {"epoch": epoch}
            row |= _train_epoch(state, images, labels, config, status)
            # Before the synthesis, which changes no weight, to notice at once what has diverged.
            attacked = config.adversarial if state.method.selected_under_attack else None
            validation = validate(state.average.module, dataset, device, attacked)
            end = state.method.end_epoch(state.network, epoch, status.set_postfix_str)
            row |= end.metrics | validation
            if state.progress.improves(row) or keeps(config, epoch):
                batches = batches_of(state.method, images, labels, config, epoch)
                row |= _stored_thresholds(state, batches)
            row |= {
                "seconds": round(time.monotonic() - epoch_began, 3),
                "cpu_seconds": round(time.process_time() - cpu_began, 3),
                "elapsed": round(elapsed_before + time.monotonic() - began, 3),
            }
            state.progress.note(row)
            if distributed.is_main_process():
                save_epoch(run, state, config, dataset, end.negatives)
            log(epoch_line(row, config.total_epochs))
    finish(run, dataset, state.progress, device)


def _train_epoch(
    state: TrainingState, images: Tensor, labels: Tensor, config: TrainConfig, status: tqdm
) -> dict[str, float]:
    """One pass over the training images; returns the means of what was logged."""
    network, method, optimizer = state.network, state.method, state.optimizer
    epoch = state.progress.epoch + 1
    network.train()
    logged: dict[str, list[Tensor]] = {}
    last = math.ceil(method.length(epoch, len(labels)) / config.optimization.batch_size)
    every = 1 if labels.device.type == "cpu" else LOOK_EVERY
    batches = batches_of(method, images, labels, config, epoch)
    for step, batch in enumerate(batches, start=1):
        losses = method.loss(network, batch)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        distributed.all_reduce_gradients(network.parameters())
        optimizer.step()
        state.average.update_parameters(network)

        for name, value in {"loss": losses.total, **losses.parts}.items():
            logged.setdefault(name, []).append(value.detach())
        if step % every == 0 or step == last:
            scale = batch.size / max(len(batch.labels), 1)
            for loss in (scale * torch.stack(logged["loss"][-every:])).tolist():
                if not math.isfinite(loss):
                    raise diverged(f"the loss became {loss} in epoch {epoch}")
            text = f"epoch {epoch}/{config.total_epochs}, loss {loss:.4f}"
            status.set_postfix_str(text, refresh=False)
        status.update()
        method.after_step(network, epoch, step, status.set_postfix_str)
    return {
        name: distributed.all_reduce(torch.stack(values)).mean().item()
        for name, values in logged.items()
    }


def batches_of(
    method: Method, images: Tensor, labels: Tensor, config: TrainConfig, epoch: int
) -> Iterator[Batch]:
    """This process's part of an epoch's batches of training images (N, C, H, W) uint8."""
    order = method.order(epoch, len(labels)).to(labels.device)
    batch_of = _batches(images, labels, config, epoch)
    yield from map(batch_of, order.split(config.optimization.batch_size))


def _stored_thresholds(state: TrainingState, batches: Iterator[Batch]) -> dict[str, float]:
    """For the log, what is stored with the network if it is kept."""
    found = state.method.stored_thresholds(state.average.module, batches)
    return dict(zip(("stored_threshold_low", "stored_threshold_high"), found or (), strict=False))


def _batches(
    images: Tensor, labels: Tensor, config: TrainConfig, epoch: int
) -> Callable[[Tensor], Batch]:
    """From the numbers of a batch's images to this process's part of it."""
    generator, flips = (stream(config.seed, name, epoch) for name in ("steps", "flips"))

    def batch_of(chosen: Tensor) -> Batch:
        # Every process takes its part of the batch; the parts' gradients add up to the batch's.
        mine = distributed.strided_shard(len(chosen))
        shown = to_unit(images[chosen[mine]])
        if config.data.flip:
            flipped = (torch.rand(len(chosen), generator=flips)[mine] < 0.5).to(shown.device)
            shown = torch.where(flipped[:, None, None, None], shown.flip(3), shown)
        return Batch(shown, labels[chosen[mine]], len(chosen), mine, generator)

    return batch_of


def _bar(state: TrainingState, config: TrainConfig, count: int) -> tqdm:
    """A progress bar in batches of all epochs, for `count` training images."""
    batches = [
        math.ceil(state.method.length(epoch, count) / config.optimization.batch_size)
        for epoch in range(1, config.total_epochs + 1)
    ]
    done = sum(batches[: state.progress.epoch])
    return progress_bar(sum(batches), f"{config.method} {config.model.arch}", initial=done)


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """One line per epoch, for terminals and logs alike."""
    parts = [text for name, text in EPOCH_LINE.items() if name in row]
    return "  ".join(parts).format(**row, epochs=epochs)
