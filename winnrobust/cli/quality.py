"""`winnrobust quality`."""

from pathlib import Path
from typing import Any

import click

from winnrobust.cli.options import PATH, data_root_option, device_option, out_option
from winnrobust.runtime.progress import log


@click.command()
@click.argument("samples", type=PATH)
@click.option(
    "--classifier",
    type=PATH,
    required=True,
    help="Run folder or model file of a classifier that had no part in making the samples.",
)
@click.option(
    "--inception",
    is_flag=True,
    help="Also compute the Inception score and FID with torch-fidelity (pip install"
    " 'winnrobust[quality]'; it downloads a network).",
)
@out_option("Folder for quality.json and neighbors.png.")
@data_root_option
@device_option
def quality(samples: Path, classifier: Path, **options: Any) -> None:
    """Score SAMPLES, an .npz file from 'winnrobust synthesize'.

    A classifier of the same data scores them along with the same number of test images: how certain
    and varied its answers are, how its features are distributed, how often it sees the class that
    was asked for, and how close the nearest training images are.

    \b
    winnrobust synthesize runs/winn --n 1000 --out samples.npz
    winnrobust quality samples.npz --classifier runs/baseline
    """
    from winnrobust.workflows.quality import quality_text, score_quality

    log(quality_text(*score_quality(samples, classifier, **options)))
