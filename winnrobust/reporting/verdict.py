"""The headline: one line, which is a template filled in, and notes on how far it goes.

The line compares robust accuracies, from attacks with the same access to all models. The templates
are in words.toml.
"""

from collections.abc import Iterable

from winnrobust.reporting.comparison import RANDOM, Compared
from winnrobust.reporting.results import (
    CLEAN,
    Case,
    Level,
    Results,
    access_of,
    is_attack,
    worst_case,
)
from winnrobust.reporting.table import one_line
from winnrobust.reporting.words import WORDS, sentence

SINGLE_STEP = {"fgsm", "rfgsm"}


def headline(results: Results) -> str:
    """Say in one line who is more robust than whom, no stronger than the numbers are."""
    compared = Compared(results)
    judged = [name for name in results.groups if compared.trust(name) != RANDOM]
    refused = [name for name in results.groups if name not in judged]
    if not any(map(is_attack, results.cases)):
        return sentence("headline", "nothing")
    if refused and len(judged) < 2:
        return sentence("headline", "refused", first=names(refused))
    if not results.tried:
        return sentence("headline", "unfair")
    if len(judged) == 1:
        return _of_one(compared, *judged)
    return _of_two(compared, *judged) if len(judged) == 2 else _of_many(compared, judged)


def _of_one(compared: Compared, name: str) -> str:
    *_, level = compared.results.tried
    a, clean = (compared.accuracy_text(case, name) for case in (worst_case(level), CLEAN))
    return sentence("headline", "alone", first=name, a=a, level=level, clean=clean)


def _of_two(compared: Compared, reference: str, other: str) -> str:
    found = {level: compared.at_level(level, other, reference) for level in compared.results.tried}
    at = {sign: [level for level in found if found[level].sign == sign] for sign in (1, -1, 0)}
    if sum(map(bool, at.values())) > 1:
        wins, losses, ties = (names(at[sign]) for sign in (1, -1, 0))
        slots = {"first": other, "firsts": wins, "second": reference, "seconds": losses}
        return sentence("headline", "depends", **slots, neither=ties)
    first, second = (reference, other) if at[-1] else (other, reference)
    key = ("even" if at[0] else "more") + (" everywhere" if len(found) > 1 else "")
    return _filled(compared, key, [first, second], len(found))


def _of_many(compared: Compared, judged: list[str]) -> str:
    """Name the best of three or more, where they differ most."""
    level = widest(compared, judged)
    first, *others = sorted(judged, key=lambda name: -compared.robust(level, name))
    close = [name for name in others if compared.at_level(level, first, name).sign < 1]
    key, second = ("tied", close[0]) if close else ("leads", others[0])
    return _filled(compared, key, [first, second], len(judged), level)


def _filled(
    compared: Compared, key: str, pair: list[str], count: int, level: Level | None = None
) -> str:
    """Compare two at a threat model, or where they differ most."""
    level, (first, second) = level or widest(compared, pair), pair
    a, b = (compared.accuracy_text(worst_case(level), name) for name in pair)
    slots = {"first": first, "second": second, "a": a, "b": b, "level": level, "count": count}
    verb = WORDS["verb"].get(compared.trust(first), "is")
    reason = compared.at_level(level, first, second).reason
    return sentence("headline", key, **slots, verb=verb, reason=reason)


def widest(compared: Compared, groups: Iterable[str]) -> Level:
    """Where the robust accuracies of some groups differ most; of equal ones the last."""

    def spread(level: Level) -> float:
        shares = [compared.robust(level, name) for name in groups]
        return max(shares) - min(shares)

    return max(reversed(compared.results.tried), key=spread)


def notes(results: Results) -> list[str]:
    """How far the headline goes; a line each."""
    compared, groups, models = Compared(results), results.groups, results.models
    attacks = dict.fromkeys(case.attack for cases in results.tried.values() for case in cases)
    sighted = [name for name in attacks if access_of(name) in ("white-box", None)]
    weak = bool(attacks) and set(sighted) <= SINGLE_STEP
    elsewhere = _led_by_others(compared)
    contrary = [results.case_text(case) for case in _disagreeing(compared)]
    holds = {
        "counts": results.counts_only,
        "single step": weak and sighted == [*attacks],
        "no gradients": weak and not sighted,
        "one gradient": weak and bool(sighted) and sighted != [*attacks],
        "screen": bool(results.settings.get("fgsm_screen")),
        "disagree": bool(contrary),
        "others lead": bool(elsewhere),
        "not diagnosed": results.diagnosis is None,
        "shared": results.diagnosis_is_shared,
        "part": results.limit is not None,
        "one seed": len(groups) == len(results.names)
        and any(m["seed"] is not None for m in models),
    }
    slots = {"attacks": names(sighted), "cases": names(contrary), "levels": names(elsewhere)}
    slots |= {"n": str(results.n), "split": results.split}
    return [sentence("note", key, **slots) for key, true in holds.items() if true]


def _disagreeing(compared: Compared) -> list[Case]:
    """Of two groups, the single attacks that contradict what sums all of them up."""
    pair = list(compared.results.groups)
    return [
        case
        for level, cases in compared.results.tried.items()
        for case in cases
        if len(pair) == 2
        and compared.at_case(case, *pair).sign * compared.at_level(level, *pair).sign < 0
    ]


def _led_by_others(compared: Compared) -> list[Level]:
    """Of three groups or more, where another one leads than in the headline."""
    groups, tried = list(compared.results.groups), compared.results.tried
    if len(groups) < 3 or not tried:
        return []
    best = {level: max(groups, key=lambda g: compared.robust(level, g)) for level in tried}
    return [level for level in tried if best[level] != best[widest(compared, groups)]]


def names(items: Iterable[object]) -> str:
    """`a, b`; a dash for none."""
    return ", ".join(map(one_line, items)) or "-"
