"""`winnrobust report`."""

from pathlib import Path

import click

from winnrobust.cli.choices import FORMATS
from winnrobust.cli.options import PATH, names, report_option
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import new_folder
from winnrobust.runtime.progress import log


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=PATH)
@report_option
@click.option(
    "--format",
    "formats",
    type=names,
    metavar="TEXT",
    default=",".join(FORMATS),
    show_default=True,
    help="Formats to write, separated by commas.",
)
def report(inputs: tuple[Path, ...], out: Path | None, formats: list[str]) -> None:
    """Write a report on stored results or training runs (INPUTS); no model is needed.

    Writes a self-contained HTML page, Markdown, LaTeX, CSV, and JSON. Results include the training
    runs that they were made from, if those still exist.

    \b
    winnrobust report results/20260101-120000
    winnrobust report results/20260101-120000 --format tex,csv
    winnrobust report runs/my-winn runs/my-baseline --out reports/training
    """
    from winnrobust.reporting import write_report
    from winnrobust.workflows.shared import dated_folder

    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"unknown format '{unknown[0]}'; known are {', '.join(FORMATS)}")
    out = out or dated_folder(Path("reports"))
    with new_folder(out) as folder:
        write_report(list(inputs), folder, formats)
    log(f"open {out / 'index.html'}" if "html" in formats else f"the report is in {out}")
