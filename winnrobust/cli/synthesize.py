"""`winnrobust synthesize`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnrobust.cli.choices import NOISE
from winnrobust.cli.options import CHOICES, COUNT, PATH, device_option, out_option, seed_option
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import log

if TYPE_CHECKING:
    import torch


def low_and_high(text: str) -> tuple[float, float]:
    """Two numbers, the lower one first, such as `-3,1.5`; or a single one for both."""
    try:
        numbers = [float(part) for part in text.split(",")]
        low, high = numbers if len(numbers) > 1 else numbers * 2
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is not a range; write --threshold -3,1.5 or --threshold 0"
        ) from None
    if not -math.inf < low <= high < math.inf:
        raise click.BadParameter(f"'{text}' is not a range from a lower number to a higher one")
    return low, high


@click.command()
@click.argument("model", type=PATH)
@click.option("--n", "count", type=COUNT, default=100, show_default=True, help="Number of samples.")
@click.option("--class", "label", type=int, help="Class of the samples.  [default: each in turn]")
@out_option(
    "A .png picture, written along with a .csv of facts about each sample; or an .npz file of"
    " arrays, which --data accepts. May be repeated, for both.",
    multiple=True,
    required=True,
)
@click.option(
    "--noise",
    "kind",
    type=click.Choice(list(NOISE)),
    default="none",
    show_default=True,
    help="Noise during the ascent: none, as in the authors' code; langevin, normal noise on the"
    " pixels after every step; or dropout, which drops different features in every step and rarely"
    " lets an ascent end before --max-steps.",
)
@click.option(
    "--noise-size",
    type=float,
    help="Standard deviation of the noise on pixels in [-1, 1], or the dropout rate."
    f"  [default: {NOISE['langevin']} or {NOISE['dropout']}]",
)
@click.option(
    "--initial",
    type=click.Choice(CHOICES["initial"]),
    help="Where the ascents start.  [default: as in training]",
)
@click.option(
    "--threshold",
    "thresholds",
    type=low_and_high,
    metavar="LOW,HIGH",
    help="Range of critic values from which the stopping thresholds are drawn."
    "  [default: the stored one]",
)
@click.option("--max-steps", type=COUNT, help="Most steps of an ascent.  [default: as in training]")
@seed_option
@click.option(
    "--batch-size",
    type=COUNT,
    help="Images per batch.  [default: 512 at 32x32 pixels, fewer if larger]",
)
@device_option
def synthesize(
    model: Path,
    out: tuple[Path, ...],
    count: int,
    device: "torch.device",
    kind: str,
    noise_size: float | None,
    initial: str | None,
    max_steps: int | None,
    **options: Any,
) -> None:
    """Draw samples from MODEL: a WINN's run folder, .safetensors file, or zoo:NAME.

    Samples are made like pseudo-negatives in training: by gradient ascent on the critic, starting
    from random images, until its mean reaches a value between the lowest and the highest that it
    gave to batches of real images.

    \b
    winnrobust synthesize runs/my-winn --n 100 --out samples.png
    winnrobust synthesize runs/my-winn --n 1000 --class 3 --out threes.npz
    """
    from winnrobust.generation.sampling import Noise
    from winnrobust.workflows import synthesizing

    if noise_size is not None and kind == "none":
        raise InputError("--noise-size has no effect without --noise langevin or dropout")
    size = NOISE[kind] if noise_size is None else noise_size
    if not 0 <= size < 1:
        raise InputError(f"--noise-size must be from 0 to below 1, not {size:g}")
    wanted = {"initial": initial, "synthesis_max_steps": max_steps}
    given = {name: value for name, value in wanted.items() if value is not None}
    settings = synthesizing.SampleSettings(given=given, noise=Noise(kind, size), **options)
    samples = synthesizing.synthesize(model, out, count, device, settings)
    log(synthesizing.summary(samples))
    log(f"samples are in {' and '.join(map(str, out))}")
