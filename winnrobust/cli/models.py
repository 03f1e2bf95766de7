"""`winnrobust models`."""

import sys

import click
from tabulate import tabulate

from winnrobust import zoo
from winnrobust.reporting.table import share_with_interval
from winnrobust.runtime.intervals import rate

COLUMNS = (
    "model", "data", "network", "method", "epochs", "test error, % [95 %]", "size", "sha256",
    "files",
)  # fmt: skip


@click.command()
def models() -> None:
    """List the trained models that come with winnrobust, and check that their files are intact.

    Attack them as zoo:NAME, along with runs of your own. Each has the manifest of its run
    (configuration, commit, seed, hash of the data, every epoch's metrics).

    \b
    winnrobust attack zoo:mnist-vanilla-baseline zoo:mnist-vanilla-winn --attacks pgd

    The exit code is 1 if one is damaged.
    """
    states = {model: _state(model) for model in zoo.models()}
    rows = [
        (
            f"{zoo.PREFIX}{model.name}",
            model.dataset,
            model.arch,
            model.method,
            f"{model.epoch} of {model.epochs}",
            share_with_interval(*rate(model.test_errors, model.test_n), model.test_n),
            f"{model.size / 1e6:.1f} MB",
            model.sha256[:12],
            state,
        )
        for model, state in states.items()
    ]
    click.echo(tabulate(rows, headers=COLUMNS, tablefmt="simple", disable_numparse=True))
    click.echo(f"Their manifests are under {zoo.FOLDER / 'models'}.")
    if "to be fetched" in states.values():
        click.echo(f"Weights to be fetched are looked for where {zoo.SOURCE} says.")
    if "DAMAGED" in states.values():
        click.echo("DAMAGED: a file is missing or not the one it was; reinstall winnrobust")
        sys.exit(1)


def _state(model: zoo.ZooModel) -> str:
    if not model.is_here():
        return "to be fetched"
    return "whole" if model.is_whole() else "DAMAGED"
