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
    """Attack the built-in baseline and WINN, then train both and attack them, too.

    Uses the 5,000 built-in digits; nothing is downloaded. It starts by saying how long it takes on
    this machine, and the first page is there in seconds. Run it again after an interruption and it
    picks up where it stopped.
    """
    from winnrobust.workflows import quickstart as workflow

    page = workflow.quickstart(workflow.QUICK.replace(seed=seed), out, device)
    log(f"open {page}")
