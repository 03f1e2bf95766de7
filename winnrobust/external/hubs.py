"""Models by name from other libraries, with what they say themselves about their images."""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
from torch import nn

from winnrobust.data.geometry import INTERPOLATIONS, Geometry, Size
from winnrobust.external.preprocessing import Preprocessing
from winnrobust.external.weights import load_weights, weights_only
from winnrobust.runtime.errors import InputError, brief
from winnrobust.runtime.readers import quiet


@dataclass(frozen=True)
class External:
    """A model from elsewhere.

    Attributes:
        module: what was loaded, in eval mode, on the CPU.
        preprocessing: what it wants of images in [0, 1], as far as it says so itself.
        geometry: what it wants of pictures of any size, if it says so.
        classes: the names of its classes in the order of its logits, synonyms with commas between;
            none where it does not say.
    """

    module: nn.Module
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    geometry: Geometry | None = None
    classes: Sequence[str] = ()


def load_timm(name: str, weights: Path | None) -> External:
    """Load `timm:NAME`, pretrained, or with a state dict of the user's own."""
    with _installed("timm", "timm"):
        import timm
    known = timm.list_models()
    bare = name.partition(".")[0]
    if bare not in known and not bare.startswith("hf"):
        raise InputError(f"timm has no model '{name}'{_like(bare, known)}")
    with _fetching(f"timm:{name}", weights):
        module = timm.create_model(name, pretrained=weights is None)
    wanted = _of_timm(timm.data.resolve_model_data_config(module))
    return _finished(External(module, *wanted, _imagenet(timm, module)), weights)


def _of_timm(config: Mapping[str, Any]) -> tuple[Preprocessing, Geometry]:
    """Read what timm says of a model's images."""
    high, wide = config["input_size"][-2:]
    share = 1 if config["crop_mode"] == "squash" else config["crop_pct"]
    scaled = math.floor(high / share), math.floor(wide / share)
    square = high == wide and config["crop_mode"] != "squash"
    geometry = Geometry(
        scaled[0] if square else scaled, (high, wide), _interpolation(config["interpolation"])
    )
    return Preprocessing(mean=tuple(config["mean"]), std=tuple(config["std"])), geometry


def _imagenet(timm: Any, module: nn.Module) -> Sequence[str]:
    """Name the classes of a timm model: WordNet id and words, where it knows ImageNet's."""
    subset = timm.data.infer_imagenet_subset(module)
    if subset is None:
        return ()
    info = timm.data.ImageNetInfo(subset)
    ids, words = info.label_names(), info.label_descriptions()
    return [f"{one}, {other}" for one, other in zip(ids, words, strict=True)]


def load_torchvision(name: str, weights: Path | None) -> External:
    """Load `torchvision:NAME[:WEIGHTS]`; a state dict of the user's own replaces the weights."""
    from torchvision import models

    name, _, entry = name.partition(":")
    known = models.list_models()
    if name not in known:
        raise InputError(f"torchvision has no model '{name}'{_like(name, known)}")
    entries = models.get_model_weights(name)
    entry = entry or "DEFAULT"
    if entry not in entries.__members__:
        raise InputError(
            f"torchvision has no weights '{entry}' of {name}; there are"
            f" {', '.join(entries.__members__) or 'none'}"
        )
    chosen = entries[entry]
    with _fetching(f"torchvision:{name}", weights):
        module = models.get_model(name, weights=None if weights else chosen)
    steps = chosen.transforms()
    if not hasattr(steps, "crop_size"):
        raise InputError(f"torchvision:{name} is not an image classifier")
    preprocessing = Preprocessing(mean=tuple(steps.mean), std=tuple(steps.std))
    crop, resize = steps.crop_size, steps.resize_size
    geometry = Geometry(
        resize[0] if len(resize) == 1 else tuple(resize),
        (crop[0], crop[-1]),
        _interpolation(steps.interpolation.value),
    )
    classes = [words.replace(",", " ") for words in chosen.meta["categories"]]
    return _finished(External(module, preprocessing, geometry, classes), weights)


def load_huggingface(name: str, weights: Path | None) -> External:
    """Load `hf:ID` or `hf:FOLDER`: a classifier of transformers, from safetensors, and no code."""
    with _installed("transformers", "transformers"):
        from transformers import AutoImageProcessor, AutoModelForImageClassification
        from transformers.utils.logging import disable_progress_bar
    if weights is not None:
        raise InputError(f"hf:{name} has its weights inside; leave out the weights")
    disable_progress_bar()
    with _fetching(f"hf:{name}", weights):
        module = AutoModelForImageClassification.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False
        )
    try:
        with quiet():
            found = AutoImageProcessor.from_pretrained(name, trust_remote_code=False).to_dict()
    except (OSError, ValueError):  # it has no word about its images
        found = {}
    names = module.config.id2label
    listed = [str(names[number]) for number in sorted(names)]
    spoken = () if listed[:2] == ["LABEL_0", "LABEL_1"] else listed
    module.config.return_dict = True
    return _finished(External(module, *_of_processor(found), spoken), weights)


def _of_processor(found: Mapping[str, Any]) -> tuple[Preprocessing, Geometry | None]:
    """Read a transformers image processor's settings."""
    if "data_config" in found:  # one of timm's models
        return _of_timm(found["data_config"])
    given: dict[str, Any] = {}
    if found:
        scale = found["rescale_factor"] if found.get("do_rescale") else 1.0
        given["high"] = round(255 * float(scale), 6)
    if found.get("do_normalize"):
        given |= {"mean": tuple(found["image_mean"]), "std": tuple(found["image_std"])}
    crop = _size(found.get("crop_size")) if found.get("do_center_crop") else None
    resize = found.get("size") if found.get("do_resize") else None
    scaled: int | Size | None = None
    if resize is not None:
        scaled = resize["shortest_edge"] if resize.get("shortest_edge") else _size(resize)
        share = found.get("crop_pct")
        if share and isinstance(scaled, int) and crop is None and scaled < 384:  # as ConvNeXT
            scaled, crop = int(scaled / share), (scaled, scaled)
    names = dict(enumerate(("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")))
    asked = names.get(found.get("resample") or 2, "bilinear")
    geometry = Geometry(scaled, crop, asked) if scaled or crop else None
    return Preprocessing(**given), geometry


def _size(size: Any) -> Size | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and "height" in size and "width" in size:
        return int(size["height"]), int(size["width"])
    return None


def load_robustbench(name: str, weights: Path | None) -> External:
    """Load `robustbench:[DATASET/THREAT/]ID`; cifar10 and Linf where they are left out."""
    with _installed("robustbench", "git+https://github.com/RobustBench/robustbench"):
        from robustbench.utils import load_model
    if weights is not None:
        raise InputError(f"robustbench:{name} has its weights inside; leave out the weights")
    *place, model = name.split("/")
    if len(place) not in (0, 2):
        raise InputError(
            f"robustbench:{name} must be written robustbench:ID or robustbench:DATASET/THREAT/ID,"
            " such as robustbench:cifar10/Linf/Standard"
        )
    dataset, threat = place or ("cifar10", "Linf")
    cache = platformdirs.user_cache_path("winnrobust") / "robustbench"
    with _fetching(f"robustbench:{name}", weights):
        module = load_model(
            model_name=model, dataset=dataset, threat_model=threat, model_dir=str(cache)
        )
    return _finished(External(module), weights)


HUBS: dict[str, Callable[[str, Path | None], External]] = {
    "timm": load_timm,
    "torchvision": load_torchvision,
    "hf": load_huggingface,
    "robustbench": load_robustbench,
}
"""What a name begins with, before a colon -> what loads the rest of it."""


OTHERWISE_CALLED = {
    "autoattack": "git+https://github.com/fra31/auto-attack",
    "pkg_resources": "setuptools<81",
}
"""Modules that are in a package of another name, or in none of the registry's."""


def _finished(external: External, weights: Path | None) -> External:
    if weights is not None:
        load_weights(external.module, weights)
    return external


def _interpolation(name: str) -> str:
    return name if name in INTERPOLATIONS else "bilinear"


def _like(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 3)
    return f"; did you mean {', '.join(near)}?" if near else ""


@contextmanager
def _installed(package: str, wanted: str) -> Iterator[None]:
    try:
        with quiet():
            yield
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("", package):
            wanted = OTHERWISE_CALLED.get(missing, missing)
        raise InputError(
            f"{package} models need the package {missing or package}, which is not installed;"
            f" pip install '{wanted}'"
        ) from None


@contextmanager
def _fetching(spec: str, weights: Path | None) -> Iterator[None]:
    """Load in a `with` block: nothing but tensors is unpickled, and an error is one line."""
    try:
        with quiet(), weights_only():
            yield
    except (Exception, SystemExit) as error:  # others' code may raise anything
        remedy = (
            ""
            if weights is not None or spec.startswith(("hf:", "robustbench:"))
            else "; without an internet connection, give its weights: --weights NAME=FILE, in"
            " Python weights=FILE"
        )
        raise InputError(
            f"{spec} cannot be loaded: {type(error).__name__}: {brief(error)}{remedy}"
        ) from None
