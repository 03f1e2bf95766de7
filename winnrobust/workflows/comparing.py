"""`winnrobust compare`: train both methods, attack both, write the report."""

from collections.abc import Sequence
from pathlib import Path

import torch

from winnrobust.evaluation import EvaluationSettings
from winnrobust.evaluation.settings import check_surrogates, find_attacks
from winnrobust.reporting import write_report
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import check_free
from winnrobust.training.config import TrainConfig
from winnrobust.workflows.attacking import attack_runs
from winnrobust.workflows.evaluation_folder import is_complete
from winnrobust.workflows.images import ImageSource
from winnrobust.workflows.shared import REFERENCE_METHOD, load_data
from winnrobust.workflows.training import complete_run


def compare(
    config: TrainConfig,
    runs: Path,
    out: Path,
    settings: EvaluationSettings,
    *,
    with_diagnosis: bool,
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
    methods = list(dict.fromkeys((REFERENCE_METHOD, config.method)))
    check_surrogates(find_attacks(settings.attacks), methods)
    load_data(config.data.dataset, data_root)
    check_page(out)
    paths = []
    for method in methods:
        path = runs / f"{config.data.dataset}-{config.model.arch}-{method}-seed{config.seed}"
        complete_run(path, config.replace(method=method), data_root, device)
        paths.append(path)
    return attacked_page(
        paths,
        out,
        settings,
        ImageSource(data_root=data_root),
        with_diagnosis=with_diagnosis,
        device=device,
        resume_with=f"the same command with --out {out}",
    )


def check_page(out: Path) -> None:
    """Check that `out` is free, or holds what an interrupted call left: results, or their folder,
    but no page yet.

    Raises:
        InputError: there is something else.
    """
    results = out / "results"
    if distributed.is_main_process():
        begun = results.is_dir() and not (out / "index.html").exists()
        if not (begun and (results / "results.json").exists()):
            check_free(results if begun else out)


def attacked_page(
    paths: Sequence[Path],
    out: Path,
    settings: EvaluationSettings,
    source: ImageSource,
    *,
    with_diagnosis: bool,
    device: torch.device,
    resume_with: str,
) -> Path:
    """Attack models, unless that was done before, write results and report, and return the page."""
    results = out / "results"
    if not distributed.broadcast(is_complete(results)):
        attack_runs(
            paths,
            results,
            settings,
            device,
            source=source,
            with_diagnosis=with_diagnosis,
            resume_with=resume_with,
        )
    if distributed.is_main_process():
        write_report([results], out)
    return out / "index.html"
