"""`winnrobust detect`."""

from pathlib import Path
from typing import Any

import click

from winnrobust.cli.choices import DETECTION_STEPS
from winnrobust.cli.options import (
    COUNT,
    PATH,
    data_root_option,
    device_option,
    epsilons,
    names,
    out_option,
    seed_option,
)
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import log


@click.command()
@click.argument("models", nargs=-1, required=True, type=PATH)
@click.option(
    "--attacks",
    type=names,
    metavar="TEXT",
    default="fgsm,pgd",
    show_default=True,
    help="Attacks in the L-infinity norm, separated by commas.",
)
@click.option(
    "--eps",
    "epsilons",
    type=epsilons,
    metavar="EPS",
    help="Epsilon of the attacks, in [0, 1] pixel units.  [default: usual for the data set]",
)
@click.option(
    "--ood",
    "others",
    multiple=True,
    help="Out-of-distribution images to detect: a data set, a folder, or an .npz file. May be"
    " repeated.",
)
@click.option("--foreign", multiple=True, hidden=True)
@click.option(
    "--limit",
    type=COUNT,
    default=2000,
    show_default=True,
    help="Use only the first N test images; half of them are attacked.",
)
@click.option(
    "--steps",
    type=COUNT,
    default=DETECTION_STEPS,
    show_default=True,
    help="Steps of the adaptive attack, along each of its five paths.",
)
@seed_option
@out_option("Folder for detection.csv and manifest.json.")
@data_root_option
@device_option
def detect(
    models: tuple[Path, ...],
    attacks: list[str],
    epsilons: list[float] | None,
    others: tuple[str, ...],
    foreign: tuple[str, ...],  # the old name of --ood
    steps: int,
    limit: int,
    seed: int,
    **options: Any,
) -> None:
    """Do MODELS (run folders or .safetensors files) detect images unlike their own data?

    The detectors are a WINN's critic, the largest softmax probability, and the energy of the
    logits. They see adversarial examples from each attack, examples from an adaptive attack that
    knows the detector, and out-of-distribution images, and are compared by area under the ROC
    curve.

    \b
    winnrobust detect runs/winn runs/baseline --ood fashion-mnist --eps 0.125
    """
    from winnrobust.reporting.table import to_text
    from winnrobust.workflows.detecting import DetectionSettings, detect_others, detection_table

    if epsilons is not None and (len(epsilons) != 1 or not epsilons[0]):
        raise InputError("--eps must be a single bound above 0 here")
    chosen = [name for name in attacks if name]
    epsilon = epsilons[0] if epsilons else None
    settings = DetectionSettings(chosen, epsilon, [*others, *foreign], steps, limit, seed)
    log(to_text([detection_table(detect_others(models, settings, **options))]))
