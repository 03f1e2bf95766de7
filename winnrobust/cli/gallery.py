"""`winnrobust gallery`."""

from pathlib import Path
from typing import Any

import click

from winnrobust.cli.options import (
    COUNT,
    PATH,
    data_root_option,
    device_option,
    report_option,
    seed_option,
    size,
)
from winnrobust.runtime.progress import log


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option(
    "--classifier",
    "classifiers",
    multiple=True,
    type=PATH,
    help="Run, model file or zoo:NAME of a classifier that scores samples of its data set; repeat"
    " it for others. Textures and your own pictures need none.",
)
@click.option(
    "--n",
    "count",
    type=COUNT,
    default=1000,
    show_default=True,
    help="Samples of each run, and of each of its cascades.",
)
@click.option(
    "--size",
    "sizes",
    type=size,
    metavar="WIDTHxHEIGHT",
    multiple=True,
    default=("192x192", "384x256"),
    show_default=True,
    help="WIDTHxHEIGHT of textures. Repeat it for several.",
)
@click.option(
    "--detection", type=PATH, help="Folder of 'winnrobust detect --out', to be shown, too."
)
@seed_option
@report_option
@data_root_option
@device_option
def gallery(runs: tuple[Path, ...], out: Path | None, **options: Any) -> None:
    """Draw from RUNS of generators, score what they make, and write one page of it.

    It shows samples of every run, after each of its cascades and by epoch, their nearest training
    images, scores side by side, WINN's critic beside WGAN-GP's, and textures at every size.

    \b
    winnrobust gallery runs/winn runs/inn runs/cascade --classifier runs/baseline --n 500
    """
    from winnrobust.workflows.gallery import make_gallery
    from winnrobust.workflows.shared import stamp

    out = out or Path("reports") / stamp()
    make_gallery(runs, out, **options)
    log(f"open {out / 'index.html'}")
