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
    help="Run, model file, or zoo:NAME of a classifier that scores samples of its data set. May be"
    " repeated for other data sets; textures and your own pictures need none.",
)
@click.option(
    "--n",
    "count",
    type=COUNT,
    default=1000,
    show_default=True,
    help="Number of samples from each run, and from each of its cascades.",
)
@click.option(
    "--size",
    "sizes",
    type=size,
    metavar="WIDTHxHEIGHT",
    multiple=True,
    default=("192x192", "384x256"),
    show_default=True,
    help="Size of the textures in pixels. May be repeated.",
)
@click.option(
    "--detection", type=PATH, help="Folder of 'winnrobust detect --out', to show as well."
)
@seed_option
@report_option
@data_root_option
@device_option
def gallery(runs: tuple[Path, ...], out: Path | None, **options: Any) -> None:
    """Draw samples from generators (RUNS), score them, and write a page.

    It shows samples from every run, after each cascade and by epoch, their nearest training images,
    scores side by side, WINN's critic next to WGAN-GP's, and textures at every size.

    \b
    winnrobust gallery runs/winn runs/inn runs/cascade --classifier runs/baseline --n 500
    """
    from winnrobust.workflows.gallery import make_gallery
    from winnrobust.workflows.shared import dated_folder

    out = out or dated_folder(Path("reports"))
    make_gallery(runs, out, **options)
    log(f"open {out / 'index.html'}")
