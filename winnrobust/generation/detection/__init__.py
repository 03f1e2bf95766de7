"""Does a model notice images that are none of its data: adversarial ones, or foreign ones?"""

from winnrobust.generation.detection.adaptive import STEPS, hidden
from winnrobust.generation.detection.auroc import Auroc, auroc
from winnrobust.generation.detection.detection import DETECTION_COLUMNS, KNOWING, detect
from winnrobust.generation.detection.detectors import Detector, energy, largest_probability

__all__ = [
    "DETECTION_COLUMNS",
    "KNOWING",
    "STEPS",
    "Auroc",
    "Detector",
    "auroc",
    "detect",
    "energy",
    "hidden",
    "largest_probability",
]
