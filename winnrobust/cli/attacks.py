"""`winnrobust attacks`."""

from importlib import metadata

import click
from tabulate import tabulate

from winnrobust.cli.choices import ATTACKS

COLUMNS = ("attack", "norms", "attacker sees", "cost per image", "also", "source")


@click.command()
def attacks() -> None:
    """List the attacks with their norms, what the attacker sees, what they cost, their source.

    A norm is what --eps (Linf) or --eps-l2 (L2) bounds. Those that can be targeted take
    --targeted; those that give distances look for the smallest change that breaks an image.
    """
    click.echo(tabulate(ATTACKS, headers=COLUMNS, tablefmt="simple"))
    others = metadata.entry_points(group="winnrobust.attacks")
    if others:
        click.echo(f"Of other packages: {', '.join(sorted(others.names))}.")
