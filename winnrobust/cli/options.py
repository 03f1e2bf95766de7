"""Options and parameter types that several commands share."""

import math
import types
import typing
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click

from winnrobust.config import TrainConfig, option_name
from winnrobust.data import DATASETS
from winnrobust.methods import METHODS
from winnrobust.models import ARCHITECTURES

CHOICES = {"dataset": list(DATASETS), "arch": list(ARCHITECTURES), "method": list(METHODS)}

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


class EpsilonList(click.ParamType):
    """One or several budgets: `0.125`, or `0.0625,0.125`."""

    name = "eps[,eps...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        if isinstance(value, list):
            return value
        epsilons = []
        for part in str(value).split(","):
            try:
                epsilon = float(part)
            except ValueError:
                self.fail(f"'{part}' is not a number; write --eps 0.125 or --eps 0.0625,0.125")
            if not (math.isfinite(epsilon) and 0 <= epsilon <= 1):
                self.fail(f"epsilon must be from 0 to 1 (pixels are in [0, 1]), not {part}")
            epsilons.append(epsilon)
        return epsilons


eps_option = click.option(
    "--eps",
    "epsilons",
    type=EpsilonList(),
    multiple=True,
    help="L-infinity budget in [0, 1] pixel units; several with commas or by repeating the option."
    "  [default: 0.125]",
)


def flatten_epsilons(given: tuple[list[float], ...]) -> list[float]:
    """All epsilons given, in order and without repeats; the paper's 0.125 if none."""
    return list(dict.fromkeys(epsilon for group in given for epsilon in group)) or [0.125]


def config_options(*names: str) -> Callable[[Callable], Callable]:
    """Add an option for each setting of `TrainConfig` (all, or those named)."""
    chosen = [setting for setting in fields(TrainConfig) if not names or setting.name in names]

    def decorate(command: Callable) -> Callable:
        for setting in reversed(chosen):
            command = _config_option(setting)(command)
        return command

    return decorate


def _config_option(setting: Field) -> Callable[[Callable], Callable]:
    """An option that is None unless given, so that a configuration file can decide."""
    hint = typing.get_type_hints(TrainConfig)[setting.name]
    if isinstance(hint, types.UnionType):
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    default = f"  [default: {setting.default}]" if setting.default is not None else ""
    help_text = setting.metadata["help"] + default
    flag = option_name(setting.name)
    if hint is bool:
        off = f"--no-{flag.removeprefix('--')}"
        return click.option(f"{flag}/{off}", setting.name, default=None, help=help_text)
    kind = click.Choice(CHOICES[setting.name]) if setting.name in CHOICES else hint
    return click.option(flag, setting.name, type=kind, default=None, help=help_text)
