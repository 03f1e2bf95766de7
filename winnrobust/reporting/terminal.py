"""A summary of an evaluation that fits a terminal."""

import textwrap
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from winnrobust.reporting import tables
from winnrobust.reporting.folder import load_results
from winnrobust.reporting.table import Table, one_line, shortened, to_text
from winnrobust.reporting.verdict import Verdict

WIDTH = 100
LONGEST = 28
"""Longer names are shortened in the middle."""
GAP = 2
"""Spaces between the columns."""
HEADER_PADDING = 2
"""What tabulate adds to the names of columns."""


def terminal_summary(folder: Path) -> str:
    """The headline and the most important tables of a results folder.

    Raises:
        InputError: as `load_results`.
    """
    results = load_results(folder)
    verdict = Verdict(results)
    shown = [tables.headline_table(results), *tables.error_tables(results)]
    shown += tables.corruption_tables(results)
    shown += tables.strongest_matrices(results)
    if results.diagnosis is not None:
        shown.append(tables.diagnosis_overview(results, results.diagnosis))
    steps = [f"NEXT: {name}: {step}" for name, step in verdict.next_steps]
    # The page has room for the notes.
    narrow = [part for table in shown for part in _fitting(replace(table, note=""))]
    cautions = [f"WARNING: {name}, {how}: {why}" for name, how, why in verdict.cautions]
    # What is to be typed stays whole.
    told = [_wrapped(verdict.line), *map(_wrapped, cautions), *map(one_line, steps)]
    told += map(_wrapped, verdict.notes)
    return "\n" + "\n".join(told) + "\n" + to_text(narrow)


def _wrapped(text: str) -> str:
    return textwrap.fill(one_line(text), WIDTH, break_on_hyphens=False)


def _fitting(table: Table) -> Iterable[Table]:
    """Cut a table between columns until it fits; the first column comes every time."""
    cells = [[shortened(name, LONGEST) for name in table.header]]
    cells += [[shortened(name, LONGEST), *rest] for name, *rest in table.rows]
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
