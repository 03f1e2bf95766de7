"""Where pseudo-negatives come from: random images, gradient ascent on the critic, a growing pool.

Everything here works on images in [-1, 1], the range of the method's own maths.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust import distributed
from winnrobust.models import IntrospectiveNetwork

GENERATOR_CHANNELS = (512, 256, 128, 64)
"""Channels of the random initial generator, from 4x4 pixels up (paper, Appendix D)."""


class InitialDistribution:
    """The images that synthesis starts from: a random convolutional generator, never trained.

    z ~ U(-1, 1)^noise_dim -> linear to 512x4x4 -> four times [layer norm, conv 5x5, nearest-
    neighbour upsampling to 8, 16 and the image size] -> tanh (method.md A5). Its weights are
    uniform with standard deviation `weight_std`, drawn once from `generator`.

    Args:
        channels, image_size: shape of the images to draw.
        noise_dim: length of z.
        weight_std: standard deviation of all weights; biases are 0.
        generator: where the weights are drawn from.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        noise_dim: int,
        weight_std: float,
        generator: torch.Generator,
    ) -> None:
        bound = weight_std * math.sqrt(3)

        def uniform(*shape: int) -> Tensor:
            return torch.empty(shape).uniform_(-bound, bound, generator=generator)

        widths = (*GENERATOR_CHANNELS, channels)
        self.sizes = (8, 16, image_size, image_size)
        self.project = uniform(widths[0] * 4 * 4, noise_dim)
        self.kernels = [
            uniform(outputs, inputs, 5, 5) for inputs, outputs in itertools.pairwise(widths)
        ]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, channels, image_size, image_size) images in [-1, 1] on the CPU."""
        z = torch.empty(count, self.project.shape[1]).uniform_(-1, 1, generator=generator)
        x = F.linear(z, self.project).reshape(count, -1, 4, 4)
        for kernel, size in zip(self.kernels, self.sizes, strict=True):
            x = F.conv2d(F.layer_norm(x, x.shape[1:]), kernel, padding=2)
            x = F.interpolate(x, size=(size, size), mode="nearest")
        return torch.tanh(x)


class NegativePool:
    """The pseudo-negatives made so far, by class: all of them (method.md A4), or the newest."""

    def __init__(self, images: Tensor, limit: int | None = None) -> None:
        """Start with `images` (num_classes, n, C, H, W) in [-1, 1].

        Args:
            limit: how many of every class to keep, the newest ones; None keeps all.
        """
        self.images = images
        self.limit = limit

    def __len__(self) -> int:
        return self.images.shape[0] * self.images.shape[1]

    @property
    def per_class(self) -> int:
        return self.images.shape[1]

    def add(self, images: Tensor) -> None:
        """Append `images` (num_classes, n, C, H, W) in [-1, 1]; drop the oldest over the limit."""
        images = torch.cat([self.images, images], dim=1)
        self.images = images if self.limit is None else images[:, -self.limit :]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` images of every class, with replacement: (num_classes, count, C, H, W)."""
        numbers = torch.randint(self.per_class, (len(self.images), count), generator=generator)
        return torch.stack(
            [images[chosen] for images, chosen in zip(self.images, numbers, strict=True)]
        )

    def take(self, labels: Tensor, numbers: Tensor) -> Tensor:
        """Return the images (N, C, H, W) of these classes with these numbers within their class.

        Args:
            labels: (N,) int64.
            numbers: (N,) int64, from 0 to `per_class` - 1.
        """
        return self.images[labels, numbers]


@dataclass(frozen=True)
class Ascent:
    """How pixels are moved (method.md A6); the fields are `TrainConfig`'s `synthesis_*`."""

    lr: float
    beta1: float
    beta2: float
    max_steps: int
    tolerance: float
    class_weight: float

    def optimizer(self, pixels: list[Tensor]) -> torch.optim.Adam:
        """Make Adam for one pixel tensor per group, with fresh moments."""
        return torch.optim.Adam(pixels, lr=self.lr, betas=(self.beta1, self.beta2), eps=1e-8)


@dataclass(frozen=True)
class Synthesis:
    """What an ascent gave.

    Attributes:
        images: (G, n, C, H, W) in [-1, 1].
        steps: (G,) int64, steps until each group stopped.
        reached: (G,) bool, False where the step limit ended it.
    """

    images: Tensor
    steps: Tensor
    reached: Tensor


def synthesise(
    network: IntrospectiveNetwork,
    start: Tensor,
    classes: Tensor,
    thresholds: Tensor,
    ascent: Ascent,
    optimizer_state: dict | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[Synthesis, dict]:
    """Move groups of images until the critic takes them for real images of their class.

    For group g it minimises |mean f - thresholds_g| + class_weight * mean cross-entropy to
    classes_g by Adam on the pixels, clips to [-1, 1] after every step, and stops at the first step
    after which |mean f - thresholds_g| <= tolerance (method.md A6, where a group is all images of a
    class). All groups share one forward pass: the norm layers work per image and each group has its
    own mean, threshold, stop and Adam moments, so the result is that of one group after the other.
    The stop test reuses the next step's forward pass. Where several processes work together, each
    takes some of the groups.

    Args:
        network: judged as it is; no parameter and no parameter gradient changes.
        start: (G, n, C, H, W) in [-1, 1].
        classes: (G,) int64.
        thresholds: (G,) critic values to reach.
        ascent: the settings.
        optimizer_state: moments of an earlier call to go on with; None for fresh ones.
        tell: called in every step with a few words on how far it is.

    Returns:
        The synthesis and Adam's state after it.
    """
    groups, count = start.shape[:2]
    pixels = [images.clone().requires_grad_() for images in start]
    optimizer = ascent.optimizer(pixels)
    if optimizer_state is not None:
        optimizer.load_state_dict(optimizer_state)
    steps = torch.zeros(groups, dtype=torch.int64)
    reached = torch.zeros(groups, dtype=torch.bool)
    mine = list(range(groups))[distributed.share(groups)]
    active = mine

    for step in range(ascent.max_steps + 1):
        if not active:
            break
        tell(f"synthesis step {step}, {len(active)} of {groups} groups to go")
        output = network.judge(torch.cat([pixels[g] for g in active]))
        mean_critic = output.critic.reshape(len(active), count).mean(1)
        gap = (mean_critic - thresholds[active]).abs()
        if step > 0:
            steps[active] = step
            reached[active] = gap.detach().cpu() <= ascent.tolerance
        unfinished = ~reached[active]
        if step == ascent.max_steps or not unfinished.any():
            break

        wanted = classes[active].repeat_interleave(count)
        class_loss = F.cross_entropy(output.logits, wanted, reduction="none")
        objective = gap + ascent.class_weight * class_loss.reshape(len(active), count).mean(1)
        active = [g for g, go_on in zip(active, unfinished.tolist(), strict=True) if go_on]
        gradients = torch.autograd.grad(
            objective[unfinished.to(objective.device)].sum(), [pixels[g] for g in active]
        )
        for images in pixels:
            images.grad = None  # Adam leaves alone what has no gradient: finished groups
        for g, gradient in zip(active, gradients, strict=True):
            pixels[g].grad = gradient
        optimizer.step()
        with torch.no_grad():
            for g in active:
                pixels[g].clamp_(-1, 1)

    images = torch.stack([images.detach() for images in pixels])
    state = optimizer.state_dict()
    made = {g: (images[g], steps[g], reached[g], state["state"][g]) for g in mine}
    for part in distributed.gather(made):
        for g, (image, step_count, was_reached, moments) in part.items():
            images[g], steps[g], reached[g] = image, step_count, was_reached
            state["state"][g] = moments
    return Synthesis(images, steps, reached), state
