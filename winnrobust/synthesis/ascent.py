"""Gradient ascent on the pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from winnrobust.models import ClassifierOutput
from winnrobust.runtime import distributed
from winnrobust.synthesis.goals import Goal
from winnrobust.synthesis.noise import PixelNoise


class Critic(Protocol):
    """What an ascent climbs, as it is: a network, or something around one."""

    def forward_signed(self, images: Tensor) -> ClassifierOutput:
        """Logits and critic of images (N, C, H, W) in [-1, 1]."""


@dataclass(frozen=True)
class Ascent:
    """How pixels are moved: by Adam with these settings, in at most `max_steps` steps."""

    lr: float
    beta1: float
    beta2: float
    max_steps: int

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


def synthesize(
    critic: Critic,
    start: Tensor,
    goal: Goal,
    ascent: Ascent,
    optimizer_state: dict | None = None,
    progress: Callable[[str], None] = lambda text: None,
    noise: PixelNoise | None = None,
) -> tuple[Synthesis, dict]:
    """Move groups of images until the critic takes them for real ones.

    It minimizes every group's loss by Adam on the pixels, clips to [-1, 1] after every step, and
    stops at the first step after which the group has reached its goal. All groups share one forward
    pass: the norm layers work per image and each group has its own loss, stop and Adam moments, so
    the result is that of one group after the other. The stop test reuses the next step's forward
    pass. Where several processes work together, each takes some of the groups.

    Args:
        critic: used as it is; no parameter and no parameter gradient changes.
        start: (G, n, C, H, W) in [-1, 1].
        goal: what every group is after.
        ascent: the settings.
        optimizer_state: moments of an earlier call to go on with; None for fresh ones.
        progress: called in every step with a few words.
        noise: what is added to the images after every step, before they are clipped.

    Returns:
        The synthesis and Adam's state after it.
    """
    groups = len(start)
    pixels = [images.clone().requires_grad_() for images in start]
    optimizer = ascent.optimizer(pixels)
    if optimizer_state is not None:
        optimizer.load_state_dict(optimizer_state)
    steps = torch.zeros(groups, dtype=torch.int64)
    reached = torch.zeros(groups, dtype=torch.bool)
    mine = list(range(groups))[distributed.shard(groups)]
    active = mine

    for step in range(ascent.max_steps + 1):
        if not active:
            break
        progress(f"synthesis step {step}, {len(active)} of {groups} groups to go")
        state = goal(critic.forward_signed(torch.cat([pixels[g] for g in active])), active)
        if step > 0:
            steps[active] = step
            reached[active] = state.reached.cpu()
        unfinished = ~reached[active]
        if step == ascent.max_steps or not unfinished.any():
            break
        active = [g for g, goes_on in zip(active, unfinished.tolist(), strict=True) if goes_on]
        loss = state.loss[unfinished.to(state.loss.device)].sum()
        gradients = torch.autograd.grad(loss, [pixels[g] for g in active])
        optimizer.zero_grad(set_to_none=True)  # Adam leaves finished groups alone
        for g, gradient in zip(active, gradients, strict=True):
            pixels[g].grad = gradient
        optimizer.step()
        with torch.no_grad():
            for g in active:
                if noise is not None:
                    pixels[g].add_(noise(step, g, pixels[g]))
                pixels[g].clamp_(-1, 1)

    made = Synthesis(torch.stack([images.detach() for images in pixels]), steps, reached)
    return _gathered(made, optimizer.state_dict(), mine)


def _gathered(made: Synthesis, adam: dict, mine: list[int]) -> tuple[Synthesis, dict]:
    """The groups of every process together, and their moments; each made those of its `mine`."""
    parts = {g: (made.images[g], made.steps[g], made.reached[g], adam["state"][g]) for g in mine}
    for part in distributed.all_gather(parts):
        for g, (images, steps, reached, moments) in part.items():
            made.images[g], made.steps[g], made.reached[g] = images, steps, reached
            adam["state"][g] = moments
    return made, adam
