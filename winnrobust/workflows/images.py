"""What models are attacked on: a data set's test images, or a user's own, read when needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from winnrobust import zoo
from winnrobust.data.classes import BY_NAME, read_classes
from winnrobust.data.datasets import ImageSplit
from winnrobust.data.folders import Pictures, load_user_data
from winnrobust.data.geometry import Geometry
from winnrobust.runtime.errors import InputError, printable
from winnrobust.runtime.progress import log
from winnrobust.workflows.candidates import Candidate
from winnrobust.workflows.shared import load_data


@dataclass(frozen=True)
class ImageSource:
    """Where the attacked images come from: the test images of a data set, by default of that
    trained on, or a folder or file of the user's own.

    Attributes:
        limit: how many of the first ones.
        classes: of a folder, a file with the names of the models' classes, or `BY_NAME`.
        geometry: of a folder, fields of `Geometry` in place of what the models say themselves.
        skip_damaged: as for `load_user_data`.
    """

    dataset: str | None = None
    path: Path | None = None
    data_root: Path | None = None
    limit: int | None = None
    classes: str | None = None
    geometry: Mapping[str, Any] = field(default_factory=dict)
    skip_damaged: bool = False


@dataclass(frozen=True)
class Images:
    """What the models are attacked on; `origin` is what the manifest says of it besides."""

    name: str
    split: ImageSplit | Pictures
    whole: bool
    origin: dict[str, Any]

    def metadata(self) -> dict[str, Any]:
        """What results and the manifest say of it."""
        metadata = {"name": self.name, "split": "test", "n": len(self.split)}
        if isinstance(self.split, Pictures):
            return metadata | {"pictures": self.split.identity()} | self.origin
        return metadata | {"sha256": self.split.sha256()} | self.origin


def images_for(candidates: Sequence[Candidate], source: ImageSource) -> Images:
    """Open what the models are to be attacked on.

    Raises:
        InputError: it cannot be used, or it is not clear which data set is meant.
    """
    if source.path is not None:
        return _user_images(source, candidates)
    trained_on = list(dict.fromkeys(filter(None, (each.dataset for each in candidates))))
    if source.dataset is None and len(trained_on) != 1:
        known = (
            f"the models were trained on {' and '.join(trained_on)}"
            if trained_on
            else "it is not known what these models were trained on"
        )
        raise InputError(
            f"{known}; say with --dataset which test images to attack, or give your own with --data"
        )
    loaded = load_data(source.dataset or trained_on[0], source.data_root)
    if loaded.name == zoo.EMBEDDED and zoo.DATASET in trained_on:
        log("note: mnist5k's images are among the training images of mnist, so errors look low")
    split = loaded.test.first(source.limit)
    return Images(loaded.name, split, len(split) == len(loaded.test), {})


def _user_images(source: ImageSource, candidates: Sequence[Candidate]) -> Images:
    assert source.path is not None
    is_folder = source.path.is_dir()
    own = [each.external for each in candidates if each.external]
    given = load_user_data(
        source.path,
        source.limit,
        classes=_classes(source.classes),
        own=next((each.classes for each in own if each.classes), ()),
        geometry=_geometry(source.geometry, candidates) if is_folder else None,
        skip_damaged=source.skip_damaged,
    )
    for flag, value in (("--classes", source.classes), ("--resize and --crop", source.geometry)):
        if value and not is_folder:
            raise InputError(f"{flag} are for folders of pictures, not for {source.path}")
    renamed = [f"{name} is {n}" for n, name in sorted(given.classes.items()) if name != str(n)]
    if renamed:
        more = ", ..." if len(renamed) > 12 else ""
        log(f"note: which class each folder is: {', '.join(renamed[:12])}{more}")
    if len(given.images.labels.unique()) == 1:
        log(f"note: these {len(given.images)} images of {source.path} are all of the same class")
    for note in given.notes:
        log(f"note: {note}")
    classes = {str(number): printable(name) for number, name in given.classes.items()}
    origin = {"path": printable(str(source.path)), "classes": classes}
    if given.skipped:
        origin["skipped"] = [printable(name) for name in given.skipped]
    whole = len(given.images) == given.total
    return Images(printable(source.path.resolve().stem), given.images, whole, origin)


def _classes(given: str | None) -> Sequence[str] | str | None:
    return given if given in (None, BY_NAME) else read_classes(Path(given))


def _geometry(given: Mapping[str, Any], candidates: Sequence[Candidate]) -> Geometry | None:
    """Return how pictures come to one size: as asked for, else as the models say themselves."""
    own = {
        each.name: each.external.geometry
        for each in candidates
        if each.external and each.external.geometry
    }
    if {"resize", "crop"} & set(given) or not own:
        return Geometry(**given)
    if len(set(own.values())) > 1:
        raise InputError(
            "the models want pictures of different sizes: "
            + "; ".join(f"{name} {geometry}" for name, geometry in own.items())
            + "; say one for all with --resize and --crop"
        )
    (name, geometry), *_ = own.items()
    geometry = replace(geometry, **given)
    log(f"note: pictures are {geometry}, as model '{name}' asks for")
    return geometry
