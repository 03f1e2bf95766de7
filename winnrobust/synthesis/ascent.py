"""Gradient ascent on the pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from winnrobust.models import ClassifierOutput
from winnrobust.runtime import devices, distributed
from winnrobust.synthesis.goals import Goal
from winnrobust.synthesis.noise import PixelNoise

LOOK_EVERY = 10
"""In steps: how often a GPU is asked which groups have reached their goal."""


class Critic(Protocol):
    """What an ascent follows, as it is: a network, or something around one."""

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

    To look who has reached the goal is to wait for a GPU. So there it is done every few steps, and
    then a group goes back to the step after which it had to stop: the result is the same.

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
    groups, device = len(start), start.device
    pixels = [images.clone() for images in start]
    optimizer = ascent.optimizer(pixels)
    if optimizer_state is not None:
        optimizer.load_state_dict(optimizer_state)
    mine = list(range(groups))[distributed.shard(groups)]
    stops = _Stops(groups, optimizer, LOOK_EVERY if devices.waits(device) else 1)
    active, numbers = mine, torch.tensor(mine, device=device)

    for step in range(ascent.max_steps + 1):
        if not active:
            break
        progress(f"synthesis step {step}, {len(active)} of {groups} groups to go")
        points = torch.cat([pixels[g] for g in active]).requires_grad_()
        loss, reached = goal(critic.forward_signed(points), numbers)
        if step > 0:
            stops.note(step, active, points.detach(), reached)
        if step == ascent.max_steps or (step > 0 and step % stops.every == 0):
            places = stops.look(active)
            active = [active[place] for place in places]
            if step == ascent.max_steps or not active:
                break
            if len(places) < len(numbers):
                chosen = torch.tensor(places, device=device)
                loss, numbers = loss[chosen], numbers[chosen]
        else:
            places = list(range(len(active)))
        (gradient,) = torch.autograd.grad(loss.sum(), points)
        parts = gradient.split(start.shape[1])
        optimizer.zero_grad(set_to_none=True)  # Adam leaves finished groups alone
        for g, place in zip(active, places, strict=True):
            pixels[g].grad = parts[place]
        optimizer.step()
        with torch.no_grad():
            for g in active:
                if noise is not None:
                    pixels[g].add_(noise(step, g, pixels[g]))
                pixels[g].clamp_(-1, 1)

    made = Synthesis(torch.stack(pixels), stops.steps, stops.reached)
    return _gathered(made, optimizer.state_dict(), mine)


class _Unseen(NamedTuple):
    """The g groups under way after a step, of which nobody has looked who is done: their images
    (g * n, C, H, W), Adam's moments (g, n, C, H, W) by name, and (g,) who is."""

    step: int
    images: Tensor
    moments: dict[str, Tensor]
    reached: Tensor


class _Stops:
    """When the groups of an ascent stopped.

    Attributes:
        steps, reached: as in `Synthesis`.
        every: in how many steps somebody looks.
    """

    def __init__(self, groups: int, optimizer: torch.optim.Adam, every: int) -> None:
        self.steps = torch.zeros(groups, dtype=torch.int64)
        self.reached = torch.zeros(groups, dtype=torch.bool)
        self.every, self.optimizer = every, optimizer
        self.unseen: list[_Unseen] = []

    def _adam(self, group: int) -> dict[str, Tensor]:
        return self.optimizer.state[self.optimizer.param_groups[0]["params"][group]]

    def note(self, step: int, active: list[int], images: Tensor, reached: Tensor) -> None:
        """Remember what the active groups (g,) were after a step: images (g * n, C, H, W)."""
        moments = {}
        if self.every > 1:
            adam = [self._adam(group) for group in active]
            moments = {
                name: torch.stack([each[name] for each in adam])
                for name in ("exp_avg", "exp_avg_sq")
            }
        self.unseen.append(_Unseen(step, images, moments, reached))

    def look(self, active: list[int]) -> list[int]:
        """Wait for what was noted; groups that were done go back to where they were then.

        Returns:
            The places in `active` of those that are not done.
        """
        reached = torch.stack([each.reached for each in self.unseen]).cpu()
        done = reached.any(0)
        first = torch.where(done, reached.int().argmax(0), len(reached) - 1)
        self.steps[active] = torch.tensor([each.step for each in self.unseen])[first]
        self.reached[active] = done
        last = self.unseen[-1].step
        for place, moment in enumerate(first.tolist()):
            if moment < len(reached) - 1:
                self._go_back(active[place], place, self.unseen[moment], last)
        self.unseen.clear()
        return (~done).nonzero().flatten().tolist()

    def _go_back(self, group: int, place: int, to: _Unseen, last: int) -> None:
        pixels = self.optimizer.param_groups[0]["params"][group]
        pixels.copy_(to.images[place * len(pixels) : (place + 1) * len(pixels)])
        adam = self._adam(group)
        for name, values in to.moments.items():
            adam[name].copy_(values[place])
        adam["step"] -= last - to.step


def _gathered(made: Synthesis, adam: dict, mine: list[int]) -> tuple[Synthesis, dict]:
    """The groups of every process together, and their moments; each made those of its `mine`."""
    parts = {g: (made.images[g], made.steps[g], made.reached[g], adam["state"][g]) for g in mine}
    for part in distributed.all_gather(parts):
        for g, (images, steps, reached, moments) in part.items():
            made.images[g], made.steps[g], made.reached[g] = images, steps, reached
            adam["state"][g] = moments
    return made, adam
