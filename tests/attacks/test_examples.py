"""The examples in the docstrings of attacks are true."""

import doctest
import importlib
import pkgutil

import pytest

from winnrobust import attacks

MODULES = [module.name for module in pkgutil.iter_modules(attacks.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"winnrobust.attacks.{name}")
    assert doctest.testmod(module).failed == 0
