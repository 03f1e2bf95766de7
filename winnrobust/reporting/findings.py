"""The main finding in words, derived from the numbers and no stronger than they are."""

from typing import TYPE_CHECKING, Any

from winnrobust.reporting.tables import (
    cases,
    ordered_models,
    percent,
    reference_of,
    row_of,
    share_with_interval,
)

if TYPE_CHECKING:
    from winnrobust.reporting.results import Results

SINGLE_STEP_CAUTION = (
    "FGSM is a single-step attack. A model can look robust to it and fall to an iterative one, so"
    " this is a comparison under FGSM, not a proof of robustness."
)


def findings(results: "Results") -> list[str]:
    """One sentence per compared model and case, then the clean errors, then the caution."""
    reference = reference_of(results)
    sentences = []
    for model in ordered_models(results)[1:]:
        sentences += [
            _adversarial_finding(results, reference, model, *case) for case in cases(results)
        ]
        sentences.append(_clean_finding(reference, model))
    if not sentences:
        for attack, epsilon in cases(results):
            own = row_of(results, attack, epsilon, reference["name"], reference["name"])
            sentences.append(
                f"{reference['name']} errs on {_interval(own)} % of {attack} examples at epsilon"
                f" {epsilon:g}."
            )
    if {attack for attack, _ in cases(results)} == {"fgsm"}:
        sentences.append(SINGLE_STEP_CAUTION)
    return sentences


def _adversarial_finding(
    results: "Results",
    reference: dict[str, Any],
    model: dict[str, Any],
    attack: str,
    epsilon: float,
) -> str:
    ours = row_of(results, attack, epsilon, model["name"], model["name"])
    theirs = row_of(results, attack, epsilon, reference["name"], reference["name"])
    told = (
        f"Under {attack} at epsilon {epsilon:g}, {model['name']} errs on {_interval(ours)} % of the"
        f" images and {reference['name']} on {_interval(theirs)} %"
    )
    if _overlap(ours, theirs, "adversarial_error"):
        return f"{told}: the intervals overlap, no difference beyond noise."
    if not ours.source_errors or not theirs.source_errors:
        return f"{told}."
    ratio = ours.adversarial_error / theirs.adversarial_error
    return f"{told}: {ratio:.2f} times as many."


def _clean_finding(reference: dict[str, Any], model: dict[str, Any]) -> str:
    told = (
        f"Without an attack {model['name']} errs on {percent(model['clean_error'], model['n'])} %,"
        f" {reference['name']} on {percent(reference['clean_error'], reference['n'])} %"
    )
    if _overlap(model, reference, "clean_error"):
        return f"{told}: no difference beyond noise."
    return f"{told}."


def _overlap(first: Any, second: Any, name: str) -> bool:
    return bool(
        first[f"{name}_low"] <= second[f"{name}_high"]
        and second[f"{name}_low"] <= first[f"{name}_high"]
    )


def _interval(row: Any) -> str:
    return share_with_interval(
        row.adversarial_error, row.adversarial_error_low, row.adversarial_error_high, row.n
    )
