"""Which settings go together, and that no option does nothing."""

from collections.abc import Collection

from winnrobust.models import ARCHITECTURES, INITIALIZATIONS, PADDED, PADDINGS, SCALABLE
from winnrobust.runtime.errors import InputError
from winnrobust.training.config import SETTINGS, TrainConfig, option_name
from winnrobust.training.methods import METHODS, UNSUPERVISED, method_of
from winnrobust.training.methods.from_config import INITIAL, INITIAL_SETTINGS

OF_A_METHOD = frozenset().union(
    *(method.uses for method in (*METHODS.values(), *UNSUPERVISED.values()))
)
"""What some methods use and others do not. Every training uses the other settings."""

ONLY_WITHOUT_LABELS = ("cascades", "data", "texture")
"""Settings that training with labels cannot follow."""


def check_settings(config: TrainConfig) -> None:
    """Raise an InputError for an unknown architecture, method or initial distribution, and for
    settings that do not go together."""
    method, arch, data = method_of(config), config.model.arch, config.data
    _check_known("architecture", arch, ARCHITECTURES)
    _check_known("initial distribution", config.negatives.initial, INITIAL)
    _check_known("initialization", config.model.initialization, INITIALIZATIONS)
    _check_known("padding", config.model.padding, PADDINGS)
    if config.model.padding != PADDINGS[0] and arch not in PADDED:
        raise InputError(f"--padding is for {' and '.join(PADDED)} only, not {arch}")
    if config.model.width != 1 and arch not in SCALABLE:
        raise InputError(f"--width scales {' and '.join(SCALABLE)} only, not {arch}")
    if data.folder is not None and data.texture is not None:
        raise InputError("--data and --texture cannot be combined")
    if config.generation.cascades > 1 and config.unsupervised and not method.cascades:
        raise InputError(f"method {config.method} has no cascades; leave out --cascades")
    given = {name for name, value in config.flat().items() if value != SETTINGS[name].info.default}
    for name in () if config.unsupervised else ONLY_WITHOUT_LABELS:
        if name in given:
            raise InputError(
                f"{option_name(name)} has no effect on training with labels; add --unsupervised"
            )
    if "image_size" in given and data.folder is data.texture is None:
        raise InputError("--image-size is for --data and --texture; leave it out")


def _check_known(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise InputError(f"unknown {kind} '{name}'; known are {', '.join(known)}")


def unused_by(config: TrainConfig) -> frozenset[str]:
    """The settings that have no effect on the run's method."""
    return OF_A_METHOD - method_of(config).uses


def check_given(given: Collection[str], config: TrainConfig) -> None:
    """Raise an InputError unless the training uses every setting that a user gave."""
    unused = [name for name in given if name in unused_by(config)]
    if unused:
        kind = " without labels" if config.unsupervised else ""
        named = ", ".join(f"{option_name(name)} (of {_users(name, config)})" for name in unused)
        raise InputError(f"method {config.method}{kind} does not use {named}; leave that out")
    initial = config.negatives.initial
    if initial in INITIAL:  # else it is refused with what there is
        for name in given:
            if name in INITIAL_SETTINGS - {"initial"} - INITIAL[initial]:
                raise InputError(
                    f"--initial {initial} does not use {option_name(name)}; leave that out"
                )


def _users(setting: str, config: TrainConfig) -> str:
    """Who uses a setting, of the methods that could take the place of the run's."""
    rivals = UNSUPERVISED if config.unsupervised else METHODS
    users = [name for name, method in rivals.items() if setting in method.uses]
    return ", ".join(users) or f"training {'with' if config.unsupervised else 'without'} labels"
