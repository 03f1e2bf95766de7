"""Supervised WINN: classification and synthesis in turns (paper 3.4 and 5.6; method.md A)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust import distributed
from winnrobust.adam_state import moments_to_tensors, tensors_to_moments
from winnrobust.config import TrainConfig
from winnrobust.methods.from_config import ascent_of, initial_of
from winnrobust.methods.losses import gradient_penalty
from winnrobust.methods.method import Batch, EpochEnd, Losses, Method
from winnrobust.models import IntrospectiveNetwork
from winnrobust.randomness import stream
from winnrobust.synthesis import Goal, NegativePool, near, synthesise


class Winn(Method):
    """Cross-entropy + alpha * (Wasserstein term + gradient penalty) against self-made negatives.

    Classification: real images and label-matched pseudo-negatives from the pool. Synthesis, after
    every epoch and where asked for in between: new images for every class, from noise or from the
    pool, until the critic takes them for real.
    """

    def __init__(
        self,
        config: TrainConfig,
        channels: int,
        image_size: int,
        num_classes: int,
        device: torch.device,
    ) -> None:
        super().__init__(config, channels, image_size, num_classes, device)
        self.ascent = ascent_of(config)
        self.initial = initial_of(config, channels, image_size)
        noise = self._noise(config.negatives_per_class, epoch=0, turn=0)
        self.pool = NegativePool(noise, config.pool_newest)
        self.adam_state: dict | None = None
        self.critic_means: list[Tensor] = []  # of the real batches since the last synthesis
        self.turns: list[dict[str, float]] = []  # what each synthesis of this epoch measured
        self.made: list[Tensor] = []  # what each synthesis of this epoch made

    @staticmethod
    def goal(config: TrainConfig, classes: Tensor, thresholds: Tensor) -> Goal:
        """Images of their class, with a mean critic value close to a threshold."""
        return near(classes, thresholds, config.synthesis_tolerance, config.synthesis_class_weight)

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Cross-entropy of the real images plus alpha times the critic's loss (all batch means).

        Pseudo-negatives enter no class loss. Real images and pseudo-negatives share one pass: the
        norm layers work per image, so this changes nothing but the speed.
        """
        real = 2 * batch.images - 1
        paired = batch.leading(self.config.negatives_share)
        numbers = batch.integers(self.pool.per_class)[: len(paired.labels)]
        fake = self.pool.take(paired.labels, numbers)

        output = network.judge(torch.cat([real, fake]))
        logits = output.logits[: len(real)]
        critic_real, critic_fake = output.critic.split([len(real), len(fake)])
        cross_entropy = batch.mean(F.cross_entropy(logits, batch.labels, reduction="none"))
        mean_real = batch.mean(critic_real)
        wasserstein = paired.mean(critic_fake) - mean_real

        penalised = paired.leading(self.config.gp_share)
        count = len(penalised.labels)
        penalties = gradient_penalty(
            network, real[:count], fake[:count], mix=batch.uniform()[:count]
        )
        penalty = penalised.mean(penalties.penalty)
        total = cross_entropy + self.config.alpha * (wasserstein + self.config.gp_weight * penalty)
        self.critic_means.append(mean_real.detach())
        return Losses(
            total,
            {
                "cross_entropy": cross_entropy,
                "wasserstein": -wasserstein,
                "gradient_penalty": penalty,
                "gradient_norm": penalised.mean(penalties.gradient_norm),
                "train_error": batch.mean((logits.argmax(1) != batch.labels).float()),
            },
        )

    def after_step(
        self, network: IntrospectiveNetwork, epoch: int, step: int, tell: Callable[[str], None]
    ) -> None:
        """Synthesise after every `synthesis_every` steps."""
        if self.config.synthesis_every and step % self.config.synthesis_every == 0:
            self._synthesise(network, epoch, tell)

    def end_epoch(
        self, network: IntrospectiveNetwork, epoch: int, tell: Callable[[str], None]
    ) -> EpochEnd:
        """Synthesise, unless that was just done, and return all that the epoch made."""
        if self.critic_means:
            self._synthesise(network, epoch, tell)
        names = self.turns[0].keys()
        metrics = {name: sum(turn[name] for turn in self.turns) / len(self.turns) for name in names}
        made = torch.cat(self.made, dim=1)
        self.turns, self.made = [], []
        return EpochEnd(metrics | {"pool_size": len(self.pool)}, made)

    def _synthesise(
        self, network: IntrospectiveNetwork, epoch: int, tell: Callable[[str], None]
    ) -> None:
        """Make new pseudo-negatives of every class and add them to the pool.

        Thresholds are drawn uniformly between the smallest and the largest batch mean of the critic
        on real images since the last synthesis: one for each class, or for each image.
        """
        means = distributed.sum_up(torch.stack(self.critic_means))
        low, high = (bound.item() for bound in torch.aminmax(means))
        self.critic_means = []
        turn = len(self.turns)
        start = self._starts(epoch, turn)
        per_class = start.shape[1]
        group = 1 if self.config.synthesis_per_image else per_class
        classes = torch.arange(self.num_classes).repeat_interleave(per_class // group)
        draw = torch.rand(
            len(classes), generator=stream(self.config.seed, "thresholds", epoch, turn)
        )
        result, adam_state = synthesise(
            network,
            start.reshape(len(classes), group, *start.shape[2:]),
            self.goal(
                self.config,
                classes.to(self.device),
                (low + (high - low) * draw).to(self.device),
            ),
            self.ascent,
            self.adam_state,
            tell,
        )
        if self.config.synthesis_carry_adam:
            self.adam_state = adam_state
        images = result.images.reshape(start.shape)
        self.pool.add(images)
        self.made.append(images)
        self.turns.append(
            {
                "synthesis_steps": result.steps.float().mean().item(),
                "synthesis_reached": result.reached.float().mean().item(),
                "threshold_low": low,
                "threshold_high": high,
            }
        )

    def _starts(self, epoch: int, turn: int) -> Tensor:
        """Images that the ascents start from, (num_classes, n, C, H, W) in [-1, 1]."""
        count = self.config.negatives_per_class
        from_pool = round(self.config.synthesis_pool_share * count)
        old = self.pool.draw(from_pool, stream(self.config.seed, "starts", epoch, turn))
        if from_pool == count:
            return old
        return torch.cat([old, self._noise(count - from_pool, epoch, turn)], dim=1)

    def _noise(self, count: int, epoch: int, turn: int) -> Tensor:
        """Fresh images of the initial distribution, (num_classes, count, C, H, W) in [-1, 1]."""
        generator = stream(self.config.seed, "noise", epoch, turn)
        images = self.initial.sample(self.num_classes * count, generator)
        return images.unflatten(0, (self.num_classes, count)).to(self.device)

    def state(self) -> dict[str, Tensor]:
        """Adam's moments of the synthesis, where they are carried over."""
        return {} if self.adam_state is None else moments_to_tensors(self.adam_state)

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Rebuild the pool and the carried moments."""
        for images in negatives:
            self.pool.add(images.to(self.device))
        if state:
            moments = tensors_to_moments(state)
            blank = [torch.zeros(1, device=self.device) for _ in moments]
            self.adam_state = {**self.ascent.optimizer(blank).state_dict(), "state": moments}
