"""The one training loop: epochs, validation, checkpoints, resume, the metrics log.

A run is a folder (see `RunFolder`). Whatever is written replaces the old file in one rename, and
the state of an epoch is written last: a kill at any moment leaves the last good epoch, and a
resumed run ends with the same bits as an undisturbed one.
"""

import copy
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor
from tqdm import tqdm

from winnrobust.data.datasets import Dataset, ImageSplit, to_unit
from winnrobust.models import ARCHITECTURES, SCALABLE, IntrospectiveNetwork, build
from winnrobust.models.checkpoint import (
    ModelInfo,
    load_model,
    read_tensors,
    save_model,
    tensors_under,
    write_tensors,
)
from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import new_folder, replacing, write_json, write_text
from winnrobust.runtime.intervals import rate
from winnrobust.runtime.progress import log, progress_bar
from winnrobust.runtime.randomness import stream
from winnrobust.runtime.readers import read_json
from winnrobust.synthesis.adam_state import load_moments, moments_to_tensors
from winnrobust.training.averaging import WeightAverage
from winnrobust.training.config import TrainConfig, make_config, option_name
from winnrobust.training.methods import INITIAL, Batch, Method, method_of
from winnrobust.training.run_folder import RunFolder, thresholds_of

VALIDATION_BATCH = 500
SAMPLES_PER_CLASS = 10
"""Pseudo-negatives of each class in an epoch's picture; without classes there are as many rows."""


ONLY_WITHOUT_LABELS = ("cascades", "data", "texture")
"""Settings that training with labels cannot follow."""

EPOCH_LINE = {
    "cross_entropy": "cross-entropy {:.4f}",
    "wasserstein": "Wasserstein {:.3f}",
    "gradient_norm": "gradient norm {:.3f}",
    "negatives_loss": "pseudo-negatives' loss {:.4f}",
}
"""What a line about an epoch says of its metrics, where they are known."""


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        history: one row of metrics per finished epoch.
        best_epoch, best_valid_error: the best of them so far; without classes, for which there is
            no such error, the last.
        negative_epochs: the epochs that made pseudo-negatives.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_valid_error: float = math.inf
    negative_epochs: list[int] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        return len(self.history)


def start_run(path: Path, config: TrainConfig, dataset: Dataset, device: torch.device) -> RunFolder:
    """Create the folder of a new run and write its configuration and manifest.

    Where several processes work together, the first writes and the others wait for it.

    Raises:
        InputError: as `check_settings`, or the folder exists.
    """
    check_settings(config)
    if distributed.is_main_process():
        with new_folder(path) as folder:
            write_json(RunFolder(folder).config, asdict(config))
            manifest = provenance.describe(device) | {
                "status": "training",
                "seed": config.seed,
                "data": _describe_data(dataset, config),
                "resumed": [],
            }
            write_json(RunFolder(folder).manifest, manifest)
    distributed.barrier()
    return RunFolder(path)


def check_settings(config: TrainConfig) -> None:
    """Check what settings say together.

    Raises:
        InputError: unknown architecture, method or initial distribution, or settings that do not
            go together.
    """
    method = method_of(config)
    for kind, name, known in (
        ("architecture", config.arch, ARCHITECTURES),
        ("initial distribution", config.initial, INITIAL),
    ):
        if name not in known:
            raise InputError(f"unknown {kind} '{name}'; known are {', '.join(known)}")
    if config.width != 1 and config.arch not in SCALABLE:
        raise InputError(f"--width scales {' and '.join(SCALABLE)} only, not {config.arch}")
    if config.data is not None and config.texture is not None:
        raise InputError("--data and --texture exclude each other")
    if config.cascades > 1 and config.unsupervised and not method.cascades:
        raise InputError(f"method {config.method} has no cascades; leave out --cascades")
    defaults = {setting.name: setting.default for setting in fields(TrainConfig)}
    for name in () if config.unsupervised else ONLY_WITHOUT_LABELS:
        if getattr(config, name) != defaults[name]:
            raise InputError(
                f"{option_name(name)} says nothing to training with labels; add --unsupervised"
            )
    if config.image_size != defaults["image_size"] and config.data is config.texture is None:
        raise InputError("--image-size is for --data and --texture; leave it out")


def reopen_run(path: Path) -> tuple[RunFolder, TrainConfig]:
    """Open an existing run to go on with it.

    Raises:
        InputError: there is no run, or its files are damaged.
    """
    run = RunFolder(path)
    if not run.config.is_file() or not run.manifest.is_file():
        raise InputError(f"{path} is not a training run (no config.json and manifest.json in it)")
    stored = read_json(run.config)
    if not isinstance(stored, dict) or not {"dataset", "arch", "method"} <= set(stored):
        raise InputError(f"{run.config} is not the configuration of a training run")
    # A setting that was not set may be one that this version no longer has.
    given = {name: value for name, value in stored.items() if value is not None}
    return run, make_config(given, str(run.config))


def train(run: RunFolder, config: TrainConfig, dataset: Dataset, device: torch.device) -> None:
    """Train until `config.total_epochs`, from the last finished epoch of `run`, then test once.

    Without labels there is nothing to select by or to test: the last epoch's networks are kept.

    Raises:
        InputError: the loss is no longer finite, or the saved state is damaged or was made from
            other data.
    """
    began = time.monotonic()
    train_split = dataset.train.first(config.limit_train)
    network = build(
        config.arch,
        dataset.channels,
        dataset.image_size,
        dataset.num_classes,
        stream(config.seed, "weights"),
        config.width,
    ).to(device)
    network.to(memory_format=torch.channels_last)  # twice as fast on a CPU, same results
    method = method_of(config)(
        config, dataset.channels, dataset.image_size, dataset.num_classes, device
    )
    optimizer = torch.optim.Adam(
        network.parameters(),
        lr=config.lr,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_eps,
    )
    average = WeightAverage(network, config.average_decay)
    progress, earlier = Progress(), list[IntrospectiveNetwork]()
    total = config.total_epochs
    if run.state.exists():
        _check_same_data(run, dataset, config)
        progress, earlier = _restore(run, network, average, optimizer, method)
        log(f"going on after epoch {progress.epoch} of {total}")
    elapsed_before = progress.history[-1]["elapsed"] if progress.history else 0.0

    images, labels = train_split.images.to(device), train_split.labels.to(device)
    batches = [
        math.ceil(method.length(epoch, len(labels)) / config.batch_size)
        for epoch in range(1, total + 1)
    ]
    with progress_bar(
        sum(batches),
        f"{config.method} {config.arch}",
        initial=sum(batches[: progress.epoch]),
    ) as status:
        for epoch in range(progress.epoch + 1, total + 1):
            if epoch > 1 and (epoch - 1) % config.epochs == 0:  # the next cascade
                earlier.append(copy.deepcopy(average.module))
            epoch_began, cpu_began = time.monotonic(), time.process_time()
            row: dict[str, Any] = {"epoch": epoch}
            row |= _train_epoch(
                network, average, method, optimizer, images, labels, config, epoch, status
            )
            # Before the synthesis, which changes no weight, to notice at once what has diverged.
            validation = _validate(average.module, dataset, device)
            end = method.end_epoch(network, epoch, status.set_postfix_str)
            row |= end.metrics | validation
            row |= {
                "seconds": round(time.monotonic() - epoch_began, 3),
                "cpu_seconds": round(time.process_time() - cpu_began, 3),
                "elapsed": round(elapsed_before + time.monotonic() - began, 3),
            }
            progress.history.append(row)
            if distributed.is_main_process():
                _save_epoch(
                    run, config, dataset, network, average, earlier, optimizer, method, progress,
                    end.negatives,
                )  # fmt: skip
            log(_epoch_line(row, total))
    _finish(run, dataset, progress, device)


def _validate(
    network: IntrospectiveNetwork, dataset: Dataset, device: torch.device
) -> dict[str, float]:
    """What the log says of the validation images.

    Raises:
        InputError: as `count_errors`.
    """
    n = len(dataset.valid)
    if dataset.num_classes == 1:
        return {"valid_critic": mean_critic(network, dataset.valid, device)}
    errors = count_errors(network, dataset.valid, device)
    return {"valid_errors": errors, "valid_n": n, "valid_error": errors / n}


def mean_critic(network: IntrospectiveNetwork, split: ImageSplit, device: torch.device) -> float:
    """Compute the mean critic value of the images of `split`.

    Raises:
        InputError: it is NaN or infinite.
    """
    network.eval()
    total = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for images in split.images[distributed.shard(len(split))].split(VALIDATION_BATCH):
            total += network(to_unit(images.to(device))).critic.sum().double().cpu()
    mean = float(distributed.all_reduce(total.to(device))) / len(split)
    if not math.isfinite(mean):
        raise _diverged("the critic's values are no longer finite")
    return mean


def count_errors(network: IntrospectiveNetwork, split: ImageSplit, device: torch.device) -> int:
    """Count the images of `split` that the network puts into a wrong class.

    Raises:
        InputError: the network's logits are NaN or infinite.
    """
    network.eval()
    errors = torch.zeros((), dtype=torch.int64, device=device)
    mine = distributed.shard(len(split))
    with torch.no_grad():
        for images, labels in zip(
            split.images[mine].split(VALIDATION_BATCH),
            split.labels[mine].split(VALIDATION_BATCH),
            strict=True,
        ):
            logits = network(to_unit(images.to(device))).logits
            if not logits.isfinite().all():
                raise _diverged("the network's logits are no longer finite")
            errors += (logits.argmax(1) != labels.to(device)).sum()
    return int(distributed.all_reduce(errors))


def _train_epoch(
    network: IntrospectiveNetwork,
    average: WeightAverage,
    method: Method,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    config: TrainConfig,
    epoch: int,
    status: tqdm,
) -> dict[str, float]:
    """One pass over the training images; returns the means of what was logged.

    Raises:
        InputError: the loss is not finite.
    """
    network.train()
    order = method.order(epoch, len(labels))
    generator, flips = (stream(config.seed, name, epoch) for name in ("steps", "flips"))
    steps: dict[str, list[Tensor]] = {}
    for step, chosen in enumerate(order.to(labels.device).split(config.batch_size), start=1):
        # Every process takes its part of the batch; the parts' gradients add up to the batch's.
        mine = distributed.strided_shard(len(chosen))
        shown = to_unit(images[chosen[mine]])
        if config.flip:
            turned = (torch.rand(len(chosen), generator=flips)[mine] < 0.5).to(shown.device)
            shown = torch.where(turned[:, None, None, None], shown.flip(3), shown)
        batch = Batch(shown, labels[chosen[mine]], len(chosen), mine, generator)
        losses = method.loss(network, batch)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        distributed.all_reduce_gradients(network.parameters())
        optimizer.step()
        average.update_parameters(network)
        loss = losses.total.item() * len(chosen) / max(len(batch.labels), 1)
        if not math.isfinite(loss):
            raise _diverged(f"the loss became {loss} in epoch {epoch}")
        for name, value in {"loss": losses.total, **losses.parts}.items():
            steps.setdefault(name, []).append(value.detach())
        status.set_postfix_str(
            f"epoch {epoch}/{config.total_epochs}, loss {loss:.4f}", refresh=False
        )
        status.update()
        method.after_step(network, epoch, step, status.set_postfix_str)
    return {
        name: distributed.all_reduce(torch.stack(values)).mean().item()
        for name, values in steps.items()
    }


def _diverged(what: str) -> InputError:
    return InputError(
        f"{what}: training has diverged; lower --lr or --alpha and start anew (what earlier epochs"
        " wrote is kept)"
    )


def _save_epoch(
    run: RunFolder,
    config: TrainConfig,
    dataset: Dataset,
    network: IntrospectiveNetwork,
    average: WeightAverage,
    earlier: Sequence[IntrospectiveNetwork],
    optimizer: torch.optim.Optimizer,
    method: Method,
    progress: Progress,
    negatives: Tensor | None,
) -> None:
    """Write all that an epoch leaves; the state last, because it makes the epoch count."""
    row = progress.history[-1]
    if negatives is not None:
        write_tensors(
            run.negatives(progress.epoch), {"images": negatives}, {"kind": "pseudo-negatives"}
        )
        _save_samples(run.samples(progress.epoch), negatives)
        progress.negative_epochs.append(progress.epoch)
    info = ModelInfo(
        arch=config.arch,
        in_channels=dataset.channels,
        image_size=dataset.image_size,
        num_classes=dataset.num_classes,
        dataset=config.dataset,
        method=config.method,
        seed=config.seed,
        epoch=progress.epoch,
        valid_error=row.get("valid_error"),
        cascades=len(earlier) + 1,
        thresholds=thresholds_of(
            [*progress.history[config.epochs - 1 : -1 : config.epochs][: len(earlier)], row]
        ),
        width=config.width,
    )
    if config.keep_every and progress.epoch % config.keep_every == 0:
        save_model(run.epoch_model(progress.epoch), average.module, info, earlier)
    valid_error = row.get("valid_error", 0.0)
    if valid_error <= progress.best_valid_error:  # ties go to the later epoch (A7)
        progress.best_epoch, progress.best_valid_error = progress.epoch, valid_error
        save_model(run.model, average.module, info, earlier)
    write_text(run.metrics, "".join(json.dumps(row) + "\n" for row in progress.history))
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    moments = moments_to_tensors(optimizer.state_dict())
    tensors |= {f"optimizer.{name}": value for name, value in moments.items()}
    tensors |= {f"method.{name}": value for name, value in method.state().items()}
    for number, before in enumerate(earlier):
        tensors |= {f"cascade{number}.{name}": v for name, v in before.state_dict().items()}
    write_tensors(run.state, tensors, {"kind": "training state", **asdict(progress)})


def _restore(
    run: RunFolder,
    network: IntrospectiveNetwork,
    average: WeightAverage,
    optimizer: torch.optim.Optimizer,
    method: Method,
) -> tuple[Progress, list[IntrospectiveNetwork]]:
    """Load the state of the last finished epoch into networks, optimiser and method.

    Returns:
        How far the run is, and the networks of the cascades before the current one.
    """
    tensors, header = read_tensors(run.state, "training state")
    del header["kind"]
    if set(header) != {item.name for item in fields(Progress)}:
        raise InputError(f"{run.state} was written by another version of winnrobust; start anew")
    progress = Progress(**header)

    try:
        network.load_state_dict(tensors_under("network.", tensors))
        average.load_state_dict(tensors_under("average.", tensors))
        load_moments(optimizer, tensors_under("optimizer.", tensors))
        negatives = [
            read_tensors(run.negatives(epoch), "pseudo-negatives")[0]["images"]
            for epoch in progress.negative_epochs
        ]
        method.restore(tensors_under("method.", tensors), negatives)
        earlier: list[IntrospectiveNetwork] = []
        while before := tensors_under(f"cascade{len(earlier)}.", tensors):
            earlier.append(copy.deepcopy(average.module))
            earlier[-1].load_state_dict(before)
        epochs = [row["epoch"] for row in progress.history]
        if epochs != list(range(1, len(epochs) + 1)) or "elapsed" not in progress.history[-1]:
            raise ValueError("its history is not one row per epoch")
    except InputError:
        raise
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{run.state} does not fit the run's configuration ({str(error).splitlines()[0]})"
        ) from None
    return progress, earlier


def _finish(run: RunFolder, dataset: Dataset, progress: Progress, device: torch.device) -> None:
    """Test the best model, the only use of the test images, and complete the manifest."""
    distributed.barrier()  # for the first process, which wrote the model
    network, info = load_model(run.model)
    manifest = read_json(run.manifest) | {
        "status": "complete",
        "finished": provenance.now(),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs": progress.epoch,
        "training_seconds": progress.history[-1]["elapsed"],
    }
    if info.valid_error is None:
        told = f"kept the networks of epoch {info.epoch}, the last: no error to select by"
        manifest["kept"] = {"epoch": info.epoch, "because": "the last"}
    else:
        errors, total = count_errors(network.to(device), dataset.test, device), len(dataset.test)
        error = rate(errors, total)
        told = (
            f"best epoch {info.epoch}: validation error {info.valid_error:.2%},"
            f" test error {error.value:.2%} ({errors} of {total})"
        )
        manifest |= {
            "best": {"epoch": info.epoch, "valid_error": info.valid_error},
            "test": {
                "epoch": info.epoch,
                "n": total,
                "errors": errors,
                "error": error.value,
                "error_low": error.low,
                "error_high": error.high,
            },
        }
    if distributed.is_main_process():
        write_json(run.manifest, manifest)
    log(told)


def note_resumption(run: RunFolder, config: TrainConfig, device: torch.device) -> None:
    """Record in the manifest that, when and on what machine a run is gone on with."""
    if not distributed.is_main_process():
        return
    manifest = read_json(run.manifest)
    resumed = [*manifest.get("resumed", []), provenance.describe(device)]
    write_json(run.config, asdict(config))
    write_json(run.manifest, manifest | {"status": "training", "resumed": resumed})


def _describe_data(dataset: Dataset, config: TrainConfig) -> dict[str, Any]:
    parts = {
        "train": dataset.train.first(config.limit_train),
        "valid": dataset.valid,
        "test": dataset.test,
    }
    return {"name": dataset.name} | {
        name: {"n": len(split), "sha256": split.sha256()} for name, split in parts.items()
    }


def _check_same_data(run: RunFolder, dataset: Dataset, config: TrainConfig) -> None:
    if read_json(run.manifest).get("data") != _describe_data(dataset, config):
        raise InputError(
            f"{run.path} was trained on other data than '{dataset.name}' now holds; resume with"
            " the original --data-root or start a new run"
        )


def _save_samples(path: Path, negatives: Tensor) -> None:
    """Write a picture with one row per class, or a square of rows without classes."""
    rows = SAMPLES_PER_CLASS if len(negatives) == 1 else 1
    shown = (negatives[:, : SAMPLES_PER_CLASS * rows] + 1) / 2
    wide = min(SAMPLES_PER_CLASS, shown.shape[1])
    with replacing(path) as temporary:
        torchvision.utils.save_image(shown.flatten(0, 1), temporary, nrow=wide)


def _epoch_line(row: dict[str, Any], epochs: int) -> str:
    """One line per epoch, for terminals and logs alike."""
    parts = [
        f"epoch {row['epoch']:3d}/{epochs}",
        f"loss {row['loss']:.4f}",
    ]
    for name, told in EPOCH_LINE.items():
        if name in row:
            parts.append(told.format(row[name]))
    if "synthesis_steps" in row:
        parts.append(
            f"synthesis {row['synthesis_steps']:.0f} steps"
            f" ({row['synthesis_reached']:.0%} stopped early)"
        )
    if "valid_error" in row:
        parts.append(f"validation error {row['valid_error']:.2%}")
    parts.append(f"{row['seconds']:.1f} s")
    return "  ".join(parts)
