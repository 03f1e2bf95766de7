"""What an ascent is after: the loss of every group of images, and when the group may stop."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import ClassifierOutput


class GoalState(NamedTuple):
    """How far g groups of images are.

    Attributes:
        loss: (g,) what the ascent makes smaller.
        reached: (g,) bool, where it may stop.
    """

    loss: Tensor
    reached: Tensor


Goal = Callable[[ClassifierOutput, Tensor], GoalState]
"""From the network's output on g groups of n images, one after the other, and the groups' numbers
(g,) int64.
"""


Score = Callable[[ClassifierOutput, Tensor], Tensor]
"""How real the network takes N images for, as images of their classes (N,): (N,)."""


def critic_score(output: ClassifierOutput, classes: Tensor) -> Tensor:
    """WINN's: the critic f, whatever the class."""
    return output.critic


def class_score(output: ClassifierOutput, classes: Tensor) -> Tensor:
    """ICN's: the logit of the class."""
    return output.logits.gather(1, classes[:, None]).squeeze(1)


def near(
    classes: Tensor,
    thresholds: Tensor,
    tolerance: float,
    class_weight: float,
    score: Score = critic_score,
) -> Goal:
    """The supervised WINN's: images of their class with a mean critic value close to a threshold.

    Minimizes |mean f - threshold| + class_weight * mean cross-entropy to the class; stops where the
    first term is at most `tolerance` (authors' code).

    Args:
        classes: (G,) int64.
        thresholds: (G,) critic values, or scores.
        score: what takes the place of f.
    """

    def goal(output: ClassifierOutput, groups: Tensor) -> GoalState:
        wanted = classes[groups].repeat_interleave(len(output.logits) // len(groups))
        scores = score(output, wanted).reshape(len(groups), -1)
        gap = (scores.mean(1) - thresholds[groups]).abs()
        class_loss = F.cross_entropy(output.logits, wanted, reduction="none")
        return GoalState(
            gap + class_weight * class_loss.reshape(scores.shape).mean(1), gap <= tolerance
        )

    return goal


def above(thresholds: Tensor) -> Goal:
    """The unsupervised WINN's: raise the mean critic value to a threshold (authors' code).

    Args:
        thresholds: (G,) critic values; a group may stop at or above its own.
    """

    def goal(output: ClassifierOutput, groups: Tensor) -> GoalState:
        mean = output.critic.reshape(len(groups), -1).mean(1)
        return GoalState(-mean, mean >= thresholds[groups])

    return goal


def even_odds() -> Goal:
    """INN's: images that a classifier with sigmoid(f) takes for real as often as not.

    Minimizes the mean of -log sigmoid(f); stops at log 2 or below (its authors' code).
    """

    def goal(output: ClassifierOutput, groups: Tensor) -> GoalState:
        loss = F.softplus(-output.critic).reshape(len(groups), -1).mean(1)
        return GoalState(loss, loss <= math.log(2))

    return goal
