"""A summary of an evaluation that fits a terminal."""

import textwrap
from collections.abc import Iterable
from dataclasses import replace

from winnrobust.reporting.matrices import correction_matrix, error_matrix
from winnrobust.reporting.results import Results
from winnrobust.reporting.table import Table, shortened, to_text
from winnrobust.reporting.tables import attack_table, diagnosis_overview, worst_table
from winnrobust.reporting.verdict import verdict

WIDTH = 100
LONGEST = 28
"""Longer names are shortened in the middle."""
GAP = 2
"""Spaces between the columns."""
HEADER_PADDING = 2
"""What tabulate adds to the names of columns."""


def terminal_summary(results: Results) -> str:
    """The verdict, the errors, both matrices of the strongest attacks, the diagnosis."""
    told = verdict(results)
    lines = [*(f"WARNING: {warning}" for warning in told.warnings), *told.claims, *told.notes]
    tables = [attack_table(results)]
    if len(results.worst) and len(results.cases) > len(results.levels):
        tables.append(worst_table(results))
    if len(results.models) > 1:
        for level in results.levels:
            case = results.strongest(results.cases_at(level))
            tables += [error_matrix(results, case), correction_matrix(results, case)]
    if results.diagnosis is not None:
        tables.append(diagnosis_overview(results))
    # The page has room for the notes.
    narrow = [part for table in tables for part in _fitting(replace(table, note=""))]
    paragraphs = [textwrap.fill(line, WIDTH, break_on_hyphens=False) for line in lines]
    return "\n" + "\n".join(paragraphs) + "\n" + to_text(narrow)


def _fitting(table: Table) -> Iterable[Table]:
    """Cut a table between columns until it fits; the first column comes every time."""
    cells = [[shortened(cell, LONGEST) for cell in row] for row in (table.header, *table.rows)]
    widths = [
        max(len(header) + HEADER_PADDING, *map(len, column))
        for header, *column in zip(*cells, strict=True)
    ]
    start = 1
    while start < len(widths):
        stop, used = start + 1, widths[0] + GAP + widths[start]
        while stop < len(widths) and used + GAP + widths[stop] <= WIDTH:
            used += GAP + widths[stop]
            stop += 1
        header, *rows = [[row[0], *row[start:stop]] for row in cells]
        yield Table(table.title if start == 1 else f"{table.title} (continued)", header, rows)
        start = stop
