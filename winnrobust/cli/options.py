"""Options and parameter types that several commands share."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from winnrobust.data.datasets import DATASETS
from winnrobust.generation.textures import EMBEDDED
from winnrobust.models import ARCHITECTURES
from winnrobust.runtime.errors import InputError
from winnrobust.training.config import SETTINGS, Setting, option_name, read_toml
from winnrobust.training.methods import INITIAL, METHODS, UNSUPERVISED
from winnrobust.training.recipes import RECIPES

CHOICES = {
    "dataset": list(DATASETS),
    "arch": list(ARCHITECTURES),
    "method": list(dict.fromkeys([*METHODS, *UNSUPERVISED])),
    "recipe": list(RECIPES),
    "initial": list(INITIAL),
}

device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ... or auto."
)
data_root_option = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Folder of the data sets.  [default: $WINNROBUST_DATA, else the user cache]",
)
runs_option = click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds the training runs.",
)
attacks_option = click.option(
    "--attacks",
    default="fgsm",
    show_default=True,
    help="Attacks, separated by commas; 'winnrobust attacks' lists them.",
)
diagnose_option = click.option(
    "--diagnose/--no-diagnose",
    default=True,
    show_default=True,
    help="Look for false robustness, too.",
)


class EpsilonList(click.ParamType):
    """One or several bounds: `0.125`, `8/255`, or `0.0625,0.125`."""

    name = "eps[,eps...]"

    def __init__(self, flag: str, at_most: float) -> None:
        """Take the option's name, for messages, and the largest bound that makes sense."""
        self.flag = flag
        self.at_most = at_most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        if isinstance(value, list):
            return value
        epsilons = []
        for part in str(value).split(","):
            try:
                # Only "a/b" is for Fraction: float takes what it does not, such as inf.
                epsilon = float(Fraction(part) if "/" in part else part)
            except (ValueError, ZeroDivisionError, OverflowError):
                self.fail(
                    f"'{part}' is not a number; write {self.flag} 0.125, {self.flag} 8/255 or"
                    f" {self.flag} 0.0625,0.125"
                )
            if not (math.isfinite(epsilon) and 0 <= epsilon <= self.at_most):
                limits = "0 or more" if self.at_most == math.inf else f"from 0 to {self.at_most:g}"
                self.fail(f"epsilon must be {limits} (pixels are in [0, 1]), not {part}")
            epsilons.append(abs(epsilon))  # -0.0 is 0
        return epsilons


class Range(click.ParamType):
    """Two numbers, the lower one first, such as `-3,1.5`; or a single one for both."""

    name = "low,high"

    def __init__(self, flag: str) -> None:
        """Take the option's name, for messages."""
        self.flag = flag

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        try:
            numbers = [float(part) for part in str(value).split(",")]
            low, high = numbers if len(numbers) > 1 else numbers * 2
        except ValueError:
            self.fail(f"'{value}' is not a range; write {self.flag} -3,1.5 or {self.flag} 0")
        if not -math.inf < low <= high < math.inf:
            self.fail(f"'{value}' is not a range from a lower number to a higher one")
        return low, high


class Size(click.ParamType):
    """Width and height in pixels, such as `320x200`."""

    name = "WIDTHxHEIGHT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        try:
            width, height = (int(part) for part in str(value).split("x"))
        except ValueError:
            self.fail(f"'{value}' is not a size; write 320x200")
        if not (1 <= width <= 8192 and 1 <= height <= 8192):
            self.fail(f"width and height must be from 1 to 8192 pixels, not {value}")
        return width, height


eps_option = click.option(
    "--eps",
    "epsilons",
    type=EpsilonList("--eps", 1),
    multiple=True,
    help="L-infinity budget in [0, 1] pixel units, such as 0.125 or 8/255; several with commas or"
    " by repeating the option."
    "  [default: 0.125]",
)
eps_l2_option = click.option(
    "--eps-l2",
    "epsilons_l2",
    type=EpsilonList("--eps-l2", math.inf),
    multiple=True,
    help="The same for L2 attacks: the length of the change of a whole image.  [default: 1.5]",
)


def names_in(attacks: str) -> list[str]:
    """The names in a list with commas."""
    return [name.strip() for name in attacks.split(",")]


def flatten_epsilons(given: tuple[list[float], ...], default: float = 0.125) -> list[float]:
    """All epsilons given, in order and without repeats; the default (the paper's) if none."""
    return list(dict.fromkeys(epsilon for group in given for epsilon in group)) or [default]


config_file_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="TOML file of settings, named like the options; options given here win over it.",
)


def given_settings(config_file: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    """The settings a user gave: those of the file, overruled by the options that are not None."""
    given = {name: value for name, value in options.items() if value is not None}
    return given if config_file is None else read_toml(config_file) | given


def with_place(settings: dict[str, Any]) -> dict[str, Any]:
    """Make the place of a user's own pictures absolute, and call the data set after it.

    Raises:
        InputError: another data set was named, too.
    """
    places = [name for name in ("data", "texture") if name in settings]
    for name in places:
        if "dataset" in settings:
            raise InputError(f"--dataset and --{name} exclude each other")
    for name in places:
        if settings[name] not in EMBEDDED:
            place = Path(settings[name]).resolve()
            settings = settings | {name: str(place), "dataset": place.stem}
        else:
            settings = settings | {"dataset": settings[name]}
    return settings


def config_options(
    defaults: Mapping[str, Any] | None = None, without_labels: Mapping[str, Any] | None = None
) -> Callable[[Callable], Callable]:
    """Return a decorator that adds an option for each setting of `TrainConfig`.

    Args:
        defaults: those that help shows in place of the settings' own.
        without_labels: others that help shows beside them.
    """

    def decorate(command: Callable) -> Callable:
        for setting in reversed(SETTINGS.values()):
            default = (defaults or {}).get(setting.name, setting.info.default)
            other = (without_labels or {}).get(setting.name, default)
            shown = "" if default is None else f"  [default: {default}]"
            if other != default:
                shown = f"  [default: {default}; without labels {other}]"
            command = _config_option(setting, shown)(command)
        return command

    return decorate


def _config_option(setting: Setting, default: str) -> Callable[[Callable], Callable]:
    """An option that is None unless given, so that a configuration file can decide."""
    help_text = f"{setting.info.description}{default}"
    flag, kind = option_name(setting.name), setting.type
    if kind is bool:
        off = f"--no-{flag.removeprefix('--')}"
        return click.option(f"{flag}/{off}", setting.name, default=None, help=help_text)
    choice = click.Choice(CHOICES[setting.name]) if setting.name in CHOICES else kind
    return click.option(flag, setting.name, type=choice, default=None, help=help_text)
