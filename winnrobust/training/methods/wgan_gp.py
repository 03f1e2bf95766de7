"""WGAN-GP: the same critic as WINN's, against a generator network instead of its own ascents.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville: Improved Training of Wasserstein GANs, NIPS 2017.
The paper runs WINN's ascent on such a critic to show that WINN's own training is what makes it a
generator (4.3, Figure 3).
"""

import torch
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.models.dcgan import dcgan_generator
from winnrobust.runtime import distributed
from winnrobust.runtime.randomness import stream
from winnrobust.training.methods.from_config import adam_of
from winnrobust.training.methods.method import Batch, EpochEnd, Say
from winnrobust.training.methods.side_network import SideNetwork
from winnrobust.training.methods.unsupervised import Unsupervised

CRITIC_STEPS = 5
"""Of the critic for each of the generator, as the source has it."""


class WganGp(Unsupervised):
    """WINN's loss of the critic on a generator's samples; the generator raises the critic on them.

    The real images of an epoch, their order and number are WINN's, so that both critics take the
    same steps. The generator is a small DCGAN's (`models/dcgan.py`) with the critic's Adam.
    """

    uses = Unsupervised.uses | {"gp_weight", "dcgan_latents"}

    def prepare(self) -> None:
        super().prepare()
        self.latents = self.config.generation.dcgan_latents
        weights = stream(self.config.seed, "generator")
        module = dcgan_generator(self.latents, self.channels, self.image_size, 1, weights)
        module.to(self.device)
        self.generator = SideNetwork(module, adam_of(self.config, module.parameters()))

    def negatives(self, batch: Batch, place: slice) -> Tensor:
        """Fresh samples of the generator, in every pass others."""
        with torch.no_grad():
            return self.generator.module(batch.latents(self.latents), batch.labels)

    def after_step(
        self, network: IntrospectiveNetwork, epoch: int, step: int, progress: Say
    ) -> None:
        """Train the generator after every fifth step of the critic, counted over all epochs."""
        count = self.config.optimization.batch_size
        earlier = sum(self.length(before, 0) for before in range(1, epoch)) // count
        if (earlier + step) % CRITIC_STEPS:
            return
        samples = self._samples(count, distributed.shard(count), "generator step", epoch, step)
        self.generator.descend(-network.forward_signed(samples).critic.sum() / count)

    def end_epoch(self, network: IntrospectiveNetwork, epoch: int, progress: Say) -> EpochEnd:
        """Measure the thresholds for later ascents, and show samples of the generator."""
        low, high = self.thresholds(network)
        count = self.config.negatives.per_class
        with torch.no_grad():
            made = self._samples(count, slice(None), "generator samples", epoch)
        return EpochEnd({"threshold_low": low, "threshold_high": high}, made[None])

    def _samples(self, count: int, part: slice, *names: str | int) -> Tensor:
        """Some of `count` samples (N, C, H, W) in [-1, 1], whose draws go by these names."""
        shape = count, self.latents
        latents = 2 * torch.rand(shape, generator=stream(self.config.seed, *names))[part] - 1
        labels = torch.zeros(len(latents), dtype=torch.int64, device=self.device)
        images: Tensor = self.generator.module(latents.to(self.device), labels)
        return images

    def state(self) -> dict[str, Tensor]:
        """Weights and moments of the generator."""
        return self.generator.state("generator")

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Rebuild the generator."""
        self.generator.restore("generator", state)
