"""An evaluation as reports see it, and where to find what in it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from winnrobust.evaluation import Examples
from winnrobust.evaluation.metrics import NO_ATTACK
from winnrobust.evaluation.seeds import differences, own_errors
from winnrobust.runtime.intervals import Rate, rate

MODEL_KEYS = (
    "name",
    "group",
    "method",
    "arch",
    "path",
    "parameters",
    "epoch",
    "seed",
    "weights_sha256",
)


class Case(NamedTuple):
    """An attack at an epsilon, which is in its norm."""

    attack: str
    norm: str
    epsilon: float


CLEAN = Case(NO_ATTACK, "", 0.0)
"""No attack at all."""


class Level(NamedTuple):
    """What an attacker may do to an image: all attacks of a norm and an epsilon share it."""

    norm: str
    epsilon: float


@dataclass(frozen=True)
class Results:
    """A results folder in memory.

    Attributes:
        dataset, split, limit: what was attacked; limit is None for the whole split.
        n: number of images.
        models: one row per model, `MODEL_KEYS` and its clean errors, in the order of the tables.
        table: the tidy table, columns as `evaluation.metrics.RESULT_COLUMNS`.
        worst: worst cases, columns as `WORST_COLUMNS`; none where they are not known.
        paired: paired comparisons, columns as `PAIRED_COLUMNS`; none where they are not known.
        aimed: how often targeted attacks hit their aim, columns as `AIM_COLUMNS`.
        gradients: zero gradients, columns as `GRADIENT_COLUMNS`; NaN where it is not known.
        costs: what the attacks took, columns as `COST_COLUMNS`.
        distances: (attack, model) -> (n,) float32, infinite where no adversarial was found.
        diagnosis: as `evaluation.diagnosis.diagnose` returns it; None if nobody asked.
        diagnosis_is_shared: whether it was made with another evaluation of the same models.
        settings: what the attacks were given (see `settings` in schema.json).
        examples: the images that were kept.
        manifest: provenance.
    """

    dataset: str
    split: str
    limit: int | None
    n: int
    models: list[dict[str, Any]]
    table: pd.DataFrame
    worst: pd.DataFrame
    paired: pd.DataFrame
    aimed: pd.DataFrame
    gradients: pd.DataFrame
    costs: pd.DataFrame
    examples: Examples
    manifest: dict[str, Any]
    distances: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    diagnosis: pd.DataFrame | None = None
    diagnosis_is_shared: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def reference(self) -> dict[str, Any]:
        """The model that the others are compared with: the baseline, else the first."""
        return next(
            (model for model in self.models if model["method"] == "baseline"), self.models[0]
        )

    @cached_property
    def ordered(self) -> list[dict[str, Any]]:
        """The models: the reference first, then the others as they come."""
        return [self.reference, *(model for model in self.models if model is not self.reference)]

    @cached_property
    def names(self) -> list[str]:
        """The names of the models, the reference first."""
        return [model["name"] for model in self.ordered]

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Group -> its models; more than one where a method was trained with several seeds."""
        groups: dict[str, list[str]] = {}
        for model in self.ordered:
            groups.setdefault(model["group"], []).append(model["name"])
        return groups

    @cached_property
    def cases(self) -> list[Case]:
        """All attacks at all epsilons, in the order of the table."""
        keys = _keys(self.table, ("attack", "norm", "epsilon"))
        return list(dict.fromkeys(Case(*key) for key in keys))

    @cached_property
    def levels(self) -> list[Level]:
        """All norms and epsilons, in the order of the table."""
        return list(dict.fromkeys(Level(case.norm, case.epsilon) for case in self.cases))

    def cases_at(self, level: Level) -> list[Case]:
        """The attacks of a norm and an epsilon."""
        return [case for case in self.cases if case[1:] == level]

    @cached_property
    def rows(self) -> dict[tuple[str, float, str, str], Any]:
        """(attack, epsilon, source, target) -> its row of the tidy table."""
        keys = _keys(self.table, ("attack", "epsilon", "source", "target"))
        return dict(zip(keys, self.table.itertuples(index=False), strict=True))

    @cached_property
    def errors(self) -> pd.DataFrame:
        """Every model's own errors in every case, columns as `evaluation.seeds.ERROR_COLUMNS`."""
        clean = [
            (model["name"], self.n, model["clean_errors"], model["clean_error"])
            for model in self.ordered
        ]
        columns = ["model", "n", "errors", "error"]
        return own_errors(pd.DataFrame(clean, columns=columns), self.table, self.worst)

    @cached_property
    def rates(self) -> dict[tuple[Case, str], Rate]:
        """(case, model) -> its error there with the interval; `CLEAN` and worst cases included."""
        return {
            (Case(row.attack, row.norm, row.epsilon), row.model): rate(row.errors, row.n)
            for row in self.errors.itertuples()
        }

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Every two groups in every case, columns as `evaluation.seeds.DIFFERENCE_COLUMNS`."""
        groups = {model["name"]: model["group"] for model in self.models}
        return differences(self.errors, self.paired, groups)

    def strongest(self, cases: Sequence[Case]) -> Case:
        """The case that breaks most images of all models together, the first of equals."""
        return max(cases, key=lambda case: sum(self.rates[case, name].value for name in self.names))


def _keys(table: pd.DataFrame, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    return zip(*(table[name] for name in columns), strict=True)
