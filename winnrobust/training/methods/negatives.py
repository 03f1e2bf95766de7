"""What methods with pseudo-negatives share: the pool, and who is paired with whom."""

from torch import Tensor

from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import NegativePool
from winnrobust.training.methods.from_config import INITIAL_SETTINGS, initial_of
from winnrobust.training.methods.method import Batch, Method


class WithNegatives(Method):
    """A method with a pool of pseudo-negatives by class, which starts with random images."""

    uses = INITIAL_SETTINGS | {"negatives_per_class", "negatives_share"}

    def prepare(self) -> None:
        self.initial = initial_of(self.config, self.channels, self.image_size)
        noise = self._noise(self.config.negatives.per_class, epoch=0, turn=0)
        self.pool = NegativePool(noise, self.config.negatives.pool_newest)

    def partners(self, batch: Batch) -> tuple[Batch, Tensor]:
        """Draw a pseudo-negative for the first images of a batch, `negatives_share` of them.

        Returns:
            Those images, and their partners (N, C, H, W) in [-1, 1], of the same classes.
        """
        paired = batch.leading(self.config.negatives.share)
        numbers = batch.integers(self.pool.per_class)[: len(paired.labels)]
        return paired, self.pool.take(paired.labels, numbers)

    def _noise(self, count: int, epoch: int, turn: int) -> Tensor:
        """Fresh images of the initial distribution, (num_classes, count, C, H, W) in [-1, 1]."""
        generator = stream(self.config.seed, "noise", epoch, turn)
        images = self.initial.sample(self.num_classes * count, generator, self.device)
        return images.unflatten(0, (self.num_classes, count))

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Rebuild the pool."""
        for images in negatives:
            self.pool.add(images.to(self.device))
