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


@click.command()
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
    help="The same as --threat l2:EPS: the length of the change of a whole image.",
)
@click.option("--steps", type=COUNT, help="Steps of iterative attacks.")
@click.option("--restarts", type=COUNT, help="Random starts of attacks that have them.")
@click.option(
    "--queries", type=COUNT, help="Queries of black-box attacks for each image, in each restart."
)
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
    help="Run every attack that follows gradients once more, with gradients that pass straight"
    " through a module of the model (BPDA): one that rounds, or has no derivative. auto finds what"
    " hides them.",
)
@click.option(
    "--adapt",
    is_flag=True,
    help="Look for false robustness first, and add the attacks that suit what is found.",
)
@click.option(
    "--targeted",
    type=click.Choice(TARGETS),
    help="Make the attacks targeted, each image at a wrong class that is chosen like this."
    "  [default: untargeted]",
)
@click.option(
    "--targets",
    type=PATH,
    metavar="FILE",
    help="Make the attacks targeted, at the classes in this file: one for each image, in their"
    " order, as .npy, or as .csv or .txt with one a line.",
)
@click.option(
    "--round",
    type=click.IntRange(1, 16),
    metavar="BITS",
    help="Round examples to so many bits (8 as in a PNG) before the models judge them, and say how"
    " many successes survive that.",
)
@click.option("--aim", type=click.Choice(TARGETS), hidden=True)
@click.option(
    "--time-budget",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    help="Seconds for each attack on each model, shared out equally over images and epsilons. What"
    " is not attacked in time is counted and said beside every rate.",
)
@click.option(
    "--cross/--no-cross",
    default=True,
    show_default=True,
    help="Let every model look at the examples made against the others, for correction rates.",
)
@sampling_options
@diagnose_option
@seed_option
@click.option("--limit", type=COUNT, help="Attack the first N test images only.")
@click.option(
    "--dataset",
    type=click.Choice(CHOICES["dataset"]),
    help="Data set whose test images are attacked.  [default: the one trained on]",
)
@click.option(
    "--data",
    type=PATH,
    help="Your own images instead: a folder with a folder for each class, or an .npz file with"
    " 'images' and 'labels'.",
)
@click.option(
    "--classes",
    metavar="FILE|by-name",
    help="Which class each folder of --data is: a file with the names of the model's classes, one a"
    " line in the order of its logits, or JSON; or by-name, numbered in the order of their names."
    "  [default: folders called by numbers, or by the names that the model brings along]",
)
@click.option(
    "--resize",
    type=picture_size,
    metavar="SIDE|WIDTHxHEIGHT",
    help="Scale the pictures of --data, so that the shorter side has so many pixels, or to a size."
    "  [default: as the model says itself]",
)
@click.option(
    "--crop",
    type=picture_size,
    metavar="SIDE|WIDTHxHEIGHT",
    help="Then cut out their middle.  [default: as the model says itself]",
)
@click.option(
    "--interpolation",
    type=click.Choice(INTERPOLATIONS),
    help="How pictures are scaled.  [default: as the model says itself, else bilinear]",
)
@click.option(
    "--skip-damaged",
    is_flag=True,
    help="Read all pictures of --data beforehand, and leave out those that are damaged.",
)
@click.option(
    "--arch",
    metavar="NAME|[MODEL=]FACTORY",
    multiple=True,
    help="What a state dict that --model names belongs to: package.module:factory, or timm:NAME and"
    f" the like. Without any model, the architecture to look for: {', '.join(CHOICES['arch'])}."
    "  [default: that of the newest run]",
)
@click.option(
    "--batch-size", type=COUNT, help="Images at once.  [default: the more, the less time they take]"
)
@click.option(
    "--save-examples",
    type=count_or_all,
    metavar="N|all",
    help="Write the first N adversarial examples of each attack on each model, or all, to the"
    " folder 'saved' of the results: of images that the model gets right, what it gets wrong. As"
    " .npz, which --data takes, and as .png of 8 bits, about which the model is asked again.",
)
@click.option(
    "--fail-if",
    multiple=True,
    metavar="BOUND",
    help="End with exit code 1 where this holds, for continuous integration: 'robust_accuracy < 0.4"
    " at linf:8/255', 'clean_accuracy < 0.9'; with 'of NAME' for one of several models. Repeat it.",
)
@click.option(
    "--baseline",
    type=PATH,
    help="Results of an earlier evaluation on the same images: say what has changed since, by a"
    " paired test, and write which images.",
)
@out_option("Folder of the results.  [default: a new one under results/]")
@runs_option
@data_root_option
@device_option
@click.pass_context
def attack(context: click.Context, models: tuple[Path, ...], **options: Any) -> None:
    """Attack MODELS (run folders, .safetensors files or zoo:NAME) and let each model look at the
    others' adversarial examples.

    Without MODELS and --model: the newest run of each method under --runs, for one data set and
    architecture; without any run, a baseline and a WINN that come with winnrobust. Prints
    and stores clean accuracy, robust accuracy, adversarial errors and correction rates, with 95 %
    intervals, the outcome of every image, and what speaks against a model's robustness being real.
    Interrupted, it goes on when it is called again with the same --out. Exit code 1: a --fail-if
    holds.

    \b
    winnrobust attack --eps 0.125
    winnrobust attack runs/my-baseline runs/my-winn --attacks fgsm,pgd,autoattack --limit 1000
    winnrobust attack runs/my-winn zoo:mnist-vanilla-winn
    winnrobust attack runs/my-winn --adapt
    winnrobust attack runs/my-winn --attacks pgd --threat linf:0.3 --threat l2:1.5
    winnrobust attack runs/my-winn --threat corruptions:1-5 --threat spatial:30
    winnrobust attack zoo:mnist-vanilla-baseline zoo:mnist-vanilla-winn --until-decided
    winnrobust attack --model mine=my_models:cnn --weights mine=cnn.safetensors --data my-images
    winnrobust attack runs/my-winn --attacks 'pgd(steps=100, restarts=5)' --attack mine=my_nets:best
    """
    from winnrobust.reporting import terminal_summary
    from winnrobust.runtime.distributed import is_main_process
    from winnrobust.workflows import gates
    from winnrobust.workflows.attacking import attack_runs
    from winnrobust.workflows.runs import newest_of_each_method, newest_or_shipped
    from winnrobust.workflows.shared import stamp

    if options["dataset"] is not None and options["data"] is not None:
        raise click.UsageError("--dataset and --data exclude each other.")
    arch, options["factories"] = architectures(options["arch"], CHOICES["arch"])
    settings, external = _settings(options), external_models(options)
    paths: Sequence[Path] = models
    if not paths and not external:
        asked = context.get_parameter_source("runs") is not click.core.ParameterSource.DEFAULT
        choose = newest_of_each_method if asked else newest_or_shipped
        paths = choose(options["runs"], options["dataset"], arch)
    out = options["out"] or Path("results") / stamp()
    conditions = list(map(gates.parse_gate, options["fail_if"]))
    attack_runs(
        paths,
        out,
        settings,
        options["device"],
        external=external,
        source=_source(options),
        with_diagnosis=options["with_diagnosis"],
        adapt=options["adapt"],
        baseline=options["baseline"],
        save=options["save_examples"] or 0,
        gates=conditions,
    )
    log(terminal_summary(out))
    if options["baseline"] is not None and is_main_process():
        log(gates.write_changes(gates.changes_since(options["baseline"], out), out))
        log(f"which images changed is in {out / 'changed-images.csv'}")
    log(f"results are in {out}; for a page to read and send: winnrobust report {out}")
    failed = gates.failed_gates(conditions, out)
    for sentence in failed:
        log(f"FAILED: {sentence}")
    if failed:
        context.exit(1)
    if conditions:
        log(f"passed: {'; '.join(condition.text for condition in conditions)}")


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
            raise InputError("--targets and --targeted exclude each other")
        given["targeted"] = read_targets(options["targets"])
    if options["save_examples"]:
        given["num_adversarial"] = options["save_examples"]
    return EvaluationSettings(**given)
