"""How good samples are: the usual scores on a classifier of ours, its opinion, copies of images."""

from winnrobust.quality.formulas import SPLITS, classifier_score, frechet_distance
from winnrobust.quality.inception import inception_scores
from winnrobust.quality.judging import Quality, check_samples, judge_samples
from winnrobust.quality.neighbours import nearest

__all__ = [
    "SPLITS",
    "Quality",
    "check_samples",
    "classifier_score",
    "frechet_distance",
    "inception_scores",
    "judge_samples",
    "nearest",
]
