"""`winnrobust attack`."""

import math
from collections.abc import Sequence
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnrobust.cli.choices import TARGETS
from winnrobust.cli.external import (
    architectures,
    external_models,
    external_options,
    own_attacks_option,
)
from winnrobust.cli.grouped import Grouped, listed
from winnrobust.cli.options import (
    CHOICES,
    COUNT,
    PATH,
    asked_for,
    attacks_option,
    bounds,
    count_or_all,
    data_root_option,
    device_option,
    diagnose_option,
    eps_option,
    epsilons,
    out_option,
    picture_size,
    runs_option,
    sampling_options,
    seed_option,
    threat_option,
)
from winnrobust.data.geometry import INTERPOLATIONS
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import log

if TYPE_CHECKING:
    from winnrobust.evaluation import EvaluationSettings
    from winnrobust.workflows.images import ImageSource

TOPICS = {
    "Models": "model arch weights input_range mean std",
    "Images": "data dataset classes resize crop limit",
    "Attacks": "attacks own_attacks threats epsilons steps queries adapt with_diagnosis",
    "Time": "until_decided seconds",
}
"""What matters, by topic."""

LESS = {
    "Models": "output runs",
    "Images": "interpolation skip_damaged data_root",
    "Attacks": "epsilons_l2 restarts fgsm_screen eot straight targeted targets round cross seed",
    "Time": "precision batch_size",
}
"""What few need."""


@click.command(cls=Grouped, topics=TOPICS, less=listed(LESS))
@click.argument("models", nargs=-1, type=PATH)
@external_options
@attacks_option
@own_attacks_option
@threat_option
@eps_option
@click.option(
    "--eps-l2",
    "epsilons_l2",
    type=lambda text: epsilons(text, at_most=math.inf),
    metavar="EPS[,EPS...]",
    multiple=True,
    help="The same as --threat l2:EPS: the Euclidean length of the whole change.",
)
@click.option("--steps", type=COUNT, help="Steps of iterative attacks.")
@click.option("--restarts", type=COUNT, help="Number of random starts, for attacks that have them.")
@click.option("--queries", type=COUNT, help="Queries of black-box attacks, per image and restart.")
@click.option(
    "--fgsm-screen/--no-fgsm-screen",
    default=False,
    show_default=True,
    help="Let PGD try one step of FGSM first: faster where most images break, but not PGD proper.",
)
@click.option(
    "--eot",
    type=COUNT,
    help="Draws averaged in every step and every decision of an attack (expectation over"
    " transformation).  [default: 20 for models that answer at random, 1 for others]",
)
@click.option(
    "--bpda",
    "straight",
    metavar="MODULE|auto",
    multiple=True,
    help="Run every gradient-based attack a second time, with gradients passed straight through a"
    " module of the model that rounds or has no derivative (BPDA). auto finds the module.",
)
@click.option(
    "--adapt/--no-adapt",
    default=None,
    help="Diagnose the models first, and add the attacks that suit what is found.  [default: if no"
    " attacks are named]",
)
@click.option(
    "--targeted",
    type=click.Choice(TARGETS),
    help="Make the attacks targeted: aim each image at a wrong class chosen this way."
    "  [default: untargeted]",
)
@click.option(
    "--targets",
    type=PATH,
    metavar="FILE",
    help="Make the attacks targeted at the classes in this file: one per image, in order, as .npy,"
    " or as .csv or .txt with one per line.",
)
@click.option(
    "--round",
    type=click.IntRange(1, 16),
    metavar="BITS",
    help="Round examples to this many bits (8 as in a PNG) before the models judge them, and"
    " report how many successes survive.",
)
@click.option("--aim", type=click.Choice(TARGETS), hidden=True)
@click.option(
    "--time-budget",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    help="Seconds for each attack on each model, shared equally among images and epsilons. Images"
    " not attacked in time are counted, and reported next to every rate.",
)
@click.option(
    "--cross/--no-cross",
    default=True,
    show_default=True,
    help="Also classify each model's examples with the other models, for correction rates.",
)
@sampling_options
@diagnose_option
@seed_option
@click.option("--limit", type=COUNT, help="Attack only the first N test images.")
@click.option(
    "--dataset",
    type=click.Choice(CHOICES["dataset"]),
    help="Data set whose test images are attacked.  [default: the one MODELS were trained on]",
)
@click.option(
    "--data",
    type=PATH,
    help="Your own images: a folder with a folder for each class, or an .npz file with"
    " 'images' and 'labels'.",
)
@click.option(
    "--classes",
    metavar="FILE|by-name",
    help="Which class each folder of --data is: by-name numbers the folders in alphabetical order;"
    " a file lists the model's class names in the order of its logits, one per line or as JSON."
    "  [default: folder names are class numbers, or class names that the model knows]",
)
@click.option(
    "--resize",
    type=picture_size,
    metavar="SIDE|WIDTHxHEIGHT",
    help="Scale the pictures of --data to this many pixels on the shorter side, or to this size."
    "  [default: the model's own, if it has one]",
)
@click.option(
    "--crop",
    type=picture_size,
    metavar="SIDE|WIDTHxHEIGHT",
    help="Then crop them around the center.  [default: the model's own, if it has one]",
)
@click.option(
    "--interpolation",
    type=click.Choice(INTERPOLATIONS),
    help="How pictures are scaled.  [default: the model's own, if it has one, else bilinear]",
)
@click.option(
    "--skip-damaged",
    is_flag=True,
    help="Read all pictures of --data first, and skip the damaged ones.",
)
@click.option(
    "--arch",
    metavar="NAME|[MODEL=]FACTORY",
    multiple=True,
    help="What builds the module of a --model's state dict: package.module:factory, or timm:NAME"
    f" and so on. Without models, the architecture to look for: {', '.join(CHOICES['arch'])}."
    "  [default: that of the newest run]",
)
@click.option(
    "--batch-size",
    type=COUNT,
    help="Images per batch.  [default: grows while batches are quick]",
)
@click.option(
    "--save-examples",
    type=count_or_all,
    metavar="N|all",
    help="Write the first N adversarial examples of each attack on each model, or all, to the"
    " folder 'saved' of the results: examples that the model gets wrong, of images that it gets"
    " right. As .npz, which --data accepts, and as 8-bit .png, which the model checks again.",
)
@click.option(
    "--fail-if",
    multiple=True,
    metavar="BOUND",
    help="Exit with code 1 if this holds, for continuous integration: 'robust_accuracy < 0.4 at"
    " linf:8/255', 'clean_accuracy < 0.9'; with 'of NAME' for one of several models. May be"
    " repeated.",
)
@click.option(
    "--baseline",
    type=PATH,
    help="Results of an earlier evaluation of the same images: report what changed, with"
    " a paired test, and list the images.",
)
@out_option("Folder for the results.  [default: a new one under results/]")
@runs_option
@data_root_option
@device_option
@click.pass_context
def attack(context: click.Context, models: tuple[Path, ...], **options: Any) -> None:
    """Attack image classifiers, and say which is more robust, how sure that is, and whether the
    attacks worked.

    Give models of your own with --model, and runs of 'winnrobust train', our .safetensors files,
    and zoo:NAME as MODELS. If there are several, each one also classifies the others' adversarial
    examples. If there are none: the newest run of each method under --runs, for one data set and
    architecture, else a baseline and a WINN that come with the package.

    The results folder has clean and robust accuracies, errors and correction rates with 95 %
    intervals, and the outcome of every image. Run an interrupted command again with the same --out,
    and it picks up where it stopped. The exit code is 1 if a --fail-if holds.

    \b
    winnrobust attack --model mine=cnn.pth --arch mine=my_nets:cnn --data images --classes by-name
    winnrobust attack --model a=timm:resnet50 --model b=torchvision:resnet50 --data photos
    winnrobust attack --model mine=net.onnx --data digits.npz --threat linf:8/255 --attacks square
    winnrobust attack runs/my-baseline runs/my-winn --attacks fgsm,pgd,autoattack --limit 1000
    winnrobust attack runs/my-winn zoo:mnist-vanilla-winn --threat linf:0.3 --threat l2:1.5
    winnrobust attack runs/my-winn --threat corruptions:1-5 --threat spatial:30
    winnrobust attack runs/my-winn --attacks 'pgd(steps=100, restarts=5)' --attack mine=my_nets:best
    winnrobust attack zoo:mnist-vanilla-baseline zoo:mnist-vanilla-winn --until-decided
    """
    from winnrobust.reporting import terminal_summary
    from winnrobust.runtime.distributed import is_main_process
    from winnrobust.workflows import gates
    from winnrobust.workflows.attacking import attack_runs
    from winnrobust.workflows.runs import newest_of_each_method, newest_or_shipped
    from winnrobust.workflows.shared import dated_folder

    if options["dataset"] is not None and options["data"] is not None:
        raise click.UsageError("--dataset and --data cannot be combined.")
    arch, options["factories"] = architectures(options["arch"], CHOICES["arch"])
    settings, external = _settings(options), external_models(options)
    paths: Sequence[Path] = models
    if not paths and not external:
        asked = context.get_parameter_source("runs") is not click.core.ParameterSource.DEFAULT
        choose = newest_of_each_method if asked else newest_or_shipped
        paths = choose(options["runs"], options["dataset"], arch)
    out = options["out"] or dated_folder(Path("results"))
    adapt, named = options["adapt"], options["attacks"] or options["own_attacks"]
    if adapt is None:
        adapt = options["with_diagnosis"] and not named
    conditions = list(map(gates.parse_gate, options["fail_if"]))
    attack_runs(
        paths,
        out,
        settings,
        options["device"],
        external=external,
        source=_source(options),
        with_diagnosis=options["with_diagnosis"],
        adapt=adapt,
        baseline=options["baseline"],
        save=options["save_examples"] or 0,
        gates=conditions,
    )
    log(terminal_summary(out))
    if options["baseline"] is not None and is_main_process():
        log(gates.write_changes(gates.changes_since(options["baseline"], out), out))
        log(f"which images changed is in {out / 'changed-images.csv'}")
    log(f"results are in {out}; for a page to read and send: winnrobust report {out}")
    failed, passed = gates.judged_gates(conditions, out)
    for sentence in passed:
        log(f"passed: {sentence}")
    for sentence in failed:
        log(f"FAILED: {sentence}")
    if failed:
        context.exit(1)


def _source(options: dict[str, Any]) -> "ImageSource":
    """What the options say of the images."""
    from winnrobust.workflows.images import ImageSource

    crop = options["crop"]
    geometry = {
        "resize": options["resize"],
        "crop": (crop, crop) if isinstance(crop, int) else crop,
        "interpolation": options["interpolation"],
    }
    of_folders = {name: options[name] for name in ("classes", "skip_damaged")}
    given = {name: value for name, value in geometry.items() if value is not None}
    if options["data"] is None and (given or any(of_folders.values())):
        raise InputError(
            "--classes, --resize, --crop, --interpolation and --skip-damaged are for the pictures"
            " of --data"
        )
    return ImageSource(
        options["dataset"],
        options["data"],
        options["data_root"],
        options["limit"],
        geometry=given,
        **of_folders,
    )


def _settings(options: dict[str, Any]) -> "EvaluationSettings":
    """What the options say of the evaluation; those of the same name are its settings."""
    from winnrobust.data.arrays import read_targets
    from winnrobust.evaluation.settings import EvaluationSettings, usual_for
    from winnrobust.workflows.given import imported_attack, through

    if options["targeted"] and options["aim"]:
        raise InputError("--aim is the old name of --targeted; give one of them")
    given = {name: options[name] for name in EvaluationSettings.model_fields if name in options}
    own = list(starmap(imported_attack, options["own_attacks"]))
    given["epsilons"] = bounds(options["threats"], options["epsilons"], options["epsilons_l2"])
    usual = usual_for(given["epsilons"]) if own or options["straight"] else []
    chosen = [*(options["attacks"] or usual), *own]
    del given["attacks"]
    given |= asked_for([*chosen, *through(options["straight"], chosen)] or None)
    given["precision"] = options["precision"] and options["precision"] / 100
    given["targeted"] = options["targeted"] or options["aim"]
    if options["targets"]:
        if given["targeted"]:
            raise InputError("--targets and --targeted cannot be combined")
        given["targeted"] = read_targets(options["targets"])
    if options["save_examples"]:
        given["num_adversarial"] = options["save_examples"]
    return EvaluationSettings(**given)
