"""`winnrobust attack`."""

from pathlib import Path

import click

from winnrobust import workflows
from winnrobust.attacks import ATTACKS
from winnrobust.cli.options import (
    CHOICES,
    data_root_option,
    device_option,
    eps_option,
    flatten_epsilons,
    runs_option,
)
from winnrobust.devices import resolve_device
from winnrobust.progress import say
from winnrobust.reporting import terminal_tables


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@eps_option
@click.option(
    "--attacks",
    default="fgsm",
    show_default=True,
    help=f"Attacks, separated by commas: {', '.join(ATTACKS)}.",
)
@click.option("--limit", type=click.IntRange(1), help="Attack the first N test images only.")
@click.option(
    "--dataset",
    type=click.Choice(CHOICES["dataset"]),
    help="Data set whose test images are attacked.  [default: the one trained on]",
)
@click.option(
    "--arch",
    type=click.Choice(CHOICES["arch"]),
    help="Without MODELS: architecture to look for.  [default: that of the newest run]",
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
def attack(
    models: tuple[Path, ...],
    epsilons: tuple[list[float], ...],
    attacks: str,
    limit: int | None,
    dataset: str | None,
    arch: str | None,
    batch_size: int | None,
    out: Path | None,
    runs: Path,
    data_root: Path | None,
    device: str,
) -> None:
    """Attack MODELS (run folders or .safetensors files) and let each judge the others' examples.

    Without MODELS: the newest run of each method under --runs, for one data set and architecture.
    Prints and stores clean error, adversarial error and correction rates, with 95 % intervals.

    \b
    winnrobust attack --eps 0.125
    winnrobust attack runs/my-baseline runs/my-winn --eps 0.0625,0.125 --limit 1000
    """
    where = resolve_device(device)
    paths = list(models) or workflows.newest_of_each_method(runs, dataset, arch)
    out = out or Path("results") / workflows.stamp()
    workflows.attack_runs(
        paths,
        out,
        attacks=[name.strip() for name in attacks.split(",")],
        epsilons=flatten_epsilons(epsilons),
        dataset_name=dataset,
        data_root=data_root,
        limit=limit,
        batch_size=batch_size,
        device=where,
    )
    say(terminal_tables(out))
    say(f"results are in {out}; for a page to read and send: winnrobust report {out}")
