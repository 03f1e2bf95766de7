"""`winnrobust report`."""

from pathlib import Path

import click

from winnrobust.files import new_folder
from winnrobust.progress import say
from winnrobust.reporting import write_report
from winnrobust.workflows import stamp


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the report.  [default: a new one under reports/]",
)
def report(inputs: tuple[Path, ...], out: Path | None) -> None:
    """Build the comparison from stored results or runs (INPUTS); no model is needed.

    Writes Markdown, LaTeX, CSV and one self-contained HTML page. Results bring in the runs they
    were made from, where those are still there.

    \b
    winnrobust report results/20260101-120000
    winnrobust report runs/my-winn runs/my-baseline --out reports/training
    """
    out = out or Path("reports") / stamp()
    with new_folder(out) as folder:
        write_report(list(inputs), folder)
    say(f"open {out / 'index.html'}")
