"""Options that name models from elsewhere and say how they want their images."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import click

from winnrobust.external import Preprocessing
from winnrobust.runtime.errors import InputError
from winnrobust.workflows.candidates import ExternalModel

NAME = re.compile(r"[\w.+-]+(@(0|[1-9]\d*))?")
"""What a model may be called: it must stand in a list of attacks, as transfer:NAME."""

Numbers = tuple[str | None, tuple[float, ...]]
"""Numbers for the model of a name; for all from elsewhere where that is None."""


def named(text: str) -> tuple[str, str]:
    """`NAME=VALUE`."""
    name, equals, value = text.partition("=")
    if not equals or not value or not NAME.fullmatch(name):
        raise click.BadParameter(
            f"'{text}' must be written NAME=..., the name of letters, digits and"
            " .+-_, for one of several seeds with @ and its number"
        )
    return name, value


def named_numbers(text: str) -> Numbers:
    """`0.5`, `0.485,0.456,0.406`, or `NAME=0.5`."""
    name, equals, listed = text.rpartition("=")
    try:
        values = tuple(float(part) for part in listed.split(","))
    except ValueError:
        values = ()
    if not values or not all(map(math.isfinite, values)) or (equals and not name):
        raise click.BadParameter(
            f"'{text}' must be numbers with commas between, or NAME= and such numbers"
        )
    return name or None, values


OPTIONS = (
    ("--model", named, "A model from elsewhere, NAME=package.module:factory, NAME=file.pt"
     " (TorchScript), NAME=file.pt2 (torch.export) or NAME=file.onnx. Factories and exported"
     " programs are code, which is run. mine@0, mine@1, ... are seeds of one method, mine."),
    ("--weights", named, "State dict for a factory's model, NAME=file.safetensors."),
    ("--input-range", named_numbers, "What black and white are to a --model, such as -1,1; for one"
     " of them NAME=-1,1.  [default: 0,1]"),
    ("--mean", named_numbers, "What a --model subtracts from that: one number, or one for each"
     " channel."),
    ("--std", named_numbers, "What it divides the rest by."),
)  # fmt: skip
DEFAULTS = {"--input-range": (0.0, 1.0), "--mean": (0.0,), "--std": (1.0,)}
METAVARS = {named: "NAME=VALUE", named_numbers: "[NAME=]NUMBER,..."}


def external_options(command: Callable) -> Callable:
    """Add --model, --weights, --input-range, --mean and --std, the parameters of these names."""
    options = (
        click.option(flag, type=kind, metavar=METAVARS[kind], multiple=True, help=text)
        for flag, kind, text in reversed(OPTIONS)
    )
    return reduce(lambda made, option: option(made), options, command)


def external_models(options: Mapping[str, Any]) -> list[ExternalModel]:
    """Put together what the options say of each model.

    Raises:
        InputError: a name is given twice or unknown, or numbers make no sense.
    """
    given = {flag: options[flag.strip("-").replace("-", "_")] for flag, *_ in OPTIONS}
    known = [name for name, _ in given["--model"]]
    for flag, values in given.items():
        _check_names(flag, [name for name, _ in values], known)
    said: dict[str, dict] = {flag: dict(values) for flag, values in given.items()}
    models = []
    for name, spec in given["--model"]:
        # What is said of this model, else of all, else the default.
        limits, mean, std = (
            said[flag].get(name, said[flag].get(None, default))
            for flag, default in DEFAULTS.items()
        )
        weights = said["--weights"].get(name)
        preprocessing = _preprocessing(limits, mean, std)
        models.append(ExternalModel(name, spec, weights and Path(weights), preprocessing))
    return models


def _check_names(flag: str, given: Sequence[str | None], known: Sequence[str]) -> None:
    for name in given:
        if given.count(name) > 1:
            raise InputError(f"{flag} is given twice for {name or 'all models'}")
        if name is not None and name not in known:
            raise InputError(
                f"{flag} names '{name}', but no --model has that name"
                + (f"; there are {', '.join(known)}" if known else "")
            )
    if given and not known:
        raise InputError(f"{flag} is for models from elsewhere; there is no --model")


def _preprocessing(
    limits: tuple[float, ...], mean: tuple[float, ...], std: tuple[float, ...]
) -> Preprocessing:
    if len(limits) != 2 or limits[0] >= limits[1]:
        raise InputError("--input-range must be two numbers, the lower first, such as -1,1")
    if min(std) <= 0:
        raise InputError("--std must be above 0")
    if len({len(mean), len(std)} - {1}) > 1:
        raise InputError("--mean and --std must have as many numbers as each other, or one")
    return Preprocessing(*limits, mean, std)
