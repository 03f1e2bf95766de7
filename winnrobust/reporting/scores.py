"""Scores of samples side by side, and whether they stand in the paper's order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from scipy.stats import ttest_ind_from_stats

from winnrobust.evaluation.statistics import SIGNIFICANCE
from winnrobust.generation.quality import SPLITS, Quality
from winnrobust.reporting.paper import AGREES, NOISE, PAPER, REVERSED
from winnrobust.reporting.table import Table
from winnrobust.reporting.words import framed

WINN_SINGLE, WINN_CASCADES = "WINN-single", "WINN-5CNNs"
INN_SINGLE, INN_CASCADES = "INNg-single", "INNg"
"""Generators by the paper's names (Table 1); ours may have another number of cascades."""

PAPER_ORDER = (
    (WINN_SINGLE, INN_CASCADES),
    (INN_CASCADES, INN_SINGLE),
    (WINN_SINGLE, INN_SINGLE),
    (WINN_CASCADES, WINN_SINGLE),
)
"""Better first."""

Scored = tuple[str, Quality]
"""What we call a generator, and what the classifier found."""


def scores_table(dataset: str, qualities: Mapping[str, Quality]) -> Table:
    """A row for every generator, and one for as many test images.

    Args:
        qualities: name -> what one classifier found; at least one.
    """
    frame = scores_frame({(dataset, name): quality for name, quality in qualities.items()})
    real = frame.iloc[:1].filter(like="real_").rename(columns=lambda name: name[len("real_") :])
    rows = pd.concat([frame, real.assign(generator="test images")], ignore_index=True)
    n = next(iter(qualities.values())).n
    return framed("scores", rows, n, dataset=dataset)


def scores_frame(qualities: Mapping[tuple[str, str], Quality]) -> pd.DataFrame:
    """All of it as numbers: (data set, generator) -> a row."""
    rows = []
    for (dataset, name), quality in qualities.items():
        row: dict[str, Any] = {"dataset": dataset, "generator": name}
        for key, value in asdict(quality).items():
            rate = (value or (math.nan,) * 3) if key.endswith("agreement") else ()
            row |= dict(zip((key, f"{key}_low", f"{key}_high"), rate or (value,), strict=False))
        rows.append(row)
    return pd.DataFrame(rows)


def order_table(
    dataset: str, named: Mapping[str, Scored], cascades: Sequence[tuple[Scored, Scored]] = ()
) -> Table | None:
    """Do our generators stand as in the paper? None where there are no two of them.

    Args:
        named: by the paper's name (Table 1).
        cascades: samples of all cascades of a run, and of all but the last.
    """
    pairs = [(more, less, "more is better") for more, less in cascades]
    for better, worse in PAPER_ORDER:
        if better in named and worse in named:
            theirs = [f"{PAPER['inception_score'][name][0]:.2f}" for name in (better, worse)]
            pairs.append((named[better], named[worse], " against ".join(theirs)))
    rows = [
        {"better": first, "worse": second, "published": published, "order": _stands(one, two)}
        | {"score": one.score, "other_score": two.score}
        | {"distance": one.distance, "other_distance": two.distance}
        for (first, one), (second, two), published in pairs
    ]
    slots = {"dataset": dataset, "splits": SPLITS, "significance": SIGNIFICANCE}
    return framed("order", pd.DataFrame(rows), 1, **slots) if rows else None


def _stands(better: Quality, worse: Quality) -> str:
    """Whether two scores differ, and as in the paper."""
    # `score_sd` has the number of parts in the denominator, the test wants one less
    one, two = (sd * math.sqrt(SPLITS / (SPLITS - 1)) for sd in (better.score_sd, worse.score_sd))
    if one == two == 0:
        p_value = 0.0 if better.score != worse.score else 1.0
    else:
        p_value = ttest_ind_from_stats(
            better.score, one, SPLITS, worse.score, two, SPLITS, equal_var=False
        ).pvalue
    if p_value >= SIGNIFICANCE:
        return NOISE
    return AGREES if better.score > worse.score else REVERSED
