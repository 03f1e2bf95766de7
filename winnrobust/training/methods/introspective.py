"""What methods share whose pseudo-negatives are made by gradient ascent on a network's score."""

from collections.abc import Iterable

import torch
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.runtime import distributed
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import Goal, near, synthesize
from winnrobust.synthesis.adam_state import moments_to_tensors, tensors_to_moments
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods.from_config import ASCENT_SETTINGS, ascent_of
from winnrobust.training.methods.method import Batch, EpochEnd, Say, score_range
from winnrobust.training.methods.negatives import WithNegatives


class Introspective(WithNegatives):
    """Synthesis after every epoch, and where asked for in between.

    It makes new images for every class, from noise or from the pool, until their score is that of
    real images. A method's `goal` says what the score is, and its loss notes the batch means of it
    by `note_score`.
    """

    uses = WithNegatives.uses | ASCENT_SETTINGS | {
        "pool_newest", "synthesis_every", "synthesis_per_image", "synthesis_carry_adam",
        "synthesis_tolerance",
    }  # fmt: skip

    def prepare(self) -> None:
        super().prepare()
        self.ascent = ascent_of(self.config)
        self.adam_state: dict | None = None
        self.score_means: list[Tensor] = []  # of the real batches since the last synthesis
        self.turns: list[dict[str, float]] = []  # what each synthesis of this epoch measured
        self.made: list[Tensor] = []  # what each synthesis of this epoch made

    def note_score(self, batch: Batch, mean: Tensor) -> None:
        """Note this process's share of the mean score of a real batch, for the next thresholds.

        A smaller last batch would only widen their range, so it counts where there is no other.
        """
        if batch.size == self.config.optimization.batch_size or not self.score_means:
            self.score_means.append(mean.detach())

    def stored_thresholds(
        self, network: IntrospectiveNetwork, batches: Iterable[Batch]
    ) -> tuple[float, float] | None:
        """As the network scores the epoch's real images."""
        return score_range(network, batches, self.score)

    def after_step(
        self, network: IntrospectiveNetwork, epoch: int, step: int, progress: Say
    ) -> None:
        """Synthesize after every `synthesis_every` steps."""
        every = self.config.synthesis.every
        if every and step % every == 0:
            self._synthesize(self._critic(network), epoch, progress)

    def end_epoch(self, network: IntrospectiveNetwork, epoch: int, progress: Say) -> EpochEnd:
        """Synthesize, unless that was just done, and return all that the epoch made."""
        if self.score_means:
            self._synthesize(self._critic(network), epoch, progress)
        names = self.turns[0].keys()
        metrics = {name: sum(turn[name] for turn in self.turns) / len(self.turns) for name in names}
        made = torch.cat(self.made, dim=1)
        self.turns, self.made = [], []
        return EpochEnd(metrics | {"pool_size": len(self.pool)}, made)

    @classmethod
    def goal(cls, config: TrainConfig, classes: Tensor, thresholds: Tensor) -> Goal:
        """Images of their class, with a mean score close to a threshold."""
        settings = config.synthesis
        return near(classes, thresholds, settings.tolerance, settings.class_weight, cls.score)

    def _goal(self, classes: Tensor, thresholds: Tensor) -> Goal:
        """What the ascents of this run are after."""
        return self.goal(self.config, classes, thresholds)

    def _critic(self, network: IntrospectiveNetwork) -> IntrospectiveNetwork:
        """The network whose score is raised: the one that is trained."""
        return network

    def _synthesize(self, critic: IntrospectiveNetwork, epoch: int, progress: Say) -> None:
        """Make new pseudo-negatives of every class and add them to the pool.

        Thresholds are drawn uniformly between the smallest and the largest batch mean of the score
        on real images since the last synthesis: one for each class, or for each image.
        """
        means = distributed.all_reduce(torch.stack(self.score_means))
        low, high = means.min().item(), means.max().item()
        self.score_means = []
        turn = len(self.turns)
        start = self._starts(epoch, turn)
        per_class = start.shape[1]
        group = 1 if self.config.synthesis.per_image else per_class
        classes = torch.arange(self.num_classes).repeat_interleave(per_class // group)
        draws = stream(self.config.seed, "thresholds", epoch, turn)
        thresholds = low + (high - low) * torch.rand(len(classes), generator=draws)

        result, adam_state = synthesize(
            critic,
            start.reshape(len(classes), group, *start.shape[2:]),
            self._goal(classes.to(self.device), thresholds.to(self.device)),
            self.ascent,
            self.adam_state,
            progress,
        )
        if self.config.synthesis.carry_adam:
            self.adam_state = adam_state
        images = result.images.reshape(start.shape)
        self.pool.add(images)
        self.made.append(images)
        steps, reached = (each.float().mean().item() for each in (result.steps, result.reached))
        measured = {"synthesis_steps": steps, "synthesis_reached": reached}
        self.turns.append(measured | {"threshold_low": low, "threshold_high": high})

    def _starts(self, epoch: int, turn: int) -> Tensor:
        """Images that the ascents start from, (num_classes, n, C, H, W) in [-1, 1]."""
        count = self.config.negatives.per_class
        from_pool = round(self.config.synthesis.pool_share * count)
        old = self.pool.draw(from_pool, stream(self.config.seed, "starts", epoch, turn))
        if from_pool == count:
            return old
        return torch.cat([old, self._noise(count - from_pool, epoch, turn)], dim=1)

    def state(self) -> dict[str, Tensor]:
        """Adam's moments of the synthesis, where they are carried over."""
        return {} if self.adam_state is None else moments_to_tensors(self.adam_state)

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Rebuild the pool and the carried moments."""
        super().restore(state, negatives)
        if state:
            moments = tensors_to_moments(state)
            blank = [torch.zeros(1, device=self.device) for _ in moments]
            self.adam_state = {**self.ascent.optimizer(blank).state_dict(), "state": moments}
