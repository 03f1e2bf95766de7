"""An evaluation as reports see it, and where to find what in it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from winnrobust.attacks import Attack, find
from winnrobust.attacks.norms import epsilon_text
from winnrobust.evaluation import statistics
from winnrobust.evaluation.examples import Examples
from winnrobust.evaluation.outcomes import CLEAN, CORRUPTIONS, Case, Level
from winnrobust.evaluation.sequential import is_enough
from winnrobust.evaluation.settings import DEFAULT_MARGIN
from winnrobust.evaluation.statistics import WORST_CASE, Summary
from winnrobust.runtime.errors import InputError


def worst_case(level: Level) -> Case:
    """All fair attacks of a norm, up to an epsilon."""
    return Case(WORST_CASE, *level)


class Error(NamedTuple):
    """The share of images that a model gets wrong, with its 95 % interval, and how many images an
    attack did not get done with, which count as right."""

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


def access_of(attack: str) -> str | None:
    """What an attack sees of the model; None if this winnrobust does not know the attack."""
    known = known_attack(attack)
    return None if known is None else known.access


def is_attack(case: Case) -> bool:
    """Tell attacks from controls and corruptions, and from an epsilon of 0, which changes nothing.

    >>> is_attack(Case("pgd", "linf", 0.1)), is_attack(Case("fog", "corruptions", 3))
    (True, False)
    """
    controls = case.norm == CORRUPTIONS or access_of(case.attack) == "none"
    return case.epsilon > 0 and not controls


@dataclass(frozen=True)
class Results:
    """A results folder in memory.

    Attributes:
        dataset, split, limit: what was attacked; limit is None for the whole split.
        n: number of images.
        population: of how many they were drawn at random; None if they are all.
        models: one row per model, fields of `stored.Model`, in the order of the tables.
        settings: what the attacks were given.
        summary: every number.
        manifest: provenance.
        examples: the images that were kept whole.
        diagnosis: as `evaluation.diagnosis.diagnose` returns it; None if nobody asked.
        diagnosis_is_shared: whether it was made with another evaluation of the same models.
        counts_only: whether these are older results, which do not tell robust accuracy.
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
    counts_only: bool = False
    population: int | None = None

    @cached_property
    def ordered(self) -> list[dict[str, Any]]:
        """The models as they come, but for the baseline, which is the first."""
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
        """All attacks at all epsilons, in the order of the evaluation."""
        found = dict.fromkeys(cases_of(self.summary.errors))
        return [case for case in found if case.norm != CORRUPTIONS]

    @cached_property
    def corruptions(self) -> list[Case]:
        """All corruptions in all severities."""
        found = dict.fromkeys(cases_of(self.summary.errors))
        return [case for case in found if case.norm == CORRUPTIONS]

    @cached_property
    def levels(self) -> list[Level]:
        """All threat models: norm after norm, with growing epsilon."""
        norms = list(dict.fromkeys(case.norm for case in self.cases))
        levels = {case.level for case in self.cases}
        return sorted(levels, key=lambda level: (norms.index(level.norm), level.epsilon))

    @cached_property
    def tried(self) -> dict[Level, list[Case]]:
        """What attacked all models with the same access; a transfer from one of them does not."""
        fair = [c for c in self.cases if is_attack(c) and statistics.fair(c.attack, self.names)]
        found = {level: [case for case in fair if case.level == level] for level in self.levels}
        return {level: cases for level, cases in found.items() if cases}

    @cached_property
    def strongest_cases(self) -> list[Case]:
        """The strongest fair case of every threat model."""
        return [self.strongest(cases) for cases in self.tried.values()]

    def strongest(self, cases: Sequence[Case]) -> Case:
        """The case that breaks most images of all models together, the first of equals."""
        return max(cases, key=lambda case: sum(self.errors[case, name][0] for name in self.names))

    @cached_property
    def errors(self) -> dict[tuple[Case, str], Error]:
        """(case, model) -> its own error; `CLEAN` and worst cases, robust errors, included."""
        clean = self.summary.clean.assign(**CLEAN._asdict(), not_attacked=0)
        robust = self.summary.robust.assign(attack=WORST_CASE).rename(
            columns={"robust_error": "error"}
        )
        robust = robust.assign(error_low=1 - robust.high, error_high=1 - robust.low)
        return {
            (case, row.model): Error(
                row.error, row.error_low, row.error_high, int(row.not_attacked)
            )
            for table in (clean, self.summary.errors, robust)
            for case, row in zip(cases_of(table), table.itertuples(), strict=True)
        }

    @cached_property
    def transfer(self) -> dict[tuple[Case, str, str], Any]:
        """(case, source, target) -> its row; of sources alone if nobody cross-checked."""
        table = self.summary.transfer
        keys = zip(cases_of(table), table.source, table.target, strict=True)
        return dict(zip(keys, table.itertuples(), strict=True))

    @property
    def is_crossed(self) -> bool:
        """Whether models looked at examples made against others."""
        return any(source != target for _, source, target in self.transfer)

    @property
    def margin(self) -> float:
        """The largest difference of errors that does not matter, where images were drawn."""
        return self.settings.get("precision") or DEFAULT_MARGIN

    @property
    def is_enough(self) -> bool:
        """Whether the images drawn were enough for what was asked."""
        return is_enough(self.summary, bool(self.settings.get("until_decided")), self.margin)

    @cached_property
    def own(self) -> pd.DataFrame:
        """Every model's own error in every case but corruptions."""
        found = statistics.own_errors(self.summary)
        return found[found.norm != CORRUPTIONS]

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Every two groups in every case, as `statistics.differences` returns it."""
        summary = self.summary
        of_a_sample = summary.population is not None
        return statistics.differences(self.own, summary.paired, self.group_of, of_a_sample)

    @property
    def group_of(self) -> dict[str, str]:
        """Model -> its group."""
        return {model["name"]: model["group"] for model in self.models}

    def case_text(self, case: Case) -> str:
        """`pgd 0.125`, or with several norms `pgd, Linf 0.125`; `worst case, Linf 0.125`.

        An FGSM screen before PGD is said.
        """
        if case == CLEAN:
            return "no attack"
        if case.attack == WORST_CASE:
            return f"{WORST_CASE}, {case.level}"
        known = known_attack(case.attack)
        screened = self.settings.get("fgsm_screen") and known and "screen" in known.parameters
        text = f"{case.attack}{' after FGSM' if screened else ''}"
        if case.attack == case.norm:  # spatial, patch
            return str(case.level)
        several = len({level.norm for level in self.levels}) > 1 or case.norm == CORRUPTIONS
        return f"{text}, {case.level}" if several else f"{text} {epsilon_text(case.epsilon)}"

    def is_random(self, name: str) -> bool:
        """Whether a model answers at random and was attacked as if it did not."""
        averaged = self.settings.get("eot", 1) != 1  # None: averaged where a model is random
        return self.summary.random_models.get(name, False) and not averaged


def cases_of(table: pd.DataFrame) -> list[Case]:
    """The case of every row."""
    return list(map(Case, table.attack, table.norm, map(float, table.epsilon)))


def rows_of(table: pd.DataFrame, cases: Collection[Case]) -> pd.DataFrame:
    """The rows of these cases."""
    return table[np.array([case in cases for case in cases_of(table)], bool)]
