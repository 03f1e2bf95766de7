"""`package.module:factory` or `package.module:factory(width=2)`: a model that code makes."""

import ast
import importlib
import os
import sys
from importlib import metadata
from typing import Any, NamedTuple

from torch import nn

from winnrobust.runtime.errors import InputError, brief


class Call(NamedTuple):
    """What a user asks for."""

    module: str
    factory: str
    positional: list[Any]
    named: dict[str, Any]


ENTRY_POINTS = "winnrobust.models"
"""The group of entry points by which other packages add models: functions that return one."""


def registered(spec: str) -> str:
    """Return `package.module:factory` for the name of an entry point; all else as it is."""
    name, bracket, arguments = spec.partition("(")
    for point in metadata.entry_points(group=ENTRY_POINTS, name=name.strip()):
        return f"{point.value}{bracket}{arguments}"
    return spec


def parse_call(spec: str) -> Call:
    """Take `package.module:factory(2, width=3)` apart; its arguments are literals, never code.

    Raises:
        InputError: it is written in another way.

    >>> parse_call("nets:cnn(2, width=3)")
    Call(module='nets', factory='cnn', positional=[2], named={'width': 3})
    """
    module, _, text = spec.partition(":")
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Call):
            positional = [ast.literal_eval(argument) for argument in call.args]
            named = {each.arg or "": ast.literal_eval(each.value) for each in call.keywords}
            name = call.func
        else:
            positional, named, name = [], {}, call
        if not module or not isinstance(name, ast.Name) or "" in named:
            raise ValueError
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise InputError(
            f"'{spec}' must be written package.module:factory or"
            " package.module:factory(width=2, name='a'), its arguments numbers, texts, lists and"
            " the like"
        ) from None
    return Call(module, name.id, positional, named)


def call_factory(spec: str) -> nn.Module:
    """Import `package.module`, which may lie in the current folder, and call its `factory`.

    Raises:
        InputError: there is no such module or factory, it fails, or makes no torch.nn.Module.
    """
    call = parse_call(spec)
    factory = _find(call.module, call.factory)
    if not callable(factory):
        raise InputError(f"{spec} is not a function or a class, but {type(factory).__name__}")
    how = "" if call.positional or call.named else ", called without arguments,"
    try:
        made = factory(*call.positional, **call.named)
    except (Exception, SystemExit) as error:  # anyone's code may raise anything
        raise InputError(f"{spec}{how} fails: {type(error).__name__}: {brief(error)}") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"{spec}{how} must return a torch.nn.Module, not {type(made).__name__}")
    return made


def import_object(spec: str) -> object:
    """Import what `package.module:name` says, which may lie in the current folder.

    Raises:
        InputError: it is written in another way, or there is no such thing.
    """
    module, _, name = spec.partition(":")
    if not module or not name.isidentifier():
        raise InputError(f"'{spec}' must be written package.module:name")
    return _find(module, name)


def _find(module_name: str, factory_name: str) -> object:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"there is no module '{error.name}', neither installed nor in {os.getcwd()}"
            ) from None
        raise InputError(f"'{module_name}' cannot be imported: {brief(error)}") from error
    except (Exception, SystemExit) as error:  # anyone's code may raise anything
        raise InputError(
            f"'{module_name}' cannot be imported: {type(error).__name__}: {brief(error)}"
        ) from error
    if not hasattr(module, factory_name):
        raise InputError(f"the module '{module_name}' has no '{factory_name}'")
    return getattr(module, factory_name)
