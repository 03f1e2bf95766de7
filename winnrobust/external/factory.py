"""`package.module:factory`: a model that code makes."""

import importlib
import os
import sys

from torch import nn

from winnrobust.runtime.errors import InputError, brief


def call_factory(spec: str) -> nn.Module:
    """Import `package.module`, which may lie in the current folder, and call its `factory`.

    Raises:
        InputError: there is no such module or factory, it fails, or makes no torch.nn.Module.
    """
    module_name, _, factory_name = spec.partition(":")
    if not module_name or not factory_name:
        raise InputError(f"'{spec}' must be written package.module:factory")
    factory = _find(module_name, factory_name)
    if not callable(factory):
        raise InputError(f"{spec} is no function, but {type(factory).__name__}")
    try:
        made = factory()
    except (Exception, SystemExit) as error:  # anyone's code may raise anything
        raise InputError(
            f"{spec}, called without arguments, fails: {type(error).__name__}: {brief(error)}"
        ) from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"{spec} must return a torch.nn.Module when called without arguments, not"
            f" {type(made).__name__}"
        )
    return made


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
