"""Does a model notice images that are not of its data: adversarial, or out-of-distribution ones?"""

from winnrobust.generation.detection.adaptive import STEPS, adaptive_attack
from winnrobust.generation.detection.auroc import auroc
from winnrobust.generation.detection.detection import ADAPTIVE, DETECTION_COLUMNS, Trial, detect
from winnrobust.generation.detection.detectors import Detector, energy, largest_probability

__all__ = [
    "ADAPTIVE",
    "DETECTION_COLUMNS",
    "STEPS",
    "Detector",
    "Trial",
    "adaptive_attack",
    "auroc",
    "detect",
    "energy",
    "largest_probability",
]
