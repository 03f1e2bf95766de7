"""`winnrobust attacks`."""

import click
from tabulate import tabulate

from winnrobust.attacks import ATTACKS, PREFIX, find

COLUMNS = ("attack", "norm", "attacker sees", "cost per image", "source")


@click.command()
def attacks() -> None:
    """List the attacks with their norm, what the attacker sees, what they cost, their source.

    The norm is the one that --eps (Linf) or --eps-l2 (L2) bounds.
    """
    known = [*ATTACKS.values(), find(f"{PREFIX}NAME")]
    rows = [(each.name, each.norm, each.access, each.cost, each.source) for each in known]
    click.echo(tabulate(rows, headers=COLUMNS, tablefmt="simple"))
