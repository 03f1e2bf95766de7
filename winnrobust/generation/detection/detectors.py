"""Detectors: functions of the logits, high for images that a model takes for its own data."""

from collections.abc import Callable

from torch import Tensor

Detector = Callable[[Tensor], Tensor]
"""From logits (N, K) to scores (N,). A WINN's critic is one, because it is linear in the logits."""


def largest_probability(logits: Tensor) -> Tensor:
    """The logarithm of the largest softmax probability, which ranks as the probability itself does.

    Source: Hendrycks, Gimpel, ICLR 2017. In the logarithm a confident model's scores keep apart,
    and have gradients.
    """
    return logits.amax(1) - logits.logsumexp(1)


def energy(logits: Tensor) -> Tensor:
    """The negative free energy, log sum exp of the logits (Liu, Wang, Owens, Li, NeurIPS 2020)."""
    return logits.logsumexp(1)
