"""Supervised WINN: classification and synthesis in turns (paper 3.4 and 5.6; method.md A)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.adam_state import moments_to_tensors, tensors_to_moments
from winnrobust.config import TrainConfig
from winnrobust.methods.losses import gradient_penalty, wasserstein_term
from winnrobust.methods.method import Batch, EpochEnd, Losses
from winnrobust.models import IntrospectiveNetwork
from winnrobust.randomness import stream
from winnrobust.synthesis import Ascent, InitialDistribution, NegativePool, synthesise


class Winn:
    """Cross-entropy + alpha * (Wasserstein term + gradient penalty) against self-made negatives.

    Classification: real images and label-matched pseudo-negatives from the pool. Synthesis, after
    every epoch: new images for every class, from noise, until the critic takes them for real.
    """

    def __init__(
        self,
        config: TrainConfig,
        channels: int,
        image_size: int,
        num_classes: int,
        device: torch.device,
    ) -> None:
        self.config = config
        self.num_classes = num_classes
        self.device = device
        self.ascent = Ascent(
            lr=config.synthesis_lr,
            beta1=config.synthesis_beta1,
            beta2=config.synthesis_beta2,
            max_steps=config.synthesis_max_steps,
            tolerance=config.synthesis_tolerance,
            class_weight=config.synthesis_class_weight,
        )
        self.initial = InitialDistribution(
            channels,
            image_size,
            config.noise_dim,
            config.noise_weight_std,
            stream(config.seed, "initial distribution"),
        )
        self.pool = NegativePool(self._noise(epoch=0))
        self.adam_state: dict | None = None

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Cross-entropy of the real images plus alpha times the critic's loss (all batch means).

        Pseudo-negatives enter no class loss. Real images and pseudo-negatives share one pass: the
        norm layers work per image, so this changes nothing but the speed.
        """
        real = 2 * batch.images - 1
        fake = self.pool.take(batch.labels, batch.integers(self.pool.per_class))

        output = network.judge(torch.cat([real, fake]))
        logits = output.logits[: len(real)]
        critic_real, critic_fake = output.critic.split([len(real), len(fake)])
        cross_entropy = batch.mean(F.cross_entropy(logits, batch.labels, reduction="none"))
        wasserstein = batch.mean(wasserstein_term(critic_fake, critic_real))
        penalties = gradient_penalty(network, real, fake, mix=batch.uniform())
        penalty = batch.mean(penalties.penalty)
        total = cross_entropy + self.config.alpha * (wasserstein + self.config.gp_weight * penalty)
        return Losses(
            total,
            {
                "cross_entropy": cross_entropy,
                "wasserstein": -wasserstein,
                "gradient_penalty": penalty,
                "gradient_norm": batch.mean(penalties.gradient_norm),
                "critic_real": batch.mean(critic_real),
                "train_error": batch.mean((logits.argmax(1) != batch.labels).float()),
            },
        )

    def end_epoch(
        self,
        network: IntrospectiveNetwork,
        epoch: int,
        steps: dict[str, Tensor],
        tell: Callable[[str], None],
    ) -> EpochEnd:
        """Synthesise new pseudo-negatives of every class and add them to the pool.

        Each class's threshold is drawn uniformly between the smallest and the largest batch mean
        of the critic on real images in the epoch just finished.
        """
        low, high = (bound.item() for bound in torch.aminmax(steps["critic_real"]))
        draw = torch.rand(self.num_classes, generator=stream(self.config.seed, "thresholds", epoch))
        thresholds = (low + (high - low) * draw).to(self.device)
        result, adam_state = synthesise(
            network, self._noise(epoch), thresholds, self.ascent, self.adam_state, tell
        )
        if self.config.synthesis_carry_adam:
            self.adam_state = adam_state
        self.pool.add(result.images)
        metrics = {
            "synthesis_steps": result.steps.float().mean().item(),
            "synthesis_reached": result.reached.float().mean().item(),
            "threshold_low": low,
            "threshold_high": high,
            "pool_size": len(self.pool),
        }
        return EpochEnd(metrics, result.images)

    def state(self) -> dict[str, Tensor]:
        """Adam's moments of the synthesis, where they are carried over."""
        return {} if self.adam_state is None else moments_to_tensors(self.adam_state)

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Rebuild the pool and the carried moments."""
        for images in negatives:
            self.pool.add(images.to(self.device))
        if state:
            blank = [torch.zeros(1, device=self.device) for _ in range(self.num_classes)]
            self.adam_state = {
                **self.ascent.optimizer(blank).state_dict(),
                "state": tensors_to_moments(state),
            }

    def _noise(self, epoch: int) -> Tensor:
        """Fresh images of the initial distribution, (num_classes, n, C, H, W) in [-1, 1]."""
        count = self.config.negatives_per_class
        images = self.initial.sample(
            self.num_classes * count, stream(self.config.seed, "noise", epoch)
        )
        return images.unflatten(0, (self.num_classes, count)).to(self.device)
