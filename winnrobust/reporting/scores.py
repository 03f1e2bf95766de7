"""Scores of samples side by side, and whether they stand in the paper's order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from scipy.stats import ttest_ind_from_stats

from winnrobust.evaluation.statistics import SIGNIFICANCE
from winnrobust.generation.quality import SPLITS, Quality
from winnrobust.reporting.paper import AGREES, NOISE, REVERSED, paper_inception_score
from winnrobust.reporting.table import MISSING, Table, share_with_interval

WINN_SINGLE, WINN_CASCADES, INN_SINGLE, INN_CASCADES = (
    "WINN-single",
    "WINN-5CNNs",
    "INNg-single",
    "INNg",
)
"""Generators by the paper's names (Table 1); ours may have another number of cascades."""

PAPER_ORDER = (
    (WINN_SINGLE, INN_CASCADES),
    (INN_CASCADES, INN_SINGLE),
    (WINN_SINGLE, INN_SINGLE),
    (WINN_CASCADES, WINN_SINGLE),
)
"""Better first."""


def scores_table(dataset: str, qualities: Mapping[str, Quality]) -> Table:
    """A row for every generator, and one for as many test images.

    Args:
        qualities: name -> what one classifier found; at least one.
    """
    rows = []
    for name, quality in qualities.items():
        agreement = (
            share_with_interval(*quality.agreement, quality.n) if quality.agreement else MISSING
        )
        rows.append(
            [
                name,
                f"{quality.score:.2f} ± {quality.score_sd:.2f}",
                f"{quality.distance:.2f}",
                f"{quality.nearest:.2f} ({quality.nearest_low:.2f})",
                agreement,
            ]
        )
    real = next(iter(qualities.values()))
    rows.append(
        [
            "test images",
            f"{real.real_score:.2f} ± {real.real_score_sd:.2f}",
            f"{real.real_distance:.2f}",
            f"{real.real_nearest:.2f} ({real.real_nearest_low:.2f})",
            share_with_interval(*real.real_agreement, real.n),
        ]
    )
    note = (
        f"{real.n} samples each, and as many test images. Classifier score and Fréchet distance"
        " have the formulas of the Inception score and of FID, on our own classifier of this data"
        " set instead of an Inception network: they compare with nothing outside this table."
        " Samples that are all certain and evenly spread over the classes score above real images."
        " Nearest: L2 distance to the nearest training image, the median and what 5 % are below."
        " Seen as asked: how often the classifier sees the class that a sample was made as, or that"
        " a test image has."
    )
    header = [
        "",
        "classifier score",
        "Fréchet distance",
        "nearest: median (lowest 5 %)",
        "seen as asked %",
    ]
    return Table(f"How good are samples? {dataset}", header, rows, note)


def scores_frame(qualities: Mapping[tuple[str, str], Quality]) -> pd.DataFrame:
    """All of it as numbers: (data set, generator) -> a row."""
    rows = []
    for (dataset, name), quality in qualities.items():
        row: dict[str, Any] = {"dataset": dataset, "generator": name}
        for key, value in asdict(quality).items():
            if key.endswith("agreement"):
                rate = value or (math.nan,) * 3
                row |= dict(zip((key, f"{key}_low", f"{key}_high"), rate, strict=True))
            else:
                row[key] = value
        rows.append(row)
    return pd.DataFrame(rows)


Judged = tuple[str, Quality]
"""What we call a generator, and what the classifier found."""


def order_table(
    dataset: str, named: Mapping[str, Judged], cascades: Sequence[tuple[Judged, Judged]] = ()
) -> Table | None:
    """Do our generators stand as in the paper? None where there are no two of them.

    Args:
        named: by the paper's name (Table 1).
        cascades: samples of all cascades of a run, and of all but the last.
    """
    rows = [
        [
            f"{more[0]} above {less[0]}",
            "more is better",
            f"{more[1].score:.2f} against {less[1].score:.2f}",
            _stands(more[1], less[1]),
            f"{more[1].distance:.2f} against {less[1].distance:.2f}",
        ]
        for more, less in cascades
    ]
    for better, worse in PAPER_ORDER:
        if better not in named or worse not in named:
            continue
        (first, one), (second, two) = named[better], named[worse]
        rows.append(
            [
                f"{first} above {second}",
                f"{paper_inception_score(better):.2f} against {paper_inception_score(worse):.2f}",
                f"{one.score:.2f} against {two.score:.2f}",
                _stands(one, two),
                f"{one.distance:.2f} against {two.distance:.2f}",
            ]
        )
    if not rows:
        return None
    note = (
        "The paper's are Inception scores of CIFAR-10, with five CNNs in the WINN cascade: compare"
        f" the order, not the figures. {NOISE}: by Welch's test on the {SPLITS} parts of each"
        f" score they do not differ (p at least {SIGNIFICANCE:g}); it covers the choice of the"
        " samples, not that of the training's seed. A further cascade is further training, too."
    )
    header = ["", "paper", "classifier score", "order", "Fréchet distance, less is better"]
    return Table(f"The paper's order: {dataset}", header, rows, note)


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
