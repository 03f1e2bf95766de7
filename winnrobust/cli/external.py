"""Options that name models from elsewhere and say how they want their images."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnrobust.runtime.errors import InputError

if TYPE_CHECKING:
    from winnrobust.workflows.candidates import ExternalModel

NAME = re.compile(r"[\w.+-]+(@(0|[1-9]\d*))?")
"""What a model may be called: it must stand in a list of attacks, as transfer:NAME."""

Numbers = tuple[str | None, tuple[float, ...]]
"""Numbers for the model of a name; for all from elsewhere where that is None."""

FACTORY = re.compile(r"(?:([^=:(]*)=)?(.*:.*)", re.DOTALL)
"""What --arch means for a --model: NAME=package.module:factory, the name left out for all."""


def named(text: str) -> tuple[str, str]:
    """`NAME=VALUE`."""
    name, equals, value = text.partition("=")
    if not equals or not value or not NAME.fullmatch(name):
        raise click.BadParameter(
            f"'{text}' must be written NAME=..., the name of letters, digits and"
            " .+-_, for one of several seeds with @ and its number"
        )
    return name, value


own_attacks_option = click.option(
    "--attack",
    "own_attacks",
    type=named,
    metavar="NAME=VALUE",
    multiple=True,
    help="An attack of your own, in addition to --attacks: NAME=package.module:function, called"
    " with (model, images, labels, epsilon); or a known one with other settings,"
    " 'NAME=pgd(steps=100, restarts=5)'. It is code, and that code is run. May be repeated.",
)


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


def named_text(text: str) -> tuple[str | None, str]:
    """`KEY`, or `NAME=KEY`."""
    name, _, key = text.rpartition("=")
    if not key or (name and not NAME.fullmatch(name)):
        raise click.BadParameter(f"'{text}' must be a key, or NAME= and a key")
    return name or None, key


OPTIONS = (
    ("--model", named, "A model of your own or from a hub: NAME=package.module:factory or"
     " NAME=package.module:factory(width=2), NAME=timm:MODEL, NAME=torchvision:MODEL[:WEIGHTS],"
     " NAME=hf:ID_OR_FOLDER, NAME=robustbench:ID, NAME=file.pt (TorchScript), NAME=file.pt2"
     " (torch.export), NAME=file.onnx, or a state dict, NAME=file.pth or .safetensors, with --arch."
     " Factories and exported programs are code, and that code is run. Models called mine@0,"
     " mine@1, ... are seeds of one method, mine."),
    ("--weights", named, "State dict for a model made by a factory, timm, or torchvision."),
    ("--output", named_text, "Which part of a --model's output holds the logits: a key of a"
     " dict, or a position in a tuple or list."),
    ("--input-range", named_numbers, "The values of black and white that a --model expects, such as"
     " -1,1; for one of several, NAME=-1,1.  [default: the model's own, if it has one, else 0,1]"),
    ("--mean", named_numbers, "The mean that a --model's input is normalized with: one number, or"
     " one per channel."),
    ("--std", named_numbers, "The standard deviation that the input is normalized with."),
)  # fmt: skip
METAVARS = {named: "NAME=VALUE", named_numbers: "[NAME=]NUMBER,...", named_text: "[NAME=]KEY"}


def external_options(command: Callable) -> Callable:
    """Add the options of `OPTIONS`, the parameters of these names."""
    options = (
        click.option(flag, type=kind, metavar=METAVARS[kind], multiple=True, help=text)
        for flag, kind, text in reversed(OPTIONS)
    )
    return reduce(lambda made, option: option(made), options, command)


def architectures(given: Sequence[str], known: Sequence[str]) -> tuple[str | None, list[Any]]:
    """Tell the two meanings of --arch apart.

    Args:
        given: all values of the option.
        known: names of our own architectures.

    Returns:
        The one of ours to look for, or None, and (name of a --model or None, factory) for each of
        the others.

    Raises:
        InputError: a value is neither, or there are two of ours.
    """
    ours = [text for text in given if text in known]
    matches = [FACTORY.fullmatch(text) for text in given if text not in known]
    if not all(matches) or len(ours) > 1:
        raise InputError(
            f"--arch must be one of {', '.join(known)}, or NAME=package.module:factory for a state"
            f" dict that --model names, not {', '.join(given)}"
        )
    return next(iter(ours), None), [match.groups() for match in matches if match]


def external_models(options: Mapping[str, Any]) -> "list[ExternalModel]":
    """Put together what the options say of each model.

    Args:
        options: those of `OPTIONS`, and as "factories" what `architectures` returns.

    Raises:
        InputError: a name is given twice or unknown, or numbers make no sense.
    """
    from winnrobust.external.weights import STATE_DICTS
    from winnrobust.workflows.candidates import ExternalModel

    given = {flag: options[flag.strip("-").replace("-", "_")] for flag, *_ in OPTIONS}
    given["--arch"] = options["factories"]
    known = [name for name, _ in given["--model"]]
    for flag, values in given.items():
        _check_names(flag, [name for name, _ in values], known)
    said: dict[str, dict] = {flag: dict(values) for flag, values in given.items()}
    models = []
    for name, spec in given["--model"]:
        # What is said of this model, else of all.
        of = {flag: said[flag].get(name, said[flag].get(None)) for flag in said}
        arch = of["--arch"] if name in said["--arch"] or Path(spec).suffix in STATE_DICTS else None
        models.append(
            ExternalModel(
                name,
                spec,
                of["--weights"] and Path(of["--weights"]),
                arch,
                of["--output"],
                _preprocessing(of["--input-range"], of["--mean"], of["--std"]),
            )
        )
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
    limits: tuple[float, ...] | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> dict[str, Any]:
    """Return the fields of `Preprocessing` that a user gave."""
    if limits and (len(limits) != 2 or limits[0] >= limits[1]):
        raise InputError("--input-range must be two numbers, the lower first, such as -1,1")
    if std and min(std) <= 0:
        raise InputError("--std must be above 0")
    if mean and std and len({len(mean), len(std)} - {1}) > 1:
        raise InputError("--mean and --std must have as many numbers as each other, or one")
    low, high = limits or (None, None)
    given = {"low": low, "high": high, "mean": mean, "std": std}
    return {name: value for name, value in given.items() if value is not None}
