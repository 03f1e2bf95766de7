"""Adversarial-robustness evaluation built around Wasserstein Introspective Neural Networks."""

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnrobust.attacks import Attack, Step, as_attack
    from winnrobust.data.streams import open_images
    from winnrobust.evaluation import read_outcomes
    from winnrobust.evaluation.one_attack import Attacked
    from winnrobust.reporting.evaluation import Evaluation, read_evaluation
    from winnrobust.runtime.errors import EvaluationWarning, InputError
    from winnrobust.workflows.detecting import detect
    from winnrobust.workflows.diagnosing import Diagnosis, diagnose
    from winnrobust.workflows.evaluating import attack, compare, evaluate
    from winnrobust.workflows.loading import load
    from winnrobust.workflows.training import train

__version__ = metadata.version("winnrobust")

_HOMES = {
    "winnrobust.attacks": "Attack Step as_attack",
    "winnrobust.data.streams": "open_images",
    "winnrobust.evaluation": "read_outcomes",
    "winnrobust.evaluation.one_attack": "Attacked",
    "winnrobust.runtime.errors": "EvaluationWarning InputError",
    "winnrobust.reporting.evaluation": "Evaluation read_evaluation",
    "winnrobust.workflows.detecting": "detect",
    "winnrobust.workflows.diagnosing": "Diagnosis diagnose",
    "winnrobust.workflows.evaluating": "attack compare evaluate",
    "winnrobust.workflows.loading": "load",
    "winnrobust.workflows.training": "train",
}
"""Module -> the public names that it has."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Attack",
    "Attacked",
    "Diagnosis",
    "Evaluation",
    "EvaluationWarning",
    "InputError",
    "Step",
    "__version__",
    "as_attack",
    "attack",
    "compare",
    "detect",
    "diagnose",
    "evaluate",
    "load",
    "open_images",
    "read_evaluation",
    "read_outcomes",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: torch takes seconds, `--help` should not."""
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    if name in ("attacks", "defenses"):
        return importlib.import_module(f"winnrobust.{name}")
    raise AttributeError(f"module 'winnrobust' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF, "attacks", "defenses"])
