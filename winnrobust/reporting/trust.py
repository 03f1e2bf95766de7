"""Whether the diagnosis lets a model's robustness be believed, in words."""

from winnrobust.evaluation.diagnosis import overall
from winnrobust.reporting.results import Results

NOT_DIAGNOSED = (
    "False robustness was not looked for: nothing here says whether a model only hides its"
    " gradients (winnrobust attack --diagnose looks)."
)
SEVERITY = ("ok", "not tested", "suspicious", "broken")
"""Verdicts of a diagnosis, from the best to the worst."""

VERBS = {"suspicious": "looks", "broken": "only seems"}
"""What is said in place of "is" of a robustness that is not to be trusted."""

EVIDENCE_SHOWN = 2
"""How many indicators a warning quotes; the table has them all."""


def trust(results: Results, group: str) -> str:
    """The worst verdict of the diagnosis on any model of a group."""
    if results.diagnosis is None:
        return "not tested"
    found = overall(results.diagnosis)
    return max(
        (found.get(name, "not tested") for name in results.groups[group]), key=SEVERITY.index
    )


def unmasked(results: Results, *groups: str) -> str:
    """`no sign of gradient masking`, if the diagnosis did look and did find none; else nothing."""
    if results.diagnosis is None or any(trust(results, group) != "ok" for group in groups):
        return ""
    members = [name for group in groups for name in results.groups[group]]
    verdicts = results.diagnosis[results.diagnosis.model.isin(members)].verdict
    untested = " in what could be tested" if "not tested" in set(verdicts) else ""
    return f"no sign of gradient masking{untested}"


def untested(results: Results) -> list[str]:
    """Say of which models nothing is known, or of all."""
    if results.diagnosis is None:
        return [NOT_DIAGNOSED]
    found = overall(results.diagnosis)
    return [
        f"The diagnosis could test too little of {name} to say whether its gradients are masked."
        for name in results.names
        if found.get(name, "not tested") == "not tested"
    ]


def warnings(results: Results) -> list[str]:
    """One sentence per model that is not to be trusted, the worst first."""
    if results.diagnosis is None:
        return []
    flagged = {name: found for name, found in overall(results.diagnosis).items() if found in VERBS}
    return [
        _warning(results, name, flagged[name])
        for name in sorted(flagged, key=lambda name: -SEVERITY.index(flagged[name]))
    ]


def _warning(results: Results, name: str, found: str) -> str:
    table = results.diagnosis
    assert table is not None
    rows = table[(table.model == name) & (table.verdict == found)]
    evidence = [
        f"{row.indicator}: {row.evidence.rstrip('.')}"
        for row in rows.head(EVIDENCE_SHOWN).itertuples()
    ]
    if len(rows) > EVIDENCE_SHOWN:
        evidence.append(f"{len(rows) - EVIDENCE_SHOWN} more in the diagnosis below")
    told = {
        "broken": f"Do not trust the robustness of {name}: its diagnosis is broken",
        "suspicious": f"Take the robustness of {name} with caution: its diagnosis is suspicious",
    }[found]
    return f"{told} ({'; '.join(evidence)})."
