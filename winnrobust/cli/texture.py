"""`winnrobust texture`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnrobust.cli.grouped import Grouped
from winnrobust.cli.options import (
    PATH,
    config_file_option,
    config_options,
    device_option,
    given_settings,
    out_option,
    runs_option,
    size,
    with_place,
)
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import log
from winnrobust.training.config import make_config
from winnrobust.training.recipes import UNSUPERVISED

if TYPE_CHECKING:
    import torch


@click.command(cls=Grouped)
@click.argument("run", required=False, type=PATH)
@click.option(
    "--source", help="Instead of RUN: a picture to train on first, or grass, gravel, or brick."
)
@click.option(
    "--size",
    type=size,
    metavar="WIDTHxHEIGHT",
    default="320x320",
    show_default=True,
    help="Size in pixels.",
)
@out_option("A .png that does not exist yet.", required=True)
@click.option(
    "--draw",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the drawing.",
)
@config_options({"arch": "cnn64"} | UNSUPERVISED["winn"])
@config_file_option
@runs_option
@device_option
def texture(
    run: Path | None,
    source: str | None,
    size: tuple[int, int],
    out: Path,
    draw: int,
    config_file: Path | None,
    runs: Path,
    device: "torch.device",
    **settings: Any,
) -> None:
    """Draw a texture of any size from RUN, which was trained on crops of one picture.

    With --source, the command trains first, with the given settings; the run is kept under --runs,
    continued if it was interrupted, and reused later. The drawing is an ascent like any other, on a
    canvas that the critic sees in overlapping patches.

    \b
    winnrobust train --unsupervised --texture grass --arch cnn64 --out runs/grass
    winnrobust texture runs/grass --size 320x320 --out grass.png
    winnrobust texture --source my.png --size 640x400 --out large.png
    """
    from winnrobust.training.methods.settings import check_given
    from winnrobust.workflows import texturing

    given = given_settings(config_file, settings)
    if (run is None) == (source is None):
        raise InputError("name a RUN, or a picture with --source")
    texturing.check_texture_file(out)
    if run is None:
        for name in ("texture", "data", "dataset"):
            if name in given:
                raise InputError(f"--source says what to train on; leave out --{name}")
        if given.get("unsupervised") is False:
            raise InputError("textures are learned without labels; leave out --no-unsupervised")
        given = with_place({"arch": "cnn64"} | given | {"unsupervised": True, "texture": source})
        config = make_config(given, str(config_file or "options"))
        check_given(given, config)
        run = texturing.texture_run(runs, config, device)
    elif given:
        raise InputError("RUN has its own settings; they are for training, with --source")
    made = texturing.texture(run, size, out, device, seed=draw)
    how = "its threshold was reached" if made.reached else "the limit of steps came first"
    log(f"the texture is in {out} ({made.steps} steps; {how})")
