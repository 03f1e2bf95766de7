"""`winnrobust detect`."""

from pathlib import Path
from typing import Any

import click

from winnrobust.cli.options import EpsilonList, data_root_option, device_option, names_in
from winnrobust.generation.detection import STEPS
from winnrobust.runtime.devices import resolve_device
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import log
from winnrobust.workflows.detecting import DetectionSettings, detect_others, detection_text


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
    "--ood",
    "others",
    multiple=True,
    help="Out-of-distribution images to be noticed: a data set, a folder or an .npz file. Repeat it"
    " for several.",
)
@click.option("--foreign", multiple=True, hidden=True)
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
    help="Steps of the adaptive attack, on each of its five paths.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for detection.csv and manifest.json."
)
@data_root_option
@device_option
def detect(models: tuple[Path, ...], **options: Any) -> None:
    """Do MODELS (run folders or .safetensors files) notice images that are not of their data?

    Detectors are a WINN's critic, the largest softmax probability and the energy of the logits.
    They are shown adversarial examples of each attack, of an adaptive attack, which knows the
    detector, and out-of-distribution images, and compared by the area under the ROC curve.

    \b
    winnrobust detect runs/winn runs/baseline --ood fashion-mnist --eps 0.125
    """
    epsilons = options["epsilons"]
    if len(epsilons) != 1 or not epsilons[0]:
        raise InputError("--eps must be a single bound above 0 here")
    settings = DetectionSettings(
        attacks=[name for name in names_in(options["attacks"]) if name],
        epsilon=epsilons[0],
        others=[*options["others"], *options["foreign"]],  # the latter by the old name of --ood
        steps=options["steps"],
        limit=options["limit"],
        seed=options["seed"],
    )
    table = detect_others(
        list(models),
        settings,
        resolve_device(options["device"]),
        data_root=options["data_root"],
        out=options["out"],
    )
    log(detection_text(table))
