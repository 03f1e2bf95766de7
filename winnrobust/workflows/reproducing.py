"""`winnrobust reproduce`: what a table of the paper needs is trained, attacked and written down."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from winnrobust import distributed
from winnrobust.config import make_config
from winnrobust.data import MissingDataError, load_dataset
from winnrobust.errors import InputError
from winnrobust.files import write_text
from winnrobust.progress import say
from winnrobust.reporting import load_results, load_run, write_report
from winnrobust.reporting.report import Lead
from winnrobust.reporting.reproduction import (
    NO_DATA,
    Reproduced,
    figures_of,
    reproduction_tables,
)
from winnrobust.reporting.table import Table
from winnrobust.reproductions import BUDGETS, TARGETS, Group, Target, TrainingBudget
from winnrobust.run_folder import RunFolder
from winnrobust.workflows.attacking import AttackSettings, attack_runs
from winnrobust.workflows.training import complete_run


def reproduce(
    name: str,
    budget_name: str,
    seeds: Sequence[int],
    out: Path,
    *,
    data_root: Path | None,
    device: torch.device,
) -> tuple[list[Table], Path]:
    """Train what is missing, attack, and write the table.

    Runs are kept under `out/runs` and evaluations under `out/results`, for all tables of a budget;
    only what is not there yet is made. The table's folder, `out/NAME`, is written anew.

    Args:
        name, budget_name: of `TARGETS` and `BUDGETS`.
        seeds: of every method; the budget's own if there are none.

    Returns:
        The tables, and the page that shows them.

    Raises:
        InputError: there is no data for any part of it; or as training and attacking.
    """
    target, budget = TARGETS[name], BUDGETS[budget_name]
    chosen = list(dict.fromkeys(seeds)) or list(budget.seeds)
    missing = {group: _missing(_dataset(group, budget), data_root) for group in target.groups}
    if all(missing.values()):
        raise InputError(f"{name}: {NO_DATA}: {next(iter(missing.values()))}")
    reproduced, results = [], []
    for group in target.groups:
        if missing[group]:
            say(f"{group.arch} on {group.dataset}: {NO_DATA}: {missing[group]}")
            reproduced.append(Reproduced(group, None, {}))
            continue
        runs = _train(group, budget, chosen, out / "runs", data_root, device)
        evaluation = _attack(target, group, list(runs.values()), out, data_root, device)
        results.append(evaluation)
        trained = {key: load_run(path) for key, path in runs.items()}
        reproduced.append(Reproduced(group, load_results(evaluation), trained))
    figures = figures_of(target, reproduced)
    note = f"Budget '{budget_name}': {budget.summary}."
    tables = reproduction_tables(target, figures, note)
    folder = out / name
    if distributed.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "reproduction.csv", figures.to_csv(index=False))
        write_report(results, folder, lead=Lead(f"{target.title} (Lee et al. 2018)", tables))
    return tables, folder / "index.html"


def _dataset(group: Group, budget: TrainingBudget) -> str:
    return budget.stand_ins.get(group.dataset, group.dataset)


def _missing(dataset: str, data_root: Path | None) -> str:
    """Say why there is no data, as the first process sees it; empty where there is."""
    reason = ""
    if distributed.is_first():
        try:
            load_dataset(dataset, data_root)
        except MissingDataError as error:
            reason = str(error)
    return distributed.from_first(reason)


def _train(
    group: Group,
    budget: TrainingBudget,
    seeds: Sequence[int],
    runs: Path,
    data_root: Path | None,
    device: torch.device,
) -> dict[tuple[str, int], Path]:
    """Train what is missing of a group: (method, seed) -> run."""
    paths = {}
    for seed in seeds:
        for method in group.methods:
            settings: dict[str, Any] = {
                **budget.settings,
                "dataset": _dataset(group, budget),
                "arch": group.arch,
                "method": method,
                "seed": seed,
                "epochs": budget.epochs[group.arch],
            }
            config = make_config(settings, "budget")
            path = runs / f"{config.dataset}-{config.arch}-{method}-seed{seed}"
            complete_run(path, config, data_root, device)
            paths[method, seed] = path
    return paths


def _attack(
    target: Target,
    group: Group,
    runs: Sequence[Path],
    out: Path,
    data_root: Path | None,
    device: torch.device,
) -> Path:
    """Attack a group's networks, unless these very ones were; return the results."""
    # Table 2 needs no attack; results do, so it gets one.
    epsilons = group.epsilons if target.attacked else group.epsilons[:1]
    settings = AttackSettings(epsilons=epsilons, diagnose=False)
    identity = repr([asdict(settings)]).encode()
    for run in runs:
        identity += hashlib.sha256(RunFolder(run).model.read_bytes()).digest()
    digest = hashlib.sha256(identity).hexdigest()[:12]
    folder = out / "results" / f"{group.dataset}-{group.arch}-{digest}"
    if not distributed.from_first(folder.exists()):
        attack_runs(runs, folder, settings, device, data_root=data_root)
    return folder
