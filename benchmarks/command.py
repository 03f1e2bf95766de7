"""What the benchmarks' commands have in common."""

from pathlib import Path
from typing import Any

import click

from winnrobust.reporting.runs import RunRecord, load_run
from winnrobust.runtime.errors import InputError


class Command(click.Command):
    """Says what was wrong with the input in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.ClickException(str(error)) from None


def load_classifier(path: Path, **wanted: Any) -> RunRecord:
    """Read the run of a classifier that was trained on MNIST.

    Args:
        wanted: settings that it has to have, such as `arch="vanilla"`.

    Raises:
        InputError: it is no such run.
    """
    record = load_run(path)
    for name, value in {"unsupervised": False, "dataset": "mnist", **wanted}.items():
        found = record.setting(name)
        if (found or False) != value:  # runs of before labels were optional do not say
            raise InputError(f"{path} has {name} {found}; this is measured where it is {value}")
    return record
