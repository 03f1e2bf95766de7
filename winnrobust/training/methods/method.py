"""What a training method is: the loss of a batch, and what happens between epochs."""

from collections.abc import Callable, Iterable
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.runtime import distributed
from winnrobust.runtime.devices import moved
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import Goal, Score, critic_score
from winnrobust.training.config import TrainConfig

Say = Callable[[str], None]
"""Shows a few words beside the progress bar."""


class Batch(NamedTuple):
    """This process's part of one step's real images: all of them, unless there are several.

    Attributes:
        images: (N, C, H, W) in [0, 1].
        labels: (N,) int64.
        size: number of images in the whole batch.
        part: which of them are here.
        generator: where the step's random draws come from (CPU), the same in every process.
    """

    images: Tensor
    labels: Tensor
    size: int
    part: slice
    generator: torch.Generator

    @property
    def signed(self) -> Tensor:
        """The images in [-1, 1], the range of the critic's maths."""
        return 2 * self.images - 1

    def uniform(self) -> Tensor:
        """Draw a number in [0, 1) for each image here: (N,) float32.

        It is drawn for the whole batch, so that several processes draw what one would.
        """
        numbers = torch.rand(self.size, generator=self.generator)[self.part]
        return moved(numbers, self.images.device)

    def integers(self, below: int) -> Tensor:
        """Draw a number from 0 to below - 1 for each image here: (N,) int64; as `uniform`."""
        numbers = torch.randint(below, (self.size,), generator=self.generator)[self.part]
        return moved(numbers, self.images.device)

    def noise(self) -> Tensor:
        """Draw a number in [-1, 1) for each pixel here: (N, C, H, W); as `uniform`."""
        return self.latents(*self.images.shape[1:])

    def latents(self, *shape: int) -> Tensor:
        """Draw numbers in [-1, 1) for each image here: (N, *shape); as `uniform`."""
        numbers = torch.rand((self.size, *shape), generator=self.generator)[self.part]
        return 2 * moved(numbers, self.images.device).to(self.images.dtype) - 1

    def mean(self, values: Tensor) -> Tensor:
        """This process's share of the whole batch's mean of `values` (N,); shares add up to it."""
        return values.sum() / self.size

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """The mean of -ln softmax_y(logits (N, K)), y being the labels; as `mean`."""
        return self.mean(F.cross_entropy(logits, self.labels, reduction="none"))

    def error(self, logits: Tensor) -> Tensor:
        """The share of the images that `logits` (N, K) put into a wrong class; as `mean`."""
        return self.mean((logits.argmax(1) != self.labels).float())

    def leading(self, share: float) -> "Batch":
        """This process's part of the first `share` of the batch's images, at least one of them.

        The order of the images is random already. Draw numbers from the whole batch, not from it.
        """
        size = max(1, round(share * self.size))
        start, stop, step = self.part.indices(self.size)
        part = slice(start, min(stop, size), step)
        count = len(range(size)[part])
        return Batch(self.images[:count], self.labels[:count], size, part, self.generator)


class Losses(NamedTuple):
    """The scalar to minimize, and scalars to log: this process's shares, which add up."""

    total: Tensor
    parts: dict[str, Tensor]


class EpochEnd(NamedTuple):
    """What a method did after an epoch.

    Attributes:
        metrics: numbers for the log.
        negatives: (num_classes, n, C, H, W) in [-1, 1] made in this epoch, or None.
    """

    metrics: dict[str, float]
    negatives: Tensor | None


def score_range(
    network: IntrospectiveNetwork, batches: Iterable[Batch], score: Score
) -> tuple[float, float]:
    """The lowest and the highest batch mean of a network's score of real images.

    Of batches that are smaller than the first nothing is heard: their means scatter more.
    """
    means: list[Tensor] = []
    size = 0
    for batch in batches:
        size = size or batch.size
        if batch.size == size:
            with torch.no_grad():
                means.append(batch.mean(score(network(batch.images), batch.labels)))
    low, high = torch.aminmax(distributed.all_reduce(torch.stack(means)))
    return low.item(), high.item()


class Method:
    """How to train; one file per method derives from it, and says what it does otherwise.

    As it is, nothing happens between the steps and nothing needs to be kept.

    Attributes:
        uses: the settings, by their options' names, that this method reads besides those of every
            training, or an ascent on what it trained does. `train` refuses the others.
        has_thresholds: whether its ascents stop at scores that it notes in an epoch.
        score: what its ascents raise.
        cascades: whether several networks may follow each other.
        selected_under_attack: whether an epoch is chosen by validation images under attack.
    """

    uses: ClassVar[frozenset[str]] = frozenset()
    has_thresholds = True
    score: Score = staticmethod(critic_score)
    cascades = False
    selected_under_attack = False

    def __init__(
        self,
        config: TrainConfig,
        channels: int,
        image_size: int,
        num_classes: int,
        device: torch.device,
    ) -> None:
        self.config, self.device = config, device
        self.channels, self.image_size, self.num_classes = channels, image_size, num_classes
        self.prepare()

    def prepare(self) -> None:
        """Make what the method needs besides, at its start."""

    @staticmethod
    def goal(config: TrainConfig, classes: Tensor, thresholds: Tensor) -> Goal:
        """What an ascent to new images of these classes is after.

        Args:
            classes: (G,) int64, of each group.
            thresholds: (G,) critic values, drawn from what the critic gave to real images.

        Raises:
            InputError: such a network is not a generator.
        """
        raise InputError(
            f"the model file of method {config.method} draws no samples; those of winn, icn, inn"
            " and wgan-gp do"
        )

    def length(self, epoch: int, count: int) -> int:
        """How many images the epoch's steps look at, of `count` training images."""
        return count

    def order(self, epoch: int, count: int) -> Tensor:
        """Draw the numbers of these images: (length,) int64; called once before the first step."""
        return torch.randperm(count, generator=stream(self.config.seed, "batches", epoch))

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Compute the loss of one batch."""
        raise NotImplementedError

    def after_step(
        self, network: IntrospectiveNetwork, epoch: int, step: int, progress: Say
    ) -> None:
        """Do what belongs between steps; epochs, and the steps of one, are counted from 1."""

    def end_epoch(self, network: IntrospectiveNetwork, epoch: int, progress: Say) -> EpochEnd:
        """Do what belongs between epochs; arguments as `after_step`."""
        return EpochEnd({}, None)

    def stored_thresholds(
        self, network: IntrospectiveNetwork, batches: Iterable[Batch]
    ) -> tuple[float, float] | None:
        """Measure the thresholds that are stored with a network, for ascents on it.

        Args:
            network: the one that is stored, which is another than the one that was trained where
                weights are averaged.
            batches: real ones, those of the epoch; they are made while they are asked for.

        Returns:
            The lowest and the highest; None where it is no generator, or its ascents have none.
        """
        return None

    def state(self) -> dict[str, Tensor]:
        """Return what a resumed run needs besides the negatives of every epoch."""
        return {}

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Go back to a saved state; `negatives` holds what each finished epoch returned."""
