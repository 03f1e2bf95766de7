"""CNN + GDL: pseudo-negatives by generative modeling via discriminative learning.

Tu: Learning Generative Models via Discriminative Approaches, CVPR 2007. A generative model of a
class grows by a sequence of classifiers q_t, each trained to tell real images from samples of the
model so far, starting with a reference distribution p_0:

    p_t(x | y) proportional to p_(t-1)(x | y) * q_t(real | x, y) / q_t(pseudo-negative | x, y).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.synthesis import Goal, class_score, near
from winnrobust.training.methods.discrimination import discriminate
from winnrobust.training.methods.from_config import adam_of, network_of
from winnrobust.training.methods.introspective import Introspective
from winnrobust.training.methods.method import Batch, EpochEnd, Losses, Method, Say
from winnrobust.training.methods.side_network import SideNetwork


class Gdl(Introspective):
    """The classifier learns from the samples of a GDL model that is trained beside it.

    The paper takes the row from the ICN paper and says no more of it. Here: one classifier q_t with
    the architecture of the CNN and a logit for each class, its log-odds in the equation; fresh
    weights for every t; trained by logistic loss on the same batches, from one synthesis to the
    next (an epoch, unless `synthesis_every` says else); its samples are those of t - 1, moved up
    its own log-odds by WINN's ascent and stop instead of Markov chains. They enter the CNN's loss
    as ICN's do (`discriminate`), and the CNN's gradients never enter them: that is the difference
    from ICN.

    One departure from the equation: q_t learns from the pairs that the CNN gets, so its negatives
    come from all of p_0 to p_(t-1), not from p_(t-1) alone. Its weights are fresh and the newest
    samples few; from these alone it would not learn what the stages before it ruled out.
    """

    uses = Introspective.uses | {"negatives_weight"}
    goal = staticmethod(Method.goal)  # the classifier that is kept draws no samples
    stored_thresholds = Method.stored_thresholds

    def prepare(self) -> None:
        super().prepare()
        self.stage: SideNetwork[IntrospectiveNetwork] | None = None
        self.samples = self.pool.images  # of the last stage

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """The CNN's loss; the classifier q_t takes a step of its own."""
        paired, fake = self.partners(batch)
        stage_loss = self._train_stage(batch, paired, fake)
        losses, _ = discriminate(network, batch, paired, fake, self.config.negatives.weight)
        return losses._replace(parts=losses.parts | {"gdl_loss": stage_loss})

    def _train_stage(self, batch: Batch, paired: Batch, fake: Tensor) -> Tensor:
        """Descend ln(1 + exp(-l_y(x))) + ln(1 + exp(l_y(u))), both as batch means."""
        if self.stage is None:  # like the CNN, its weights drawn from the batch's generator
            shape = self.channels, self.image_size, self.num_classes
            fresh = network_of(self.config, shape, batch.generator)
            fresh.to(batch.images).to(memory_format=torch.channels_last)
            self.stage = SideNetwork(fresh, adam_of(self.config, fresh.parameters()))
        output = self.stage.module.forward_signed(torch.cat([batch.signed, fake]))
        labels = torch.cat([batch.labels, paired.labels])
        real_scores, fake_scores = class_score(output, labels).split([len(batch.labels), len(fake)])
        loss = batch.mean(F.softplus(-real_scores)) + paired.mean(F.softplus(fake_scores))
        self.stage.descend(loss)
        self.note_score(batch, batch.mean(real_scores))
        return loss

    def end_epoch(self, network: IntrospectiveNetwork, epoch: int, progress: Say) -> EpochEnd:
        """As ever, but the thresholds are no range of the CNN's scores, which draws no samples."""
        end = super().end_epoch(network, epoch, progress)
        named = {name.replace("threshold", "gdl_threshold"): x for name, x in end.metrics.items()}
        return end._replace(metrics=named)

    def _goal(self, classes: Tensor, thresholds: Tensor) -> Goal:
        """As ICN's, but here a class competes with its pseudo-negatives alone, not with others."""
        tolerance = self.config.synthesis.tolerance
        return near(classes, thresholds, tolerance, class_weight=0.0, score=class_score)

    def _critic(self, network: IntrospectiveNetwork) -> IntrospectiveNetwork:
        """The classifier q_t, whose turn ends: the next step starts another."""
        assert self.stage is not None
        critic, self.stage = self.stage.module, None
        return critic

    def _starts(self, epoch: int, turn: int) -> Tensor:
        """The samples of t - 1."""
        return self.samples.clone()

    def _synthesize(self, critic: IntrospectiveNetwork, epoch: int, progress: Say) -> None:
        """As ever, and remember what came of it: the pool may keep less."""
        super()._synthesize(critic, epoch, progress)
        self.samples = self.made[-1]

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Rebuild the pool and the last stage's samples."""
        super().restore(state, negatives)
        if negatives:
            newest = negatives[-1][:, -self.config.negatives.per_class :]
            self.samples = newest.to(self.device)
