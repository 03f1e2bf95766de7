"""The threat model in words: what the attacker knows, wants, may change and may spend."""

from collections.abc import Sequence

from winnrobust.attacks import Access, Attack, find
from winnrobust.evaluation.metrics import WORST_CASE
from winnrobust.reporting.results import Case, Level, Results
from winnrobust.reporting.table import listed
from winnrobust.runtime.errors import InputError

SINGLE_STEP = ("fgsm", "rfgsm")

ACCESS_TEXTS: dict[Access, str] = {
    "white-box": "The attacker knows the attacked model fully, its gradients included (white box)",
    "black-box": "The attacker sees only the answers of the attacked model (black box)",
    "transfer": (
        "The attacker has another model and sees nothing of the attacked one until the attack"
        " (transfer)"
    ),
    "none": (
        "Random noise, a control and no attack: a model that falls to it is broken, and an attack"
        " that is no stronger than it failed"
    ),
}

AIMS = {
    "random": "a wrong class drawn at random for each image",
    "least-likely": "the class that the model finds least likely",
}


def access_of(attack: str) -> Access | None:
    """What an attack sees of the model; None if this winnrobust does not know the attack."""
    known = _known(attack)
    return None if known is None else known.access


def _known(attack: str) -> Attack | None:
    try:
        return find(attack)
    except InputError:
        return None


def is_attack(case: Case) -> bool:
    """Tell attacks from controls and from an epsilon of 0, which changes nothing."""
    return case.epsilon > 0 and access_of(case.attack) != "none"


def levels_text(levels: Sequence[Level]) -> str:
    """`epsilon 0.03 and 0.125, and L2 epsilon 1.5`: epsilon alone is L-infinity."""
    parts = []
    for norm in dict.fromkeys(level.norm for level in levels):
        values = listed([f"{level.epsilon:g}" for level in levels if level.norm == norm])
        parts.append(f"{'' if norm == 'Linf' else f'{norm} '}epsilon {values}")
    return ", and ".join(parts)


def case_text(case: Case) -> str:
    """`pgd 0.125`; with the norm in a worst case, which does not tell it by its name."""
    if case.attack == WORST_CASE:
        return f"{WORST_CASE}, {case.norm} {case.epsilon:g}"
    return f"{case.attack} {case.epsilon:g}" if case.norm else "no attack"


def threat_model(results: Results) -> list[str]:
    """Who the attacker is, in sentences, for all attacks of an evaluation."""
    names = list(dict.fromkeys(case.attack for case in results.cases))
    return [
        *(f"{text}: {listed(of)}." for text, of in _by_access(names)),
        _aim(results),
        *_bounds(results),
        budgets(results) or "Every attack had its own default budget.",
        *(_attack_sentence(name) for name in names),
        "A correction rate judges examples made against one model by another, which is a transfer"
        " to it.",
        "All images count, also those that a model gets wrong without an attack. The worst case"
        " counts an image as wrong where any of the attacks at that norm and epsilon broke it.",
    ]


def _by_access(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    found = [
        (text, [name for name in names if access_of(name) == access])
        for access, text in ACCESS_TEXTS.items()
    ]
    unknown = [name for name in names if access_of(name) is None]
    found.append(("This winnrobust does not know these attacks", unknown))
    return [(text, of) for text, of in found if of]


def _aim(results: Results) -> str:
    aim = results.settings.get("aim")
    if aim is None:
        return "The attacker knows the true label and wants any wrong class (untargeted)."
    targets = AIMS.get(aim, f"the class '{aim}'")
    return (
        f"The attacker knows the true label; attacks that can aim want {targets} (targeted), the"
        " others any wrong class. Any wrong class counts as an error."
    )


def _bounds(results: Results) -> list[str]:
    sentences = []
    for norm, epsilon in results.levels:
        if norm == "Linf":
            sentences.append(
                f"Every pixel may change by at most epsilon = {epsilon:g} of the range [0, 1],"
                f" which is {2 * epsilon:g} on [-1, 1] and {255 * epsilon:.1f} of 255 grey levels;"
                " results are clipped to [0, 1]."
            )
        else:
            sentences.append(
                f"The Euclidean (L2) length of the change of a whole image is at most epsilon ="
                f" {epsilon:g}, pixels in [0, 1]; results are clipped to [0, 1]."
            )
    return sentences


def budgets(results: Results) -> str:
    """What was set in place of the attacks' own defaults; empty if nothing was."""
    budget = results.settings.get("budget") or {}
    seconds = results.settings.get("seconds")
    told = [
        f"{budget[name]} {what}"
        for name, what in (
            ("steps", "steps"),
            ("restarts", "random starts or draws"),
            ("queries", "queries per image"),
        )
        if budget.get(name) is not None
    ]
    if (budget.get("eot") or 1) > 1:
        told.append(
            f"{budget['eot']} gradients averaged in a step (expectation over transformation)"
        )
    if seconds is not None:
        told.append(f"{seconds:g} seconds per attack and model")
    return f"Set for all attacks that have such a limit: {listed(told)}." if told else ""


def _attack_sentence(name: str) -> str:
    attack = _known(name)
    if attack is None:
        return f"{name}: not an attack of this winnrobust."
    return (
        f"{name} ({attack.norm}, by default {attack.cost} per image): {attack.summary}"
        f" ({attack.source})"
    )
