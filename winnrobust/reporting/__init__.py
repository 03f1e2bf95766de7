"""Tables, figures and pages from stored evaluations and runs."""

from winnrobust.reporting.figures import training_figure
from winnrobust.reporting.folder import (
    load_results,
    read_diagnosis,
    read_metadata,
    write_diagnosis,
    write_metadata,
    write_results,
)
from winnrobust.reporting.report import FORMATS, Lead, write_report
from winnrobust.reporting.results import Results
from winnrobust.reporting.runs import RunRecord, load_run
from winnrobust.reporting.stored import Metadata, Model
from winnrobust.reporting.terminal import terminal_summary

__all__ = [
    "FORMATS",
    "Lead",
    "Metadata",
    "Model",
    "Results",
    "RunRecord",
    "load_results",
    "load_run",
    "read_diagnosis",
    "read_metadata",
    "terminal_summary",
    "training_figure",
    "write_diagnosis",
    "write_metadata",
    "write_report",
    "write_results",
]
