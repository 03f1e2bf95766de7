"""Saturated answers: what comes out has no slope, or one that floating point rounds away.

Carlini, Wagner: Defensive Distillation is Not Robust to Adversarial Examples, 2016, and Tramèr,
Carlini, Brendel, Madry: On Adaptive Attacks to Adversarial Example Defenses, NeurIPS 2020: attack
the logits before it, with a loss that does not saturate.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.defenses.base import Around, Defense, logits_of

DISTILLED = "Papernot et al. 2016; Carlini, Wagner 2016, arXiv:1607.04311"
ADAPTIVE = "Tramèr, Carlini, Brendel, Madry 2020, arXiv:2002.08347"
INSIDE = "the logits inside (BPDA), or a margin loss"


def one_hot(logits: Tensor) -> Tensor:
    """The label alone."""
    return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits)


def detector(logits: Tensor, least: float = 0.9) -> Tensor:
    """Answer by the label alone, and always with the same where the network is not certain."""
    certain = logits.softmax(1).amax(1, keepdim=True) > least
    return torch.where(certain, 20 * one_hot(logits), logits)


def squashed_often(logits: Tensor, times: int = 12) -> Tensor:
    """A chain of sigmoids: every link takes three quarters of the slope."""
    for _ in range(times):
        logits = (logits - logits.mean(1, keepdim=True)).tanh()
        logits = torch.sigmoid(3 * logits)
    return logits


class Voting(nn.Module):
    """The label that most of several shifted looks give, as votes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        looks = [images.roll(shift, dims=(2, 3)) for shift in ((0, 0), (1, 0), (0, 1), (-1, 0))]
        return torch.stack([one_hot(logits_of(self.network(look))) for look in looks]).sum(0)


class Nearest(nn.Module):
    """The class of the nearest of a few prototypes in the space of logits, as a label."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        found = logits_of(self.network(images)).softmax(1)
        distances = torch.cdist(found, torch.eye(found.shape[1]).to(found))
        return (distances <= distances.amin(1, keepdim=True)).to(found)


def _after(name: str, change: object, summary: str, source: str, by: str = INSIDE) -> Defense:
    return Defense(
        name, "saturated", lambda network: Around(network, after=change),  # type: ignore[arg-type]
        summary, by, source,
    )  # fmt: skip


SATURATED = (
    _after("saturated-softmax", lambda logits: (1e4 * logits).softmax(1),
           "A softmax that is exactly 0 or 1 and has no slope.", DISTILLED),
    _after("hot-softmax", lambda logits: (30 * logits).softmax(1),
           "A softmax of 30 times the logits: nearly always 0 or 1.", DISTILLED),
    _after("log-softmax-100", lambda logits: (logits / 100).log_softmax(1),
           "Log-probabilities at temperature 100: cross-entropy follows the mean of all classes.",
           ADAPTIVE, "a margin loss"),
    _after("tiny-logits", lambda logits: 1e-3 * logits,
           "A thousandth of the logits: cross-entropy follows the mean of all classes.", ADAPTIVE,
           "a margin loss"),
    _after("label-only", one_hot, "Only the label.", ADAPTIVE),
    _after("rounded-answers", lambda logits: (10 * logits.softmax(1)).round() / 10,
           "Probabilities in steps of 10 %.", ADAPTIVE),
    _after("whole-logits", lambda logits: (logits / 4).round(), "Logits rounded to whole numbers.",
           ADAPTIVE),
    _after("clamped-logits", lambda logits: logits.clamp(-3, 3) + 1e-3 * one_hot(logits),
           "Logits cut off at 3: no slope where the network is certain.", ADAPTIVE),
    _after("hard-tanh", lambda logits: torch.tanh(20 * logits) + 1e-2 * one_hot(logits),
           "tanh of 20 times the logits.", ADAPTIVE),
    _after("deep-chain", squashed_often, "Twelve sigmoids in a row: the slope vanishes.",
           "Athalye, Carlini, Wagner 2018, arXiv:1802.00420, section 4.3"),
    _after("detector", detector, "Only the label wherever the network is certain.", ADAPTIVE),
    _after("detached", lambda logits: logits.detach() + 0 * logits,
           "Detached logits, plus zero times the real ones to keep autograd quiet.", ADAPTIVE),
    Defense("votes", "saturated", Voting, "The votes of four shifted copies.", INSIDE, ADAPTIVE),
    Defense("nearest-prototype", "saturated", Nearest, "The nearest of ten prototypes, as a label.",
            INSIDE, "Sitawarin, Wagner 2019, arXiv:1903.08333"),
)  # fmt: skip
