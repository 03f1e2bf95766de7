"""The models that are attacked: where they come from and what results say of them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from winnrobust import zoo
from winnrobust.external import External, files_of, load_external
from winnrobust.models.checkpoint import ModelInfo, load_model
from winnrobust.reporting import RunRecord, load_run
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import file_sha256
from winnrobust.runtime.progress import log
from winnrobust.training.config import TrainConfig, flat
from winnrobust.workflows.shared import REFERENCE_METHOD, model_file

NOT_OF_A_METHOD = ("seed", "recipe", "keep_every")
"""Settings that runs of one method may differ in: a recipe only names the defaults of the others.
"""


@dataclass(frozen=True)
class ExternalModel:
    """A model from elsewhere, as a user names it: `mine@0` is seed 0 of the method `mine`.

    The next four are the arguments of `load_external`. `preprocessing` are fields of
    `Preprocessing`, in place of what the model itself says it wants.
    """

    name: str
    spec: str
    weights: Path | None = None
    arch: str | None = None
    output: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """A model to be attacked.

    Attributes:
        name: what tables call it.
        path: the run folder, the file or the `package.module:factory` that it comes from.
        module: what takes images in [0, 1] and returns logits.
        metadata: what results say of it besides its errors: `reporting.stored.Model`.
        provenance: what the manifest says of it.
        dataset: what it was trained on; None if unknown.
        external: what was loaded, with the preprocessing that the module is in; if from elsewhere.
    """

    name: str
    path: str
    module: nn.Module
    metadata: dict[str, Any]
    provenance: dict[str, Any]
    dataset: str | None = None
    external: External | None = None


def load_candidates(
    paths: Sequence[Path], external: Sequence[ExternalModel] = ()
) -> list[Candidate]:
    """Load runs and models from elsewhere, the baseline first, each under a name of its own.

    Args:
        paths: run folders, model files of ours, or `zoo:NAME`. A model is named after its method;
            where a method comes more than once, after its seed, architecture or recipe too; and
            where that is not enough, after its path. Those that differ in nothing but their seeds
            form a group.
        external: they come last.

    Raises:
        InputError: one cannot be loaded, or a name or path is given twice.
    """
    candidates = [*_load_runs(paths), *map(_load_external, external)]
    names = [candidate.name for candidate in candidates]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two models are called '{name}'; give the --model another name")
    return candidates


def _load_runs(paths: Sequence[Path]) -> list[Candidate]:
    loaded = []
    for path in paths:
        place, model = zoo.locate(path), model_file(path)
        run = load_run(place) if place.is_dir() else None
        network, info = load_model(model)
        if info.num_classes == 1:
            raise InputError(
                f"{path} was trained without labels and classifies nothing; 'winnrobust"
                " synthesize' draws samples from it"
            )
        loaded.append((path, model, run, network, info))
    loaded.sort(key=lambda item: item[-1].method != REFERENCE_METHOD)
    names = _distinct([_possible_names(path, run, info) for path, _, run, _, info in loaded])
    groups = _groups(names, [(info, _trained_alike(run, info)) for _, _, run, _, info in loaded])
    candidates = []
    for name, group, (path, model, run, network, info) in zip(names, groups, loaded, strict=True):
        metadata = {
            "name": name,
            "group": group,
            "path": str(path),
            "parameters": _parameters(network),
            "weights_sha256": file_sha256(model),
            **{key: getattr(info, key) for key in ("method", "arch", "epoch", "seed")},
        }
        provenance: dict[str, Any] = {"header": asdict(info)}
        if run:
            provenance |= {"config": run.config, "manifest": run.manifest, "metrics": run.metrics}
        candidates.append(Candidate(name, str(path), network, metadata, provenance, info.dataset))
    return candidates


def _possible_names(path: Path, run: RunRecord | None, info: ModelInfo) -> tuple[str, ...]:
    method, seed = info.method, f"seed{info.seed}"
    recipe = "file" if run is None else _settings(run.config)["recipe"]
    return (
        method,
        f"{method}-{seed}",
        f"{method}-{info.arch}",
        f"{method}-{recipe}",
        f"{method}-{recipe}-{seed}",
        f"{method} ({path})",
    )


def _trained_alike(run: RunRecord | None, info: ModelInfo) -> str:
    """What seeds of one method have in common: every setting but the seed, as far as known."""
    settings = {} if run is None else _settings(run.config)
    shared = {
        name: value
        for name, value in settings.items()
        if value is not None and name not in NOT_OF_A_METHOD
    }
    return json.dumps([info.dataset, info.arch, info.method, shared], sort_keys=True)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run: one of an older version had the defaults of those that came later."""
    return TrainConfig().flat() | flat(config)


def _groups(names: Sequence[str], models: Sequence[tuple[ModelInfo, str]]) -> Iterator[str]:
    """Name what each model is a seed of: itself, unless others differ from it in the seed alone."""
    for name, (info, alike) in zip(names, models, strict=True):
        members = [index for index, (_, other) in enumerate(models) if other == alike]
        seeds = {models[index][0].seed for index in members}
        of_method = {other for own, other in models if own.method == info.method}
        if len(seeds) == 1 or len(seeds) < len(members):
            yield name
        else:
            yield info.method if len(of_method) == 1 else f"{names[members[0]]} and other seeds"


def _load_external(named: ExternalModel) -> Candidate:
    try:
        loaded = load_external(named.spec, named.weights, arch=named.arch, output=named.output)
    except InputError as error:
        raise InputError(f"model '{named.name}': {error}") from error
    loaded = replace(loaded, preprocessing=replace(loaded.preprocessing, **named.preprocessing))
    files = files_of(named.spec, named.weights, named.arch)
    hashes = {str(file): file_sha256(file) for file in files}
    method, _, seed = named.name.partition("@")
    metadata = {
        "name": named.name,
        "group": method,
        "path": named.spec,
        "parameters": _parameters(loaded.module) or None,  # an ONNX file keeps its own to itself
        "seed": int(seed) if seed else None,
        "weights_sha256": hashes.get(str(named.weights or named.spec)),
        **dict.fromkeys(("method", "arch", "epoch")),
    }
    described = {
        "model": named.spec,
        "weights": None if named.weights is None else str(named.weights),
        "files_sha256": hashes,
        "state_sha256": _state_sha256(loaded.module),
        "preprocessing": asdict(loaded.preprocessing),
    }
    described |= {key: value for key in ("arch", "output") if (value := getattr(named, key))}
    around = loaded.preprocessing.around(loaded.module)
    return Candidate(
        named.name, named.spec, around, metadata, {"loaded": described}, external=loaded
    )


def _distinct(choices: Sequence[tuple[str, ...]]) -> list[str]:
    """Take from every tuple of names the first that no other tuple has."""
    names = []
    for own in choices:
        free = [name for name in own if sum(name in other for other in choices) == 1]
        if not free:
            raise InputError("the same run or model was named twice")
        names.append(free[0])
    return names


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _state_sha256(module: nn.Module) -> str:
    """Hash the weights in memory: a factory may draw others at every call."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, torch.Tensor) and value.is_quantized:
            value = value.int_repr()
        if isinstance(value, torch.Tensor):
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


COMPARED = (
    "dataset", "arch", "seed", "recipe", "epochs", "batch_size", "lr", "average_decay",
    "limit_train", "hold_out", "initialization", "padding", "margin_radius", "complete",
)  # fmt: skip
"""What runs should have in common, so that they differ in their method alone."""


def log_differences(candidates: Sequence[Candidate]) -> None:
    """Say in what else than their method the runs' training differs, where they do."""
    settings = {
        each.name: _settings(each.provenance["config"])
        | {"complete": each.provenance["manifest"].get("status") == "complete"}
        for each in candidates
        if "config" in each.provenance
    }
    for name in COMPARED:
        values = {model: of_model[name] for model, of_model in settings.items()}
        if len(set(values.values())) > 1:
            listed = ", ".join(f"{model} {value}" for model, value in values.items())
            log(f"note: the runs differ in {name}: {listed}")
