"""Counts that grow batch by batch: what is kept of the judgements, whatever their number."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from winnrobust.attacks import NO_GRADIENTS, GradientStatistics
from winnrobust.evaluation.plan import Plan

AttackOnModel = tuple[str, str]
"""(attack, source)"""


class Effort(NamedTuple):
    """What an attack on a model took.

    Attributes:
        gradients: what it followed.
        seconds: how long it ran.
        unfinished: images that it did not come to, or was still at when its time ran out.
    """

    gradients: GradientStatistics
    seconds: float
    unfinished: int

    def plus(self, other: "Effort") -> "Effort":
        """Return the effort of both together."""
        return Effort(
            self.gradients.plus(other.gradients),
            self.seconds + other.seconds,
            self.unfinished + other.unfinished,
        )


NO_EFFORT = Effort(NO_GRADIENTS, 0.0, 0)


@dataclass(frozen=True)
class Judged:
    """What became of a batch of N images, for M models and R cases.

    Attributes:
        clean: (M, N) int64, the classes that the models see in the images.
        predictions: (R, M, N) int64, the classes that they see in the adversarial examples.
        aims: (M, N) int64, the classes that attacks on each source wanted to see, if any.
        efforts: what each attack on each model took.
        distances: (N,) for each minimum-norm attack on each model.
    """

    clean: Tensor
    predictions: Tensor
    aims: Tensor | None
    efforts: dict[AttackOnModel, Effort]
    distances: dict[AttackOnModel, Tensor]


class Counts:
    """Counts over all batches so far, for M models, S strikes and U unions of strikes.

    Attributes:
        clean: (M,), errors of every model without an attack.
        wrong: (S, M, M), errors on every strike's examples against each source, by each target.
        both: (S, M, M), those of them that the source makes as well.
        worst: (U, M), images that some strike of the union against the model itself breaks.
        only: (1 + S + U, M, M), images that the first model gets wrong and the second right, each
            under the attacks on itself: without an attack, under each strike, in each union.
        hits: (S, M), images in which the attacked model sees what the strike aimed at.
        efforts: what every attack on every model took.
        distances: (n,) float32 for every minimum-norm attack on every model, in the images' order;
            infinite where none was found, or not yet.
    """

    def __init__(self, plan: Plan, n: int) -> None:
        """Begin with nothing, for `n` images in all."""
        models, strikes = len(plan.models), len(plan.strikes)
        self._unions = list(plan.unions.values())
        self.clean = np.zeros(models, np.int64)
        self.wrong = np.zeros((strikes, models, models), np.int64)
        self.both = np.zeros((strikes, models, models), np.int64)
        self.worst = np.zeros((len(self._unions), models), np.int64)
        self.only = np.zeros((1 + strikes + len(self._unions), models, models), np.int64)
        self.hits = np.zeros((strikes, models), np.int64)
        names = [attack.name for attack in plan.attacks]
        self.efforts = dict.fromkeys(itertools.product(names, plan.models), NO_EFFORT)
        self.distances = {
            (attack.name, source): np.full(n, np.inf, np.float32)
            for attack in plan.attacks
            if attack.minimum_norm
            for source in plan.models
        }

    def add(self, judged: Judged, labels: Tensor, start: int) -> None:
        """Count one batch, whose first image is number `start` of all."""
        models = range(len(judged.clean))
        # S strikes of each source, judged by each target: (S, M, M, N).
        predictions = judged.predictions.unflatten(0, (-1, len(models)))
        wrong = predictions != labels
        own = wrong[:, models, models]
        clean = judged.clean != labels
        worst = torch.stack([own[union].any(0) for union in self._unions])
        views = torch.cat([clean.unsqueeze(0), own, worst])
        only = torch.einsum("vin,vjn->vij", views.double(), (~views).double())
        self.clean += clean.sum(1).numpy()
        self.wrong += wrong.sum(3).numpy()
        self.both += (wrong & own.unsqueeze(2)).sum(3).numpy()
        self.worst += worst.sum(2).numpy()
        self.only += only.long().numpy()
        if judged.aims is not None:
            seen = predictions[:, models, models]
            self.hits += (seen == judged.aims).sum(2).numpy()
        self._add_efforts(judged.efforts)
        for key, distances in judged.distances.items():
            self.distances[key][start : start + len(labels)] = distances.numpy()

    def add_all(self, others: Sequence["Counts"]) -> None:
        """Add what other processes counted."""
        for other in others:
            self.clean += other.clean
            self.wrong += other.wrong
            self.both += other.both
            self.worst += other.worst
            self.only += other.only
            self.hits += other.hits
            self._add_efforts(other.efforts)
            for key, distances in other.distances.items():
                np.minimum(self.distances[key], distances, out=self.distances[key])

    def _add_efforts(self, efforts: dict[AttackOnModel, Effort]) -> None:
        for key, effort in efforts.items():
            self.efforts[key] = self.efforts[key].plus(effort)
