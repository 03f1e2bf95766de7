"""How a trained run becomes a model of the package."""

import hashlib
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from winnrobust import zoo
from winnrobust.data.datasets import load_dataset
from winnrobust.models.checkpoint import ModelInfo, load_model
from winnrobust.reporting import RunRecord, load_run
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import replacing_folder, write_json
from winnrobust.training.run_folder import RunFolder
from winnrobust.training.validation import count_errors


def add(path: Path) -> zoo.ZooModel:
    """Copy what a complete run leaves into the package, in place of one with the same name.

    Raises:
        InputError: it is not a run, not complete or not a classifier, or its files do not fit
            together.
    """
    record, run = load_run(path), RunFolder(path)
    if record.manifest.get("status") != "complete":
        raise InputError(f"{path} is not complete; train it to its end first")
    missing = [file.name for file in zoo.files_of(path) if not file.is_file()]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; train it anew")
    network, info = load_model(run.model)
    _check(record, run, info)
    knows_digits = info.dataset in (zoo.DATASET, zoo.EMBEDDED)
    digits, cpu = load_dataset(zoo.EMBEDDED).test, torch.device("cpu")
    seed = [f"seed{info.seed}"] if info.seed else []
    weights, test = run.model.read_bytes(), record.manifest["test"]
    model = zoo.ZooModel(
        name="-".join([info.dataset, info.arch, info.method, *seed]),
        **{key: getattr(info, key) for key in ("dataset", "arch", "method", "seed", "epoch")},
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        epochs=len(record.metrics),
        test_errors=test["errors"],
        test_n=test["n"],
        embedded_errors=count_errors(network, digits, cpu) if knows_digits else None,
        size=len(weights),
        sha256=hashlib.sha256(weights).hexdigest(),
    )
    rows = {known.name: known for known in zoo.models()} | {model.name: model}
    with replacing_folder(model.folder) as folder:
        for file in zoo.files_of(path):
            shutil.copyfile(file, folder / file.name)
    write_json(zoo.FOLDER / "models.json", [asdict(rows[name]) for name in sorted(rows)])
    return model


def _check(record: RunRecord, run: RunFolder, info: ModelInfo) -> None:
    """Check that a run is of a classifier, and that its files are of one run."""
    if info.num_classes == 1:
        raise InputError(f"{run.path} was trained without labels; only classifiers can be added")
    if "test" not in record.manifest:
        raise InputError(f"{run.manifest} has no test error; train it anew")
    for name in ("dataset", "arch", "method", "seed"):
        found, configured = getattr(info, name), record.setting(name)
        if found != configured:
            raise InputError(
                f"{run.model} is of {name} {found}, but {run.config} says {configured};"
                " they are not of one run"
            )
