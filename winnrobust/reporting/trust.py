"""Whether the diagnosis lets a model's robustness be believed, in words."""

from winnrobust.attacks import PREFIX
from winnrobust.evaluation.diagnosis import overall
from winnrobust.reporting.results import Case, Results
from winnrobust.reporting.threat import access_of, case_text

NOT_DIAGNOSED = (
    "False robustness was not looked for: nothing here says whether a model only hides its"
    " gradients (winnrobust attack --diagnose looks)."
)
SHARED = (
    "The diagnosis was made with another evaluation of the same models, which is in this report,"
    " too."
)
SEVERITY = ("ok", "not tested", "suspicious", "broken")
"""Verdicts of a diagnosis, from the best to the worst."""

VERBS = {"suspicious": "looks", "broken": "only seems"}
"""What is said in place of "is" of a robustness that is not to be trusted."""

EVIDENCE_SHOWN = 2
"""How many indicators a warning quotes; the table has them all."""


def trust(results: Results, group: str) -> str:
    """The worst verdict on any model of a group: the diagnosis's, or the evaluation's own."""
    found = {} if results.diagnosis is None else overall(results.diagnosis)
    verdicts = [found.get(name, "not tested") for name in results.groups[group]]
    if any(_outdone(results, name) for name in results.groups[group]):
        verdicts.append("suspicious")
    return max(verdicts, key=SEVERITY.index)


def unmasked(results: Results, *groups: str) -> str:
    """`no sign of gradient masking`, if the diagnosis did look and did find none; else nothing."""
    if results.diagnosis is None or any(trust(results, group) != "ok" for group in groups):
        return ""
    members = [name for group in groups for name in results.groups[group]]
    verdicts = results.diagnosis[results.diagnosis.model.isin(members)].verdict
    untested = " in what could be tested" if "not tested" in set(verdicts) else ""
    return f"no sign of gradient masking{untested}"


def untested(results: Results) -> list[str]:
    """Say of which models nothing is known, or of all, and where it is known from elsewhere."""
    if results.diagnosis is None:
        return [NOT_DIAGNOSED]
    found = overall(results.diagnosis)
    shared = [SHARED] if results.diagnosis_is_shared else []
    return shared + [
        f"The diagnosis could test too little of {name} to say whether its gradients are masked."
        for name in results.names
        if found.get(name, "not tested") == "not tested"
    ]


def warnings(results: Results) -> list[str]:
    """One sentence per model and reason not to trust it, the worst of the diagnosis first."""
    found = {} if results.diagnosis is None else overall(results.diagnosis)
    flagged = {name: verdict for name, verdict in found.items() if verdict in VERBS}
    told = [
        _warning(results, name, flagged[name])
        for name in sorted(flagged, key=lambda name: -SEVERITY.index(flagged[name]))
    ]
    for name in results.names:
        for blind, sighted in _outdone(results, name):
            more, less = (100 * results.rates[case, name].value for case in (blind, sighted))
            told.append(
                f"Take the robustness of {name} with caution: {case_text(blind)}, which does not"
                f" see its gradients, breaks {more:.1f} % of the images, and {case_text(sighted)},"
                f" the strongest attack that does, {less:.1f} %."
            )
    return told


def _outdone(results: Results, name: str) -> list[tuple[Case, Case]]:
    """Attacks without a model's gradients that beat all with them, and the best of the latter.

    Gradients that do not help hide something (Carlini et al. 2019). Only intervals that do not
    overlap count.
    """
    found = []
    for level in results.levels:
        sighted, blind = [], []
        for case in results.cases_at(level):
            access = access_of(case.attack)
            if access == "white-box" or case.attack == PREFIX + name:
                sighted.append(case)
            elif access in ("black-box", "transfer"):
                blind.append(case)
        if sighted and blind:
            best, rival = (
                max(cases, key=lambda case: results.rates[case, name].value)
                for cases in (sighted, blind)
            )
            if results.rates[rival, name].low > results.rates[best, name].high:
                found.append((rival, best))
    return found


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
