"""`winnrobust synthesize`."""

from pathlib import Path
from typing import Any

import click

from winnrobust.cli.options import CHOICES, Range, device_option
from winnrobust.generation.sampling import NOISE, Noise
from winnrobust.runtime.devices import resolve_device
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import log
from winnrobust.workflows.synthesizing import SampleSettings, summary
from winnrobust.workflows.synthesizing import synthesize as run_synthesize


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--n", "count", type=click.IntRange(1), default=100, show_default=True, help="Samples."
)
@click.option("--class", "label", type=int, help="Their class.  [default: all in turn]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="A .png picture, with a .csv of what is known of every sample beside it; or an .npz file"
    " of arrays, which --data takes. Repeat it for both.",
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
    type=Range("--threshold"),
    help="Range of critic values that early stopping draws from.  [default: the stored one]",
)
@click.option(
    "--max-steps", type=click.IntRange(1), help="Limit of an ascent.  [default: as in training]"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Images at once.  [default: 512 of 32x32 pixels, fewer of larger ones]",
)
@device_option
def synthesize(model: Path, **options: Any) -> None:
    """Draw samples from MODEL, a run folder, .safetensors file or zoo:NAME of a WINN.

    They come about as pseudo-negatives do in training: by gradient ascent on the critic, from
    random images, until its mean reaches a value between the lowest and the highest that it gave to
    batches of real images.

    \b
    winnrobust synthesize runs/my-winn --n 100 --out samples.png
    winnrobust synthesize runs/my-winn --n 1000 --class 3 --out threes.npz
    """
    noise_size, kind = options["noise_size"], options["kind"]
    if noise_size is not None and kind == "none":
        raise InputError("--noise-size has no effect without --noise langevin or dropout")
    size = NOISE[kind] if noise_size is None else noise_size
    if not 0 <= size < 1:
        raise InputError(f"--noise-size must be from 0 to below 1, not {size:g}")
    given = {"initial": options["initial"], "synthesis_max_steps": options["max_steps"]}
    settings = SampleSettings(
        label=options["label"],
        given={name: value for name, value in given.items() if value is not None},
        thresholds=options["thresholds"],
        noise=Noise(kind, size),
        seed=options["seed"],
        batch_size=options["batch_size"],
    )
    out, device = options["out"], resolve_device(options["device"])
    samples = run_synthesize(model, out, options["count"], device, settings)
    log(summary(samples))
    log(f"samples are in {' and '.join(map(str, out))}")
