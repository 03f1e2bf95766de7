"""Tables, figures and pages from stored evaluations and runs."""

from pathlib import Path

from winnrobust.reporting.figures import training_figure
from winnrobust.reporting.report_folder import FORMATS, write_report
from winnrobust.reporting.results import Results
from winnrobust.reporting.results_folder import load_results, write_results
from winnrobust.reporting.runs import RunRecord, load_run
from winnrobust.reporting.terminal import terminal_summary


def terminal_tables(folder: Path) -> str:
    """The verdict and the tables of a results folder, for a terminal."""
    return terminal_summary(load_results(folder))


__all__ = [
    "FORMATS",
    "Results",
    "RunRecord",
    "load_results",
    "load_run",
    "terminal_tables",
    "training_figure",
    "write_report",
    "write_results",
]
