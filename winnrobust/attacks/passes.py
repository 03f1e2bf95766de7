"""What a model answers: logits, and the gradient of a loss with respect to the images."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.runtime.errors import InputError

TINY = 1e-10
"""A gradient whose largest entry is at most this is drowned by float32 rounding."""

Loss = Callable[[Tensor], Tensor]
"""From logits (n, K) to a loss (n,), one for each image."""


class GradientStatistics(NamedTuple):
    """How much of the gradients that an attack followed was exactly zero, or no number.

    A softmax that is saturated in float32 has a gradient of exact zeros. The attack then stands
    still and the model only looks robust, so these counts belong beside every adversarial error.

    Attributes:
        entries: number of gradient entries (pixels times channels) computed.
        zero_entries: how many of them were exactly 0.
        images: number of image gradients computed.
        zero_images: how many of them were 0 in every entry.
        tiny_images: how many had no entry above `TINY`, the zero ones among them.
        nonfinite_images: how many had a NaN or an infinity among their entries.
    """

    entries: int
    zero_entries: int
    images: int
    zero_images: int
    tiny_images: int = 0
    nonfinite_images: int = 0

    def plus(self, other: "GradientStatistics") -> "GradientStatistics":
        """Return the statistics of both together."""
        return GradientStatistics(
            *(mine + theirs for mine, theirs in zip(self, other, strict=True))
        )


NO_GRADIENTS = GradientStatistics(0, 0, 0, 0)


def gradient_statistics(gradient: Tensor) -> GradientStatistics:
    """Count the zeros and the non-finite entries in the gradient (N, C, H, W) of a batch."""
    largest = gradient.abs().flatten(1).amax(1)
    return GradientStatistics(
        entries=gradient.numel(),
        zero_entries=int((gradient == 0).sum()),
        images=len(gradient),
        zero_images=int((largest == 0).sum()),
        tiny_images=int((largest <= TINY).sum()),
        nonfinite_images=int((~largest.isfinite()).sum()),
    )


class LossGradient(NamedTuple):
    """A forward and a backward pass, or the mean of several.

    Attributes:
        logits: (N, K), without a graph.
        losses: (N,), without a graph.
        gradient: (N, C, H, W), d loss / d images, with 0 for entries that are not finite.
        statistics: what the gradient held before those were replaced.
    """

    logits: Tensor
    losses: Tensor
    gradient: Tensor
    statistics: GradientStatistics

    def of(self, chosen: Tensor) -> "LossGradient":
        """Return the part that belongs to the images chosen, a mask or numbers."""
        return self._replace(
            logits=self.logits[chosen],
            losses=self.losses[chosen],
            gradient=self.gradient[chosen],
        )


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


def logits(model: nn.Module, images: Tensor, draws: int = 1) -> Tensor:
    """Return the logits (N, K) that `model` gives to images, without a graph.

    The model gets a copy: some modules work in place.

    Args:
        draws: how many answers to average, for models that answer at random.
    """
    with torch.no_grad():
        total = logits_of(model(images.clone()))
        for _ in range(draws - 1):
            total = total + logits_of(model(images.clone()))
        return total if draws == 1 else total / draws


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy (N,) in a form whose gradient survives a confident model.

    It is log(1 + sum over the other classes of exp(their logit - the label's)). The usual form's
    gradient for the label is p - 1, which float32 rounds to 0 as soon as p > 1 - 6e-8: the others'
    gradients remain, and point astray.

    Args:
        logits: (N, K).
        labels: (N,) int64.
    """
    column = labels.unsqueeze(1)
    label = logits.gather(1, column).squeeze(1)
    others = logits.scatter(1, column, -math.inf).logsumexp(1)
    return F.softplus(others - label)


def loss_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> LossGradient:
    """Return the logits and d cross-entropy / d images, whatever gradient mode the caller is in.

    Args:
        model: anything that returns logits (N, K), or an object with `.logits`.
        images: (N, C, H, W), floating point, in [0, 1].
        labels: (N,) int64.

    Raises:
        InputError: the model returns no logits, or they do not depend on the images differentiably.
    """

    return gradient_of(lambda found: cross_entropy(found, labels.clone()), model, images)


def gradient_of(loss: Loss, model: nn.Module, images: Tensor, draws: int = 1) -> LossGradient:
    """Return d loss / d images as `loss_gradient` does, averaged over `draws` answers.

    Raises:
        InputError: the model returns no logits, or they do not depend on the images differentiably.
    """
    mean = _one_gradient(loss, model, images)
    if draws > 1:
        others = [_one_gradient(loss, model, images) for _ in range(draws - 1)]
        mean = LossGradient(
            logits=_mean([mean.logits, *(other.logits for other in others)]),
            losses=_mean([mean.losses, *(other.losses for other in others)]),
            gradient=_mean([mean.gradient, *(other.gradient for other in others)]),
            statistics=sum_of([mean.statistics, *(other.statistics for other in others)]),
        )
    return mean


def sum_of(statistics: list[GradientStatistics]) -> GradientStatistics:
    """Return the statistics of all together."""
    total = NO_GRADIENTS
    for one in statistics:
        total = total.plus(one)
    return total


def _mean(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors).mean(0)


def _one_gradient(loss: Loss, model: nn.Module, images: Tensor) -> LossGradient:
    with torch.inference_mode(False), torch.enable_grad():
        # Clones: the caller's tensors stay as they are, and may come from inference mode.
        pixels = images.detach().clone().requires_grad_(True)
        found = logits_of(model(pixels.clone()))
        losses = loss(found)
        gradient = None
        if losses.requires_grad:
            # The sum, not the mean: no image's gradient depends on how many share its batch. Not
            # backward(): the gradients of the parameters are none of our business.
            (gradient,) = torch.autograd.grad(losses.sum(), pixels, allow_unused=True)
    if gradient is None:
        raise InputError(
            "its logits do not depend on the images through differentiable operations"
            " (no_grad, detach or argmax inside?), so there is no gradient to follow; attacks that"
            " need none are square, hopskipjump, noise-uniform and noise-gaussian"
        )
    statistics = gradient_statistics(gradient)
    if statistics.nonfinite_images:
        gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return LossGradient(found.detach(), losses.detach(), gradient, statistics)
