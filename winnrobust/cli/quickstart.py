"""`winnrobust quickstart`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnrobust.cli.options import device_option, out_option, seed_option
from winnrobust.runtime.progress import log

if TYPE_CHECKING:
    import torch


@click.command()
@seed_option
@out_option("Folder for the runs and the pages.", default=Path("quickstart"), show_default=True)
@device_option
def quickstart(seed: int, out: Path, device: "torch.device") -> None:
    """Attack a baseline and a WINN that come along, then train both and attack them, too.

    On the embedded digits, without a download. It says at the start how long it takes on this
    machine; the first page is there in seconds. Called again after an interruption it goes on where
    it was.
    """
    from winnrobust.workflows import quickstart as workflow

    page = workflow.quickstart(workflow.QUICK.replace(seed=seed), out, device)
    log(f"open {page}")
