"""The published numbers (Lee, Xu, Fan, Tu, CVPR 2018) that ours compare to, out of paper.toml."""

from winnrobust.evaluation.outcomes import CLEAN, Case
from winnrobust.reporting.words import read_toml, sentence

PAPER = read_toml("paper.toml")

AGREES, NOISE, REVERSED = "as in the paper", "within noise", "reversed"
"""The words for how an order of ours stands to the paper's."""

QUANTITIES = (
    "test_error", "adversarial_error", "correction_rate_by_method", "correction_rate_by_baseline"
)  # fmt: skip
"""What the paper has figures of."""

ATTACK = "fgsm(loss='ce')"
"""The paper's: FGSM with the usual float32 cross-entropy, as its code has it."""
ATTACKS = ("fgsm", ATTACK)
"""Those that its figures stand beside."""
NORM = "linf"

READINGS = {1.0: "code", 0.5: "text"}
"""The paper says its epsilon is on [-1, 1], its code says [0, 1]: read literally it is half."""


def published(dataset: str, arch: str | None, method: str | None, case: Case) -> dict[str, float]:
    """What the paper has for a network on a whole test set, as shares; nothing where it has none.

    Both readings of the paper's epsilon count.

    >>> published("mnist", "vanilla", "winn", Case("fgsm", "linf", 0.0625))["adversarial_error"]
    0.0799
    """
    row = PAPER.get(dataset, {}).get(arch, {}).get(method, {})
    if case == CLEAN:
        found = {"test_error": row["test_error"]} if row else {}
    elif _reading(dataset, case):
        found = {name: value for name, value in row.items() if name not in ("name", "test_error")}
    else:
        found = {}
    return {name: round(percentage / 100, 6) for name, percentage in found.items()}


def reading_note(dataset: str, case: Case) -> str:
    """Which reading of the paper's epsilon a table is, in words, and that its loss is not the
    paper's where it is not; empty where none applies."""
    reading = _reading(dataset, case)
    if not reading:
        return ""
    said = sentence("reading", reading, **PAPER["fgsm"][dataset])
    if case.attack == ATTACK:
        return said
    return f"{said} {sentence('reading', 'stable', paper=ATTACK)}"


def _reading(dataset: str, case: Case) -> str:
    theirs = PAPER["fgsm"].get(dataset, {}).get("epsilon")
    of_paper = theirs and case.attack in ATTACKS and case.norm == NORM
    return READINGS.get(case.epsilon / theirs, "") if of_paper else ""
