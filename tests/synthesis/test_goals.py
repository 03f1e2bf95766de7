"""Objectives and stops worked out by hand: two groups of two images, of which one asks for each."""

import math

import pytest
import torch

from winnrobust.models import ClassifierOutput
from winnrobust.synthesis import above, class_score, even_odds, near

CRITIC = torch.tensor([1.0, 3.0, -1.0, 0.0])
LOGITS = torch.tensor([[0.0, 0.0], [0.0, 0.0], [math.log(3), 0.0], [math.log(3), 0.0]])
OUTPUT = ClassifierOutput(LOGITS, CRITIC)
GROUPS = [0, 2]
"""Of three groups: the one in the middle has stopped already."""


def test_near_wants_the_mean_at_the_threshold_and_the_class():
    goal = near(torch.tensor([0, 9, 1]), torch.tensor([2.5, 9, -0.5]), 0.5, class_weight=2.0)
    objective, reached = goal(OUTPUT, GROUPS)
    # |2 - 2.5| + 2 log 2; |-0.5 + 0.5| + 2 log 4
    assert objective.tolist() == pytest.approx([0.5 + 2 * math.log(2), 2 * math.log(4)])
    assert reached.tolist() == [True, True]
    closer = near(torch.tensor([0, 9, 1]), torch.tensor([2.5, 9, -0.5]), 0.4, 0.0)
    assert closer(OUTPUT, GROUPS).reached.tolist() == [False, True]


def test_near_can_want_another_score():
    """Mean logits of the own class: 0 of class 0, and log 3 of class 0."""
    classes, thresholds = torch.tensor([0, 9, 0]), torch.tensor([1.0, 9.0, 0.5])
    goal = near(classes, thresholds, 0.65, class_weight=0.0, score=class_score)
    loss, reached = goal(OUTPUT, GROUPS)
    assert loss.tolist() == pytest.approx([1.0, math.log(3) - 0.5])
    assert reached.tolist() == [False, True]


def test_above_raises_the_mean_and_stops_at_the_threshold_or_over_it():
    objective, reached = above(torch.tensor([2.0, 9.0, -0.4]))(OUTPUT, GROUPS)
    assert objective.tolist() == [-2.0, 0.5]
    assert reached.tolist() == [True, False]


def test_even_odds_is_the_logistic_loss_and_stops_at_even_odds():
    objective, reached = even_odds()(OUTPUT, GROUPS)
    first = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))) / 2
    second = (math.log(1 + math.exp(1)) + math.log(2)) / 2
    assert objective.tolist() == pytest.approx([first, second])
    assert reached.tolist() == [True, False]
    even = ClassifierOutput(LOGITS[:1], torch.zeros(1))
    assert even_odds()(even, [0]).reached.item()
