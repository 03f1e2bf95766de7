"""`winnrobust models`."""

import click
from tabulate import tabulate

from winnrobust import zoo
from winnrobust.evaluation.intervals import rate
from winnrobust.reporting.table import share_with_interval

COLUMNS = (
    "model",
    "data",
    "network",
    "method",
    "epochs",
    "test error, % [95 %]",
    "size",
    "sha256",
    "weights",
)


@click.command()
def models() -> None:
    """List the trained models that come with winnrobust, and check that their weights are whole.

    Attack them as zoo:NAME, beside runs of your own. Each has the manifest of the run that made it
    (configuration, commit, seed, hash of the data, every epoch's metrics).

    \b
    winnrobust attack zoo:mnist-vanilla-baseline zoo:mnist-vanilla-winn --attacks pgd
    """
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
            "whole" if model.is_whole() else "DAMAGED",
        )
        for model in zoo.models()
    ]
    click.echo(tabulate(rows, headers=COLUMNS, tablefmt="simple", disable_numparse=True))
    click.echo(f"Their manifests are under {zoo.FOLDER / 'models'}.")
