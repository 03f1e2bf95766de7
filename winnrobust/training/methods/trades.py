"""TRADES: accuracy on the images plus stability around them, weighed by beta.

Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan: Theoretically Principled Trade-off between Robustness and
Accuracy, ICML 2019, eq. 5 and algorithm 1; beta is their 1 / lambda.
"""

import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.training.methods.inner_maximization import INNER_SETTINGS, worst_images
from winnrobust.training.methods.method import Batch, Losses, Method


class Trades(Method):
    """min over the weights of E[CE(x, y) + beta * max over |d| <= epsilon of KL(p(x) || p(x + d))].

    As in the authors' code, the weights' gradient flows through both sides of KL. The ascent
    starts from a random point of the ball, as `pgd-at` does; theirs from a normal perturbation of
    0.001 (the images themselves are a stationary point of KL). No critic is trained.
    """

    uses = INNER_SETTINGS | {"trades_beta"}
    selected_under_attack = True

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Mean cross-entropy of the images plus beta times the mean divergence around them."""
        clean = network(batch.images).logits
        fixed = clean.detach()

        def divergences(images: Tensor) -> Tensor:
            return kl_divergence(fixed, network(images).logits)

        adversarial = network(worst_images(divergences, batch, self.config.adversarial)).logits
        cross_entropy = batch.cross_entropy(clean)
        divergence = batch.mean(kl_divergence(clean, adversarial))
        return Losses(
            cross_entropy + self.config.adversarial.trades_beta * divergence,
            {
                "cross_entropy": cross_entropy,
                "kl_divergence": divergence,
                "train_error": batch.error(clean),
                "adversarial_train_error": batch.error(adversarial),
            },
        )


def kl_divergence(logits: Tensor, other_logits: Tensor) -> Tensor:
    """KL(p || q) = sum over classes of p (log p - log q), for p and q given by logits (N, K): (N,).

    In nats; at least 0.
    """
    log_p, log_q = logits.log_softmax(1), other_logits.log_softmax(1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
