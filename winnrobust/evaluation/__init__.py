"""Adversarial error, robust accuracy and cross-correction of anybody's modules."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from winnrobust.evaluation.examples import Examples
from winnrobust.evaluation.outcomes import read_outcomes
from winnrobust.evaluation.run import RunResult, run
from winnrobust.evaluation.settings import EvaluationSettings
from winnrobust.evaluation.statistics import Summary, summarize


def evaluate(
    models: Mapping[str, nn.Module],
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    attacks: Sequence[str] = ("fgsm",),
    epsilons: Sequence[float] | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    *,
    epsilons_l2: Sequence[float] | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Return who errs on whose adversarial examples: one row per (attack, epsilon, source, target).

    `winnrobust.evaluation.run` gives more, and keeps the outcome of every image.

    Args:
        models, images, labels, device: as for `run`.
        attacks: names that `winnrobust.attacks.find` knows.
        epsilons, epsilons_l2: bounds of the attacks in L-infinity and in L2, in the units of images
            in [0, 1]; None: by the size of the images.
        batch_size: images at once; None: the more, the less time a batch takes.
        settings: others of `EvaluationSettings`.

    Returns:
        Columns are those of "transfer" in `winnrobust.evaluation.statistics.COLUMNS`.

    Raises:
        InputError: as `run`.
    """
    given = epsilons is not None or epsilons_l2 is not None
    epsilons_by_norm = {"linf": epsilons, "l2": epsilons_l2} if given else {}
    chosen = EvaluationSettings(
        attacks=attacks,
        epsilons=epsilons_by_norm,
        batch_size=batch_size,
        num_examples=0,
        **settings,
    )
    with TemporaryDirectory(prefix="winnrobust-") as folder:
        found = run(models, images, labels, chosen, folder=Path(folder), device=device)
    return found.summary.transfer


__all__ = [
    "EvaluationSettings",
    "Examples",
    "RunResult",
    "Summary",
    "evaluate",
    "read_outcomes",
    "run",
    "summarize",
]
