"""Adversarial-robustness evaluation built around Wasserstein Introspective Neural Networks."""

from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnrobust.evaluation import evaluate

__version__ = metadata.version("winnrobust")
__all__ = ["__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import `evaluate` when it is asked for: torch takes seconds, `--help` should not."""
    if name == "evaluate":
        from winnrobust.evaluation import evaluate

        return evaluate
    raise AttributeError(f"module 'winnrobust' has no attribute '{name}'")
