"""CNN + DCGAN: pseudo-negatives are samples of a generative adversarial network.

Radford, Metz, Chintala: Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks, ICLR 2016. With a latent vector z and the class y, the generator G and the
discriminator's logit D_y descend

    D:  E[ln(1 + exp(-D_y(x)))] + E[ln(1 + exp(D_y(G(z, y))))]
    G:  E[ln(1 + exp(-D_y(G(z, y))))]
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork, build
from winnrobust.models.dcgan import dcgan_generator
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import NegativePool, class_score
from winnrobust.training.methods.discrimination import discriminate
from winnrobust.training.methods.method import Batch, EpochEnd, Losses, Say
from winnrobust.training.methods.negatives import WithNegatives
from winnrobust.training.methods.side_network import Network, SideNetwork

BETAS = (0.5, 0.999)
"""Adam's for both networks, as the source has them."""


class DcganNegatives(WithNegatives):
    """The classifier learns from the samples of a DCGAN that is trained beside it.

    The paper takes the row from the ICN paper and says no more of it. Here: a DCGAN with classes,
    because pseudo-negatives belong to one (labels enter the generator's input, and the
    discriminator has a logit for each class); narrow, with the vanilla CNN as its discriminator,
    initialized and activated as that is; layer norm instead of batch norm in both networks, so that
    an image's gradient does not depend on its batch.

    The DCGAN is trained by itself, but in the same run: it takes one step on each batch of the
    classifier's, none of whose gradients enter it, so that a run has one length, one state and one
    progress bar. After every epoch its samples replace those before them, of which it was less
    well trained. They enter the CNN's loss as ICN's do (`discriminate`).
    """

    uses = WithNegatives.uses | {"negatives_weight", "dcgan_lr", "dcgan_latents"}

    def prepare(self) -> None:
        super().prepare()
        shape, seed = (self.channels, self.image_size, self.num_classes), self.config.seed
        latents = self.config.generation.dcgan_latents
        generator = dcgan_generator(latents, *shape, stream(seed, "dcgan generator"))
        discriminator = build("vanilla", *shape, stream(seed, "dcgan discriminator"))
        discriminator.to(memory_format=torch.channels_last)
        self.generator = self._beside(generator)
        self.discriminator = self._beside(discriminator)

    def _beside(self, module: Network) -> SideNetwork[Network]:
        module.to(self.device)
        lr = self.config.generation.dcgan_lr
        return SideNetwork(module, torch.optim.Adam(module.parameters(), lr=lr, betas=BETAS))

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """The CNN's loss; the DCGAN takes a step of its own."""
        dcgan_losses = self._train_dcgan(batch)
        paired, fake = self.partners(batch)
        losses, _ = discriminate(network, batch, paired, fake, self.config.negatives.weight)
        return losses._replace(parts=losses.parts | dcgan_losses)

    def _train_dcgan(self, batch: Batch) -> dict[str, Tensor]:
        """One step of both networks, the discriminator first."""
        discriminator, labels = self.discriminator.module, batch.labels
        latents = batch.latents(self.config.generation.dcgan_latents)
        samples = self.generator.module(latents, labels)
        output = discriminator.forward_signed(torch.cat([batch.signed, samples.detach()]))
        real, fake = class_score(output, labels.repeat(2)).chunk(2)
        discriminator_loss = batch.mean(F.softplus(-real) + F.softplus(fake))
        self.discriminator.descend(discriminator_loss)
        fooled = class_score(discriminator.forward_signed(samples), labels)
        generator_loss = batch.mean(F.softplus(-fooled))
        self.generator.descend(generator_loss)
        return {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}

    def end_epoch(self, network: IntrospectiveNetwork, epoch: int, progress: Say) -> EpochEnd:
        """Fill the pool with new samples of every class."""
        count = self.config.negatives.per_class
        labels = torch.arange(self.num_classes).repeat_interleave(count)
        shape = len(labels), self.config.generation.dcgan_latents
        numbers = torch.rand(shape, generator=stream(self.config.seed, "samples", epoch))
        with torch.no_grad():
            samples = self.generator.module(2 * numbers.to(self.device) - 1, labels.to(self.device))
        made = samples.unflatten(0, (self.num_classes, count))
        self.pool = NegativePool(made)
        return EpochEnd({"pool_size": len(self.pool)}, made)

    def state(self) -> dict[str, Tensor]:
        """Weights and moments of both networks."""
        return self.generator.state("generator") | self.discriminator.state("discriminator")

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Rebuild the pool and both networks."""
        if negatives:
            self.pool = NegativePool(negatives[-1].to(self.device))
        self.generator.restore("generator", state)
        self.discriminator.restore("discriminator", state)
