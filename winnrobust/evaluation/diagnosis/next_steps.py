"""What to do about a sign of false robustness: one line for each indicator."""

import pandas as pd

REMEDIES = {
    "train mode": "call model.eval() before it is measured or used; it was attacked in eval mode",
    "random answers": "average over its randomness: eot=20, on the command line --eot 20",
    "gradients": "attack it without its gradients: square, hopskipjump, and transfer:NAME from a"
    " model like it; look for rounding, detach() or a saturated softmax inside",
    "loss along the attack": "let PGD take smaller steps (step_size) or another loss"
    " (loss='margin'), or attack with apgd-ce, which chooses its own",
    "iterative vs single step": "attack with apgd-ce and autoattack; PGD follows gradients that"
    " mislead here",
    "noise vs attack": "do not count this attack; attack with autoattack and square",
    "steps and restarts": "give attacks more: steps=100, restarts=5, or autoattack",
    "error over epsilon": "do not count this attack; attack with autoattack",
    "error at epsilon 0.5": "do not count this attack; attack with autoattack and square",
    "black box vs white box": "count square and hopskipjump, and attack through what hides the"
    " gradients, with a differentiable stand-in for it (BPDA)",
    "transfer vs white box": "count transfer:NAME from a model like it, and attack with autoattack",
}
"""Indicator -> what to do where it is suspicious or broken."""

MORE_IMAGES = "give more images, of which the model gets at least 30 right"
NO_GRADIENTS = "attack it with square and hopskipjump, which need no gradients"
ALL_WELL = "nothing speaks against these attacks; the strongest claim rests on autoattack"


def next_steps(table: pd.DataFrame, model: str) -> list[str]:
    """Return what to do next about one model, the gravest first.

    Args:
        table: what `diagnose` returns.
        model: its name there.

    >>> row = {"model": "net", "indicator": "random answers", "verdict": "suspicious"}
    >>> next_steps(pd.DataFrame([row]), "net")
    ['random answers: average over its randomness: eot=20, on the command line --eot 20']
    """
    own = table[table.model == model]
    bad = own[own.verdict.isin(("suspicious", "broken"))].sort_values("verdict", kind="stable")
    steps = [f"{name}: {REMEDIES[name]}" for name in bad.indicator]
    untested = own[own.verdict == "not tested"]
    if len(untested) > len(own) / 2:
        blind = untested.evidence.str.contains("no gradient").any()
        steps.append(NO_GRADIENTS if blind else MORE_IMAGES)
    return steps or [ALL_WELL]
