"""The verdict in words, derived from the numbers and no stronger than they are.

A model is called more robust under every attack only if each single attack says so beyond noise.
That claim needs no correction for the number of tests: it falls with the first that does not (an
intersection-union test).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from winnrobust.attacks import PREFIX
from winnrobust.evaluation.metrics import WORST_CASE
from winnrobust.reporting.comparison import Outcome, compare, error_text, mean_error, span
from winnrobust.reporting.results import CLEAN, Case, Level, Results
from winnrobust.reporting.table import listed
from winnrobust.reporting.threat import SINGLE_STEP, access_of, budgets, is_attack, levels_text
from winnrobust.reporting.trust import VERBS, trust, unmasked, untested, warnings

NO_WHITE_BOX = (
    "No attack that uses the models' gradients was tried; one that does may find many more errors."
)
FIGURES = 3
"""With more epsilons than this the verdict gives the figures of the largest ones alone."""

ONE_SEED = "Each method was trained once; another seed may come out differently."

Tried = dict[Level, list[Case]]
"""What was attacked, without controls."""


@dataclass(frozen=True)
class Verdict:
    """What a reader must know first, in this order; lists of sentences.

    Attributes:
        warnings: whose robustness is not to be trusted.
        claims: who is more robust than whom.
        notes: how far that goes.
    """

    warnings: list[str]
    claims: list[str]
    notes: list[str]


def verdict(results: Results) -> Verdict:
    """Say who is more robust than whom, and how far that can be believed."""
    tried = _tried(results)
    outcomes = compare(results)
    reference, *others = results.groups
    claims = []
    if not tried:
        claims.append("Nothing was attacked: there are only controls, or epsilon is 0.")
    elif not others:
        claims.append(_errors_of_one(results, reference, tried))
    else:
        if len(others) > 1:
            claims.append(_ranking(results, tried, outcomes))
        pairs = [_comparison(results, model, reference, tried, outcomes) for model in others]
        claims += pairs[0] if len(pairs) == 1 else [" ".join(pair) for pair in pairs]
    claims.append(_clean_errors(results, outcomes))
    return Verdict(warnings(results), claims, _notes(results, tried))


def _tried(results: Results) -> Tried:
    attacks = {
        level: [case for case in results.cases_at(level) if is_attack(case)]
        for level in results.levels
    }
    return {level: cases for level, cases in attacks.items() if cases}


def _deciding(results: Results, tried: Tried) -> dict[Level, Case]:
    """What sums a level up: its only attack, the worst case, the strongest if that is unknown."""
    deciding = {}
    for level, cases in tried.items():
        worst = Case(WORST_CASE, *level)
        known = (worst, results.names[0]) in results.rates and len(cases) > 1
        deciding[level] = worst if known else results.strongest(cases)
    return deciding


# --- claims -----------------------------------------------------------------------------------


def _comparison(
    results: Results,
    model: str,
    reference: str,
    tried: Tried,
    outcomes: dict[tuple[Case, str, str], Outcome],
) -> list[str]:
    """Compare with the reference: in what sums the attacks up, then where single ones disagree."""
    fair = _fair(tried, [*results.groups[model], *results.groups[reference]])
    if not fair:
        return [f"{model} and {reference} were attacked by transfer from one of them alone."]
    named = len(results.groups) == 2  # among more, the ranking has named the attacks
    deciding = _deciding(results, fair)
    signs = {level: outcomes[case, model, reference].sign for level, case in deciding.items()}
    exceptions = _exceptions(model, reference, fair, signs, outcomes)
    clean = unmasked(results, model, reference)
    levels_of = {
        sign: [level for level in fair if signs[level] == sign]
        for sign in (1, 0, -1)
        if sign in signs.values()
    }
    figures = {
        sign: _figures(results, model, reference, _told(levels), deciding)
        for sign, levels in levels_of.items()
    }
    if len(levels_of) > 1:
        clauses = [
            f"{_says(results, sign, 'it', model, reference)} at {levels_text(levels)}"
            for sign, levels in levels_of.items()
        ]
        return [
            f"Whether {model} is more robust than {reference} depends on epsilon:"
            f" {_under(fair, deciding, named)}, {'; '.join(clauses)}.",
            f"{model} against {reference}: {'; '.join(figures.values())}.",
            *([f"Single attacks say something else: {exceptions}."] if exceptions else []),
            *([f"There is {clean}."] if clean else []),
        ]
    (sign,) = levels_of
    says = _says(results, sign, model, model, reference)
    compared = f"than {reference}" if sign else f"between {model} and {reference}"
    under = _under(fair, deciding, named) if exceptions else _under_all(fair, sign, named)
    last = _last_of_each_norm(list(fair))
    reasons = [outcomes[deciding[level], model, reference].reason for level in last]
    because = "" if sign else f" ({', '.join(reasons)})"
    but = f"; but {exceptions}" if exceptions else ""
    masking = f"; {clean}" if clean else ""
    told = [
        f"{says} {compared} {under} at {levels_text(list(fair))}: {figures[sign]}{because}{but}"
        f"{masking}."
    ]
    winner = {1: model, -1: reference}.get(sign)
    fallen = [
        level for level in last if winner and span(results, deciding[level], winner).low > 0.5
    ]
    if fallen:
        told.append(f"Even so {winner} errs on most images at {levels_text(fallen)}.")
    return told


def _fair(tried: Tried, compared: Sequence[str]) -> Tried:
    """Leave out transfers from a compared model: to itself it is no transfer but a white box."""
    own = {PREFIX + name for name in compared}
    fair = {
        level: [case for case in cases if case.attack not in own] for level, cases in tried.items()
    }
    return {level: cases for level, cases in fair.items() if cases}


def _says(results: Results, sign: int, subject: str, model: str, reference: str) -> str:
    if sign == 0:
        return f"{'There is ' if subject == model else ''}no difference beyond noise"
    verb = VERBS.get(trust(results, model if sign > 0 else reference), "is")
    return f"{subject} {verb} {'more' if sign > 0 else 'less'} robust"


def _exceptions(
    model: str,
    reference: str,
    tried: Tried,
    signs: dict[Level, int],
    outcomes: dict[tuple[Case, str, str], Outcome],
) -> str:
    """Where single attacks say something else than what sums them up; empty if nowhere."""
    found: dict[int, dict[str, list[Level]]] = {}
    for level, cases in tried.items():
        for case in cases:
            sign = outcomes[case, model, reference].sign
            if sign != signs[level]:
                found.setdefault(sign, {}).setdefault(case.attack, []).append(level)
    words = {1: f"{model} errs less", 0: "no difference beyond noise", -1: f"{model} errs more"}
    return "; ".join(
        f"{words[sign]} under "
        + listed([f"{attack} at {levels_text(levels)}" for attack, levels in attacks.items()])
        for sign, attacks in found.items()
    )


def _figures(
    results: Results,
    model: str,
    reference: str,
    levels: Sequence[Level],
    deciding: dict[Level, Case],
) -> str:
    """`worst-case error 41.0 % [40.0, 42.0] against 82.0 % [81.0, 83.0]`, at these levels."""
    parts = []
    for level in levels:
        case = deciding[level]
        ours, theirs = (error_text(results, case, group) for group in (model, reference))
        at = f" at {levels_text([level])}" if len(deciding) > 1 else ""
        noun = "worst-case error" if case.attack == WORST_CASE else f"{case.attack} error"
        parts.append(f"{noun} {ours} against {theirs}{at}")
    return ", ".join(parts)


def _told(levels: Sequence[Level]) -> Sequence[Level]:
    """Those whose figures the verdict gives: all while they are few."""
    return levels if len(levels) <= FIGURES else _last_of_each_norm(levels)


def _last_of_each_norm(levels: Sequence[Level]) -> list[Level]:
    """The largest epsilon of every norm."""
    largest = {level.norm: level for level in sorted(levels, key=lambda level: level.epsilon)}
    return [largest[norm] for norm in dict.fromkeys(level.norm for level in levels)]


def _under_all(tried: Tried, sign: int, named: bool) -> str:
    attacks = _attacks(tried)
    if len(attacks) == 1:
        return f"under {attacks[0]}, the only attack tried,"
    return f"under {'every' if sign else 'any'} attack tried{_names(attacks, named)}"


def _under(tried: Tried, deciding: dict[Level, Case], named: bool = True) -> str:
    attacks = _attacks(tried)
    if len(attacks) == 1:
        return f"under {attacks[0]}, the only attack tried"
    known = all(
        case.attack == WORST_CASE or len(tried[level]) == 1 for level, case in deciding.items()
    )
    what = "in the worst case over the" if known else "under the strongest of the"
    return f"{what} attacks tried{_names(attacks, named)}"


def _names(attacks: Sequence[str], named: bool) -> str:
    return f" ({', '.join(attacks)})" if named else ""


def _attacks(tried: Tried) -> list[str]:
    return list(dict.fromkeys(case.attack for cases in tried.values() for case in cases))


def _errors_of_one(results: Results, model: str, tried: Tried) -> str:
    deciding = _deciding(results, tried)
    errors = [
        f"{error_text(results, case, model)} of the images at {levels_text([level])}"
        for level, case in deciding.items()
    ]
    return f"{model} errs on {listed(errors)} {_under(tried, deciding)}."


def _ranking(results: Results, tried: Tried, outcomes: dict[tuple[Case, str, str], Outcome]) -> str:
    """Who errs least of three or more, where they differ most."""

    def spread(case: Case) -> float:
        errors = [mean_error(results, case, group) for group in results.groups]
        return max(errors) - min(errors)

    deciding = _deciding(results, tried)
    level, case = max(deciding.items(), key=lambda item: spread(item[1]))
    best, second, *_, last = sorted(
        results.groups, key=lambda group: mean_error(results, case, group)
    )
    sign, reason = outcomes[case, best, second]
    where = f" at {levels_text([level])}"
    if len(deciding) > 1:
        where += ", where they differ most,"
    where += f" {_under({level: tried[level]}, {level: case})}"
    least, more, most = (error_text(results, case, group) for group in (best, second, last))
    lowest = mean_error(results, case, best)
    equals = [group for group in results.groups if mean_error(results, case, group) == lowest]
    if len(equals) == len(results.groups):
        return f"All {len(equals)} models err equally often{where}: {least}."
    if len(equals) > 1:
        return (
            f"Of {len(results.groups)} models {listed(equals)} err least, and equally often{where}:"
            f" {least}{_but(results, equals)}. {last} errs most, {most}."
        )
    noise = "" if sign else "no difference beyond noise, "
    return (
        f"Of {len(results.groups)} models {best} errs least{where}: {least}{_but(results, [best])}."
        f" Next is {second} with {more} ({noise}{reason}); {last} errs most, {most}."
    )


def _but(results: Results, groups: Sequence[str]) -> str:
    """Take back what the diagnosis does not let be believed."""
    flags = [(group, trust(results, group)) for group in groups]
    told = [f"the diagnosis of {group} is {flag}" for group, flag in flags if flag in VERBS]
    return f", but {listed(told)}" if told else ""


def _clean_errors(results: Results, outcomes: dict[tuple[Case, str, str], Outcome]) -> str:
    reference, *others = results.groups
    words = {1: "less", 0: "no difference beyond noise", -1: "more"}
    errors = [f"{reference} errs on {error_text(results, CLEAN, reference)}"]
    for group in others:
        sign, reason = outcomes[CLEAN, group, reference]
        errors.append(f"{group} on {error_text(results, CLEAN, group)} ({words[sign]}, {reason})")
    return f"Without an attack {listed(errors)}."


# --- notes ------------------------------------------------------------------------------------


def _notes(results: Results, tried: Tried) -> list[str]:
    attacks = _attacks(tried)
    notes = []
    if attacks and set(attacks) <= set(SINGLE_STEP):
        notes.append(
            f"Only single-step attacks were tried ({', '.join(attacks)}). A model can look robust"
            " to them and fall to an iterative one, so this is no proof of robustness."
        )
    else:
        with_gradients = [name for name in attacks if access_of(name) in ("white-box", None)]
        if attacks and not with_gradients:
            notes.append(NO_WHITE_BOX)
        elif attacks and set(with_gradients) <= set(SINGLE_STEP):
            notes.append(
                "Of the attacks that use a model's own gradients only single-step ones were tried"
                f" ({', '.join(with_gradients)}); iterative ones may find many more errors."
            )
    limits = budgets(results)
    if limits:
        notes.append(limits)
    sources = [name.removeprefix(PREFIX) for name in attacks if name.startswith(PREFIX)]
    for name in sources:
        if name in results.names and len(results.names) > 1:
            notes.append(
                f"{PREFIX}{name} attacks {name} itself with its own gradients and the others"
                f" without theirs, so it does not tell whether {name} is more robust than they are."
            )
    unfinished = [
        f"{row.attack} on {row.source} ({row.unfinished} of {results.n} images)"
        for row in results.costs.itertuples()
        if row.unfinished
    ]
    if unfinished:
        notes.append(
            f"Time ran out for {listed(unfinished)}: those images count as they were, so the errors"
            " are lower bounds."
        )
    notes += untested(results)
    if results.limit is not None:
        notes.append(f"Only the first {results.n} {results.split} images were attacked.")
    trained = any(model["seed"] is not None for model in results.models)
    if trained and all(len(members) == 1 for members in results.groups.values()):
        notes.append(ONE_SEED)
    return notes
