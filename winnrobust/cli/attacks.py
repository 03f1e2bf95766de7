"""`winnrobust attacks`."""

from importlib import metadata

import click
from tabulate import tabulate

from winnrobust.cli.choices import ATTACKS, CORRUPTIONS

COLUMNS = ("attack", "norms", "attacker sees", "cost per image", "also", "source")


@click.command()
def attacks() -> None:
    """List the attacks: their norms, what the attacker sees, their cost, and their source.

    A threat begins with the norm, as in --threat l2:0.5; spatial and patch come with their own
    threats, as in --threat patch:5. Attacks marked as targeted accept --targeted or --targets;
    those marked with distances look for the smallest change that breaks an image.
    """
    click.echo(tabulate(ATTACKS, headers=COLUMNS, tablefmt="simple"))
    corruptions = ", ".join(CORRUPTIONS)
    click.echo(f"\n--threat corruptions:1-5 is not an attack but 15 corruptions: {corruptions}.")
    others = metadata.entry_points(group="winnrobust.attacks")
    if others:
        click.echo(f"Of other packages: {', '.join(sorted(others.names))}.")
