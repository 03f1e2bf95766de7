"""Who errs less than whom, case by case, and whether that is more than noise."""

import itertools
from typing import NamedTuple

from winnrobust.reporting.results import Case, Results
from winnrobust.reporting.table import p_text, percent, share_text
from winnrobust.runtime.intervals import Rate


class Outcome(NamedTuple):
    """How two groups of models compare in a case.

    Attributes:
        sign: 1 if the first errs less, -1 if it errs more, 0 if that may be noise.
        reason: what says so, such as `McNemar p = 0.310`.
    """

    sign: int
    reason: str


def compare(results: Results) -> dict[tuple[Case, str, str], Outcome]:
    """Compare every group with every other in every case, the clean one and worst cases included.

    By the tests of `evaluation.seeds.differences`; by intervals where results do not hold what
    those need.
    """
    cases = dict.fromkeys(case for case, _ in results.rates)
    outcomes = {
        (case, *pair): _by_intervals(results, case, *pair)
        for case in cases
        for pair in itertools.permutations(results.groups, 2)
    }
    for row in results.differences.itertuples():
        case = Case(row.attack, row.norm, row.epsilon)
        sign = 0 if row.within_noise else -1 if row.difference > 0 else 1
        reason = f"{row.test} {p_text(row.p_value)}"
        outcomes[case, row.first, row.second] = Outcome(sign, reason)
        outcomes[case, row.second, row.first] = Outcome(-sign, reason)
    return outcomes


def _by_intervals(results: Results, case: Case, first: str, second: str) -> Outcome:
    ours, theirs = span(results, case, first), span(results, case, second)
    if ours.low <= theirs.high and theirs.low <= ours.high:
        return Outcome(0, "the intervals overlap")
    return Outcome(1 if ours.high < theirs.low else -1, "the intervals do not overlap")


def span(results: Results, case: Case, group: str) -> Rate:
    """The mean error of a group, and from the lowest end of its intervals to the highest."""
    members = [results.rates[case, name] for name in results.groups[group]]
    return Rate(
        mean_error(results, case, group),
        min(member.low for member in members),
        max(member.high for member in members),
    )


def mean_error(results: Results, case: Case, group: str) -> float:
    """The error of a group: the mean of its models'."""
    members = [results.rates[case, name].value for name in results.groups[group]]
    return sum(members) / len(members)


def error_text(results: Results, case: Case, group: str) -> str:
    """`41.0 % [40.0, 42.0]`, or of several seeds `41.0 % (mean of 3 seeds, 40.1 to 42.3)`."""
    members = [results.rates[case, name] for name in results.groups[group]]
    if len(members) == 1:
        return share_text(*members[0], results.n)
    values = [member.value for member in members]
    return (
        f"{percent(mean_error(results, case, group), results.n)} % (mean of {len(members)} seeds,"
        f" {percent(min(values), results.n)} to {percent(max(values), results.n)})"
    )
