"""How a trained run becomes a model of the package."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import torch

from winnrobust import zoo
from winnrobust.data.datasets import load_dataset
from winnrobust.models import IntrospectiveNetwork
from winnrobust.models.checkpoint import ModelInfo, load_model, save_model
from winnrobust.reporting import RunRecord, load_run
from winnrobust.runtime import provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import file_sha256, replacing_folder, write_json
from winnrobust.training.loop import batches_of
from winnrobust.training.manifest import of_ascents, reopen_run
from winnrobust.training.methods import method_of
from winnrobust.training.run_folder import RunFolder
from winnrobust.training.validation import count_errors

CPU = torch.device("cpu")


def add(path: Path) -> zoo.ZooModel:
    """Copy what a complete run leaves into the package, in place of one with the same name.

    The thresholds that older versions stored were those of the latest synthesis, not of the weights
    beside them; they are measured anew, and the manifest says so, as it says how few ascents came
    to their threshold.

    Raises:
        InputError: it is not a run, not complete or not a classifier, or its files do not fit
            together.
    """
    record, run = load_run(path), RunFolder(path)
    if record.manifest.get("status") != "complete":
        raise InputError(f"{path} is not complete; train it to its end first")
    missing = [file.name for file in zoo.files_of(path) if not file.is_file()]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; train it again")
    network, info = load_model(run.model)
    _check(record, run, info)
    info = _with_own_thresholds(network, info, run, record)
    knows_digits = info.dataset in (zoo.DATASET, zoo.EMBEDDED)
    digits = load_dataset(zoo.EMBEDDED).test
    seed = [f"seed{info.seed}"] if info.seed else []
    test = record.manifest["test"]
    model = zoo.ZooModel(
        name="-".join([info.dataset, info.arch, info.method, *seed]),
        **{key: getattr(info, key) for key in ("dataset", "arch", "method", "seed", "epoch")},
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        epochs=len(record.metrics),
        test_errors=test["errors"],
        test_n=test["n"],
        embedded_errors=count_errors(network, digits, CPU) if knows_digits else None,
        size=0,
        sha256="",
    )
    with replacing_folder(model.folder) as folder:
        for file in zoo.files_of(path):
            shutil.copyfile(file, folder / file.name)
        kept, manifest = RunFolder(folder).model, record.manifest | of_ascents(record.metrics)
        stored = load_model(kept)[1]
        if info != stored:
            save_model(kept, network, info)
            manifest["thresholds"] = {
                "stored_before": stored.thresholds,
                "of_the_stored_weights": info.thresholds,
                "measured": provenance.describe(),
            }
        write_json(RunFolder(folder).manifest, manifest)
        model = replace(model, size=kept.stat().st_size, sha256=file_sha256(kept))
    rows = {known.name: known for known in zoo.models()} | {model.name: model}
    write_json(zoo.FOLDER / "models.json", [asdict(rows[name]) for name in sorted(rows)])
    return model


def _with_own_thresholds(
    network: IntrospectiveNetwork, info: ModelInfo, run: RunFolder, record: RunRecord
) -> ModelInfo:
    """What a model file says of itself, with the thresholds of its own weights."""
    row = record.metrics[info.epoch - 1]
    if not info.thresholds or "stored_threshold_low" in row:
        return info
    _, config = reopen_run(run.path)
    data = load_dataset(info.dataset)
    method = method_of(config)(config, data.channels, data.image_size, data.num_classes, CPU)
    images = data.train.first(config.data.limit_train)
    batches = batches_of(method, images.images, images.labels, config, info.epoch)
    found = method.stored_thresholds(network, batches)
    return info if found is None else replace(info, thresholds=(found,))


def _check(record: RunRecord, run: RunFolder, info: ModelInfo) -> None:
    """Check that a run is of a classifier, and that its files are of one run."""
    if info.num_classes == 1:
        raise InputError(f"{run.path} was trained without labels; only classifiers can be added")
    if "test" not in record.manifest:
        raise InputError(f"{run.manifest} has no test error; train it again")
    for name in ("dataset", "arch", "method", "seed"):
        found, configured = getattr(info, name), record.setting(name)
        if found != configured:
            raise InputError(
                f"{run.model} is of {name} {found}, but {run.config} says {configured};"
                " they do not belong to the same run"
            )
