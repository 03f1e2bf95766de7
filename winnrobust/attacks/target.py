"""What an attack is given: a model, the images to attack it with, and their one clean pass."""

import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from winnrobust.attacks.passes import (
    LossGradient,
    cross_entropy,
    gradient_of,
    logits,
    loss_gradient,
)
from winnrobust.runtime import randomness

Objective = Callable[[Tensor, Tensor], Tensor]
"""From the logits (n, K) of the images with the numbers (n,) to what an attack raises, (n,)."""


class Target:
    """A model under attack and a batch of images to attack it with.

    What the model says of the images themselves, and the gradient there, is computed when it is
    first asked for and then shared by all attacks and by the count of clean errors.

    Attributes:
        model: anything that returns logits (N, K), or an object with `.logits`.
        images: (N, C, H, W), floating point, in [0, 1].
        labels: (N,) int64, the true classes.
        aims: (N,) int64, the classes that a targeted attack wants to see, or None: any wrong one.
        others: the models of the evaluation by name, this one included, for attacks that transfer.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        first: int = 0,
        seed: int = 0,
        aims: Tensor | None = None,
        others: Mapping[str, nn.Module] | None = None,
        deadline: float = math.inf,
    ) -> None:
        """Take images and labels on the model's device; they are never changed.

        Args:
            first: number of the first image among all that are evaluated, for `uniform`.
            seed: of all randomness of the attacks.
            deadline: when to stop, on the clock of `time.monotonic`.
        """
        self.model = model
        self.images = images.detach()
        self.labels = labels
        self.first = first
        self.seed = seed
        self.aims = aims
        self.others = dict(others or {})
        self.deadline = deadline

    def out_of_time(self) -> bool:
        """Tell whether an attack must stop now."""
        return time.monotonic() >= self.deadline

    @cached_property
    def clean(self) -> LossGradient:
        """Logits and loss gradient of the images as they are."""
        return loss_gradient(self.model, self.images, self.labels)

    @cached_property
    def clean_logits(self) -> Tensor:
        """Logits of the images as they are; no second pass where `clean` is known already."""
        if "clean" in self.__dict__:
            return self.clean.logits
        return logits(self.model, self.images)

    @cached_property
    def standing(self) -> Tensor:
        """Numbers (n,) int64 of the images that an attack has to do with: those not `reached`."""
        everyone = torch.arange(len(self.images), device=self.images.device)
        return everyone[~self.reached(self.clean_logits, everyone)]

    def reached(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Tell for which of the images numbered `rows` logits (n, K) are what the attack wants.

        That is a wrong class or, where there are aims, the image's aim.
        """
        predicted = logits.argmax(1)
        if self.aims is None:
            return predicted != self.labels[rows]
        return predicted == self.aims[rows]

    def still_standing(self, points: Tensor, rows: Tensor, draws: int = 1) -> Tensor:
        """Return those of the numbers `rows` that the points (n, C, H, W) do not reach."""
        return rows[~self.reached(logits(self.model, points, draws), rows)] if len(rows) else rows

    def cross_entropy(self, logits: Tensor, rows: Tensor) -> Tensor:
        """What most attacks raise: the loss of the true label, or the negative one of the aim."""
        if self.aims is None:
            return cross_entropy(logits, self.labels[rows])
        return -cross_entropy(logits, self.aims[rows])

    def gradient(
        self, objective: Objective, points: Tensor, rows: Tensor, draws: int = 1
    ) -> LossGradient:
        """Return d objective / d points, of the images numbered `rows`, averaged over `draws`.

        Raises:
            InputError: as `passes.loss_gradient`.
        """
        return gradient_of(lambda found: objective(found, rows), self.model, points, draws)

    def clean_gradient(self, draws: int = 1) -> LossGradient:
        """Return the gradient of `cross_entropy` at the images as they are: `clean`, if it is that.

        Raises:
            InputError: as `passes.loss_gradient`.
        """
        if self.aims is None and draws == 1:
            return self.clean
        rows = torch.arange(len(self.images), device=self.images.device)
        return self.gradient(self.cross_entropy, self.images, rows, draws)

    def uniform(self, *names: str | int) -> Tensor:
        """Draw numbers in [0, 1) of the images' shape.

        An image's numbers depend on the seed, the names and its place among all images, not on the
        batch that it is in, nor on the process that attacks it.
        """
        return self._numbers(names, tuple(self.images.shape))

    def normal(self, *names: str | int) -> Tensor:
        """Draw normal numbers of the images' shape, which depend on what `uniform`'s depend on."""
        # Half a step away from 0, where the normal quantile is infinite.
        return torch.special.ndtri(self.uniform(*names).double() + 2**-25).to(self.images.dtype)

    def numbers(self, count: int, *names: str | int) -> Tensor:
        """Draw numbers (N, count) in [0, 1), which depend on what `uniform`'s depend on."""
        return self._numbers(names, (len(self.images), count))

    def _numbers(self, names: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        drawn = randomness.uniform(self.seed, *names, first=self.first, shape=shape)
        return drawn.to(self.images.device, self.images.dtype)
