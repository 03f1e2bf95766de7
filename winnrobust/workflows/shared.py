"""What several commands need: names, data, and a folder that is there as a whole or not at all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from winnrobust import zoo
from winnrobust.data.datasets import Dataset, load_dataset
from winnrobust.data.folders import load_pictures
from winnrobust.generation.textures import crops_of
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import new_folder, replacing
from winnrobust.runtime.locks import hold
from winnrobust.training.config import TrainConfig
from winnrobust.training.run_folder import RunFolder

REFERENCE_METHOD = "baseline"
"""The method that the others are compared with, named first."""


def dated_folder(parent: Path, *parts: str) -> Path:
    """A place for a new folder, called by the local time and what else tells it apart; with a
    number where there is one of this second. The same in all processes of a job."""
    name = "-".join([datetime.now().strftime("%Y%m%d-%H%M%S"), *parts])
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return parent / distributed.broadcast(next(n for n in names if not (parent / n).exists()))


def load_data(name: str, root: Path | None) -> Dataset:
    """As `load_dataset`; of several processes the main one goes ahead and downloads."""
    if distributed.is_main_process():
        dataset = load_dataset(name, root)
        distributed.barrier()
    else:
        distributed.barrier()
        dataset = load_dataset(name, root)
    return dataset


def training_data(config: TrainConfig, data_root: Path | None) -> Dataset:
    """Load what a run is trained on, without labels if it is to do without them.

    Raises:
        InputError: it cannot be used.
    """
    data = config.data
    if data.texture is not None:
        return crops_of(data.texture, data.image_size, config.seed, data.dataset)
    if data.folder is not None:
        return load_pictures(Path(data.folder), data.image_size, data.dataset)
    dataset = load_data(data.dataset, data_root)
    if data.hold_out is not None:
        dataset = dataset.holding_out(data.hold_out)
    return dataset.without_labels() if config.unsupervised else dataset


def model_file(path: Path) -> Path:
    """The model file that a run folder, `zoo:NAME` or a model file itself stands for.

    Raises:
        InputError: there is no such model, or the folder holds none.
    """
    place = zoo.locate(path)
    if not place.is_dir():
        return place
    file = RunFolder(place).model
    if not file.exists():
        raise InputError(
            f"{path} holds no model.safetensors; it is not a run, or has not finished an epoch"
        )
    return file


def write_rows(path: Path, parts: Sequence[Tensor], wide: int) -> None:
    """Write images as one picture with `wide` of them side by side; each part begins a row.

    Args:
        parts: each (N, C, H, W) in [0, 1].
    """
    filled = []
    for images in parts:
        filled += [images, torch.zeros(-len(images) % wide, *images.shape[1:])]
    with replacing(path) as temporary:
        torchvision.utils.save_image(torch.cat(filled), temporary, nrow=wide)


@contextmanager
def results_folder(path: Path) -> Iterator[Path]:
    """As `new_folder`, by the main process; the others get a path that they must not write to.

    No other process may work on one of the same name meanwhile.
    """
    with hold(path):
        if distributed.is_main_process():
            with new_folder(path) as folder:
                yield folder
        else:
            yield path
        distributed.barrier()
