"""`winnrobust attack`: models and images in, a results folder out."""

from collections.abc import Sequence
from pathlib import Path

import torch

from winnrobust import distributed, provenance
from winnrobust.data import to_unit
from winnrobust.errors import InputError
from winnrobust.evaluation import Evaluation
from winnrobust.evaluation import run as evaluate_models
from winnrobust.evaluation.inputs import checked_attacks
from winnrobust.progress import bar, say
from winnrobust.reporting import write_results
from winnrobust.workflows.candidates import load_candidates, provenance_of, row, say_what_differs
from winnrobust.workflows.shared import load_data, results_folder


def attack_runs(
    paths: Sequence[Path],
    out: Path,
    *,
    attacks: Sequence[str],
    epsilons: Sequence[float],
    dataset_name: str | None,
    data_root: Path | None,
    limit: int | None,
    batch_size: int | None,
    device: torch.device,
) -> Evaluation:
    """Attack the models at `paths` with each other as judges and write the results to `out`.

    Raises:
        InputError: models or data cannot be used, or `out` exists.
    """
    checked_attacks(attacks)
    candidates = load_candidates(paths)
    trained_on = list(dict.fromkeys(candidate.info.dataset for candidate in candidates))
    if dataset_name is None and len(trained_on) > 1:
        raise InputError(
            f"the models were trained on {' and '.join(trained_on)}; say with --dataset which test"
            " images to attack"
        )
    dataset = load_data(dataset_name or trained_on[0], data_root)
    test = dataset.test.first(limit)
    with results_folder(out) as folder:
        models = ", ".join(f"{candidate.name} ({candidate.path})" for candidate in candidates)
        say_what_differs(candidates)
        say(f"attacking {models} on {len(test)} test images of {dataset.name} ({device})")
        with bar(len(test), "attack", unit="image") as status:
            evaluation = evaluate_models(
                {candidate.name: candidate.network for candidate in candidates},
                to_unit(test.images),
                test.labels,
                attacks=attacks,
                epsilons=epsilons,
                batch_size=batch_size,
                device=device,
                progress=lambda done, total: status.update(done - status.n),
            )
        data = {"name": dataset.name, "split": "test", "n": len(test), "sha256": test.sha256()}
        manifest = provenance.describe(device) | {
            "data": data,
            "batch_size": evaluation.batch_size,
            "models": {candidate.name: provenance_of(candidate) for candidate in candidates},
        }
        if distributed.is_first():
            write_results(
                folder,
                evaluation,
                [row(candidate) for candidate in candidates],
                manifest,
                dataset.name,
                limit if len(test) < len(dataset.test) else None,
            )
    return evaluation
