"""Training without labels: what its methods have in common (paper 3.2 and 5.1, authors' code)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import (
    LARGEST_GROUP,
    Goal,
    NegativePool,
    above,
    groups_of,
    images_at_once,
    synthesize,
    together,
)
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods.from_config import (
    ASCENT_SETTINGS,
    INITIAL_SETTINGS,
    ascent_of,
    initial_of,
)
from winnrobust.training.methods.losses import critic_losses
from winnrobust.training.methods.method import (
    Batch,
    EpochEnd,
    Losses,
    Method,
    Say,
    score_range,
)

RAMP = 5
"""Epochs of a cascade until it looks at as many images as it is going to."""


class Unsupervised(Method):
    """A critic learns to tell real images from others, which a method gives in `negatives`.

    An epoch is an iteration of the paper: a sample of the real images, and some passes over them.
    """

    uses = INITIAL_SETTINGS | ASCENT_SETTINGS | {
        "negatives_per_class", "iteration_images", "iteration_passes"
    }  # fmt: skip

    def prepare(self) -> None:
        self.chosen = 0  # of the real images, for this epoch
        self.position = 0  # of the next batch among them
        self.last_pass: list[Batch] = []  # of this epoch, its real batches

    def length(self, epoch: int, count: int) -> int:
        return self.config.generation.iteration_passes * self._images(epoch)

    def order(self, epoch: int, count: int) -> Tensor:
        """Draw the epoch's real images, without repetition if there are enough."""
        chosen, generator = self._images(epoch), stream(self.config.seed, "batches", epoch)
        if chosen < count:
            order = torch.randperm(count, generator=generator)[:chosen]
        else:
            order = torch.randint(count, (chosen,), generator=generator)
        self.chosen, self.position = chosen, 0
        self.pair(generator)
        return order.repeat(self.config.generation.iteration_passes)

    def pair(self, generator: torch.Generator) -> None:
        """Say which pseudo-negatives belong to the epoch's images, where that is said before."""

    def partners_of(self, batch: Batch) -> Tensor:
        """The pseudo-negatives (N, C, H, W) in [-1, 1] that belong to a batch, the next one."""
        if self.position == 0:
            self.last_pass = []
        self.last_pass.append(batch)
        place = slice(self.position, self.position + batch.size)
        self.position = (self.position + batch.size) % self.chosen
        return self.negatives(batch, place)

    def negatives(self, batch: Batch, place: slice) -> Tensor:
        """The pseudo-negatives of a batch, the whole of which has this place in a pass."""
        raise NotImplementedError

    @staticmethod
    def goal(config: TrainConfig, classes: Tensor, thresholds: Tensor) -> Goal:
        """Images with a mean critic value of at least a threshold."""
        return above(thresholds)

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """The critic's, with slope 1 between real images and pseudo-negatives (paper Eq. 5)."""
        fake = self.partners_of(batch)
        return critic_losses(network, batch, fake, self.config.optimization.gp_weight)

    def thresholds(self, network: IntrospectiveNetwork) -> tuple[float, float]:
        """The lowest and the highest batch mean of the critic on the last pass's real images.

        It is asked at the end of the pass. The authors ask after every step, but the critic's
        offset, which its loss leaves free, moves meanwhile, all the more where the learning rate is
        higher than theirs, and low thresholds end ascents too early.
        """
        return score_range(network, self.last_pass, self.score)

    def stored_thresholds(
        self, network: IntrospectiveNetwork, batches: Iterable[Batch]
    ) -> tuple[float, float] | None:
        """Those of the last pass's real images."""
        return self.thresholds(network) if self.has_thresholds else None

    def _images(self, epoch: int) -> int:
        """How many real images the epoch has: whole batches."""
        iteration = (epoch - 1) % self.config.epochs
        share = min(iteration + 1, RAMP) / RAMP
        batch = self.config.optimization.batch_size
        return max(1, round(share * self.config.generation.iteration_images) // batch) * batch


class UnsupervisedIntrospective(Unsupervised):
    """The critic's own ascents make the pseudo-negatives, in turns with its learning from them.

    They begin at images that are the same throughout a cascade: random ones at first, later the
    last samples of the one before. A real image's partner is one of all that there are. Images stay
    as they were made; the authors keep them in 8 bits.
    """

    uses = Unsupervised.uses | {"start_images", "pool_newest", "synthesis_per_image"}
    cascades = True

    def prepare(self) -> None:
        super().prepare()
        initial = initial_of(self.config, self.channels, self.image_size)
        count, generator = self.config.generation.start_images, stream(self.config.seed, "noise")
        self.starts = initial.sample(count, generator).to(self.device)
        self.pool = NegativePool(self.starts[None], self.config.negatives.pool_newest)

    def pair(self, generator: torch.Generator) -> None:
        """Draw a number in the pool for each of the epoch's images."""
        self.partners = torch.randint(self.pool.per_class, (self.chosen,), generator=generator)

    def negatives(self, batch: Batch, place: slice) -> Tensor:
        """Those with the numbers that were drawn."""
        numbers = self.partners[place][batch.part].to(self.device)
        return self.pool.take(torch.zeros_like(numbers), numbers)

    def end_epoch(self, network: IntrospectiveNetwork, epoch: int, progress: Say) -> EpochEnd:
        """Make new pseudo-negatives; after the last epoch of a cascade those it leaves, too."""
        low, high = self.thresholds(network) if self.has_thresholds else (0.0, 0.0)
        made, metrics = self._synthesize(network, epoch, (low, high), progress)
        self._keep(made, epoch)
        metrics["pool_size"] = len(self.pool)
        if self.has_thresholds:
            metrics |= {"threshold_low": low, "threshold_high": high}
        return EpochEnd(metrics, made[None])

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Rebuild the pool and the images that ascents start from."""
        for epoch, images in enumerate(negatives, start=1):
            self._keep(images[0].to(self.device), epoch)

    def _leaves_starts(self, epoch: int) -> bool:
        return epoch % self.config.epochs == 0 and epoch < self.config.total_epochs

    def _keep(self, images: Tensor, epoch: int) -> None:
        self.pool.add(images[None])
        if self._leaves_starts(epoch):
            self.starts = images

    def _synthesize(
        self,
        network: IntrospectiveNetwork,
        epoch: int,
        thresholds: tuple[float, float],
        progress: Say,
    ) -> tuple[Tensor, dict[str, float]]:
        """Make an epoch's images; returns them (N, C, H, W), and what there is to log.

        They form groups, each with a threshold of its own, drawn uniformly from the range given.
        """
        chosen = self._chosen_starts(epoch)
        made = self.starts[chosen.to(self.device)]
        labels = torch.zeros(len(chosen), dtype=torch.int64)
        groups = groups_of(labels, 1 if self.config.synthesis.per_image else LARGEST_GROUP)
        draw = torch.rand(len(groups), generator=stream(self.config.seed, "thresholds", epoch))
        wanted = thresholds[0] + (thresholds[1] - thresholds[0]) * draw
        steps = torch.zeros(len(groups), dtype=torch.int64)
        reached = torch.zeros(len(groups), dtype=torch.bool)
        for numbers in together(groups, images_at_once(self.image_size)):
            rows = torch.stack([groups[number] for number in numbers]).to(self.device)
            stops, classes = wanted[numbers].to(self.device), torch.zeros_like(rows[:, 0])
            goal, ascent = self.goal(self.config, classes, stops), ascent_of(self.config)
            result, _ = synthesize(network, made[rows], goal, ascent, progress=progress)
            made[rows] = result.images
            steps[numbers], reached[numbers] = result.steps, result.reached
        return made, {
            "synthesis_steps": steps.float().mean().item(),
            "synthesis_reached": reached.float().mean().item(),
        }

    def _chosen_starts(self, epoch: int) -> Tensor:
        """The numbers of the images that an epoch's ascents start from, others if there are enough.

        There are as many as an epoch makes; the last one of a cascade makes what the next starts
        from.
        """
        leaves = self._leaves_starts(epoch)
        count = self.config.generation.start_images if leaves else self.config.negatives.per_class
        generator = stream(self.config.seed, "starts", epoch)
        if count <= len(self.starts):
            return torch.randperm(len(self.starts), generator=generator)[:count]
        return torch.randint(len(self.starts), (count,), generator=generator)
