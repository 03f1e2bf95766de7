"""The formulas of the Inception score and of FID, for the answers of any classifier.

Only with the answers of one particular Inception network are they called so.
"""

import numpy as np
from scipy.linalg import eigvalsh

SPLITS = 10
"""Parts of the Inception score (Salimans et al., NIPS 2016)."""


def classifier_score(probabilities: np.ndarray, splits: int = SPLITS) -> tuple[float, float]:
    """Compute exp(mean KL(p(y|x) || p(y))): 1 for equal answers, K for certain and varied ones.

    Args:
        probabilities: (N, K) float, rows sum to 1; N at least `splits`.
        splits: consecutive parts, each with a p(y) of its own.

    Returns:
        Mean and standard deviation (population) of the parts' scores.
    """
    scores = []
    for part in np.array_split(np.asarray(probabilities, np.float64), splits):
        marginal = part.mean(0)
        ratio = np.divide(part, marginal, out=np.ones_like(part), where=part > 0)
        scores.append(np.exp((part * np.log(ratio)).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Compute |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features.

    It is the squared Frechet distance of two normal distributions with their means and covariances
    (Heusel et al., NIPS 2017). It falls with the number of features' rows, so that only sets of
    equal sizes compare.

    Args:
        first, second: (N, D) and (M, D) float, N and M at least 2.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    gap = first.mean(0) - second.mean(0)
    one, two = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (first, second))
    # tr (C1 C2)^(1/2) = tr (C1^(1/2) C2 C1^(1/2))^(1/2), whose eigenvalues are real.
    values, vectors = np.linalg.eigh(one)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    shared = np.sqrt(eigvalsh(root @ two @ root).clip(min=0)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(two) - 2 * shared)
