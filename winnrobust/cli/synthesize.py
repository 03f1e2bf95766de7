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
@click.option("--n", "count", type=COUNT, default=100, show_default=True, help="Samples.")
@click.option("--class", "label", type=int, help="Their class.  [default: all in turn]")
@out_option(
    "A .png picture, with a .csv of what is known of every sample beside it; or an .npz file of"
    " arrays, which --data takes. Repeat it for both.",
    multiple=True,
    required=True,
)
@click.option(
    "--noise",
    "kind",
    type=click.Choice(list(NOISE)),
    default="none",
    show_default=True,
    help="Noise in the ascent: none, as in the authors' code; normal noise on the pixels after"
    " every step; or other features left out in every step, with which an ascent rarely ends before"
    " --max-steps.",
)
@click.option(
    "--noise-size",
    type=float,
    help="Standard deviation of the noise on pixels in [-1, 1], or the rate of the dropout."
    f"  [default: {NOISE['langevin']} or {NOISE['dropout']}]",
)
@click.option(
    "--initial",
    type=click.Choice(CHOICES["initial"]),
    help="What the ascents start from.  [default: as in training]",
)
@click.option(
    "--threshold",
    "thresholds",
    type=low_and_high,
    metavar="LOW,HIGH",
    help="Range of critic values that early stopping draws from.  [default: the stored one]",
)
@click.option("--max-steps", type=COUNT, help="Limit of an ascent.  [default: as in training]")
@seed_option
@click.option(
    "--batch-size",
    type=COUNT,
    help="Images at once.  [default: 512 of 32x32 pixels, fewer of larger ones]",
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
    """Draw samples from MODEL, a run folder, .safetensors file or zoo:NAME of a WINN.

    They are made as pseudo-negatives are in training: by gradient ascent on the critic, from
    random images, until its mean reaches a value between the lowest and the highest that it gave to
    batches of real images.

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
