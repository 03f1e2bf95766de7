"""Adversarial error and cross-correction of anybody's modules."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from winnrobust.attacks import DEFAULT_BUDGET, Budget
from winnrobust.evaluation.examples import Examples
from winnrobust.evaluation.harness import run
from winnrobust.evaluation.outcome import Evaluation


def evaluate(
    models: Mapping[str, nn.Module],
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    attacks: Sequence[str] = ("fgsm",),
    epsilons: Sequence[float] = (0.125,),
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    *,
    seed: int = 0,
    epsilons_l2: Sequence[float] = (1.5,),
    budget: Budget = DEFAULT_BUDGET,
    aim: str | None = None,
    seconds: float | None = None,
) -> pd.DataFrame:
    """Return the tidy table of `run`: one row per (attack, epsilon, source, target).

    Arguments and errors are those of `winnrobust.evaluation.run`; columns are
    `winnrobust.evaluation.metrics.RESULT_COLUMNS`.
    """
    return run(
        models,
        images,
        labels,
        attacks,
        epsilons,
        batch_size,
        device,
        seed=seed,
        num_examples=0,
        epsilons_l2=epsilons_l2,
        budget=budget,
        aim=aim,
        seconds=seconds,
    ).table


__all__ = ["Evaluation", "Examples", "evaluate", "run"]
