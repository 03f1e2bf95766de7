"""Adversarial-robustness evaluation built around Wasserstein Introspective Neural Networks."""

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnrobust.evaluation import evaluate, read_outcomes

__version__ = metadata.version("winnrobust")
__all__ = ["__version__", "evaluate", "read_outcomes"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: torch takes seconds, `--help` should not."""
    if name in __all__:
        return getattr(importlib.import_module("winnrobust.evaluation"), name)
    raise AttributeError(f"module 'winnrobust' has no attribute '{name}'")
