"""All that is measured of the models, before anything is concluded from it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.evaluation.checks import as_floats
from winnrobust.evaluation.diagnosis.probes import (
    Answers,
    Attacked,
    Batch,
    Mode,
    answers_of,
    attacked,
    epsilons_around,
    mode_of,
    obstacle_of,
)
from winnrobust.evaluation.prediction import check_classes, prediction
from winnrobust.evaluation.state import channels_last, frozen, own_randomness
from winnrobust.runtime.devices import device_of


@dataclass(frozen=True)
class Sample:
    """What the models are probed with: N images, taken in batches.

    Attributes:
        images: (N, C, H, W), uint8, or floating point in [0, 1].
        labels: (N,) int64.
        epsilon: the L-infinity bound in question, above 0.
        seed: of all random draws.
        batch_size: images at once.
    """

    images: Tensor
    labels: Tensor
    epsilon: float
    seed: int
    batch_size: int

    def batches(self, name: str, models: Mapping[str, nn.Module]) -> Iterator[Batch]:
        """Yield the batches, to attack the model called `name` with."""
        device = device_of(models[name])
        for start in range(0, len(self.images), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            images = as_floats(self.images[chosen]).to(device)
            labels = self.labels[chosen].to(device)
            yield Batch(name, models[name], images, labels, start, self.seed, models)


@dataclass(frozen=True)
class Measurements:
    """What is known of one model.

    Attributes:
        epsilon: the L-infinity bound in question.
        differentiable: whether a gradient may be expected: torch knows parameters of the model.
        obstacle: why there is none; empty where there is one.
        attacked: None where there is no gradient.
        transferred: source -> (N,) bool, wrong on the examples made on that other model.
    """

    epsilon: float
    mode: Mode
    answers: Answers
    differentiable: bool
    obstacle: str
    attacked: Attacked | None
    transferred: dict[str, np.ndarray]

    @property
    def epsilons(self) -> list[float]:
        """The E epsilons of its attacks, ascending."""
        return epsilons_around(self.epsilon)


def measure(
    models: Mapping[str, nn.Module],
    sample: Sample,
    device: torch.device | None,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Measurements]:
    """Probe every model on `device`, or where it is, and give it back as it was.

    What models draw from torch's global generators depends on the sample's seed; the generators
    are left as they were.

    Args:
        progress: as in `diagnose`.

    Raises:
        InputError: a model cannot be used; the message says which and why.
    """
    done = 0

    def advance(images: int) -> None:
        nonlocal done
        done += images
        if progress is not None:
            progress(done, len(models) * len(sample.images))

    places = {device or device_of(model) for model in models.values()}
    with own_randomness(places, sample.seed, "diagnosis"):
        modes = {name: _mode(name, model, sample, device) for name, model in models.items()}
        with frozen(models.values(), device):
            few = as_floats(sample.images[:2]), sample.labels[:2]
            check_classes(models, few[0], sample.labels)
            with channels_last(models.values(), *few):
                return _measured(models, sample, modes, advance)


def _measured(
    models: Mapping[str, nn.Module],
    sample: Sample,
    modes: Mapping[str, Mode],
    advance: Callable[[int], None],
) -> dict[str, Measurements]:
    few = as_floats(sample.images[:2]), sample.labels[:2]
    obstacles = {name: obstacle_of(model, *few) for name, model in models.items()}
    transferred = {
        source: _transferred(source, models, sample)
        for source, obstacle in obstacles.items()
        if not obstacle
    }
    found = {}
    for name, model in models.items():
        answers, hits = _probed(name, models, sample, obstacles[name], advance)
        found[name] = Measurements(
            epsilon=sample.epsilon,
            mode=modes[name],
            answers=answers,
            differentiable=next(model.parameters(), None) is not None,
            obstacle=obstacles[name],
            attacked=hits,
            transferred={
                source: wrong[name] for source, wrong in transferred.items() if source != name
            },
        )
    return found


def _mode(name: str, model: nn.Module, sample: Sample, device: torch.device | None) -> Mode:
    modes = {module: module.training for module in model.modules() if hasattr(module, "training")}
    with frozen([model], device):
        return mode_of(name, model, modes, as_floats(sample.images[: sample.batch_size]))


def _transferred(
    source: str, models: Mapping[str, nn.Module], sample: Sample
) -> dict[str, np.ndarray]:
    """Tell for every other model where it is wrong, (N,) bool, on the examples made on `source`."""
    wrong: dict[str, list[np.ndarray]] = {name: [] for name in models if name != source}
    for batch in sample.batches(source, models) if wrong else ():
        (made,) = batch.attack(f"transfer:{source}", [sample.epsilon])
        for name, parts in wrong.items():
            seen = prediction(name, models[name], made.images)
            parts.append((seen != batch.labels.cpu()).numpy())
    return {name: np.concatenate(parts) for name, parts in wrong.items()}


def _probed(
    name: str,
    models: Mapping[str, nn.Module],
    sample: Sample,
    obstacle: str,
    advance: Callable[[int], None],
) -> tuple[Answers, Attacked | None]:
    """Look at the answers of a model and attack it, unless there is an obstacle."""
    answers, hits = [], []
    for batch in sample.batches(name, models):
        answers.append(answers_of(batch))
        if not obstacle:
            hits.append(attacked(batch, sample.epsilon))
        advance(len(batch.images))
    return _joined(answers), _joined(hits) if hits else None


PerImage = TypeVar("PerImage", Answers, Attacked)


def _joined(parts: Sequence[PerImage]) -> PerImage:
    """Put batches together, field by field."""
    return type(parts[0])(*map(np.concatenate, zip(*parts, strict=True)))
