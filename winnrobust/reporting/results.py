"""An evaluation as reports see it, and where to find what in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from winnrobust.attacks import Attack, find
from winnrobust.evaluation.examples import Examples
from winnrobust.evaluation.statistics import (
    NO_ATTACK,
    WORST_CASE,
    Summary,
    differences,
    fair,
    own_errors,
)
from winnrobust.reporting.table import one_line
from winnrobust.runtime.errors import InputError


class Level(NamedTuple):
    """A threat model: what an attacker may do to an image."""

    norm: str
    epsilon: float

    def __str__(self) -> str:
        return f"{self.norm.capitalize()} {self.epsilon:g}"


class Case(NamedTuple):
    """An attack at an epsilon, which is in its norm."""

    attack: str
    norm: str
    epsilon: float

    @property
    def level(self) -> Level:
        """Its threat model."""
        return Level(self.norm, self.epsilon)


CLEAN = Case(NO_ATTACK, "", 0.0)
"""No attack at all."""


def worst_case(level: Level) -> Case:
    """All fair attacks of a norm, up to an epsilon."""
    return Case(WORST_CASE, *level)


class Error(NamedTuple):
    """The share of images that a model gets wrong, its 95 % interval, and how many of the images
    were not attacked, because time ran out or the attack failed."""

    value: float
    low: float
    high: float
    not_attacked: int = 0


def known_attack(name: str) -> Attack | None:
    """The attack of that name, None if this winnrobust does not know it."""
    try:
        return find(name)
    except InputError:
        return None


def is_attack(case: Case) -> bool:
    """Tell attacks from controls and from an epsilon of 0, which changes nothing."""
    return case.epsilon > 0 and access_of(case.attack) != "none"


def access_of(attack: str) -> str | None:
    """What an attack sees of the model; None if this winnrobust does not know the attack."""
    known = known_attack(attack)
    return None if known is None else known.access


@dataclass(frozen=True)
class Results:
    """A results folder in memory.

    Attributes:
        dataset, split, limit: what was attacked; limit is None for the whole split.
        n: number of images.
        models: one row per model, fields of `stored.Model`, in the order of the tables.
        settings: what the attacks were given.
        summary: every number.
        manifest: provenance.
        examples: the images that were kept whole.
        diagnosis: as `evaluation.diagnosis.diagnose` returns it; None if nobody asked.
        diagnosis_is_shared: whether it was made with another evaluation of the same models.
    """

    dataset: str
    split: str
    limit: int | None
    n: int
    models: list[dict[str, Any]]
    settings: dict[str, Any]
    summary: Summary
    manifest: dict[str, Any]
    examples: Examples | None = None
    diagnosis: pd.DataFrame | None = None
    diagnosis_is_shared: bool = False

    @cached_property
    def ordered(self) -> list[dict[str, Any]]:
        """The models: the baseline first, else the first given, then the others as they come."""
        return sorted(self.models, key=lambda model: model["method"] != "baseline")

    @cached_property
    def names(self) -> list[str]:
        """The names of the models, the baseline first."""
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
        errors = self.summary.errors
        return list(
            dict.fromkeys(map(Case, errors.attack, errors.norm, map(float, errors.epsilon)))
        )

    @cached_property
    def levels(self) -> list[Level]:
        """All threat models: norm after norm, with growing epsilon."""
        norms = list(dict.fromkeys(case.norm for case in self.cases))
        levels = {case.level for case in self.cases}
        return sorted(levels, key=lambda level: (norms.index(level.norm), level.epsilon))

    @cached_property
    def tried(self) -> dict[Level, list[Case]]:
        """What attacked all models with the same access; a transfer from one of them does not."""
        real = [case for case in self.cases if is_attack(case) and fair(case.attack, self.names)]
        found = {level: [case for case in real if case.level == level] for level in self.levels}
        return {level: cases for level, cases in found.items() if cases}

    @cached_property
    def counts_only(self) -> bool:
        """Whether these are older results, of which robust accuracy is known to be at most so
        high."""
        return not len(self.summary.robust)

    @cached_property
    def errors(self) -> dict[tuple[Case, str], Error]:
        """(case, model) -> its own error; `CLEAN` and worst cases included.

        The worst case is the robust error; of older results what is known of it, which is the
        largest error of any fair attack of its norm at any epsilon not larger.
        """
        summary = self.summary
        errors = {
            (CLEAN, row.model): Error(row.error, row.error_low, row.error_high)
            for row in summary.clean.itertuples()
        }
        for row in summary.errors.itertuples():
            case = Case(row.attack, row.norm, float(row.epsilon))
            errors[case, row.model] = Error(
                row.error, row.error_low, row.error_high, int(row.not_attacked)
            )
        for row in summary.robust.itertuples():
            case = Case(WORST_CASE, row.norm, float(row.epsilon))
            errors[case, row.model] = Error(
                row.robust_error, 1 - row.high, 1 - row.low, int(row.not_attacked)
            )
        if self.counts_only:
            errors |= self._least_errors(errors)
        return errors

    def _least_errors(self, errors: dict[tuple[Case, str], Error]) -> dict[tuple[Case, str], Error]:
        found = {}
        for level in self.tried:
            weaker = [
                case
                for (norm, epsilon), cases in self.tried.items()
                for case in cases
                if norm == level.norm and epsilon <= level.epsilon
            ]
            for name in self.names:
                largest = max(errors[case, name] for case in (CLEAN, *weaker))
                found[worst_case(level), name] = largest
        return found

    def worst(self, level: Level, name: str) -> Error:
        """The robust error of a model."""
        return self.errors[worst_case(level), name]

    def deciding(self, level: Level) -> Case:
        """What models are compared by: the worst case; where that is unknown, the strongest fair
        attack."""
        return self.strongest(self.tried[level]) if self.counts_only else worst_case(level)

    def strongest(self, cases: Sequence[Case]) -> Case:
        """The case that breaks most images of all models together, the first of equals."""
        return max(
            cases, key=lambda case: sum(self.errors[case, name].value for name in self.names)
        )

    @cached_property
    def own(self) -> pd.DataFrame:
        """Every model's own error in every case."""
        return own_errors(self.summary)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Every two groups in every case, as `evaluation.seeds.differences` returns it."""
        groups = {model["name"]: model["group"] for model in self.models}
        return differences(self.own, self.summary.paired, groups)

    @cached_property
    def transfer(self) -> dict[tuple[Case, str, str], Any]:
        """(case, source, target) -> its row; without those of others if nobody cross-checked."""
        return {
            (Case(row.attack, row.norm, float(row.epsilon)), row.source, row.target): row
            for row in self.summary.transfer.itertuples()
        }

    @property
    def is_crossed(self) -> bool:
        """Whether models looked at examples made against others."""
        return len({target for _, source, target in self.transfer if source != target}) > 0

    def case_text(self, case: Case) -> str:
        """`pgd 0.125`; `worst case, Linf 0.125`; an FGSM screen before PGD is said."""
        if case == CLEAN:
            return "no attack"
        if case.attack == WORST_CASE:
            return f"{WORST_CASE}, {case.level}"
        known = known_attack(case.attack)
        screened = self.settings.get("fgsm_screen") and known and "screen" in known.parameters
        return f"{one_line(case.attack)}{' after FGSM' if screened else ''} {case.epsilon:g}"

    def is_random(self, name: str) -> bool:
        """Whether a model answers at random and was attacked as if it did not."""
        averaged = (self.settings.get("eot") or 1) > 1
        return self.summary.random_models.get(name, False) and not averaged
