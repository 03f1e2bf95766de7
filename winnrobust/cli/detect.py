"""`winnrobust detect`."""

from pathlib import Path

import click

from winnrobust.cli.options import EpsilonList, data_root_option, device_option, names_in
from winnrobust.generation.detection import STEPS
from winnrobust.runtime.devices import resolve_device
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import log
from winnrobust.workflows.detecting import detect_others, detection_text


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--attacks",
    default="fgsm,pgd",
    show_default=True,
    help="Attacks in the L-infinity norm, separated by commas.",
)
@click.option(
    "--eps",
    "epsilons",
    type=EpsilonList("--eps", 1),
    default="0.125",
    show_default=True,
    help="Their bound, in [0, 1] pixel units.",
)
@click.option(
    "--foreign",
    multiple=True,
    help="Other data to be noticed: a data set, a folder or an .npz file. Repeat it for several.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Take the first N test images only; half of them are attacked.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=STEPS,
    show_default=True,
    help="Steps of the attack that knows the detector, on each of its five paths.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for detection.csv and manifest.json."
)
@data_root_option
@device_option
def detect(
    models: tuple[Path, ...],
    attacks: str,
    epsilons: list[float],
    foreign: tuple[str, ...],
    limit: int,
    steps: int,
    seed: int,
    out: Path | None,
    data_root: Path | None,
    device: str,
) -> None:
    """Do MODELS (run folders or .safetensors files) notice images that are not of their data?

    Detectors are a WINN's critic, the largest softmax probability and the energy of the logits.
    They are shown adversarial examples of each attack, of an attack that knows the detector, and
    foreign data, and compared by the area under the ROC curve.

    \b
    winnrobust detect runs/winn runs/baseline --foreign fashion-mnist --eps 0.125
    """
    if len(epsilons) != 1 or not epsilons[0]:
        raise InputError("--eps must be a single bound above 0 here")
    names = [name for name in names_in(attacks) if name]
    table = detect_others(
        list(models),
        resolve_device(device),
        attacks=names,
        epsilon=epsilons[0],
        foreign=foreign,
        limit=limit,
        steps=steps,
        seed=seed,
        data_root=data_root,
        out=out,
    )
    log(detection_text(table))
