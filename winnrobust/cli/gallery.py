"""`winnrobust gallery`."""

from pathlib import Path

import click

from winnrobust.cli.options import Size, data_root_option, device_option
from winnrobust.runtime.devices import resolve_device
from winnrobust.runtime.progress import log
from winnrobust.workflows.gallery import make_gallery
from winnrobust.workflows.shared import stamp


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--classifier",
    "classifiers",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Run, model file or zoo:NAME of a classifier that scores samples of its data set; repeat"
    " it for others. Textures and your own pictures need none.",
)
@click.option(
    "--n",
    "count",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Samples of each run, and of each of its cascades.",
)
@click.option(
    "--size",
    "sizes",
    type=Size(),
    multiple=True,
    default=("192x192", "384x256"),
    show_default=True,
    help="WIDTHxHEIGHT of textures. Repeat it for several.",
)
@click.option(
    "--detection",
    type=click.Path(path_type=Path),
    help="Folder of 'winnrobust detect --out', to be shown, too.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the report.  [default: a new one under reports/]",
)
@data_root_option
@device_option
def gallery(
    runs: tuple[Path, ...],
    classifiers: tuple[Path, ...],
    count: int,
    sizes: tuple[tuple[int, int], ...],
    detection: Path | None,
    seed: int,
    out: Path | None,
    data_root: Path | None,
    device: str,
) -> None:
    """Draw from RUNS of generators, score what they make, and write one page of it.

    It shows samples of every run, after each of its cascades and by epoch, their nearest training
    images, scores side by side, WINN's critic beside WGAN-GP's, and textures at every size.

    \b
    winnrobust gallery runs/winn runs/inn runs/cascade --classifier runs/baseline --n 500
    """
    out = out or Path("reports") / stamp()
    make_gallery(
        list(runs),
        classifiers,
        out,
        resolve_device(device),
        count=count,
        sizes=sizes,
        detection=detection,
        seed=seed,
        data_root=data_root,
    )
    log(f"open {out / 'index.html'}")
