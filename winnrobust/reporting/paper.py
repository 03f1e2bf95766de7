"""The published numbers (Lee, Xu, Fan, Tu, CVPR 2018, Tables 1 to 4) that ours compare to."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

METHODS = {
    ("vanilla", "baseline"): ("Baseline vanilla CNN (4 layers)", "Baseline vanilla CNN"),
    ("vanilla", "gdl"): ("CNN + GDL", ""),
    ("vanilla", "dcgan-negatives"): ("CNN + DCGAN", ""),
    ("vanilla", "icn"): ("ICN", "ICN"),
    ("vanilla", "winn"): ("WINN-single vanilla", "WINN-single vanilla"),
    ("resnet32", "baseline"): ("Baseline ResNet-32", "Baseline ResNet-32"),
    ("resnet32", "winn"): ("WINN-single ResNet-32", "WINN-single ResNet-32"),
}
"""(arch, method) -> the paper's name for it in Table 2 and in Tables 3 and 4, if it is there."""

FGSM_TABLES = {
    "mnist": ("table3_mnist_fgsm_percent", 0.125),
    "svhn": ("table4_svhn_fgsm_percent", 0.005),
}
"""Data set -> its table and the paper's epsilon in [0, 1] units."""

CODE = {
    "mnist": "the authors' code",
    "svhn": "the authors' code for MNIST (they published none for SVHN)",
}
"""Data set -> what says that epsilon is in [0, 1] units."""

AGREES, NOISE, REVERSED = "as in the paper", "within noise", "reversed"
"""The words for how an order of ours stands to the paper's."""

LITERAL_READING = 0.5
"""The paper says its epsilon is on [-1, 1], its code says [0, 1]: read literally it is half."""


@dataclass(frozen=True)
class PaperRow:
    """A method's row of Table 3 or 4, in percent; None where the paper has a dash."""

    adversarial_error: float | None
    correction_rate_by_method: float | None
    correction_rate_by_baseline: float | None


@cache
def _published() -> dict[str, Any]:
    text = resources.files("winnrobust.reporting").joinpath("paper_tables.json").read_text("utf-8")
    published: dict[str, Any] = json.loads(text)
    return published


def paper_inception_score(method: str) -> float:
    """Table 1's Inception score (CIFAR-10) of a method by the paper's name."""
    rows = _published()["table1_inception_score_cifar10"]
    return next(row["mean"] for row in rows if row["method"] == method)


def paper_test_error(dataset: str, arch: str | None, method: str | None) -> float | None:
    """Table 2's test error in percent, or None where the paper has none."""
    names = METHODS.get((arch or "", method or ""))
    rows = _published()["table2_test_error_percent"].get(dataset, [])
    return next((row["error"] for row in rows if names and row["method"] == names[0]), None)


def paper_row(
    dataset: str, arch: str | None, method: str | None, attack: str, epsilon: float
) -> PaperRow | None:
    """The row of Table 3 (MNIST) or 4 (SVHN) that an evaluation on the whole test set compares to.

    Both readings of the paper's epsilon count: in [0, 1] units (the authors' code) and on [-1, 1]
    (the paper's text), which is half of it.
    """
    names = METHODS.get((arch or "", method or ""))
    if attack != "fgsm" or names is None or dataset not in FGSM_TABLES:
        return None
    table, paper_epsilon = FGSM_TABLES[dataset]
    if epsilon not in (paper_epsilon, paper_epsilon * LITERAL_READING):
        return None
    for row in _published()[table]["rows"]:
        if row["method"] == names[1]:
            return PaperRow(
                row["adversarial_error"],
                row["correction_rate_by_method"],
                row["correction_rate_by_baseline"],
            )
    return None


def reading_note(dataset: str, attack: str, epsilon: float) -> str:
    """Which reading of the paper's epsilon a table is, in words; empty where none applies."""
    if attack != "fgsm" or dataset not in FGSM_TABLES:
        return ""
    paper_epsilon = FGSM_TABLES[dataset][1]
    if epsilon == paper_epsilon:
        return f"This is the paper's {paper_epsilon:g} as {CODE[dataset]} has it, on [0, 1]."
    if epsilon == paper_epsilon * LITERAL_READING:
        return (
            f"This is the paper's {paper_epsilon:g} as its text has it, on [-1, 1]; {CODE[dataset]}"
            " attacks twice as hard, so the paper's figures may belong to the other table."
        )
    return ""
