"""Tables, figures and pages from stored evaluations and runs."""

from pathlib import Path

from winnrobust.reporting.figures import training_figure
from winnrobust.reporting.report import write_report
from winnrobust.reporting.results import Results, load_results, write_results
from winnrobust.reporting.runs import RunRecord, load_run
from winnrobust.reporting.tables import terminal_summary


def terminal_tables(folder: Path) -> str:
    """The tables of a results folder, for a terminal."""
    return terminal_summary(load_results(folder))


__all__ = [
    "Results",
    "RunRecord",
    "load_results",
    "load_run",
    "terminal_tables",
    "training_figure",
    "write_report",
    "write_results",
]
