"""How good samples are: the usual scores on a classifier of ours, its opinion, copies of images."""

from winnrobust.generation.quality.formulas import SPLITS, classifier_score, frechet_distance
from winnrobust.generation.quality.inception import inception_scores
from winnrobust.generation.quality.neighbors import nearest
from winnrobust.generation.quality.scoring import Quality, check_samples, score_samples

__all__ = [
    "SPLITS",
    "Quality",
    "check_samples",
    "classifier_score",
    "frechet_distance",
    "inception_scores",
    "nearest",
    "score_samples",
]
