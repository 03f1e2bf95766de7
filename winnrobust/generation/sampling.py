"""Samples from a trained network: its own ascents, from noise to images that it takes for real."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.models.checkpoint import ModelInfo
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import (
    Pace,
    PixelNoise,
    Progress,
    dropout,
    groups_of,
    images_at_once,
    langevin,
    silent,
    synthesize,
    together,
)
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods import ascent_of, initial_of, method_of


@dataclass(frozen=True)
class Noise:
    """What is random in the ascents themselves.

    Attributes:
        kind: "none", "langevin" (normal noise on the pixels after every step) or "dropout"
            (other features left out in every step).
        size: standard deviation of the first, of pixels in [-1, 1]; rate of the second.
    """

    kind: str
    size: float


NOISE = {"none": 0.0, "langevin": 0.01, "dropout": 0.1}
"""Kinds of noise and their usual sizes."""

NO_NOISE = Noise("none", 0.0)


@dataclass(frozen=True)
class Sampler:
    """What samples are drawn from.

    Attributes:
        networks: one for each cascade, in order.
        info: what the model file says of them.
        config: how they were trained, and how they synthesized.
        thresholds: for each network the range that early stopping draws from, as
            `ModelInfo.thresholds`.
    """

    networks: Sequence[IntrospectiveNetwork]
    info: ModelInfo
    config: TrainConfig
    thresholds: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Samples:
    """N samples and what is known of them, on the CPU.

    Attributes:
        images: (N, C, H, W) float32 in [0, 1].
        classes: (N,) int64, what was asked for.
        seen: (N,) int64, what the network that made them sees in them.
        critic: (N,) float32, its critic values; of an icn, whose critic is not trained, the logits
            of the classes.
        thresholds: (N,) float32, what the mean of these values of a sample's group had to reach in
            the last cascade; NaN where the method has no thresholds.
        steps: (N,) int64, of the ascents, over all cascades.
        reached: (N,) bool, False where a step limit ended one.
    """

    images: Tensor
    classes: Tensor
    seen: Tensor
    critic: Tensor
    thresholds: Tensor
    steps: Tensor
    reached: Tensor


def draw(
    sampler: Sampler,
    classes: Tensor,
    *,
    seed: int,
    device: torch.device,
    batch_size: int | None = None,
    noise: Noise = NO_NOISE,
    progress: Progress = silent,
) -> Samples:
    """Draw a sample of every class asked for.

    Samples of a class form groups of at most 100, each with a threshold and a stop of its own, as
    in training. The random network that they start from is that of the training, too: the authors
    draw a new one, and keep images in 8 bits between cascades. Every cascade goes on with what the
    one before it made. But for dropout, a sample depends on the seed and the classes, not on the
    batch size.

    Args:
        sampler: its networks are moved to `device`.
        classes: (N,) int64; all 0 where there are none.
        batch_size: about how many images are moved at once; None for as many as suits their size.
        noise: in the ascents.
        progress: called in every step.

    Raises:
        InputError: the method makes no images, or its thresholds are not known.
    """
    info = sampler.info
    ranges = ranges_of(sampler)
    for network in sampler.networks:
        network.to(device).eval()
    groups = groups_of(classes)
    batches = list(together(groups, batch_size or images_at_once(info.image_size)))
    count = len(batches) * len(sampler.networks)
    pace = Pace(count, sampler.config.synthesis.max_steps, progress)
    ascents = _Ascents(sampler, ranges, seed, noise, device)
    parts: list[Samples] = []
    places = torch.zeros(0, dtype=torch.int64)
    for numbers in batches:
        rows = torch.stack([groups[number] for number in numbers])
        text = f"{len(places)} samples done"
        parts.append(ascents.run(numbers, classes[rows], pace, text))
        places = torch.cat([places, rows.flatten()])
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return Samples(*(torch.cat(column)[places.argsort()] for column in columns))


@dataclass(frozen=True)
class _Ascents:
    """The ascents of some groups through all cascades."""

    sampler: Sampler
    ranges: Sequence[tuple[float, float]]
    seed: int
    noise: Noise
    device: torch.device

    def run(self, numbers: Sequence[int], classes: Tensor, pace: Pace, text: str) -> Samples:
        """Draw groups with these numbers and classes (G, n), from noise to the last cascade."""
        config, info, seed = self.sampler.config, self.sampler.info, self.seed
        method = method_of(config)
        initial = initial_of(config, info.in_channels, info.image_size)
        moved = torch.stack(
            [initial.sample(classes.shape[1], stream(seed, "samples", n)) for n in numbers]
        ).to(self.device)
        steps = torch.zeros(len(numbers), dtype=torch.int64)
        reached = torch.ones(len(numbers), dtype=torch.bool)
        for cascade, (low, high) in enumerate(self.ranges):
            network = self.sampler.networks[cascade]
            draws = [torch.rand(1, generator=stream(seed, "stops", cascade, n)) for n in numbers]
            wanted = low + (high - low) * torch.cat(draws)
            goal = method.goal(config, classes[:, 0].to(self.device), wanted.to(self.device))
            with self._dropout(network, cascade, numbers):
                made, _ = synthesize(
                    network,
                    moved,
                    goal,
                    ascent_of(config),
                    progress=lambda step: pace.step(f"{text}, {step}"),
                    noise=self._pixel_noise(cascade, numbers),
                )
            pace.end()
            moved, steps, reached = made.images, steps + made.steps, reached & made.reached
        images, flat = moved.flatten(0, 1), classes.flatten()
        with torch.no_grad():
            output = network.forward_signed(images)
            score = method.score(output, flat.to(self.device))
        each = classes.shape[1]
        return Samples(
            (images.cpu() + 1) / 2,
            flat,
            output.logits.argmax(1).cpu(),
            score.cpu(),
            wanted.repeat_interleave(each),
            steps.repeat_interleave(each),
            reached.repeat_interleave(each),
        )

    def _pixel_noise(self, cascade: int, numbers: Sequence[int]) -> PixelNoise | None:
        if self.noise.kind != "langevin":
            return None
        of_group = langevin(self.noise.size, self.seed, "samples", cascade)
        return lambda step, group, images: of_group(step, numbers[group], images)

    def _dropout(
        self, network: IntrospectiveNetwork, cascade: int, numbers: Sequence[int]
    ) -> AbstractContextManager:
        if self.noise.kind != "dropout":
            return nullcontext()
        masks = stream(self.seed, "dropout", cascade, numbers[0])
        return dropout(network, self.noise.size, masks)


def ranges_of(sampler: Sampler) -> Sequence[tuple[float, float]]:
    """The range of every network's thresholds; NaN where its method has none.

    Raises:
        InputError: the method makes no images, or they are not known.
    """
    method = method_of(sampler.config)
    method.goal(sampler.config, torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    if not method.has_thresholds:
        return [(math.nan, math.nan)] * sampler.info.cascades
    if not sampler.thresholds:
        raise InputError(
            "it is not known where its ascents have to stop: neither the model file nor the"
            " metrics.jsonl of its run say so; give the range of critic values with --threshold"
        )
    return sampler.thresholds
