"""Where pseudo-negatives come from: random images, gradient ascent on the critic, a growing pool.

Everything here works on images in [-1, 1], the range of the method's own maths.
"""

from winnrobust.synthesis.ascent import Ascent, Critic, Synthesis, synthesize
from winnrobust.synthesis.goals import (
    Goal,
    GoalState,
    Score,
    above,
    class_score,
    critic_score,
    even_odds,
    near,
)
from winnrobust.synthesis.groups import LARGEST_GROUP, groups_of, images_at_once, together
from winnrobust.synthesis.initial import (
    GaussianImages,
    InitialDistribution,
    ProjectedNetwork,
    RandomNetwork,
)
from winnrobust.synthesis.noise import PixelNoise, dropout, langevin
from winnrobust.synthesis.pace import Pace, Progress, silent
from winnrobust.synthesis.pool import NegativePool

__all__ = [
    "LARGEST_GROUP",
    "Ascent",
    "Critic",
    "GaussianImages",
    "Goal",
    "GoalState",
    "InitialDistribution",
    "NegativePool",
    "Pace",
    "PixelNoise",
    "Progress",
    "ProjectedNetwork",
    "RandomNetwork",
    "Score",
    "Synthesis",
    "above",
    "class_score",
    "critic_score",
    "dropout",
    "even_odds",
    "groups_of",
    "images_at_once",
    "langevin",
    "near",
    "silent",
    "synthesize",
    "together",
]
