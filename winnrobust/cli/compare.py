"""`winnrobust compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnrobust.cli.grouped import Grouped
from winnrobust.cli.options import (
    asked_for,
    attacks_option,
    bounds,
    config_file_option,
    config_options,
    data_root_option,
    device_option,
    diagnose_option,
    eps_option,
    given_settings,
    report_option,
    runs_option,
    sampling_options,
    threat_option,
)
from winnrobust.runtime.progress import log
from winnrobust.training.config import make_config

if TYPE_CHECKING:
    import torch


@click.command(cls=Grouped)
@config_options()
@config_file_option
@attacks_option
@threat_option
@eps_option
@sampling_options
@diagnose_option
@report_option
@runs_option
@data_root_option
@device_option
def compare(
    config_file: Path | None,
    attacks: list[str] | None,
    threats: tuple[str, ...],
    epsilons: tuple[list[float], ...],
    precision: float | None,
    until_decided: bool,
    with_diagnosis: bool,
    out: Path | None,
    runs: Path,
    data_root: Path | None,
    device: "torch.device",
    **settings: Any,
) -> None:
    """Train the baseline and --method with the same settings, attack both, and write a report.

    The baseline ignores options that only --method uses; options that neither uses are refused.

    Runs are kept as DATASET-ARCH-METHOD-seedN under --runs. A run that is already there is resumed,
    or used as it is if complete, so you can continue an interrupted comparison by running it again.

    \b
    winnrobust compare --dataset mnist --arch vanilla --epochs 34 --eps 0.0625,0.125
    """
    from winnrobust.evaluation import EvaluationSettings
    from winnrobust.reporting import terminal_summary
    from winnrobust.training.methods.settings import check_given
    from winnrobust.workflows import comparing
    from winnrobust.workflows.shared import dated_folder

    given = given_settings(config_file, settings)
    config = make_config(given, str(config_file or "options"))
    check_given(given, config)  # the baseline has no settings of its own
    out = out or dated_folder(Path("reports"), config.data.dataset, config.model.arch)
    page = comparing.compare(
        config,
        runs,
        out,
        EvaluationSettings(
            epsilons=bounds(threats, epsilons),
            precision=precision and precision / 100,
            until_decided=until_decided,
            **asked_for(attacks),
        ),
        with_diagnosis=with_diagnosis,
        data_root=data_root,
        device=device,
    )
    log(terminal_summary(out / "results"))
    log(f"open {page}")
