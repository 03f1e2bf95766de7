"""Where pseudo-negatives come from: random images, gradient ascent on the critic, a growing pool.

Everything here works on images in [-1, 1], the range of the method's own maths.
"""

from winnrobust.synthesis.ascent import Ascent, Synthesis, synthesise
from winnrobust.synthesis.goals import Goal, Pursuit, above, believed, near
from winnrobust.synthesis.initial import (
    GaussianImages,
    InitialDistribution,
    ProjectedNetwork,
    RandomNetwork,
)
from winnrobust.synthesis.noise import PixelNoise, dropout, langevin
from winnrobust.synthesis.pool import NegativePool

__all__ = [
    "Ascent",
    "GaussianImages",
    "Goal",
    "InitialDistribution",
    "NegativePool",
    "PixelNoise",
    "ProjectedNetwork",
    "Pursuit",
    "RandomNetwork",
    "Synthesis",
    "above",
    "believed",
    "dropout",
    "langevin",
    "near",
    "synthesise",
]
