"""The headline: one line, which is a template filled in, and notes on how far it goes.

It compares robust accuracies, from attacks with the same access to all models. Golden examples of
every line are in tests/reporting/test_verdict.py.
"""

from collections.abc import Iterable, Mapping

from winnrobust.evaluation.statistics import WORST_CASE
from winnrobust.reporting.comparison import RANDOM, Compared
from winnrobust.reporting.results import (
    CLEAN,
    Case,
    Level,
    Results,
    access_of,
    is_attack,
    known_attack,
)
from winnrobust.reporting.table import one_line

LINES: Mapping[str, str] = {
    "nothing": "Nothing was attacked: only controls ran, or epsilon is 0.",
    "unfair": "Nothing says who is more robust: no attack had the same access to all models.",
    "refused": "No verdict on {first}: its answers are random and attacks saw a single draw; attack"
    " again with --eot 20.",
    "alone": "{first} has a robust accuracy of {a} at {level}; without an attack {clean}.",
    "more": "{first} {verb} more robust than {second} at {level}: robust accuracy {a} against {b}"
    " ({reason}).",
    "more everywhere": "{first} {verb} more robust than {second} at all {count} epsilons; at {level}"
    " robust accuracy {a} against {b} ({reason}).",
    "even": "No difference beyond noise between {first} and {second} at {level}: robust accuracy {a}"
    " against {b} ({reason}).",
    "even everywhere": "No difference beyond noise between {first} and {second} at any of {count}"
    " epsilons; at {level} robust accuracy {a} against {b} ({reason}).",
    "depends": "Who is more robust depends on epsilon. {first}: {firsts}. {second}: {seconds}. No"
    " difference beyond noise: {neither}.",
    "leads": "Of {count} models {first} {verb} the most robust at {level}: robust accuracy {a}, next"
    " {second} with {b} ({reason}).",
    "tied": "Of {count} models none is the most robust at {level} beyond noise: {first} has a robust"
    " accuracy of {a}, {second} of {b} ({reason}).",
}
"""Situation -> headline."""

VERBS = {"suspicious": "looks", "broken": "only seems"}
"""What is said in place of "is" of a robustness that is not to be trusted."""

NOTES: Mapping[str, str] = {
    "counts": "These results are of an older version and hold counts only: robust accuracy is at"
    " most what is shown, and intervals of correction rates take the number of errors as given.",
    "single step": "Only single-step attacks were tried ({attacks}): a model can look robust to them"
    " and fall to an iterative one.",
    "no gradients": "No attack with the models' gradients was tried; one may find many more errors.",
    "one gradient": "The only attacks with the models' gradients are single-step ({attacks});"
    " iterative ones may find many more errors.",
    "screen": "PGD attacked only those images that FGSM did not break (--fgsm-screen).",
    "disagree": "Single attacks say otherwise: {disagreeing}.",
    "others lead": "Another model has the highest robust accuracy at {elsewhere}.",
    "not diagnosed": "Nobody looked for false robustness; winnrobust attack --diagnose does.",
    "shared": "The diagnosis was made with another evaluation of the same models, in this report.",
    "part": "Only the first {n} {split} images were attacked.",
    "one seed": "Each method was trained once; another seed may come out differently.",
}


def headline(results: Results) -> str:
    """Say in one line who is more robust than whom, no stronger than the numbers are."""
    compared = Compared(results)
    judged = [name for name in results.groups if compared.trust(name) != RANDOM]
    refused = [name for name in results.groups if name not in judged]
    if not any(map(is_attack, results.cases)):
        return LINES["nothing"]
    if refused and len(judged) < 2:
        return LINES["refused"].format(first=names(refused))
    if not results.tried:
        return LINES["unfair"]
    if len(judged) == 1:
        return _of_one(compared, *judged)
    return _of_two(compared, *judged) if len(judged) == 2 else _of_many(compared, judged)


def _of_one(compared: Compared, name: str) -> str:
    *_, level = compared.results.tried
    a = compared.accuracy_text(Case(WORST_CASE, *level), name)
    clean = compared.accuracy_text(CLEAN, name)
    return LINES["alone"].format(first=one_line(name), a=a, level=level, clean=clean)


def _of_two(compared: Compared, reference: str, other: str) -> str:
    found = {level: compared.at_level(level, other, reference) for level in compared.results.tried}
    at = {sign: [level for level in found if found[level].sign == sign] for sign in (1, -1, 0)}
    if sum(map(bool, at.values())) > 1:
        return LINES["depends"].format(
            first=one_line(other), firsts=names(at[1]), second=one_line(reference),
            seconds=names(at[-1]), neither=names(at[0]),
        )  # fmt: skip
    level = widest(compared, [reference, other])
    first, second = (reference, other) if at[-1] else (other, reference)
    key = ("even" if at[0] else "more") + (" everywhere" if len(found) > 1 else "")
    return _filled(compared, key, first, second, level, len(found))


def _of_many(compared: Compared, judged: list[str]) -> str:
    """Name the best of three or more, where they differ most."""
    level = widest(compared, judged)
    first, *others = sorted(judged, key=lambda name: -compared.robust(level, name))
    close = [name for name in others if compared.at_level(level, first, name).sign < 1]
    key, second = ("tied", close[0]) if close else ("leads", others[0])
    return _filled(compared, key, first, second, level, len(judged))


def _filled(compared: Compared, key: str, first: str, second: str, level: Level, count: int) -> str:
    a, b = (compared.accuracy_text(Case(WORST_CASE, *level), name) for name in (first, second))
    return LINES[key].format(
        first=one_line(first), second=one_line(second), a=a, b=b, level=level, count=count,
        verb=VERBS.get(compared.trust(first), "is"),
        reason=compared.at_level(level, first, second).reason,
    )  # fmt: skip


def widest(compared: Compared, groups: Iterable[str]) -> Level:
    """Where the robust accuracies of some groups differ most; of equal ones the last."""

    def spread(level: Level) -> float:
        shares = [compared.robust(level, name) for name in groups]
        return max(shares) - min(shares)

    return max(reversed(compared.results.tried), key=spread)


def notes(results: Results) -> list[str]:
    """How far the headline goes; a line each."""
    compared, groups = Compared(results), list(results.groups)
    attacks = dict.fromkeys(case.attack for cases in results.tried.values() for case in cases)
    sighted = [name for name in attacks if access_of(name) in ("white-box", None)]
    weak = bool(attacks) and all(map(_is_single_step, sighted))
    disagreeing, elsewhere = _disagreeing(compared), _led_by_others(compared)
    holds = {
        "counts": results.counts_only,
        "single step": weak and sighted == [*attacks],
        "no gradients": weak and not sighted,
        "one gradient": weak and bool(sighted) and sighted != [*attacks],
        "screen": bool(results.settings.get("fgsm_screen")),
        "disagree": bool(disagreeing),
        "others lead": bool(elsewhere),
        "not diagnosed": results.diagnosis is None,
        "shared": results.diagnosis_is_shared,
        "part": results.limit is not None,
        "one seed": len(groups) == len(results.names)
        and any(model["seed"] is not None for model in results.models),
    }
    slots = {
        "attacks": names(sighted), "disagreeing": names(disagreeing), "n": results.n,
        "elsewhere": names(elsewhere), "split": results.split,
    }  # fmt: skip
    return [NOTES[key].format(**slots) for key, true in holds.items() if true]


def _disagreeing(compared: Compared) -> list[str]:
    """Of two groups, the single attacks that contradict what sums all of them up."""
    results, pair = compared.results, list(compared.results.groups)
    if len(pair) != 2:
        return []
    return [
        results.case_text(case)
        for level, cases in results.tried.items()
        for case in cases
        if compared.at_case(case, *pair).sign * compared.at_level(level, *pair).sign < 0
    ]


def _led_by_others(compared: Compared) -> list[Level]:
    """Of three groups or more, where another one leads than in the headline."""
    groups, tried = list(compared.results.groups), compared.results.tried
    if len(groups) < 3 or not tried:
        return []
    best = {level: max(groups, key=lambda g: compared.robust(level, g)) for level in tried}
    return [level for level in tried if best[level] != best[widest(compared, groups)]]


def _is_single_step(attack: str) -> bool:
    known = known_attack(attack)
    return known is not None and known.single_step


def names(items: Iterable[object]) -> str:
    """`a, b`; a dash for none."""
    return ", ".join(map(one_line, items)) or "-"
