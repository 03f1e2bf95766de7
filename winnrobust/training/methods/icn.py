"""Introspective Convolutional Networks: pseudo-negatives enter a discriminative loss.

Jin, Lazarow, Tu: Introspective Classification with Convolutional Nets, NIPS 2017, with one network
for all classes. For real images (x, y) and pseudo-negatives (u, y) of the class y it minimizes

    (1 - w) * E[-ln softmax_y(logits(x))] + w * E[ln(1 + exp(logit_y(u)))].

WINN puts the Wasserstein term and the gradient penalty in place of the second term (paper 3.4).
"""

from winnrobust.models import IntrospectiveNetwork
from winnrobust.synthesis import class_score
from winnrobust.training.methods.discrimination import discriminate
from winnrobust.training.methods.introspective import Introspective
from winnrobust.training.methods.method import Batch, Losses


class Icn(Introspective):
    """Cross-entropy and the softplus of the class's logit against self-made negatives.

    A class's logit is its log-odds against pseudo-negatives, so it is what the ascents raise. What
    the source leaves open here is WINN's, so that the two methods differ in nothing but the term:
    how many pseudo-negatives there are, Adam, the cross-entropy in the ascent, and where it stops
    (the source: "by a validation set"), which is among the batch means of the true class's logit on
    real images. For the same reason the initial distribution is WINN's, where the source has
    Gaussian noise (`--initial gaussian`). The weight w is not known either; nothing was tuned.
    """

    uses = Introspective.uses | {
        "negatives_weight", "synthesis_pool_share", "synthesis_class_weight"
    }  # fmt: skip
    score = staticmethod(class_score)

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """The equation above."""
        paired, fake = self.partners(batch)
        losses, logits = discriminate(network, batch, paired, fake, self.config.negatives.weight)
        scores = logits.gather(1, batch.labels[:, None]).squeeze(1)
        self.note_score(batch, batch.mean(scores))
        return losses
