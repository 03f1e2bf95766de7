"""Several seeds of one method: how far they spread, and whether two methods differ by more.

Everything here comes from stored tables; no model is needed.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind

from winnrobust.evaluation.metrics import NO_ATTACK, PAIRED_COLUMNS, WORST_CASE, mcnemar

CASE = ["attack", "norm", "epsilon"]
ERROR_COLUMNS = (*CASE, "model", "n", "errors", "error")
SPREAD_COLUMNS = (*CASE, "group", "seeds", "mean", "sd", "min", "max")
DIFFERENCE_COLUMNS = (
    *CASE,
    "first",
    "second",
    "difference",
    "test",
    "p_value",
    "within_noise",
)
SIGNIFICANCE = 0.05
"""A difference with a p-value of at least this is within noise."""


def own_errors(clean: pd.DataFrame, table: pd.DataFrame, worst: pd.DataFrame) -> pd.DataFrame:
    """Put the errors of every model under the attacks made against itself into one table.

    Args:
        clean, table, worst: those of an `Evaluation`.

    Returns:
        One row per case and model, columns as `ERROR_COLUMNS`: without an attack (`NO_ATTACK`),
        under every attack and epsilon, and in the `WORST_CASE`.
    """
    attacked = table[table.source == table.target].rename(
        columns={"source": "model", "source_errors": "errors", "adversarial_error": "error"}
    )
    parts = [
        clean.assign(attack=NO_ATTACK, norm="", epsilon=0.0),
        attacked,
        worst.assign(attack=WORST_CASE),
    ]
    filled = [part[list(ERROR_COLUMNS)] for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True)


def aggregate(errors: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Describe the seeds of every group: one row per case and group.

    Args:
        errors: from `own_errors`.
        groups: model -> group, such as the method that it is a seed of; models without one are
            left out.

    Returns:
        Columns as `SPREAD_COLUMNS`: errors are shares in [0, 1]; sd has n - 1 in the denominator
        and is NaN for a single seed.
    """
    grouped = _with_groups(errors, groups).groupby([*CASE, "group"], sort=False).error
    return grouped.agg(seeds="count", mean="mean", sd="std", min="min", max="max").reset_index()


def differences(
    errors: pd.DataFrame, paired: pd.DataFrame, groups: Mapping[str, str]
) -> pd.DataFrame:
    """Compare every two groups in every case and say whether they differ by more than noise.

    With two seeds or more in both groups, Welch's t-test tells whether the methods differ. With
    fewer (or where no seed differs from the others of its group) McNemar's test on the same images
    tells whether the networks do; how another training would have turned out it cannot know. Of
    several pairs of networks the least significant counts, and pairs that disagree about who is
    better settle nothing (p = 1). Where neither test has anything to go by, there is no row. No
    p-value is corrected for the number of comparisons.

    Args:
        errors: from `own_errors`.
        paired: that of an `Evaluation`.
        groups: as for `aggregate`.

    Returns:
        Columns as `DIFFERENCE_COLUMNS`; difference is the mean error of the first group minus that
        of the second.
    """
    discordant = _both_ways(paired)
    rows = []
    for case, of_case in _with_groups(errors, groups).groupby(CASE, sort=False):
        members = {
            name: dict(zip(part.model, part.error, strict=True))
            for name, part in of_case.groupby("group", sort=False)
        }
        for (first, ours), (second, theirs) in itertools.combinations(members.items(), 2):
            seeds = [*ours.values()], [*theirs.values()]
            if min(len(ours), len(theirs)) > 1 and max(map(np.ptp, seeds)) > 0:
                test, p_value = "Welch", float(ttest_ind(*seeds, equal_var=False).pvalue)
            else:
                pairs = [
                    discordant[*case, *pair]
                    for pair in itertools.product(ours, theirs)
                    if (*case, *pair) in discordant
                ]
                if not pairs:
                    continue
                test, p_value = "McNemar", _least_significant(pairs)
            difference = float(np.mean(seeds[0]) - np.mean(seeds[1]))
            within_noise = p_value >= SIGNIFICANCE
            rows.append((*case, first, second, difference, test, p_value, within_noise))
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))


def _with_groups(errors: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    return errors.assign(group=errors.model.map(groups)).dropna(subset="group")


def _both_ways(paired: pd.DataFrame) -> dict[tuple[str, str, float, str, str], tuple[int, int]]:
    """Return (case, first, second) -> images that only the first, only the second gets wrong."""
    found = {}
    for *case, first, second, _, first_only, second_only, _ in (
        paired[list(PAIRED_COLUMNS)].itertuples(index=False, name=None)
    ):  # fmt: skip
        found[*case, first, second] = first_only, second_only
        found[*case, second, first] = second_only, first_only
    return found


def _least_significant(pairs: Sequence[tuple[int, int]]) -> float:
    """Return the largest p-value of McNemar's test, 1 where pairs disagree about the better one."""
    signs = {np.sign(first_only - second_only) for first_only, second_only in pairs}
    return 1.0 if {-1, 1} <= signs else max(mcnemar(*pair) for pair in pairs)
