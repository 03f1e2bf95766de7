"""Outcome tables written by hand: who was right on which image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from winnrobust.evaluation.outcomes import STATUSES, outcome_table

Right = Sequence[int]
"""For every image in how many draws a model was right."""


def outcome_frame(
    clean: Mapping[str, Right],
    attacked: Mapping[tuple[str, float, str], Mapping[str, Right]],
    *,
    norm: str = "linf",
    draws: Mapping[str, int] | None = None,
    status: Mapping[tuple[str, float, str], Sequence[str]] | None = None,
    distance: Mapping[tuple[str, float, str], Sequence[float]] | None = None,
    first: int = 0,
) -> pd.DataFrame:
    """Return the outcome table of images of class 1.

    Args:
        clean: model -> on the images themselves.
        attacked: (attack, epsilon, source) -> judge -> on the examples.
        draws: model -> how often it was asked; 1.
        status: (attack, epsilon, source) -> of every image; "attacked".
        distance: the same; epsilon.
        first: number of the first image.
    """
    size = len(next(iter(clean.values())))

    def answer(model: str, right: Right) -> dict[str, Any]:
        correct, asked = np.array(right), (draws or {}).get(model, 1)
        seen = (2 * correct > asked).astype(int)
        return {"evaluated": model, "prediction": seen, "correct_draws": correct, "draws": asked}

    answers = [answer(model, right) for model, right in clean.items()]
    for key, judged in attacked.items():
        statuses = (status or {}).get(key, ["attacked"] * size)
        example = {
            **dict(zip(("attack", "epsilon", "source"), key, strict=True)),
            "norm": norm,
            "seed": 0,
            "distance": np.array((distance or {}).get(key, [key[1]] * size)),
            "status": np.array([STATUSES.index(name) for name in statuses]),
            "gradients": 1,
        }
        answers += [answer(judge, right) | example for judge, right in judged.items()]
    return outcome_table(first + np.arange(size), np.ones(size, int), answers).to_pandas()
