"""Options and parameter types that several commands share."""

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, cast

import click

from winnrobust.cli.choices import ARCHITECTURES, DATASETS, INITIAL, METHODS, TEXTURES
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.settings import LARGEST
from winnrobust.training.config import SETTINGS, Setting, option_name, read_toml
from winnrobust.training.recipes import RECIPES

CHOICES = {
    "dataset": list(DATASETS),
    "arch": list(ARCHITECTURES),
    "method": list(METHODS),
    "recipe": list(RECIPES),
    "initial": list(INITIAL),
}

PATH = click.Path(path_type=Path)
COUNT = click.IntRange(1)


def names(text: str) -> list[str]:
    """The names in a list with commas; those between brackets part nothing.

    >>> names("fgsm,pgd(steps=100, restarts=5)")
    ['fgsm', 'pgd(steps=100, restarts=5)']
    """
    return [name.strip() for name in re.split(r",(?![^()]*\))", text)]


def epsilons(text: str, at_most: float = 1) -> list[float]:
    """One or several bounds: `0.125`, `8/255`, or `0.0625,0.125`."""
    found = []
    for part in text.split(","):
        try:
            # Only "a/b" is for Fraction: float takes what it does not, such as inf.
            epsilon = float(Fraction(part) if "/" in part else part)
        except (ValueError, ZeroDivisionError, OverflowError):
            raise click.BadParameter(
                f"'{part}' is not a number; write 0.125, 8/255 or 0.0625,0.125"
            ) from None
        if not (math.isfinite(epsilon) and 0 <= epsilon <= at_most):
            limits = "0 or more" if at_most == math.inf else f"from 0 to {at_most:g}"
            raise click.BadParameter(f"epsilon must be {limits} (pixels are in [0, 1]), not {part}")
        found.append(abs(epsilon))  # -0.0 is 0
    return found


def size(text: str) -> tuple[int, int]:
    """Width and height in pixels, such as `320x200`."""
    try:
        width, height = (int(part) for part in text.split("x"))
    except ValueError:
        raise click.BadParameter(f"'{text}' is not a size; write 320x200") from None
    if not (1 <= width <= 8192 and 1 <= height <= 8192):
        raise click.BadParameter(f"width and height must be from 1 to 8192 pixels, not {text}")
    return width, height


def count_or_all(text: str) -> int:
    """A number from 1 on, or `all`, which is more than there are."""
    if text == "all":
        return LARGEST
    if not text.isdecimal() or not 0 < int(text[:10]) <= LARGEST or len(text) > 10:
        raise click.BadParameter(f"'{text}' must be a number from 1 on, or all")
    return int(text)


def picture_size(text: str) -> int | tuple[int, int]:
    """A side in pixels, such as `256`; or width and height, `320x200`, as (height, width)."""
    wide, high = size(text if "x" in text else f"{text}x{text}")
    return (high, wide) if "x" in text else wide


def bounds(
    threats: tuple[str, ...], linf: tuple[list[float], ...], l2: tuple[list[float], ...] = ()
) -> dict[str, Any]:
    """What is given of --threat, --eps and --eps-l2; of what is not the images decide."""
    from winnrobust.evaluation.threats import gathered

    return gathered(threats or None, [*chain(*linf)], [*chain(*l2)])


def asked_for(attacks: list[Any] | None) -> dict[str, Any]:
    """The attacks that were named, as a setting; those by default need not fit the threats."""
    return {} if attacks is None else {"attacks": attacks}


def _device(context: click.Context, parameter: click.Parameter, name: str) -> Any:
    from winnrobust.runtime.devices import resolve_device

    return resolve_device(name)


def out_option(help: str, **more: Any) -> Callable[[Callable], Callable]:
    """Where a command writes: a path."""
    return click.option("--out", type=PATH, help=help, **more)


report_option = out_option("Folder for the report.  [default: a new one under reports/]")
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    callback=_device,
    help="cpu, cuda, cuda:1, ... or auto.",
)
data_root_option = click.option(
    "--data-root",
    type=PATH,
    help="Folder of the data sets.  [default: $WINNROBUST_DATA, else the user cache]",
)
runs_option = click.option(
    "--runs",
    type=PATH,
    default=Path("runs"),
    show_default=True,
    help="Folder of the training runs.",
)
attacks_option = click.option(
    "--attacks",
    type=names,
    metavar="TEXT",
    help="Attacks, separated by commas; 'winnrobust attacks' lists them. Each one runs in every"
    " norm of --threat that it supports.  [default: fgsm,aa-fast: the paper's, and a strong one]",
)
threat_option = click.option(
    "--threat",
    "threats",
    metavar="NORM:EPS[,EPS...]",
    multiple=True,
    help="What an attacker may do, such as linf:8/255, l2:0.5, l1:12, l0:10, corruptions:1-5 (15"
    " corruptions at these severities), spatial:30 (rotations up to 30 degrees, and translations),"
    " patch:5 (a square of 5 pixels). May be repeated.  [default: the usual one for the data set,"
    " which is printed]",
)
eps_option = click.option(
    "--eps",
    "epsilons",
    type=epsilons,
    metavar="EPS[,EPS...]",
    multiple=True,
    help="The same as --threat linf:EPS: the L-infinity bound in [0, 1] pixel units, such as 0.125"
    " or 8/255. Separate several with commas, or repeat the option.",
)
diagnose_option = click.option(
    "--diagnose/--no-diagnose",
    "with_diagnosis",
    default=True,
    show_default=True,
    help="Also look for signs that a model is robust only because the attacks failed.",
)


def sampling_options(command: Callable) -> Callable:
    """Attack images in a random order until enough is known."""
    precision = click.option(
        "--precision",
        type=click.FloatRange(0, 50, min_open=True, max_open=True),
        metavar="POINTS",
        help="Attack images in random order until every error is known to within this many points,"
        " such as 1. The intervals are always-valid: they hold no matter when you stop.",
    )
    until_decided = click.option(
        "--until-decided",
        is_flag=True,
        help="Attack images in random order until it is settled, for every pair of models and every"
        " epsilon, which one is more robust, or that they differ by at most 1 point (or"
        " --precision). Without --threat, only for the first of the default threat models.",
    )
    return precision(until_decided(command))


seed_option = click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the random numbers.",
)
config_file_option = click.option(
    "--config",
    "config_file",
    type=PATH,
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
    placed = dict(settings)
    for name in [name for name in ("data", "texture") if name in settings]:
        if "dataset" in settings:
            raise InputError(f"--dataset and --{name} cannot be combined")
        place = Path(settings[name]).resolve()
        embedded = settings[name] in TEXTURES
        placed |= {"dataset": place.name} if embedded else {name: str(place), "dataset": place.stem}
    return placed


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
    flag, kind = option_name(setting.name), cast(Any, setting.type)
    if setting.name in CHOICES:
        kind = click.Choice(CHOICES[setting.name])
    elif kind is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    text = f"{setting.info.description}{default}"
    return click.option(flag, setting.name, type=kind, default=None, help=text)
