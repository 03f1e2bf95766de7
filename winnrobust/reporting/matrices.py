"""Who falls to whose adversarial examples, and who corrects whom: one matrix per attack."""

import math
from collections.abc import Sequence

from winnrobust.reporting.results import Case, Results
from winnrobust.reporting.table import DASH, MISSING, Table, percent
from winnrobust.reporting.threat import case_text

ERROR_COLOUR = (165, 36, 20)
CORRECTION_COLOUR = (8, 81, 156)
"""RGB at 100 %; at 0 % a cell is white."""

EQUAL_CONTRAST = 0.179
"""The luminance on which black and white letters are equally well read."""

OWN = ";outline:2px solid #1d2329;outline-offset:-2px"
"""A model's error on the examples made against itself stands out."""


def error_matrix(results: Results, case: Case) -> Table:
    """The transfer matrix: every model's error on the examples made against every model."""
    rows, styles = [], {}
    for line, source in enumerate(results.names):
        cells = [source]
        for column, target in enumerate(results.names):
            error = (
                results.rows[case.attack, case.epsilon, source, target].target_errors / results.n
            )
            cells.append(percent(error, results.n))
            styles[line, column + 1] = heat(error, ERROR_COLOUR) + (OWN if source == target else "")
        rows.append(cells)
    return Table(
        f"Error by {case_text(case)}, %",
        ["made against", *results.names],
        rows,
        "Down: the model that the examples were made against. Across: the model that judges them."
        " The diagonal is the adversarial error; beside it the attack transfers.",
        styles,
    )


def correction_matrix(results: Results, case: Case) -> Table:
    """The correction rate of every ordered pair of models."""
    rows, styles = [], {}
    for line, source in enumerate(results.names):
        cells = [source]
        for column, target in enumerate(results.names):
            rate = results.rows[case.attack, case.epsilon, source, target].correction_rate
            if source == target:
                cells.append(DASH)
            else:
                cells.append(percent(rate, results.n) or MISSING)
                if not math.isnan(rate):
                    styles[line, column + 1] = heat(rate, CORRECTION_COLOUR)
        rows.append(cells)
    return Table(
        f"Correction under {case_text(case)}, %",
        ["errors of", *results.names],
        rows,
        "Down: the model that the examples were made against and that errs. Across: the model that"
        " gets this share of those errors right. Empty where there was no error to correct.",
        styles,
    )


def heat(value: float, colour: tuple[int, int, int]) -> str:
    """CSS of a share: from white at 0 to `colour` at 1, with letters that can be read on it."""
    shade = [round(255 + value * (full - 255)) for full in colour]
    ink = "#000" if _luminance(shade) > EQUAL_CONTRAST else "#fff"
    return f"background:rgb({','.join(map(str, shade))});color:{ink}"


def _luminance(shade: Sequence[int]) -> float:
    """Relative luminance of an sRGB colour (Web Content Accessibility Guidelines 2.2)."""
    scaled = [value / 255 for value in shade]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in scaled]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
