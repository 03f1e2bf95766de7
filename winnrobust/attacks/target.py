"""What an attack is given: a model, the images to attack it with, and their one clean pass."""

import math
import time
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.errors import InputError
from winnrobust.randomness import uniform


class LossGradient(NamedTuple):
    """A forward and a backward pass.

    Attributes:
        logits: (N, K), without a graph.
        gradient: (N, C, H, W), d cross-entropy / d images.
    """

    logits: Tensor
    gradient: Tensor


class Target:
    """A model under attack and a batch of images to attack it with.

    What the model says of the images themselves, and the gradient there, is computed when it is
    first asked for and then shared by all attacks and by the count of clean errors.

    Attributes:
        model: anything that returns logits (N, K), or an object with `.logits`.
        images: (N, C, H, W), floating point, in [0, 1].
        labels: (N,) int64, the true classes.
        aims: (N,) int64, the classes that a targeted attack wants to see, or None: any wrong one.
        others: the other models of the evaluation, by name, for attacks that transfer from them.
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

    def uniform(self, *names: str | int) -> Tensor:
        """Draw numbers in [0, 1) of the images' shape.

        An image's numbers depend on the seed, the names and its place among all images, not on the
        batch that it is in, nor on the process that attacks it.
        """
        numbers = uniform(self.seed, *names, first=self.first, shape=tuple(self.images.shape))
        return numbers.to(self.images.device, self.images.dtype)


def logits_of(output: object) -> Tensor:
    """Return the logits in a model's answer: a tensor itself, or an object with `.logits`.

    Raises:
        InputError: it is neither.
    """
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(found, Tensor):
        raise InputError(
            f"the model returns {type(output).__name__}; it must return a tensor of logits or an"
            " object whose .logits is one"
        )
    return found


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits (N, K) that `model` gives to images, without a graph.

    The model gets a copy: some modules work in place.
    """
    with torch.no_grad():
        return logits_of(model(images.clone()))


def loss_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> LossGradient:
    """Return the logits and d cross-entropy / d images, whatever gradient mode the caller is in.

    Args:
        model: anything that returns logits (N, K), or an object with `.logits`.
        images: (N, C, H, W), floating point, in [0, 1].
        labels: (N,) int64.

    Raises:
        InputError: the model returns no logits, or its loss has no usable gradient.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # Clones: the caller's tensors stay as they are, and may come from inference mode.
        pixels = images.detach().clone().requires_grad_(True)
        found = logits_of(model(pixels.clone()))
        # The sum, not the mean: no image's gradient depends on how many share its batch.
        loss = F.cross_entropy(found, labels.clone(), reduction="sum")
        gradient = None
        if loss.requires_grad:
            # Not backward(): the gradients of the parameters are none of our business.
            (gradient,) = torch.autograd.grad(loss, pixels, allow_unused=True)
    if gradient is None:
        raise InputError(
            "its logits do not depend on the images through differentiable operations"
            " (no_grad, detach or argmax inside?), so there is no gradient to follow"
        )
    if gradient.isnan().any():
        raise InputError("the gradient of its loss is NaN at some pixels; check the model's maths")
    return LossGradient(found.detach(), gradient)
