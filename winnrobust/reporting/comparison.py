"""Who is more robust than whom, whether that is more than noise, and whether to believe it."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from winnrobust.evaluation.diagnosis import overall
from winnrobust.evaluation.statistics import TRANSFER, WORST_CASE
from winnrobust.reporting.results import (
    Case,
    Error,
    Level,
    Results,
    access_of,
    is_attack,
    worst_case,
)
from winnrobust.reporting.table import p_text, percent, share_text
from winnrobust.reporting.words import sentence

RANDOM = "random, no --eot"
SEVERITY = ("ok", "not tested", "suspicious", "broken", RANDOM)
"""How far a model's robustness is to be trusted, from the best to the worst."""

EVIDENCE_SHOWN = 2
"""How many indicators of a diagnosis a caution quotes; its table has them all."""


class Caution(NamedTuple):
    """A reason not to believe a model's robustness as it stands; severity is of `SEVERITY`."""

    model: str
    severity: str
    why: str


class Comparison(NamedTuple):
    """How one group of models compares with another.

    Attributes:
        sign: 1 if the first is more robust, -1 if it is less, 0 if that may be noise.
        reason: what says so.
    """

    sign: int
    reason: str


@dataclass(frozen=True)
class Compared:
    """Comparisons between the groups of an evaluation; a group is a model, or its seeds."""

    results: Results

    def errors(self, case: Case, group: str) -> list[Error]:
        """The errors of a group's models."""
        return [self.results.errors[case, name] for name in self.results.groups[group]]

    def accuracy(self, case: Case, group: str) -> float:
        """The mean accuracy of a group."""
        errors = self.errors(case, group)
        return 1 - sum(error.value for error in errors) / len(errors)

    def robust(self, level: Level, group: str) -> float:
        """The mean robust accuracy of a group."""
        return self.accuracy(worst_case(level), group)

    def accuracy_text(self, case: Case, group: str) -> str:
        """`59.0 % [58.0, 60.0]`, or of several seeds `59.0 % (3 seeds, 57.7 to 59.9)`."""
        n, errors = self.results.n, self.errors(case, group)
        bound = "at most " if case.attack == WORST_CASE and self.results.counts_only else ""
        if len(errors) == 1:
            (value, low, high, _), *_ = errors
            return bound + share_text(1 - value, 1 - high, 1 - low, n)
        low, high = (percent(1 - worst(errors).value, n) for worst in (max, min))
        mean = percent(self.accuracy(case, group), n)
        return f"{bound}{mean} % ({len(errors)} seeds, {low} to {high})"

    def at_case(self, case: Case, first: str, second: str) -> Comparison:
        """Compare by a test; by intervals where results do not hold what a test needs."""
        if (case, first, second) in self._tests:
            return self._tests[case, first, second]
        ours, theirs = self.errors(case, first), self.errors(case, second)
        above = min(error.low for error in ours) > max(error.high for error in theirs)
        below = max(error.high for error in ours) < min(error.low for error in theirs)
        return Comparison(
            below - above, sentence("reason", "apart" if below or above else "overlapping")
        )

    def at_level(self, level: Level, first: str, second: str) -> Comparison:
        """Compare robust accuracies.

        The winner must stay it if every image that was not attacked counts as broken, and every
        attack on it counts, fair or not.
        """
        found = self.at_case(self.results.deciding(level), first, second)
        winner, loser = (first, second) if found.sign > 0 else (second, first)
        if found.sign and self._least(level, winner) <= self.robust(level, loser):
            return Comparison(0, sentence("reason", "unsure"))
        return found

    def _least(self, level: Level, group: str) -> float:
        """The least that the robust accuracy of a group can be by all that is known."""
        cases = [
            c for c in self.results.cases if c.norm == level.norm and c.epsilon <= level.epsilon
        ]
        members = self.results.groups[group]
        broken = 0.0
        for name in members:
            worst = self.results.errors[worst_case(level), name]
            single = (self.results.errors[case, name].value for case in cases)
            broken += max(worst.value + worst.not_attacked / self.results.n, *single)
        return 1 - broken / len(members)

    @cached_property
    def _tests(self) -> dict[tuple[Case, str, str], Comparison]:
        found = {}
        for row in self.results.differences.itertuples():
            case = Case(row.attack, row.norm, row.epsilon)
            sign = 0 if row.within_noise else -1 if row.difference > 0 else 1
            reason = f"{row.test} {p_text(row.p_value)}"
            found[case, row.first, row.second] = Comparison(sign, reason)
            found[case, row.second, row.first] = Comparison(-sign, reason)
        return found

    # --- trust ------------------------------------------------------------------------------------

    def trust(self, group: str) -> str:
        """The worst that is known of a group's models: one of `SEVERITY`."""
        diagnosis, members = self.results.diagnosis, self.results.groups[group]
        found = {} if diagnosis is None else overall(diagnosis)
        known = [found.get(name, "not tested") for name in members]
        known += [caution.severity for caution in self.cautions if caution.model in members]
        return max(known, key=SEVERITY.index)

    @cached_property
    def cautions(self) -> list[Caution]:
        """Reasons to be careful, the worst first."""
        found = []
        for name in self.results.names:
            if self.results.is_random(name):
                found.append(Caution(name, RANDOM, sentence("caution", "random")))
            found += [*self._diagnosed(name), *self._outdone(name), *self._left_out(name)]
        return sorted(found, key=lambda caution: -SEVERITY.index(caution.severity))

    def _diagnosed(self, name: str) -> list[Caution]:
        diagnosis = self.results.diagnosis
        if diagnosis is None:
            return []
        bad = diagnosis[
            (diagnosis.model == name) & diagnosis.verdict.isin(("suspicious", "broken"))
        ]
        rows = bad.sort_values("verdict", kind="stable").head(EVIDENCE_SHOWN).itertuples()
        return [Caution(name, row.verdict, f"{row.indicator}: {row.evidence}") for row in rows]

    def _outdone(self, name: str) -> list[Caution]:
        """Attacks that break more than those that should be stronger, beyond the intervals.

        One without the model's gradients, more than all with them: gradients that do not help hide
        something (Carlini et al. 2019). One with another access to this model than to others, more
        than all fair ones: the headline says too much.
        """
        results, found = self.results, []
        for level in results.levels:
            errors = {c: results.errors[c, name] for c in results.cases if c.level == level}
            own = TRANSFER + name
            blind = [
                case for case in errors
                if access_of(case.attack) in ("black-box", "transfer") and case.attack != own
            ]  # fmt: skip
            sighted = [c for c in errors if access_of(c.attack) == "white-box" or c.attack == own]
            fair = results.tried.get(level, [])
            unfair = [case for case in errors if is_attack(case) and case not in fair]
            for key, rivals, best in (("beaten", blind, sighted), ("unfair", unfair, fair)):
                if rivals and best:
                    rival = max(rivals, key=errors.__getitem__)
                    most = max(errors[case] for case in best)
                    if errors[rival].low > most.high:
                        more, less = (percent(e.value, results.n) for e in (errors[rival], most))
                        slots = {"case": results.case_text(rival), "more": more, "less": less}
                        why = sentence("caution", key, **slots)
                        found.append(Caution(name, "suspicious", why))
        return found

    def _left_out(self, name: str) -> list[Caution]:
        """Attacks that did not get done with all images."""
        n, found = self.results.n, []
        for case in self.results.cases:
            count = self.results.errors[case, name].not_attacked
            slots = {"case": self.results.case_text(case), "count": count, "n": n}
            if count:
                why = sentence("caution", "not attacked", **slots)
                found.append(Caution(name, "not tested", why))
        return found
