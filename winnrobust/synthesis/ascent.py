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


class Judge(Protocol):
    """What an ascent asks, as it is: a network, or something around one."""

    def judge(self, signed_images: Tensor) -> ClassifierOutput:
        """Judge images (N, C, H, W) in [-1, 1]."""


@dataclass(frozen=True)
class Ascent:
    """How pixels are moved; the fields are `TrainConfig`'s `synthesis_*`."""

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


def synthesise(
    network: Judge,
    start: Tensor,
    goal: Goal,
    ascent: Ascent,
    optimizer_state: dict | None = None,
    tell: Callable[[str], None] = lambda text: None,
    noise: PixelNoise | None = None,
) -> tuple[Synthesis, dict]:
    """Move groups of images until the network takes them for real ones.

    It minimises every group's objective by Adam on the pixels, clips to [-1, 1] after every step,
    and stops at the first step after which the group has reached its goal. All groups share one
    forward pass: the norm layers work per image and each group has its own objective, stop and Adam
    moments, so the result is that of one group after the other. The stop test reuses the next
    step's forward pass. Where several processes work together, each takes some of the groups.

    Args:
        network: judged as it is; no parameter and no parameter gradient changes.
        start: (G, n, C, H, W) in [-1, 1].
        goal: what every group is after.
        ascent: the settings.
        optimizer_state: moments of an earlier call to go on with; None for fresh ones.
        tell: called in every step with a few words on how far it is.
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
        tell(f"synthesis step {step}, {len(active)} of {groups} groups to go")
        output = network.judge(torch.cat([pixels[g] for g in active]))
        pursuit = goal(output, active)
        if step > 0:
            steps[active] = step
            reached[active] = pursuit.reached.cpu()
        unfinished = ~reached[active]
        if step == ascent.max_steps or not unfinished.any():
            break

        objective = pursuit.objective
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
                if noise is not None:
                    pixels[g].add_(noise(step, g, pixels[g]))
                pixels[g].clamp_(-1, 1)

    images = torch.stack([images.detach() for images in pixels])
    state = optimizer.state_dict()
    made = {g: (images[g], steps[g], reached[g], state["state"][g]) for g in mine}
    for part in distributed.all_gather(made):
        for g, (image, step_count, was_reached, moments) in part.items():
            images[g], steps[g], reached[g] = image, step_count, was_reached
            state["state"][g] = moments
    return Synthesis(images, steps, reached), state
