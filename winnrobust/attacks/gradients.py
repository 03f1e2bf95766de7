"""What a model answers: logits, and the gradient of a loss with respect to the images.

Losses are what an attack raises. A model may be random (`eot` draws are averaged; expectation over
transformation: Athalye, Engstrom, Ilyas, Kwok 2018, arXiv:1707.07397) and may compute in half
precision: it gets images of its own dtype, all else is done in float32 or more.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.runtime.errors import InputError

TINY = 1e-10
"""A gradient whose largest entry is at most this is drowned by float32 rounding."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (n, K) and classes (n,) int64 to (n,): the larger, the less the class is seen."""

Objective = Callable[[Tensor], Tensor]
"""From logits (n, K) to what an attack raises (n,), each from its image's logits alone."""


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return logsumexp(the other logits) - the label's (n,): cross-entropy that never underflows.

    Cross-entropy is its softplus, a rising function of it. So both rise in the same direction, but
    the gradient of this one is as long for a confident model as for any other, where float32 rounds
    that of cross-entropy to 0.

    >>> log_odds(torch.tensor([[500.0, 0.0, 0.0]]), torch.tensor([0]))
    tensor([-499.3069])
    """
    column = labels.unsqueeze(1)
    others = logits.scatter(1, column, -math.inf).logsumexp(1)
    return others - logits.gather(1, column).squeeze(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy (n,) in the usual form; its gradient is 0 for a confident model."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest other logit less the label's (n,): above 0 where the model is wrong.

    >>> margin(torch.tensor([[2.0, 5.0, 1.0]]), torch.tensor([0]))
    tensor([3.])
    """
    column = labels.unsqueeze(1)
    others = logits.scatter(1, column, -math.inf).amax(1)
    return others - logits.gather(1, column).squeeze(1)


LOSSES: Mapping[str, Loss] = {"ce-stable": log_odds, "ce": cross_entropy, "margin": margin}
"""What an attack can raise, by name."""


def find_loss(loss: str | Loss) -> Loss:
    """Return a loss by its name; a function of the caller's own is watched.

    Raises:
        InputError: there is none of that name, or it is neither a name nor a function.
    """
    if callable(loss):
        return lambda logits, labels: _one_each(loss(logits, labels), logits)
    if not isinstance(loss, str) or loss not in LOSSES:
        raise InputError(
            f"unknown loss '{loss}'; known are {', '.join(LOSSES)}, or a function of (logits,"
            " labels)"
        )
    return LOSSES[loss]


def objective_of(loss: str | Loss, labels: Tensor, targets: Tensor | None) -> Objective:
    """Return what to raise: the loss of the labels, or the negative one of the targets.

    Raises:
        InputError: as `find_loss`.
    """
    function = find_loss(loss)
    # Clones: tensors that were made in inference mode have no place in a graph.
    if targets is None:
        return lambda logits: function(logits, labels.clone())
    return lambda logits: -function(logits, targets.clone())


def _one_each(losses: object, logits: Tensor) -> Tensor:
    """Return what a caller's loss gave, if that is one number for each image."""
    if not isinstance(losses, Tensor) or losses.shape != logits.shape[:1]:
        given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise InputError(
            f"the loss must return one number for each image, ({len(logits)},), not {given};"
            " leave out its mean or sum (reduction='none')"
        )
    return losses


class GradientStatistics(NamedTuple):
    """How much of the gradients that an attack followed was exactly zero, or not a number.

    Where a gradient is exactly zero the attack stands still and the model only looks robust, so
    these counts belong beside every adversarial error. They are ints, or tensors () on the device;
    `on_host` waits for those.

    Attributes:
        entries: number of gradient entries (pixels times channels) computed.
        zero_entries: how many of them were exactly 0.
        images: number of image gradients computed.
        zero_images: how many of them were 0 in every entry.
        tiny_images: how many had no entry above `TINY`, the zero ones among them.
        nonfinite_images: how many had a NaN or an infinity among their entries.

    >>> from winnrobust.attacks import GradientStatistics
    >>> once = GradientStatistics(entries=784, zero_entries=700, images=1)
    >>> once.plus(once).zero_entries
    1400
    """

    entries: int | Tensor = 0
    zero_entries: int | Tensor = 0
    images: int | Tensor = 0
    zero_images: int | Tensor = 0
    tiny_images: int | Tensor = 0
    nonfinite_images: int | Tensor = 0

    def plus(self, other: "GradientStatistics") -> "GradientStatistics":
        """Return the statistics of both together."""
        return GradientStatistics(*(mine + its for mine, its in zip(self, other, strict=True)))

    def on_host(self) -> "GradientStatistics":
        """Return the same as ints."""
        return GradientStatistics(*map(int, self))


NO_GRADIENTS = GradientStatistics()


@dataclass(frozen=True)
class Answer:
    """What a model says of n images.

    Attributes:
        logits: (n, K), the mean over the draws, at least float32.
        predictions: (draws, n) int64, the class in each draw.

    >>> import torch
    >>> from winnrobust.attacks import answer
    >>> seen = answer(torch.nn.Flatten(), torch.tensor([[[[0.25, 0.75]]]]), eot=2)
    >>> seen.logits, seen.predictions
    (tensor([[0.2500, 0.7500]]), tensor([[1],
            [1]]))
    """

    logits: Tensor
    predictions: Tensor


@dataclass(frozen=True)
class LossGradient(Answer):
    """A forward and a backward pass, or the mean of several draws; no tensor has a graph.

    Attributes:
        losses: (n,).
        gradient: (n, C, H, W), d loss / d images, with 0 for entries that are not finite.
        counts: (6, n) int64, for each image what `GradientStatistics` counts, over all draws and
            before those were replaced.

    >>> import torch
    >>> from winnrobust.attacks import loss_gradient
    >>> image, label = torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([0])
    >>> found = loss_gradient(torch.nn.Flatten(), image, label, "margin")
    >>> found.losses, found.gradient.flatten(1), found.statistics.zero_images
    (tensor([0.5000]), tensor([[-1.,  1.]]), tensor(0))
    """

    losses: Tensor
    gradient: Tensor
    counts: Tensor

    @property
    def statistics(self) -> GradientStatistics:
        """The counts of all images together."""
        return GradientStatistics(*self.counts.sum(1).unbind())


def logits_of(output: object) -> Tensor:
    """Return the logits in a model's answer.

    They are a tensor itself, `.logits` of an object, "logits" of a dict, or all of a tuple of one.

    Raises:
        InputError: it is something else; the message says which parts there are.

    >>> import torch
    >>> from winnrobust.attacks import logits_of
    >>> logits_of({"logits": torch.ones(1, 2), "features": torch.zeros(1, 8)})
    tensor([[1., 1.]])
    """
    parts: Mapping[Any, object] = {}
    if isinstance(output, Mapping):
        parts = output
    elif isinstance(output, tuple | list):
        parts = dict(enumerate(output))
    alone = parts.get(0) if len(parts) == 1 else None
    for found in (output, getattr(output, "logits", None), parts.get("logits"), alone):
        if isinstance(found, Tensor):
            return found
    kind = type(output).__name__
    if any(isinstance(part, Tensor) for part in parts.values()):
        listed = ", ".join(map(str, parts))
        raise InputError(
            f"the model returns a {kind} of {listed}; say which are the logits with --output"
            f" {next(iter(parts))}, or in Python with a module that returns them alone"
        )
    raise InputError(
        f"the model returns {kind}; it must return a tensor of logits or an object whose .logits"
        " is one"
    )


def two_logits(found: Tensor, count: int) -> Tensor:
    """Return logits (n, 2) in place of a single one: 0 and that, whose sigmoid is the softmax.

    Args:
        found: what a model says of `count` images; all but (n,) and (n, 1) are returned unchanged.

    >>> import torch
    >>> from winnrobust.attacks import two_logits
    >>> two_logits(torch.tensor([3.0, -1.0]), 2)
    tensor([[ 0.,  3.],
            [ 0., -1.]])
    """
    if found.shape not in ((count,), (count, 1)):
        return found
    single = found.reshape(count, 1)
    return torch.cat([torch.zeros_like(single), single], 1)


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits (n, K) that `model` gives to images (n, C, H, W), without a graph.

    Raises:
        InputError: the model returns no logits.

    >>> import torch
    >>> from winnrobust.attacks import logits
    >>> logits(torch.nn.Flatten(), torch.tensor([[[[0.25, 0.75]]]]))
    tensor([[0.2500, 0.7500]])
    """
    with torch.no_grad():
        return _forward(model, images)


def answer(model: nn.Module, images: Tensor, eot: int = 1) -> Answer:
    """Return what the model says of images (n, C, H, W) in `eot` draws.

    Raises:
        InputError: the model returns no logits.

    >>> import torch
    >>> from winnrobust.attacks import answer
    >>> answer(torch.nn.Flatten(), torch.tensor([[[[0.25, 0.75]]]])).predictions
    tensor([[1]])
    """
    drawn = torch.stack([logits(model, images) for _ in range(eot)])
    return Answer(drawn.mean(0), drawn.argmax(2))


def loss_gradient(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss: str | Loss = "ce-stable",
    eot: int = 1,
) -> LossGradient:
    """Return the logits and d loss / d images, whatever gradient mode the caller is in.

    Args:
        model: anything that returns logits (n, K), or an object with `.logits`.
        images: (n, C, H, W), floating point, in [0, 1].
        labels: (n,) int64.
        loss: a name in `LOSSES`, or a function of (logits, labels).
        eot: draws to average.

    Raises:
        InputError: the model returns no logits, or they do not depend on the images differentiably.

    >>> import torch
    >>> from winnrobust.attacks import loss_gradient
    >>> image, label = torch.tensor([[[[0.25, 0.75]]]]), torch.tensor([0])
    >>> loss_gradient(torch.nn.Flatten(), image, label).gradient.flatten(1)
    tensor([[-1.,  1.]])
    """
    return gradient_of(objective_of(loss, labels, None), model, images, eot)


def gradient_of(
    objective: Objective, model: nn.Module, images: Tensor, eot: int = 1
) -> LossGradient:
    """Return d objective / d images as `loss_gradient` does.

    Raises:
        InputError: the model returns no logits, or they do not depend on the images differentiably.
    """
    found, losses, gradient, counts = _one_gradient(objective, model, images)
    predictions = [found.argmax(1)]
    for _ in range(eot - 1):
        one = _one_gradient(objective, model, images)
        predictions.append(one[0].argmax(1))
        found, losses, gradient, counts = (
            total + new for total, new in zip((found, losses, gradient, counts), one, strict=True)
        )
    if eot > 1:
        found, losses, gradient = found / eot, losses / eot, gradient / eot
    return LossGradient(found, torch.stack(predictions), losses, gradient, counts)


def _one_gradient(
    objective: Objective, model: nn.Module, images: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits, losses, gradient and counts of one draw."""
    with torch.inference_mode(False), torch.enable_grad():
        # A clone: the caller's tensors stay as they are, and may come from inference mode.
        pixels = at_least_float32(images.detach()).clone().requires_grad_(True)
        found = _forward(model, pixels)
        losses = objective(found)
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
    counts = gradient_counts(gradient)
    gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return found.detach(), losses.detach(), gradient, counts


def gradient_counts(gradient: Tensor) -> Tensor:
    """Return for each of n gradients (n, C, H, W) what `GradientStatistics` counts, (6, n)."""
    largest = gradient.abs().flatten(1).amax(1)
    ones = torch.ones_like(largest, dtype=torch.int64)
    return torch.stack(
        [
            ones * gradient[0].numel(),
            (gradient == 0).flatten(1).sum(1),
            ones,
            largest == 0,
            largest <= TINY,
            ~largest.isfinite(),
        ]
    )


def at_least_float32(values: Tensor) -> Tensor:
    """Return half-precision values as float32, and others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


COMPILED_BATCH = 16
"""The smallest batch that a compiled model is given."""


def is_compiled(model: nn.Module) -> bool:
    """Tell whether torch.compile made the model or a part of it.

    >>> import torch
    >>> from winnrobust.attacks import is_compiled
    >>> model = torch.nn.Linear(2, 2)
    >>> is_compiled(model), is_compiled(torch.compile(model))
    (False, True)
    """
    return any(
        type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def padded(images: Tensor) -> Tensor:
    """Return images (n, C, H, W) with copies of the last up to the next power of two, at least 16.

    A compiled model compiles anew for sizes that it has not seen, and the active images become
    fewer with nearly every step.
    """
    size = max(COMPILED_BATCH, 1 << (len(images) - 1).bit_length())
    filling = images[-1:].detach().expand(size - len(images), *images.shape[1:])
    return torch.cat([images, filling])


def dtype_of(model: nn.Module, images: Tensor) -> torch.dtype:
    """Return what a model computes in: the dtype of its parameters, else that of the images."""
    own = (each.dtype for each in model.parameters() if each.is_floating_point())
    return next(own, images.dtype)


def _raw(model: nn.Module, images: Tensor) -> Tensor:
    """Ask the model about a copy, because some modules work in place, in its own dtype."""
    given = images.to(dtype_of(model, images), copy=True)
    compiled = len(images) > 0 and is_compiled(model)
    found = at_least_float32(logits_of(model(padded(given) if compiled else given)))
    return found[: len(images)] if compiled else found


def _forward(model: nn.Module, images: Tensor) -> Tensor:
    return two_logits(_raw(model, images), len(images))


def answers_by_one_number(model: nn.Module, images: Tensor) -> bool:
    """Tell whether a model gives each of n images (n, C, H, W) a single logit.

    >>> import torch
    >>> from torch import nn
    >>> from winnrobust.attacks import answers_by_one_number
    >>> answers_by_one_number(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)), torch.ones(2, 1, 2, 2))
    True
    """
    with torch.no_grad():
        return _raw(model, images).shape in ((len(images),), (len(images), 1))


class CleanPass:
    """What a model says of images as they are: asked when needed, and shared by all attacks on it.

    Args:
        model: anything that returns logits (N, K), or an object with `.logits`.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) int64.
        targets: (N,) int64, the classes that a targeted attack wants to see, or None.
        eot: draws to average.

    >>> import torch
    >>> from winnrobust.attacks import CleanPass
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> clean = CleanPass(net, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0]))
    >>> clean.answer.logits.shape, clean.gradient("ce").gradient.shape
    (torch.Size([3, 2]), torch.Size([3, 1, 2, 2]))
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        targets: Tensor | None = None,
        eot: int = 1,
    ) -> None:
        self.model, self.images, self.labels = model, images, labels
        self.targets, self.eot = targets, eot
        self._answer: Answer | None = None
        self._gradients: dict[str | Loss, LossGradient] = {}

    @property
    def answer(self) -> Answer:
        """Logits and predictions; no second pass where a gradient was asked for before."""
        if self._answer is None:
            self._answer = answer(self.model, self.images, self.eot)
        return self._answer

    def gradient(self, loss: str | Loss = "ce-stable") -> LossGradient:
        """Return the gradient of the loss, towards the targets where there are some.

        Raises:
            InputError: as `loss_gradient`.
        """
        if loss not in self._gradients:
            objective = objective_of(loss, self.labels, self.targets)
            self._gradients[loss] = gradient_of(objective, self.model, self.images, self.eot)
            self._answer = self._answer or self._gradients[loss]
        return self._gradients[loss]

    def of(self, rows: Tensor) -> "CleanPass":
        """Return the part that belongs to the images numbered `rows` (n,)."""
        targets = None if self.targets is None else self.targets[rows]
        part = CleanPass(self.model, self.images[rows], self.labels[rows], targets, self.eot)
        if self._answer is not None:
            part._answer = Answer(self._answer.logits[rows], self._answer.predictions[:, rows])
        return part
