"""`winnrobust attacks`."""

import click
from tabulate import tabulate

from winnrobust.attacks import ATTACKS, PREFIX, Attack, find

COLUMNS = ("attack", "norm", "attacker sees", "cost per image", "also", "source")


@click.command()
def attacks() -> None:
    """List the attacks with their norm, what the attacker sees, what they cost, their source.

    The norm is the one that --eps (Linf) or --eps-l2 (L2) bounds. Those that can aim take --aim;
    those that give distances look for the smallest change that breaks an image.
    """
    known = [*ATTACKS.values(), find(f"{PREFIX}NAME")]
    rows = [
        (each.name, each.norm, each.access, each.cost, _also(each), each.source) for each in known
    ]
    click.echo(tabulate(rows, headers=COLUMNS, tablefmt="simple"))


def _also(attack: Attack) -> str:
    can = {"targeted": attack.targeted, "distances": attack.minimum_norm}
    return ", ".join(text for text, does in can.items() if does)
