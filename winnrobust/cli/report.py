"""`winnrobust report`."""

from pathlib import Path

import click

from winnrobust.reporting import FORMATS, write_report
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import new_folder
from winnrobust.runtime.progress import log
from winnrobust.workflows.shared import stamp


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the report.  [default: a new one under reports/]",
)
@click.option(
    "--format",
    "formats",
    default=",".join(FORMATS),
    show_default=True,
    help="What to write, separated by commas.",
)
def report(inputs: tuple[Path, ...], out: Path | None, formats: str) -> None:
    """Build the comparison from stored results or runs (INPUTS); no model is needed.

    Writes one self-contained HTML page, Markdown, LaTeX, CSV and JSON. Results bring in the runs
    they were made from, where those are still there.

    \b
    winnrobust report results/20260101-120000
    winnrobust report results/20260101-120000 --format tex,csv
    winnrobust report runs/my-winn runs/my-baseline --out reports/training
    """
    chosen = [name.strip() for name in formats.split(",")]
    unknown = [name for name in chosen if name not in FORMATS]
    if unknown:
        raise InputError(f"unknown format '{unknown[0]}'; known are {', '.join(FORMATS)}")
    out = out or Path("reports") / stamp()
    with new_folder(out) as folder:
        write_report(list(inputs), folder, chosen)
    log(f"open {out / 'index.html'}" if "html" in chosen else f"the report is in {out}")
