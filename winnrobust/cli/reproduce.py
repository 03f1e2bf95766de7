"""`winnrobust reproduce`."""

from pathlib import Path
from typing import Any

import click

from winnrobust.cli.choices import BUDGETS, TABLES
from winnrobust.cli.options import PATH, data_root_option, device_option, names, out_option
from winnrobust.runtime.progress import log
from winnrobust.runtime.settings import LARGEST


def seed_list(text: str) -> list[int]:
    """`0` or `0,1,2`."""
    parts = names(text)
    if not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"'{text}' are no seeds; write --seeds 0 or --seeds 0,1,2")
    # The length first: int() refuses thousands of digits in words of its own.
    if any(len(part) > len(str(LARGEST)) or int(part) > LARGEST for part in parts):
        raise click.BadParameter(f"a seed must be at most {LARGEST}")
    return [int(part) for part in parts]


@click.command()
@click.argument("table", type=click.Choice(TABLES))
@click.option(
    "--budget",
    type=click.Choice(list(BUDGETS)),
    default="quick",
    show_default=True,
    help="; ".join(f"{name}: {summary}" for name, summary in BUDGETS.items()) + ".",
)
@click.option(
    "--seeds",
    type=seed_list,
    metavar="SEED[,SEED...]",
    help="Seeds for every method, separated by commas.  [default: 0; paper: 0,1,2]",
)
@click.option(
    "--run",
    "given",
    multiple=True,
    type=PATH,
    help="A complete run, or zoo:NAME, to use instead of training one with its data set,"
    " architecture, method, and seed. May be repeated.",
)
@out_option(
    "Folder for runs, results, and tables, shared by all tables of a budget."
    "  [default: reproduction/BUDGET]"
)
@data_root_option
@device_option
def reproduce(
    table: str, budget: str, seeds: list[int] | None, out: Path | None, **options: Any
) -> None:
    """Reproduce a table of the paper: train what it needs, attack, and compare our numbers.

    Run it again after an interruption and it picks up where it stopped; nothing is trained twice.
    It attacks with both readings of the paper's epsilon. table4-cifar10 is Table 4 on different
    data, a part of CIFAR-10.

    \b
    winnrobust reproduce table3
    winnrobust reproduce table2 --budget cpu --seeds 0,1,2
    winnrobust reproduce table3 --budget cpu --run zoo:mnist-vanilla-winn --run runs/my-icn
    """
    from winnrobust.reporting.table import to_text
    from winnrobust.workflows import reproducing

    out = out or Path("reproduction") / budget
    tables, page = reproducing.reproduce(table, budget, seeds or (), out, **options)
    log(to_text(tables))
    log(f"open {page}; the figures as numbers are in {page.with_name('reproduction.csv')}")
