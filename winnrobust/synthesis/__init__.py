"""Where pseudo-negatives come from: random images, gradient ascent on the critic, a growing pool.

Everything here works on images in [-1, 1], the range of the method's own maths.
"""

from winnrobust.synthesis.ascent import Ascent, Judge, Synthesis, synthesise
from winnrobust.synthesis.goals import (
    Goal,
    Pursuit,
    Score,
    above,
    believed,
    class_score,
    critic_score,
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
    "GaussianImages",
    "Goal",
    "InitialDistribution",
    "Judge",
    "NegativePool",
    "Pace",
    "PixelNoise",
    "Progress",
    "ProjectedNetwork",
    "Pursuit",
    "RandomNetwork",
    "Score",
    "Synthesis",
    "above",
    "believed",
    "class_score",
    "critic_score",
    "dropout",
    "groups_of",
    "images_at_once",
    "langevin",
    "near",
    "silent",
    "synthesise",
    "together",
]
