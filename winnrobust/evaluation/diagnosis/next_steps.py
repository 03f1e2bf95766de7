"""What to do about a sign of false robustness: what to type next, and which attacks suit."""

from collections.abc import Collection, Sequence

import pandas as pd

from winnrobust.attacks import PREFIX
from winnrobust.evaluation.diagnosis.indicators import NO_GRADIENT

STRONG = "aa-fast"
"""On margins of logits, from several starts, and by squares in the end."""
STRONGEST = "autoattack"
"""Where that was not enough."""
STRAIGHT = f"bpda:auto:{STRONG}"
"""The same, with gradients straight through what hides them."""
AVERAGED = "pgd(steps=100, loss='margin')"
"""For a model that answers at random, which every step asks many times."""
SQUARE = "square"
"""Where nothing else suits, too."""
SURROGATE = f"{PREFIX}surrogate"
"""From a network trained on the images at hand: where a model's gradients are not its own."""
TRANSFER = "transfer vs white box"
MADE_UP = "gradient vs loss"

SUITS = {
    "random answers": (AVERAGED, f"bpda:auto:{AVERAGED}"),
    "iterative vs single step": (STRONG,),
    "steps and restarts": (STRONG,),
    "another loss": (STRONG,),
    "single step over epsilon": (STRONG,),
    "error over epsilon": (STRONG,),
    "straight through": (STRAIGHT,),
    "black box vs white box": (SQUARE,),
    MADE_UP: (SQUARE, SURROGATE),
}
"""Indicator -> the attacks that suit where it is suspicious or broken."""

REMEDIES = {
    "train mode": "call model.eval() before it is measured or used; it was attacked in eval mode",
    "random answers": "average over its randomness (EOT), which attacks do by default: --eot 20",
    "gradients": "look for rounding, detach() or a saturated softmax inside; where the module is"
    " known, --bpda MODULE, else --bpda auto; attacks without gradients are square and hopskipjump",
    MADE_UP: "its gradient is not that of its loss: attack it by its answers, and by transfer from"
    f" a network trained on the images at hand, which {SURROGATE} makes",
    "loss along the attack": "let PGD take smaller steps or another loss, or attack with apgd-ce,"
    " which chooses its own",
    "iterative vs single step": "follow the margin, with patience; PGD follows gradients that"
    " mislead here",
    "noise vs attack": "do not count this attack",
    "steps and restarts": "give attacks more steps and restarts",
    "another loss": "follow the margin of logits, not cross-entropy",
    "single step over epsilon": "do not count a single step; many break what it does not",
    "error over epsilon": "do not count this attack",
    "error at epsilon 0.5": "do not count this attack",
    "straight through": "pass gradients straight through what hides them (BPDA)",
    "black box vs white box": "count square and hopskipjump, and look for what hides the gradients",
    TRANSFER: "count transfer:NAME from a model like it",
}
"""Indicator -> what to do where it is suspicious or broken."""

MORE_IMAGES = "give more images, of which the model gets at least 30 right"
NO_GRADIENTS = "attack it with square and hopskipjump, which need no gradients"
ALL_WELL = "nothing speaks against these attacks; the strongest claim rests on autoattack"


def signs(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return the rows of a table of `diagnose` that speak against a model, the gravest first."""
    own = table[(table.model == model) & table.verdict.isin(("suspicious", "broken"))]
    return own.sort_values("verdict", kind="stable")


def suitable_attacks(table: pd.DataFrame, models: Sequence[str] | None = None) -> list[str]:
    """Return the attacks that suit the signs found of some models; none without a sign.

    Args:
        table: what `diagnose` returns.
        models: their names there; None for all.

    >>> row = {"model": "net", "indicator": "another loss", "verdict": "suspicious"}
    >>> suitable_attacks(pd.DataFrame([row]))
    ['aa-fast']
    """
    found: dict[str, None] = {}
    for model in table.model.unique() if models is None else models:
        indicators = [*signs(table, model).indicator]
        suited = [attack for indicator in indicators for attack in SUITS.get(indicator, ())]
        if TRANSFER in indicators:
            others = [other for other in table.model.unique() if other != model]
            suited += [f"{PREFIX}{other}" for other in others]
        found |= dict.fromkeys(suited or [SQUARE] * bool(set(indicators) - {"train mode"}))
    return list(found)


def has_no_gradient(table: pd.DataFrame, model: str) -> bool:
    """Tell whether attacks had no gradient of a model to follow.

    Args:
        table: what `diagnose` returns.
    """
    return bool((table[table.model == model].evidence == NO_GRADIENT).any())


def to_type(attacks: Sequence[str], tried: Collection[str] = ()) -> list[str]:
    """Return what to type to make attacks that were not made yet; nothing where all were.

    >>> to_type(["square", "aa-fast"], tried=["square"])
    ['type: --adapt, or --attacks "aa-fast"']
    """
    missing = [name for name in attacks if name not in tried]
    return [f'type: --adapt, or --attacks "{",".join(missing)}"'] if missing else []


def where_untested(table: pd.DataFrame, model: str) -> list[str]:
    """Return what to do where most of a model's indicators were not tested; else nothing."""
    verdicts = table.verdict[table.model == model]
    if (verdicts == "not tested").sum() <= len(verdicts) / 2:
        return []
    return [NO_GRADIENTS if has_no_gradient(table, model) else MORE_IMAGES]


def next_steps(table: pd.DataFrame, model: str) -> list[str]:
    """Return what to do next about one model, the gravest first, and what to type.

    Args:
        table: what `diagnose` returns.
        model: its name there.

    >>> row = {"model": "net", "indicator": "another loss", "verdict": "suspicious"}
    >>> for step in next_steps(pd.DataFrame([row]), "net"):
    ...     print(step)
    another loss: follow the margin of logits, not cross-entropy
    type: --adapt, or --attacks "aa-fast"
    """
    steps = [f"{name}: {REMEDIES[name]}" for name in signs(table, model).indicator]
    steps += to_type(suitable_attacks(table, [model]))
    steps += where_untested(table, model)
    return steps or [ALL_WELL]
