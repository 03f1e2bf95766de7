"""Options that name models from elsewhere and say how they want their images."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from winnrobust.external import Preprocessing
from winnrobust.runtime.errors import InputError
from winnrobust.workflows.candidates import ExternalModel

NAME = re.compile(r"[\w.+-]+(@(0|[1-9]\d*))?")
"""What a model may be called: it must stand in a list of attacks, as transfer:NAME."""


class Named(click.ParamType):
    """`NAME=VALUE`."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not text or not NAME.fullmatch(name):
            self.fail(
                f"'{value}' must be written NAME=..., the name of letters, digits and"
                " .+-_, for one of several seeds with @ and its number"
            )
        return name, text


class Numbers(NamedTuple):
    """Numbers for the model called `name`; for all from elsewhere where that is None."""

    name: str | None
    values: tuple[float, ...]


class NamedNumbers(click.ParamType):
    """`0.5`, `0.485,0.456,0.406`, or `NAME=0.5`."""

    name = "[name=]number,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Numbers:
        if isinstance(value, Numbers):
            return value
        name, equals, text = str(value).rpartition("=")
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if not values or not all(map(math.isfinite, values)) or (equals and not name):
            self.fail(f"'{value}' must be numbers with commas between, or NAME= and such numbers")
        return Numbers(name or None, values)


def external_options(command: Callable) -> Callable:
    """Add --model, --weights, --input-range, --mean and --std."""
    for option in reversed(
        (
            click.option(
                "--model",
                "modules",
                type=Named(),
                multiple=True,
                help="A model from elsewhere, NAME=package.module:factory, NAME=file.pt"
                " (TorchScript), NAME=file.pt2 (torch.export) or NAME=file.onnx. Factories and"
                " exported programs are code, which is run. mine@0, mine@1, ... are seeds of one"
                " method, mine.",
            ),
            click.option(
                "--weights",
                type=Named(),
                multiple=True,
                help="State dict for a factory's model, NAME=file.safetensors.",
            ),
            click.option(
                "--input-range",
                "ranges",
                type=NamedNumbers(),
                multiple=True,
                help="What black and white are to a --model, such as -1,1; for one of them"
                " NAME=-1,1.  [default: 0,1]",
            ),
            click.option(
                "--mean",
                "means",
                type=NamedNumbers(),
                multiple=True,
                help="What a --model subtracts from that: one number, or one for each channel.",
            ),
            click.option(
                "--std",
                "stds",
                type=NamedNumbers(),
                multiple=True,
                help="What it divides the rest by.",
            ),
        )
    ):
        command = option(command)
    return command


def external_models(
    modules: Sequence[tuple[str, str]],
    weights: Sequence[tuple[str, str]],
    ranges: Sequence[Numbers],
    means: Sequence[Numbers],
    stds: Sequence[Numbers],
) -> list[ExternalModel]:
    """Put together what the options say of each model.

    Raises:
        InputError: a name is given twice or unknown, or numbers make no sense.
    """
    names = [name for name, _ in modules]
    _check_names("--model", names, names)
    _check_names("--weights", [name for name, _ in weights], names)
    for flag, numbers in (("--input-range", ranges), ("--mean", means), ("--std", stds)):
        _check_names(flag, [each.name for each in numbers], names)
    files = dict(weights)
    return [
        ExternalModel(
            name,
            spec,
            Path(files[name]) if name in files else None,
            _preprocessing(
                _for(ranges, name, (0.0, 1.0)),
                _for(means, name, (0.0,)),
                _for(stds, name, (1.0,)),
            ),
        )
        for name, spec in modules
    ]


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


def _for(numbers: Sequence[Numbers], name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return what is said of this model, else of all, else the default."""
    said = {each.name: each.values for each in numbers}
    return said.get(name, said.get(None, default))


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
