"""The area under the ROC curve, with its uncertainty."""

import math

import numpy as np
from scipy.special import expit, logit
from scipy.stats import rankdata

from winnrobust.runtime.intervals import QUANTILE, Rate, rate


def auroc(real: np.ndarray, other: np.ndarray) -> Rate:
    """The chance that a real image scores higher than another one, ties counting half.

    0.5 is no better than chance, below it the scores are the wrong way round; all is NaN where
    there are less than two images of a kind. The images are to be independent of each other.

    The variance is DeLong, DeLong and Clarke-Pearson's (Biometrics 1988), computed from mid-ranks;
    the interval is one of the logit, so that it stays inside [0, 1]. Where the sets do not overlap
    there is no variance to see, and the interval is Wilson's of a share that never failed in as
    many trials as the smaller set has images.

    Args:
        real, other: (N,) and (M,) float.
    """
    n, m = len(real), len(other)
    if min(n, m) < 2:
        return Rate(math.nan, math.nan, math.nan)
    ranks = rankdata(np.concatenate([real, other]))
    above_others = (ranks[:n] - rankdata(real)) / m  # for each real one, the share it is above
    below_real = 1 - (ranks[n:] - rankdata(other)) / n
    value = float(above_others.mean())
    if value in (0.0, 1.0):
        return rate(min(n, m) if value else 0, min(n, m))
    variance = above_others.var(ddof=1) / n + below_real.var(ddof=1) / m
    spread = QUANTILE * math.sqrt(variance) / (value * (1 - value))
    return Rate(value, float(expit(logit(value) - spread)), float(expit(logit(value) + spread)))
