"""`winnrobust attack`."""

from pathlib import Path
from typing import Any

import click

from winnrobust import workflows
from winnrobust.attacks import Budget
from winnrobust.cli.external import external_models, external_options
from winnrobust.cli.options import (
    CHOICES,
    attacks_option,
    data_root_option,
    device_option,
    diagnose_option,
    eps_l2_option,
    eps_option,
    flatten_epsilons,
    names_in,
    runs_option,
)
from winnrobust.evaluation.aims import AIMS
from winnrobust.reporting import terminal_summary
from winnrobust.runtime.devices import resolve_device
from winnrobust.runtime.progress import log


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@external_options
@attacks_option
@eps_option
@eps_l2_option
@click.option("--steps", type=click.IntRange(1), help="Steps of iterative attacks.")
@click.option("--restarts", type=click.IntRange(1), help="Random starts of attacks that have them.")
@click.option(
    "--queries",
    type=click.IntRange(1),
    help="Queries of black-box attacks for each image, in each restart.",
)
@click.option(
    "--eot",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Gradients averaged in every step, for models that answer at random.",
)
@click.option(
    "--aim",
    type=click.Choice(list(AIMS)),
    help="Make the attacks targeted, at a wrong class chosen like this.  [default: untargeted]",
)
@click.option(
    "--time-budget",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    help="Seconds for each attack on each model; images left then stay clean, and are counted.",
)
@diagnose_option
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the attacks."
)
@click.option("--limit", type=click.IntRange(1), help="Attack the first N test images only.")
@click.option(
    "--dataset",
    type=click.Choice(CHOICES["dataset"]),
    help="Data set whose test images are attacked.  [default: the one trained on]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Your own images instead: a folder with a folder for each class, or an .npz file with"
    " 'images' and 'labels'.",
)
@click.option(
    "--arch",
    type=click.Choice(CHOICES["arch"]),
    help="Without any model: architecture to look for.  [default: that of the newest run]",
)
@click.option(
    "--batch-size", type=click.IntRange(1), help="Images at once.  [default: the fastest, measured]"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the results.  [default: a new one under results/]",
)
@runs_option
@data_root_option
@device_option
@click.pass_context
def attack(
    context: click.Context,
    models: tuple[Path, ...],
    modules: tuple[tuple[str, str], ...],
    weights: tuple[tuple[str, str], ...],
    ranges: tuple[Any, ...],
    means: tuple[Any, ...],
    stds: tuple[Any, ...],
    attacks: str,
    epsilons: tuple[list[float], ...],
    epsilons_l2: tuple[list[float], ...],
    steps: int | None,
    restarts: int | None,
    queries: int | None,
    eot: int,
    aim: str | None,
    seconds: float | None,
    diagnose: bool,
    seed: int,
    limit: int | None,
    dataset: str | None,
    data: Path | None,
    arch: str | None,
    batch_size: int | None,
    out: Path | None,
    runs: Path,
    data_root: Path | None,
    device: str,
) -> None:
    """Attack MODELS (run folders, .safetensors files or zoo:NAME) and let each judge the others'
    examples.

    Without MODELS and --model: the newest run of each method under --runs, for one data set and
    architecture; without any run, models that come along ('winnrobust models'). Prints and stores
    clean error, adversarial error, worst case and correction rates, with 95 % intervals, and what
    speaks against a model's robustness being real. Interrupted, it goes on when it is called again
    with the same --out.

    \b
    winnrobust attack --eps 0.125
    winnrobust attack runs/my-baseline runs/my-winn --attacks fgsm,pgd,autoattack --limit 1000
    winnrobust attack runs/my-winn zoo:mnist-vanilla-winn
    winnrobust attack --model mine=my_models:cnn --weights mine=cnn.safetensors --data my-images
    """
    if dataset is not None and data is not None:
        raise click.UsageError("--dataset and --data exclude each other.")
    where = resolve_device(device)
    external = external_models(modules, weights, ranges, means, stds)
    paths = list(models)
    if not paths and not external:
        asked = context.get_parameter_source("runs") is not click.core.ParameterSource.DEFAULT
        choose = workflows.newest_of_each_method if asked else workflows.newest_or_shipped
        paths = choose(runs, dataset, arch)
    out = out or Path("results") / workflows.stamp()
    settings = workflows.AttackSettings(
        attacks=names_in(attacks),
        epsilons=flatten_epsilons(epsilons),
        epsilons_l2=flatten_epsilons(epsilons_l2, 1.5),
        budget=Budget(steps, restarts, queries, eot),
        aim=aim,
        seconds=seconds,
        seed=seed,
        batch_size=batch_size,
        diagnose=diagnose,
    )
    workflows.attack_runs(
        paths,
        out,
        settings,
        where,
        external=external,
        dataset=dataset,
        data=data,
        data_root=data_root,
        limit=limit,
    )
    log(terminal_summary(out))
    log(f"results are in {out}; for a page to read and send: winnrobust report {out}")
