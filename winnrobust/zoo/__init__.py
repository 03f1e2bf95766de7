"""Trained models that come with the package: what a run leaves, but for what resuming needs.

`models.json` has a row for each folder under `models/`; `python -m winnrobust.zoo RUN` writes both.
The wheel leaves out the weights that few need: they are fetched when they are asked for, from where
the user says that they are, and must have the hash that `models.json` has.
"""

import os
import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from winnrobust.runtime.errors import InputError, brief
from winnrobust.runtime.files import file_sha256, replacing_folder
from winnrobust.runtime.readers import read_json
from winnrobust.training.run_folder import RunFolder

FOLDER = Path(__file__).parent
PREFIX = "zoo:"
"""What a path begins with that names one of them."""

DATASET, ARCH = "mnist", "vanilla"
"""Those that are taken unless others are named."""

SOURCE = "WINNROBUST_ZOO"
"""Environment variable: a folder, or an https address, that has NAME/model.safetensors of the
models whose weights the wheel leaves out."""

SECONDS = 60
"""After so long without a byte a download has failed."""

METHODS = ("baseline", "winn")
"""Those that are compared where no model is named."""

EMBEDDED = "mnist5k"
"""The digits that come along, too. They are training images of MNIST: good enough to see that
weights are whole, but no test of them."""


@dataclass(frozen=True)
class ZooModel:
    """A trained model.

    Attributes:
        name: its folder; "DATASET-ARCH-METHOD", with the seed unless that is 0.
        dataset, arch, method, seed, parameters: what it is.
        epochs: how many it was trained.
        epoch: the one with the best validation error, whose weights these are.
        test_errors, test_n: of its data set's test images.
        embedded_errors: of the 1,000 test digits of mnist5k; None if it knows no digits.
        size: bytes of the weights' file.
        sha256: hash of that file.
    """

    name: str
    dataset: str
    arch: str
    method: str
    seed: int
    parameters: int
    epochs: int
    epoch: int
    test_errors: int
    test_n: int
    embedded_errors: int | None
    size: int
    sha256: str

    @property
    def folder(self) -> Path:
        """Its files: in the package, or among what was fetched."""
        inside, fetched = FOLDER / "models" / self.name, cache() / self.name
        here = RunFolder(inside).model.is_file() or not RunFolder(fetched).model.is_file()
        return inside if here else fetched

    def is_here(self) -> bool:
        """Tell whether its weights are on this machine."""
        return RunFolder(self.folder).model.is_file()

    def is_whole(self) -> bool:
        """Tell whether all files are there, and the weights are exactly these."""
        if not all(file.is_file() for file in files_of(self.folder)):
            return False
        return file_sha256(RunFolder(self.folder).model) == self.sha256


def cache() -> Path:
    """Return the folder of what was fetched."""
    return platformdirs.user_cache_path("winnrobust") / "zoo"


def files_of(folder: Path) -> tuple[Path, ...]:
    """The files of a run that a model keeps."""
    run = RunFolder(folder)
    return run.config, run.manifest, run.metrics, run.model


def models() -> list[ZooModel]:
    """All models, in the order of their names.

    Raises:
        InputError: the list is missing or damaged.
    """
    file = FOLDER / "models.json"
    try:
        rows = read_json(file)
        if not isinstance(rows, list):
            raise TypeError
        return [ZooModel(**row) for row in rows]
    except (InputError, TypeError):
        raise InputError(f"{file} is missing or damaged; reinstall winnrobust") from None


def locate(path: Path) -> Path:
    """Return the folder that `zoo:NAME` stands for, and any other path as it is.

    Raises:
        InputError: no such model; its files are missing or damaged; or its weights do not come in
            the wheel and cannot be fetched.
    """
    if not str(path).startswith(PREFIX):
        return path
    name = str(path).removeprefix(PREFIX)
    known = {model.name: model for model in models()}
    if name not in known:
        raise InputError(
            f"no model '{name}' comes with winnrobust; 'winnrobust models' lists {', '.join(known)}"
        )
    if not known[name].is_here():
        fetch(known[name])
    if not known[name].is_whole():
        raise InputError(
            f"files of {path} are missing or damaged (the hash of its weights must be that of"
            " models.json); reinstall winnrobust"
        )
    return known[name].folder


def fetch(model: ZooModel) -> None:
    """Keep the weights of a model that the wheel leaves out, from what `SOURCE` names.

    Raises:
        InputError: it names nothing, nothing is there, or these are other weights.
    """
    source = os.environ.get(SOURCE, "").rstrip("/")
    if not source:
        raise InputError(
            f"the weights of {PREFIX}{model.name} do not come in the wheel; set {SOURCE} to the"
            " folder or address that has them, such as winnrobust/zoo/models in a clone"
        )
    place = f"{source}/{model.name}/{RunFolder(model.folder).model.name}"
    with replacing_folder(cache() / model.name) as folder:
        weights = RunFolder(folder).model
        try:
            _copy(place, weights)
        except (OSError, ValueError) as error:
            raise InputError(f"{place} cannot be read: {brief(error)}") from None
        if file_sha256(weights) != model.sha256:
            raise InputError(f"{place} is not {PREFIX}{model.name}: its hash differs")
        for file in files_of(model.folder):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)


def _copy(place: str, file: Path) -> None:
    """Copy a file, or what an address has."""
    if not place.startswith("https://"):
        shutil.copyfile(place, file)
        return
    with urllib.request.urlopen(place, timeout=SECONDS) as response, file.open("wb") as opened:
        shutil.copyfileobj(response, opened)


def trained_on(dataset: str | None, arch: str | None) -> list[Path]:
    """The baseline and the WINN of a data set and architecture as `zoo:NAME`.

    Raises:
        InputError: there are none.
    """
    dataset, arch = dataset or DATASET, arch or ARCH
    wanted = DATASET if dataset == EMBEDDED else dataset
    found = [model for model in models() if (model.dataset, model.arch) == (wanted, arch)]
    if not found:
        raise InputError(
            f"no model of {dataset} and {arch} comes with winnrobust, and there is no trained run;"
            " train one with 'winnrobust train'"
        )
    return [Path(PREFIX + model.name) for model in found if model.method in METHODS]
