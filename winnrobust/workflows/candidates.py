"""The models that are attacked: where they come from and what results say of them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from winnrobust.checkpoint import ModelInfo, load_model
from winnrobust.errors import InputError
from winnrobust.files import read_json
from winnrobust.models import IntrospectiveNetwork
from winnrobust.progress import say
from winnrobust.reporting import load_run
from winnrobust.run_folder import RunFolder
from winnrobust.workflows.runs import is_complete
from winnrobust.workflows.shared import REFERENCE_METHOD


@dataclass(frozen=True)
class Candidate:
    """A trained model to be attacked.

    Attributes:
        name: what tables call it.
        path: its run folder, or its model file if that was named.
        network, info: the model.
        sha256: hash of its file.
    """

    name: str
    path: Path
    network: IntrospectiveNetwork
    info: ModelInfo
    sha256: str


def load_candidates(paths: Sequence[Path]) -> list[Candidate]:
    """Load run folders or model files, the baseline first, each under a name of its own.

    A model is named after its method; where a method comes more than once, after its seed too; and
    where that is not enough, after its path.

    Raises:
        InputError: a path is neither a run nor a model, or given twice.
    """
    loaded = []
    for path in paths:
        model = RunFolder(path).model if path.is_dir() else path
        if path.is_dir() and not model.exists():
            raise InputError(
                f"{path} holds no model.safetensors; it is no run, or has no epoch yet"
            )
        loaded.append((path, *load_model(model), _file_sha256(model)))
    loaded.sort(key=lambda item: item[2].method != REFERENCE_METHOD)
    names = _distinct(
        (info.method, f"{info.method}-seed{info.seed}", f"{info.method} ({path})")
        for path, _, info, _ in loaded
    )
    return [Candidate(name, *item) for name, item in zip(names, loaded, strict=True)]


def _distinct(choices: Iterable[tuple[str, ...]]) -> list[str]:
    """Take from every tuple of names the first that no other tuple has."""
    listed = list(choices)
    names = []
    for own in listed:
        free = [name for name in own if sum(name in other for other in listed) == 1]
        if not free:
            raise InputError("the same run or model was named twice")
        names.append(free[0])
    return names


def row(candidate: Candidate) -> dict[str, Any]:
    """What results say of a model besides its errors."""
    parameters = sum(parameter.numel() for parameter in candidate.network.parameters())
    return {
        "name": candidate.name,
        "method": candidate.info.method,
        "arch": candidate.info.arch,
        "path": str(candidate.path),
        "parameters": parameters,
        "epoch": candidate.info.epoch,
        "seed": candidate.info.seed,
        "weights_sha256": candidate.sha256,
    }


def provenance_of(candidate: Candidate) -> dict[str, Any]:
    """A model's own header, and its run's settings, manifest and metrics where there is a run."""
    told: dict[str, Any] = {"header": asdict(candidate.info)}
    if candidate.path.is_dir():
        run = load_run(candidate.path)
        told |= {"config": run.config, "manifest": run.manifest, "metrics": run.metrics}
    return told


def _file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say_what_differs(candidates: Sequence[Candidate]) -> None:
    """Say in what else than their method the models' training differs, so that nobody misses it."""
    told = {
        candidate.name: read_json(RunFolder(candidate.path).config)
        | {"complete": is_complete(candidate.path)}
        for candidate in candidates
        if candidate.path.is_dir()
    }
    for name in (
        "dataset",
        "arch",
        "seed",
        "epochs",
        "batch_size",
        "lr",
        "limit_train",
        "complete",
    ):
        values = {model: settings.get(name) for model, settings in told.items()}
        if len(set(values.values())) > 1:
            listed = ", ".join(f"{model} {value}" for model, value in values.items())
            say(f"note: the runs differ in {name}: {listed}")
