"""The loss that sets real images against pseudo-negatives without a critic."""

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.synthesis import class_score
from winnrobust.training.methods.method import Batch, Losses


def discriminate(
    network: IntrospectiveNetwork, batch: Batch, paired: Batch, fake: Tensor, weight: float
) -> tuple[Losses, Tensor]:
    """(1 - weight) * CE(x, y) + weight * ln(1 + exp(logit_y(u))), both as batch means.

    The softmax tells real images x of the class y from those of other classes, the sigmoid of the
    class's logit tells them from pseudo-negatives u of the class y. The form is that of ICN; see
    `winnrobust.training.methods.icn`.

    Args:
        batch: the real images.
        paired: those that have a pseudo-negative.
        fake: (N, C, H, W) in [-1, 1], the pseudo-negatives.
        weight: in [0, 1].

    Returns:
        The losses, and the logits (N, K) of the real images, without a graph.
    """
    real = batch.signed
    output = network.forward_signed(torch.cat([real, fake]))
    logits = output.logits[: len(real)]
    scores = class_score(output, torch.cat([batch.labels, paired.labels]))[len(real) :]
    cross_entropy = batch.cross_entropy(logits)
    negatives_loss = paired.mean(F.softplus(scores))
    total = (1 - weight) * cross_entropy + weight * negatives_loss
    parts = {"cross_entropy": cross_entropy, "negatives_loss": negatives_loss}
    return Losses(total, parts | {"train_error": batch.error(logits)}), logits.detach()
