"""Supervised WINN: classification and synthesis in turns (paper 3.4 and 5.6, authors' code).

For real images (x, y), pseudo-negatives (u, y) of the same class and z on the line between the two
it minimizes, with the critic f and all expectations batch means (paper Eq. 5 beside softmax),

    E[-ln softmax_y(logits(x))] + alpha * (E[f(u)] - E[f(x)] + lambda * E[(|grad_z f(z)| - 1)^2]),

and then moves new images u up f until its mean over them is near one that real batches had.
"""

import torch

from winnrobust.models import IntrospectiveNetwork
from winnrobust.training.methods.introspective import Introspective
from winnrobust.training.methods.losses import class_loss, gradient_penalty
from winnrobust.training.methods.method import Batch, Losses


class Winn(Introspective):
    """Cross-entropy + alpha * (Wasserstein term + lambda * gradient penalty).

    Alpha and lambda are `alpha` and `gp_weight` of the settings.

    Classification: real images and label-matched pseudo-negatives from the pool. Synthesis, after
    every epoch and where asked for in between: new images for every class, from noise or from the
    pool, until the critic takes them for real.
    """

    uses = Introspective.uses | {
        "alpha", "gp_weight", "gp_share", "margin_radius",
        "synthesis_pool_share", "synthesis_class_weight",
    }  # fmt: skip

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Cross-entropy of the real images plus alpha times the critic's loss (all batch means).

        Pseudo-negatives enter no class loss. Real images and pseudo-negatives share one pass: the
        norm layers work per image, so this changes nothing but the speed.
        """
        settings = self.config.optimization
        radius = settings.margin_radius
        real, (paired, fake) = batch.signed.requires_grad_(radius > 0), self.partners(batch)
        output = network.forward_signed(torch.cat([real, fake]))
        logits = output.logits[: len(real)]
        critic_real, critic_fake = output.critic.split([len(real), len(fake)])

        classification = class_loss(batch, real, logits, radius)
        mean_real = batch.mean(critic_real)
        wasserstein = paired.mean(critic_fake) - mean_real
        penalized = paired.leading(settings.gp_share)
        count = len(penalized.labels)
        mix = batch.uniform()[:count]
        penalties = gradient_penalty(network, real[:count].detach(), fake[:count], mix)
        penalty = penalized.mean(penalties.penalty)
        total = classification + settings.alpha * (wasserstein + settings.gp_weight * penalty)

        self.note_score(batch, mean_real)
        return Losses(
            total,
            {
                "cross_entropy": classification,
                "wasserstein": -wasserstein,
                "gradient_penalty": penalty,
                "gradient_norm": penalized.mean(penalties.gradient_norm),
                "train_error": batch.error(logits),
            },
        )
