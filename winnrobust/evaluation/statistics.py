"""Every number of a report, as a query on the outcome table.

A model that answers at random has no errors but probabilities of them: everywhere below an image
counts with the share of draws in which it was wrong, so that "errors" may be a fraction.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind

from winnrobust.evaluation import always_valid
from winnrobust.evaluation.always_valid import MISS
from winnrobust.evaluation.outcomes import (
    CASE,
    CLEAN,
    CORRUPTIONS,
    FAILED,
    NO_ATTACK,
    OUT_OF_TIME,
    Case,
    Level,
    Made,
    PerImage,
    expected,
    per_image,
)
from winnrobust.evaluation.paired import correction_difference, correction_rate, mcnemar
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.intervals import Rate, rate

WORST_CASE = "worst case"
"""Stands for all attacks of one norm: what breaks an image at this epsilon or a smaller one."""
NORMAL = 1.959964
"""95 % of a normal distribution are within so many standard deviations."""
TRANSFER = "transfer:"
"""Begins the name of an attack that makes its examples on the model named after it."""

COLUMNS = {
    "clean": "model n draws errors error error_low error_high",
    "errors": "attack norm epsilon model n errors error error_low error_high not_attacked",
    "transfer": "attack norm epsilon source target n clean_errors_source clean_errors_target"
    " source_errors target_errors both_errors adversarial_error adversarial_error_low"
    " adversarial_error_high correction_rate correction_rate_low correction_rate_high not_attacked",
    "corrections": "attack norm epsilon first second rate_by_second rate_by_first difference"
    " difference_low difference_high p_value",
    "robust": "norm epsilon model n robust_accuracy low high robust_error not_attacked attacks",
    "paired": "attack norm epsilon first second n first_only second_only p_value",
    "corruption": "model reference n mean_error mean_error_low mean_error_high relative",
    "rounded": "attack norm epsilon model n successes survived",
    "gaps": "norm epsilon first second n difference low high p_value",
    "targeted": "attack norm epsilon source n hits hit_rate hit_rate_low hit_rate_high",
    "costs": "attack norm source seconds gradients queries out_of_time failed failure",
    "gradients": "attack norm source entries zero_entries images zero_images tiny_images"
    " nonfinite_images",
    "own": "attack norm epsilon model n errors error",
    "spread": "attack norm epsilon group seeds mean sd min max",
    "differences": "attack norm epsilon first second difference test p_value within_noise",
}
"""Of the tables of a `Summary`, and of `own_errors`, `aggregate` and `differences`, by name."""


@dataclass(frozen=True)
class Summary:
    """What the outcomes of n images say of the models compared; all that a report reads.

    `COLUMNS` has the columns of the tables. Rates are shares of all n images, with the ends of
    their 95 % interval (Wilson's, unless it is said otherwise) in the columns called low and high.
    Of a model that answers at random it is wider than it need be, because averaging over draws
    takes variance away. Where the n images are drawn at random from `population`, until enough is
    known, all intervals are about what the population would show, and they and McNemar's test are
    `always_valid`; where all were drawn in the end, intervals are as everywhere.

    Attributes:
        clean: one row per model: errors without an attack.
        errors: one row per (attack, epsilon, model): adversarial error, that is errors on the
            examples made against the model itself. `not_attacked` counts the images that the
            attack did not get done with and that are counted as right.
        transfer: one row per (attack, epsilon, source, target), source == target among them: who
            errs on the source's examples (N_A, N_B, N_{A and B} of the paper), and how much of the
            source's errors the target corrects; `not_attacked` is the source's in `errors`. The
            interval of a correction rate is `paired.correction_rate`'s; undefined rates are NaN.
        corrections: one row per (attack, epsilon) and pair of models: what each corrects of the
            other's errors, and their difference.
        robust: one row per (norm, epsilon, model): the share of images that neither the clean image
            nor any attack of that norm at this epsilon or a smaller one makes wrong. Attacks that
            transfer from a compared model are left out: they have not the same access to all.
            `attacks` names the others.
        paired: one row per pair of models without an attack, under every attack, and in the worst
            case of those of `robust`: who errs alone on the same images, each attacked itself, and
            McNemar's test.
        corruption: one row per pair of models, each with itself among them: the mean corruption
            error of `model`, over all corruptions and severities (their errors are in `errors`, at
            the norm "corruptions"), with an interval for the choice of the images; and relative to
            `reference`, as Hendrycks and Dietterich have it: the mean over corruptions of the ratio
            of the errors of all severities together.
        rounded: one row per (attack, epsilon, model) where examples were rounded: images that the
            model gets right without attack and wrong before rounding, and how many of those it
            gets wrong in the rounded example, too.
        gaps: where images are drawn at random, one row per (norm, epsilon) above 0 and pair of
            models: by how much more often the first errs in the worst case, in the whole
            population. All intervals of this table hold at once with 95 %, and its p-values are
            corrected for their number (Bonferroni).
        targeted: one row per (attack, epsilon, source) of targeted attacks: images in which the
            source sees the class wanted.
        distances: (attack, norm, model) -> (n,) float32 of every minimum-norm attack: the smallest
            perturbation found, 0 where the model is wrong anyway, infinite where none was found.
        costs: one row per (attack, norm, source): seconds of all processes together, passes, and
            images that the attack did not get done with; `failure` is what went wrong where it
            failed. NaN where seconds are unknown.
        gradients: one row per (attack, norm, source): how many gradients were zero.
        random_models: model -> whether its answers differ from draw to draw.
        n: number of images.
        population: of how many they are drawn at random; None if they are all.
    """

    clean: pd.DataFrame
    errors: pd.DataFrame
    transfer: pd.DataFrame
    corrections: pd.DataFrame
    robust: pd.DataFrame
    paired: pd.DataFrame
    corruption: pd.DataFrame
    rounded: pd.DataFrame
    targeted: pd.DataFrame
    distances: dict[Made, np.ndarray]
    costs: pd.DataFrame
    gradients: pd.DataFrame
    random_models: dict[str, bool]
    n: int
    population: int | None = None
    gaps: pd.DataFrame = field(default_factory=lambda: framed("gaps", ()))


def summarize(
    outcomes: Path | str | pd.DataFrame,
    models: Sequence[str] | None = None,
    only: Collection[str] | None = None,
) -> Summary:
    """Compare models by the outcomes of the same images.

    Memory does not grow with a folder's size beyond a byte for each image, case and judge.

    Args:
        outcomes: a results folder, or a table as `outcomes.read_outcomes` returns it.
        models: those to compare, in this order; None takes all. An attack that transfers from a
            model that is not among them counts as any other.
        only: tables to fill in, by name; the others stay empty. None: all.

    Raises:
        InputError: there are no outcomes, they are damaged, or a model is not among them.
    """
    found = per_image(outcomes)
    known = [model for case, _, model in found.wrong if case == CLEAN]
    models = known if models is None else models
    if unknown := [model for model in models if model not in known]:
        raise InputError(
            f"there are no outcomes of {', '.join(unknown)}; there are some of {', '.join(known)}"
        )
    tables = {
        "clean": _clean,
        "errors": _errors,
        "transfer": _transfer,
        "corrections": _corrections,
        "robust": _robust,
        "paired": _paired,
        "corruption": _corruption,
        "rounded": _rounded,
        "gaps": _gaps,
        "targeted": _targeted,
        "costs": _costs,
        "gradients": _gradients,
    }
    return Summary(
        **{
            name: framed(name, rows(found, models) if only is None or name in only else ())
            for name, rows in tables.items()
        },
        distances={key: far for key, far in found.distances.items() if key[-1] in models},
        random_models={model: found.draws[model] > 1 for model in models},
        n=found.n,
        population=found.population,
    )


def fair(attack: str, models: Iterable[str]) -> bool:
    """Tell whether an attack has the same access to all of the models.

    >>> fair("transfer:a", ["a", "b"]), fair("transfer:c", ["a", "b"]), fair("pgd", ["a"])
    (False, True, True)
    """
    return attack not in {TRANSFER + model for model in models}


# --- one table each ---------------------------------------------------------------------------


def _clean(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    for model in models:
        errors = found.errors(CLEAN, model, model)
        yield model, found.n, found.draws[model], errors, *_rate(found, errors)


def _errors(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    for case, model in _attacked(found, models):
        errors = found.errors(case, model, model)
        left = _not_attacked(found, [case], model, found.wrong[case, model, model])
        yield *case, model, found.n, errors, *_rate(found, errors), left


def _transfer(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    for case, source in _attacked(found, models):
        for target in models:
            if (case, source, target) not in found.wrong:
                continue  # only the model under attack was asked
            kinds = _kinds(found.answers(case, source, source), found.answers(case, source, target))
            both = [(errs, errs * errs_too, images) for errs, errs_too, images in kinds]
            corrected = _correction_rate(found, both)
            if source == target:  # the same answers, not others of a random model
                both = [(errs, errs, images) for errs, _, images in kinds]
                corrected = Rate(*[0.0 if any(errs for errs, *_ in kinds) else np.nan] * 3)
            of_source, of_both = _total(both, 0), _total(both, 1)
            clean = [found.errors(CLEAN, model, model) for model in (source, target)]
            errors = [of_source, found.errors(case, source, target), of_both]
            rates = *_rate(found, of_source), *corrected
            left = _not_attacked(found, [case], source, found.wrong[case, source, source])
            yield *case, source, target, found.n, *clean, *errors, *rates, left


def _corrections(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    for case, pair in itertools.product(found.cases, itertools.combinations(models, 2)):
        cells = [(case, one, other) for one, other in itertools.product(pair, repeat=2)]
        if fair(case.attack, pair) and all(cell in found.wrong for cell in cells):
            kinds = tuple(
                (a, a * b_too, b, b * a_too, images)
                for a, b_too, a_too, b, images in _kinds(*(found.answers(*cell) for cell in cells))
            )
            of_first = 1 - _ratio(_total(kinds, 1), _total(kinds, 0))
            of_second = 1 - _ratio(_total(kinds, 3), _total(kinds, 2))
            yield *case, *pair, of_first, of_second, *_correction_difference(found, kinds)


def _robust(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    for level, model in itertools.product(_levels(found), models):
        if cases := _fair_cases(found, level, [model], models):
            wrong = worst_case(found, cases, model)
            errors = expected(wrong, found.draws[model])
            robust, left = (
                _rate(found, found.n - errors),
                _not_attacked(found, cases, model, wrong),
            )
            attacks = ", ".join(case.attack for case in cases)
            yield *level, model, found.n, *robust, errors / found.n, left, attacks


def _paired(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    pairs = list(itertools.combinations(models, 2))
    for case, pair in itertools.product((CLEAN, *found.cases), pairs):
        if fair(case.attack, pair) and all((case, model, model) in found.wrong for model in pair):
            yield *case, *_discordant(found, pair, [found.wrong[case, m, m] for m in pair])
    for level, pair in itertools.product(_levels(found), pairs):
        if cases := _fair_cases(found, level, pair, models):
            wrong = [worst_case(found, cases, model) for model in pair]
            yield WORST_CASE, *level, *_discordant(found, pair, wrong)


def _corruption(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    cases = [case for case in found.cases if case.norm == CORRUPTIONS]
    if not cases:
        return
    names = list(dict.fromkeys(case.attack for case in cases))
    of_each = {model: _corruption_shares(found, cases, model) for model in models}
    totals = {
        model: np.array([shares[[case.attack == name for case in cases]].sum() for name in names])
        for model, shares in of_each.items()
    }
    for model, reference in itertools.product(models, repeat=2):
        by_image = of_each[model].mean(0)
        mean, half = float(by_image.mean()), NORMAL * float(by_image.std()) / found.n**0.5
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = float((totals[model] / totals[reference]).mean())
        ends = [max(mean - half, 0.0), min(mean + half, 1.0)]
        if found.population is not None:
            _, *ends = _rate(found, float(by_image.sum()))
        yield model, reference, found.n, mean, *ends, relative


def _corruption_shares(found: PerImage, cases: Sequence[Case], model: str) -> np.ndarray:
    """Return the share of wrong draws under every corruption (cases, n)."""
    return np.stack([found.wrong[case, model, model] for case in cases]) / found.draws[model]


def _rounded(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    for (case, model), unrounded in found.unrounded.items():
        if model in models:
            draws = found.draws[model]
            clean, attacked = (
                2 * found.wrong[key, model, model].astype(np.int64) >= draws
                for key in (CLEAN, case)
            )
            successes = ~clean & (unrounded > 0)
            yield *case, model, found.n, int(successes.sum()), int((successes & attacked).sum())


def _gaps(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    if found.population is None:
        return
    keys = itertools.product(_levels(found), itertools.combinations(models, 2))
    rows = [
        (*level, *_discordant(found, pair, [worst_case(found, cases, model) for model in pair]))
        for level, pair in keys
        if level.epsilon > 0 and (cases := _fair_cases(found, level, pair, models))
    ]
    for *key, n, first_only, second_only, p_value in rows:
        miss = MISS / len(rows)
        gap = always_valid.difference(first_only, second_only, n, found.population, miss)
        yield *key, n, *gap, min(1.0, len(rows) * p_value)


def _targeted(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    for case, source in _attacked(found, models):
        if (case, source) in found.hits:
            hits = found.hits[case, source]
            yield *case, source, found.n, hits, *_rate(found, hits)


def _costs(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    for (attack, norm, source), (gradients, queries) in found.passes.items():
        if source not in models:
            continue
        cases = [case for case in found.cases if case[:2] == (attack, norm)]
        status = [found.status[case, source] for case in cases if (case, source) in found.status]
        counts = [int(np.any([s == code for s in status], 0).sum()) for code in NOT_DONE]
        seconds = found.seconds.get((attack, norm, source), np.nan)
        failure = found.failures.get((attack, norm, source), "")
        yield attack, norm, source, seconds, int(gradients), int(queries), *counts, failure


def _gradients(found: PerImage, models: Sequence[str]) -> Iterator[tuple]:
    names = COLUMNS["gradients"].split()[3:]
    for made, counts in found.gradients.items():
        if made[-1] in models:
            yield *made, *(counts[name] for name in names)


# --- what they share --------------------------------------------------------------------------

NOT_DONE = (OUT_OF_TIME, FAILED)
"""Statuses of images that an attack did not get done with."""


def worst_case(found: PerImage, cases: Sequence[Case], model: str) -> np.ndarray:
    """Return (n,) uint8, in how many draws the model is wrong in the worst case.

    That is the largest number over the clean image and the examples of all these attacks, at their
    epsilon or a smaller one.
    """
    wrong = found.wrong[CLEAN, model, model]
    for case, weaker in itertools.product(cases, found.cases):
        if weaker[:2] == case[:2] and weaker.epsilon <= case.epsilon:
            wrong = np.maximum(wrong, found.wrong[weaker, model, model])
    return wrong


def _levels(found: PerImage) -> list[Level]:
    """Return all threat models that have a worst case, which corruptions have not."""
    levels = dict.fromkeys(case.level for case in found.cases)
    return [level for level in levels if level.norm != CORRUPTIONS]


def _attacked(found: PerImage, models: Sequence[str]) -> Iterator[tuple[Case, str]]:
    yield from (key for key in itertools.product(found.cases, models) if key in found.status)


def _fair_cases(
    found: PerImage, level: Level, attacked: Sequence[str], models: Sequence[str]
) -> list[Case]:
    """Return the attacks on all of `attacked` that have the same access to all of `models`."""
    return [
        case
        for case in found.cases
        if case.level == level
        and fair(case.attack, models)
        and all((case, model) in found.status for model in attacked)
    ]


def _not_attacked(found: PerImage, cases: Iterable[Case], model: str, wrong: np.ndarray) -> int:
    """Count images that one of the attacks did not get done with and that are mostly right."""
    left = np.any([np.isin(found.status[case, model], NOT_DONE) for case in cases], 0)
    return int((left & (2 * wrong.astype(np.int64) < found.draws[model])).sum())


def _kinds(*columns: tuple[np.ndarray, int]) -> list[tuple]:
    """Return the kinds of images that there are by shares of wrong draws, and how many of each.

    Args:
        columns: (numbers of wrong draws (n,) uint8, draws), one for each share.
    """
    shape = [draws + 1 for _, draws in columns]
    code = np.ravel_multi_index([wrong for wrong, _ in columns], shape)
    codes, images = np.unique(code, return_counts=True)
    shares = [
        (wrong if draws == 1 else wrong / draws).tolist()
        for wrong, (_, draws) in zip(np.unravel_index(codes, shape), columns, strict=True)
    ]
    return list(zip(*shares, images.tolist(), strict=True))


def _total(kinds: Sequence[tuple], column: int) -> float:
    """Return the sum of a column over all images."""
    return sum(kind[column] * kind[-1] for kind in kinds)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _discordant(found: PerImage, pair: Sequence[str], wrong: Sequence[np.ndarray]) -> tuple:
    """Return the end of a row of `Summary.paired`, by each model's numbers of wrong draws (n,)."""
    kinds = _kinds(*((each, found.draws[model]) for each, model in zip(wrong, pair, strict=True)))
    first_only = sum(first * (1 - second) * images for first, second, images in kinds)
    second_only = sum(second * (1 - first) * images for first, second, images in kinds)
    test = mcnemar if found.population is None else always_valid.mcnemar
    return *pair, found.n, first_only, second_only, test(first_only, second_only)


# --- intervals: of images that were all wanted, or that were drawn until enough was known ---------


def _left(found: PerImage) -> int | None:
    """Return the size of the population that was not seen whole; None where all was seen."""
    return found.population if found.n != found.population else None


def _rate(found: PerImage, count: float) -> Rate:
    """Return the share of all images that `count` of them are."""
    population = _left(found)
    if population is None:
        return rate(count, found.n)
    return always_valid.rate(count, found.n, population)


def _correction_rate(
    found: PerImage, both: Sequence[tuple[float, float, int]], miss: float = MISS
) -> Rate:
    """Return the share of errors that are corrected, by kinds as `correction_rate` takes them."""
    population = _left(found)
    if population is None:
        return correction_rate(tuple(both))
    left = _total(both, 1)
    return always_valid.ratio(_total(both, 0) - left, left, found.n, population, miss)


def _correction_difference(found: PerImage, kinds: Sequence[tuple]) -> tuple[float, ...]:
    """Compare two correction rates, by kinds as `correction_difference` takes them."""
    if _left(found) is None:
        return correction_difference(tuple(kinds))
    first, second = (
        _correction_rate(found, [(*kind[i : i + 2], kind[-1]) for kind in kinds], MISS / 2)
        for i in (0, 2)
    )
    ends = first.value - second.value, first.low - second.high, first.high - second.low
    return *ends, np.nan  # no test; bounds set against each other are conservative


def framed(name: str, rows: Iterable[tuple]) -> pd.DataFrame:
    """Return the rows of the table called `name` in `COLUMNS`."""
    return pd.DataFrame(list(rows), columns=COLUMNS[name].split())


# --- several seeds of one method --------------------------------------------------------------

SIGNIFICANCE = 0.05
"""A difference with a p-value of at least this is within noise."""


def own_errors(summary: Summary) -> pd.DataFrame:
    """Put the errors of every model under the attacks made against itself into one table.

    Returns:
        One row per case and model, columns `COLUMNS["own"]`: without an attack (`NO_ATTACK`), under
        every attack and epsilon, and in the `WORST_CASE`.
    """
    robust = summary.robust.rename(columns={"robust_error": "error"})
    tables = [
        summary.clean.assign(attack=NO_ATTACK, norm="", epsilon=0.0),
        summary.errors,
        robust.assign(attack=WORST_CASE, errors=robust.error * robust.n),
    ]
    filled = [table[COLUMNS["own"].split()] for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True)


def aggregate(errors: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Describe the seeds of every group: one row per case and group.

    Args:
        errors: from `own_errors`.
        groups: model -> group, such as the method that it is a seed of; models without one are
            left out.

    Returns:
        Columns `COLUMNS["spread"]`: errors are shares in [0, 1]; sd has n - 1 in the denominator
        and is NaN for a single seed.
    """
    grouped = _with_groups(errors, groups).groupby([*CASE, "group"], sort=False).error
    return grouped.agg(seeds="count", mean="mean", sd="std", min="min", max="max").reset_index()


def differences(
    errors: pd.DataFrame,
    paired: pd.DataFrame,
    groups: Mapping[str, str],
    of_a_sample: bool = False,
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
        paired: that of a `Summary`.
        groups: as for `aggregate`.
        of_a_sample: whether images were drawn until enough was known, so that `paired` has
            always-valid p-values. No other test is one then.

    Returns:
        Columns `COLUMNS["differences"]`; difference is the mean error of the first group minus that
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
            several = min(len(ours), len(theirs)) > 1 and max(map(np.ptp, seeds)) > 0
            if several and not of_a_sample:
                test, p_value = "Welch", float(ttest_ind(*seeds, equal_var=False).pvalue)
            else:
                pairs = [
                    discordant[*case, *pair]
                    for pair in itertools.product(ours, theirs)
                    if (*case, *pair) in discordant
                ]
                if not pairs:
                    continue
                test = "always-valid McNemar" if of_a_sample else "McNemar"
                p_value = _least_significant(pairs)
            difference = float(np.mean(seeds[0]) - np.mean(seeds[1]))
            within_noise = p_value >= SIGNIFICANCE
            rows.append((*case, first, second, difference, test, p_value, within_noise))
    return framed("differences", rows)


def _with_groups(errors: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    return errors.assign(group=errors.model.map(groups)).dropna(subset="group")


def _both_ways(paired: pd.DataFrame) -> dict[tuple[str, str, float, str, str], tuple[float, float]]:
    """Return (case, first, second) -> 1 if the first errs more, -1 if it errs less, else 0; and the
    p-value."""
    found = {}
    for row in paired.itertuples():
        case, sign = (row.attack, row.norm, row.epsilon), np.sign(row.first_only - row.second_only)
        found[*case, row.first, row.second] = sign, row.p_value
        found[*case, row.second, row.first] = -sign, row.p_value
    return found


def _least_significant(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the largest p-value, 1 where pairs disagree about the better one."""
    return 1.0 if {-1, 1} <= {sign for sign, _ in pairs} else max(p_value for _, p_value in pairs)
