"""`winnrobust reproduce`: what a table of the paper needs is trained, attacked and written down."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from winnrobust import zoo
from winnrobust.data.datasets import MissingDataError, load_dataset
from winnrobust.evaluation import EvaluationSettings
from winnrobust.models.checkpoint import load_model
from winnrobust.reporting import load_results, load_run, paper, write_report
from winnrobust.reporting.report import Lead
from winnrobust.reporting.reproduction import (
    BUDGETS,
    NO_DATA,
    STABLE_ATTACK,
    TARGETS,
    Group,
    Reproduced,
    TrainingBudget,
    figures_of,
    reproduction_tables,
)
from winnrobust.reporting.table import Table, to_csv
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import write_text
from winnrobust.runtime.progress import log
from winnrobust.training.config import make_config
from winnrobust.training.run_folder import RunFolder
from winnrobust.workflows.attacking import attack_runs
from winnrobust.workflows.evaluation_folder import is_complete
from winnrobust.workflows.images import ImageSource
from winnrobust.workflows.training import complete_run


class Network(NamedTuple):
    """A network that a table wants; the fields are the run's settings."""

    dataset: str
    arch: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}-{self.arch}-{self.method}-seed{self.seed}"


def reproduce(
    name: str,
    budget_name: str,
    seeds: Sequence[int],
    out: Path,
    *,
    given: Sequence[Path] = (),
    data_root: Path | None,
    device: torch.device,
) -> tuple[list[Table], Path]:
    """Train what is missing, attack, and write the table.

    Runs are kept under `out/runs` and evaluations under `out/results`, for all tables of a budget;
    only what is not there yet is made. The table itself, in `out/NAME`, is written anew.

    Args:
        name, budget_name: of `TARGETS` and `BUDGETS`.
        seeds: of every method; the budget's own if there are none.
        given: complete runs, or `zoo:NAME`, that take the place of those the budget would train:
            of their data set, architecture, method and seed.

    Returns:
        The tables, and the page that shows them.

    Raises:
        InputError: there is no data for any part of it, or the table has no place for a given run;
            or as training and attacking.
    """
    target, budget = TARGETS[name], BUDGETS[budget_name]
    chosen = list(dict.fromkeys(seeds)) or list(budget.seeds)
    wanted = [network for group in target.groups for network in _networks(group, budget, chosen)]
    trained = _placed(given, wanted, budget)
    missing = {group: _missing(_dataset(group, budget), data_root) for group in target.groups}
    if all(missing.values()):
        raise InputError(f"{name}: {NO_DATA}: {next(iter(missing.values()))}")
    folder = out / name
    for needed in (folder, out / "results"):
        needed.mkdir(parents=True, exist_ok=True)
    reproduced, results = [], []
    for group in target.groups:
        if missing[group]:
            log(f"{group.arch} on {group.dataset}: {NO_DATA}: {missing[group]}")
            reproduced.append(Reproduced(group, None, {}, set()))
            continue
        runs = {}
        for network in _networks(group, budget, chosen):
            runs[network.method, network.seed] = trained.get(network) or _train(
                network, budget, out / "runs", data_root, device
            )
        settings = _settings(group, target.attacked)
        start = f"{_dataset(group, budget)}-{group.arch}"
        evaluation = _attack(
            list(runs.values()), settings, out / "results", start, data_root, device
        )
        results.append(evaluation)
        records = {key: load_run(zoo.locate(path)) for key, path in runs.items()}
        given_here = {key for key, path in runs.items() if path in trained.values()}
        reproduced.append(Reproduced(group, load_results(evaluation), records, given_here))
    figures = figures_of(target, budget_name, reproduced)
    tables = reproduction_tables(target, figures)
    if distributed.is_main_process():
        write_text(folder / "reproduction.csv", to_csv(figures))
        write_report(results, folder, lead=Lead(f"{target.title} (Lee et al. 2018)", tables))
    return tables, folder / "index.html"


def _settings(group: Group, attacked: bool) -> EvaluationSettings:
    """What is done to a group's networks: a table without attacks gets what costs least, because
    an evaluation has one."""
    if not attacked:
        return EvaluationSettings(
            attacks=["noise-uniform(restarts=1)"],
            epsilons={"linf": group.epsilons[:1]},
            cross=False,
        )
    attacks = (paper.ATTACK, STABLE_ATTACK)
    return EvaluationSettings(attacks=attacks, epsilons={"linf": group.epsilons})


def _dataset(group: Group, budget: TrainingBudget) -> str:
    return budget.stand_ins.get(group.dataset, group.dataset)


def _missing(dataset: str, data_root: Path | None) -> str:
    """Say why there is no data, as the first process sees it; empty where there is."""
    reason = ""
    if distributed.is_main_process():
        try:
            load_dataset(dataset, data_root)
        except MissingDataError as error:
            reason = str(error)
    return distributed.broadcast(reason)


def _networks(group: Group, budget: TrainingBudget, seeds: Sequence[int]) -> list[Network]:
    """What a group wants."""
    dataset = _dataset(group, budget)
    return [
        Network(dataset, group.arch, method, seed) for seed in seeds for method in group.methods
    ]


def _placed(
    given: Sequence[Path], wanted: Sequence[Network], budget: TrainingBudget
) -> dict[Network, Path]:
    """Which of the networks that a table wants there are already, as their model files say."""
    found: dict[Network, Path] = {}
    for path in given:
        folder = zoo.locate(path)
        record = load_run(folder)
        _, info = load_model(RunFolder(folder).model)
        network = Network(info.dataset, info.arch, info.method, info.seed)
        if info.num_classes == 1:
            raise InputError(f"{path} was trained without labels; leave it out")
        if record.manifest.get("status") != "complete":
            raise InputError(f"{path} is not complete; go on with it, or leave it out")
        if network not in wanted:
            raise InputError(
                f"{path} is {network}, which is not in this table with this budget and these"
                f" seeds; it has {', '.join(map(str, wanted))}"
            )
        limit, trained_on = (budget.settings.get("limit_train"), record.setting("limit_train"))
        if trained_on != limit:
            raise InputError(
                f"{path} was trained on {trained_on or 'all'} images, this"
                f" budget trains on {limit or 'all'}; leave it out"
            )
        if record.setting("margin_radius"):
            raise InputError(
                f"{path} was trained with --margin-radius, which is no method of the paper;"
                " leave it out"
            )
        if network in found:
            raise InputError(f"{path} and {found[network]} are both {network}; name one of them")
        found[network] = path
    return found


def _train(
    network: Network,
    budget: TrainingBudget,
    runs: Path,
    data_root: Path | None,
    device: torch.device,
) -> Path:
    """Train a network, or what is missing of it; return its run."""
    settings = {**budget.settings, **network._asdict(), "epochs": budget.epochs[network.arch]}
    complete_run(runs / str(network), make_config(settings, "budget"), data_root, device)
    return runs / str(network)


def _attack(
    runs: list[Path],
    settings: EvaluationSettings,
    results: Path,
    name: str,
    data_root: Path | None,
    device: torch.device,
) -> Path:
    """Attack runs, unless exactly these were; return the results, whose names begin as given."""
    identity = repr(settings.decisive()).encode()
    for run in runs:
        identity += hashlib.sha256(RunFolder(zoo.locate(run)).model.read_bytes()).digest()
    folder = results / f"{name}-{hashlib.sha256(identity).hexdigest()[:12]}"
    if not distributed.broadcast(is_complete(folder)):
        attack_runs(
            runs,
            folder,
            settings,
            device,
            source=ImageSource(data_root=data_root),
            with_diagnosis=False,
            resume_with="the same command",
        )
    return folder
