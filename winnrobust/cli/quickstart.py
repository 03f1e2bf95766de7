"""`winnrobust quickstart`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnrobust.cli.options import device_option, out_option, seed_option
from winnrobust.runtime.progress import log
from winnrobust.training.config import TrainConfig

if TYPE_CHECKING:
    import torch

QUICK = TrainConfig(
    dataset="mnist5k",
    arch="vanilla",
    epochs=30,
    batch_size=50,
    negatives_per_class=10,
    synthesis_lr=0.05,
    synthesis_max_steps=60,
)
"""The paper's recipe cut to minutes: few images, small batches, and much less synthesis."""


@click.command()
@seed_option
@out_option("Folder for the runs and the report.", default=Path("quickstart"), show_default=True)
@device_option
def quickstart(seed: int, out: Path, device: "torch.device") -> None:
    """Train a baseline and a WINN on 5,000 built-in digits, attack both, and write the report.

    Needs no download, and about five minutes on two cores. Run it again after an interruption and
    it picks up where it stopped.
    """
    from winnrobust.evaluation import EvaluationSettings
    from winnrobust.reporting import terminal_summary
    from winnrobust.workflows.comparing import compare

    page = compare(
        QUICK.replace(seed=seed),
        out / "runs",
        out / "report",
        EvaluationSettings(attacks=["fgsm"], epsilons={"linf": [0.125]}),  # the paper's
        with_diagnosis=False,
        data_root=None,
        device=device,
    )
    log(terminal_summary(out / "report" / "results"))
    log(f"open {page}")
