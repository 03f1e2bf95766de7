"""Tables, figures and pages from stored evaluations and runs."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnrobust.reporting.figures import training_figure
    from winnrobust.reporting.folder import (
        completed,
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

PLACES = {
    "figures": ("training_figure",),
    "folder": (
        "completed", "load_results", "read_diagnosis", "read_metadata", "write_diagnosis",
        "write_metadata", "write_results",
    ),
    "report": ("FORMATS", "Lead", "write_report"),
    "results": ("Results",),
    "runs": ("RunRecord", "load_run"),
    "stored": ("Metadata", "Model"),
    "terminal": ("terminal_summary",),
}  # fmt: skip
"""Module -> the names that are taken from it when they are asked for: matplotlib takes seconds."""

__all__ = [
    "FORMATS",
    "Lead",
    "Metadata",
    "Model",
    "Results",
    "RunRecord",
    "completed",
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


def __getattr__(name: str) -> Any:
    for module, names in PLACES.items():
        if name in names:
            return getattr(importlib.import_module(f"winnrobust.reporting.{module}"), name)
    raise AttributeError(f"module 'winnrobust.reporting' has no attribute '{name}'")
