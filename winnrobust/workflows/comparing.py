"""`winnrobust compare` and `quickstart`: train both methods, attack both, write the report."""

from pathlib import Path

import torch

from winnrobust.evaluation.inputs import checked_attacks
from winnrobust.reporting import write_report
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import check_free
from winnrobust.training.config import TrainConfig
from winnrobust.workflows.attacking import AttackSettings, attack_runs
from winnrobust.workflows.shared import REFERENCE_METHOD, load_data, results_folder
from winnrobust.workflows.training import complete_run


def compare(
    config: TrainConfig,
    runs: Path,
    out: Path,
    settings: AttackSettings,
    *,
    data_root: Path | None,
    device: torch.device,
) -> Path:
    """Train the baseline and `config.method` (what is there already is resumed or kept), attack
    both on the whole test set, write results and report, and return the HTML page.

    Raises:
        InputError: as training and attacking; or `out` exists, before anything is trained.
    """
    if config.unsupervised:
        raise InputError("without labels there is nothing to attack; leave out --unsupervised")
    load_data(config.data.dataset, data_root)
    if distributed.is_main_process():
        check_free(out)
    checked_attacks(settings.attacks, settings.aim)
    paths = []
    for method in dict.fromkeys((REFERENCE_METHOD, config.method)):
        path = runs / f"{config.data.dataset}-{config.model.arch}-{method}-seed{config.seed}"
        complete_run(path, config.replace(method=method), data_root, device)
        paths.append(path)
    with results_folder(out) as folder:
        attack_runs(
            paths,
            folder / "results",
            settings,
            device,
            data_root=data_root,
            place=out,
        )
        if distributed.is_main_process():
            write_report([folder / "results"], folder)
    return out / "index.html"
