"""The headline: one line, which is a template filled in; reasons to be careful; notes.

The line compares robust accuracies, from attacks with the same access to all models. The templates
are in words.toml.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from winnrobust.attacks import find
from winnrobust.evaluation.diagnosis import overall
from winnrobust.evaluation.diagnosis.next_steps import (
    STRONG,
    STRONGEST,
    suitable_attacks,
    to_type,
    where_untested,
)
from winnrobust.evaluation.outcomes import CLEAN, Case, Level
from winnrobust.evaluation.paired import mcnemar
from winnrobust.evaluation.settings import fits
from winnrobust.evaluation.statistics import SIGNIFICANCE, TRANSFER
from winnrobust.reporting.results import (
    Error,
    Results,
    access_of,
    is_attack,
    worst_case,
)
from winnrobust.reporting.table import one_line, p_text, percent, share_text
from winnrobust.reporting.words import WORDS, sentence
from winnrobust.runtime.intervals import rate
from winnrobust.runtime.progress import duration

RANDOM = "random, no --eot"
SEVERITY = ("ok", "not tested", "suspicious", "broken", RANDOM)
"""How far a model's robustness is to be trusted, from the best to the worst."""

SINGLE_STEP = {"fgsm", "rfgsm"}
EVIDENCE_SHOWN = 2
"""How many indicators of a diagnosis a caution quotes; its table has them all."""


class Caution(NamedTuple):
    """A reason not to believe a model's robustness as it stands; severity is of `SEVERITY`."""

    model: str
    severity: str
    why: str


class Comparison(NamedTuple):
    """Of two groups of models: 1 if the first is more robust, -1 if it is less, 0 if that may be
    noise; and what says so."""

    sign: int
    reason: str


UNSETTLED = Comparison(0, "")
"""The images that were not attacked, or attacks that are not fair, could turn the order."""


@dataclass(frozen=True)
class Verdict:
    """What a reader must know first of an evaluation; a group is a model, or its seeds."""

    results: Results

    # --- who is more robust than whom -------------------------------------------------------------

    @property
    def line(self) -> str:
        """The headline."""
        results = self.results
        compared = [name for name in results.groups if self.trust(name) != RANDOM]
        refused = [name for name in results.groups if name not in compared]
        if not any(map(is_attack, results.cases)):
            found = results.summary.corruption
            own = found[found.model == found.reference].itertuples()
            told = names(f"{row.model} {percent(row.mean_error, results.n)} %" for row in own)
            return sentence("headline", "corrupted" if len(found) else "nothing", errors=told)
        if results.counts_only:
            return sentence("headline", "counts only")
        if refused and len(compared) < 2:
            return sentence("headline", "refused", first=names(refused))
        if not results.tried:
            return sentence("headline", "unfair")
        if len(compared) == 1:
            level = self.worst(compared[0])
            members = results.groups[compared[0]]
            if known := self.known_text(level, members[0]):
                slots = {
                    "first": compared[0],
                    "a": self.accuracy_text(worst_case(level), *compared),
                    "level": level,
                    "images": self._probed(members[0]),
                }
                return sentence("headline", "refuted", **slots, known=known)
            a, clean = (self.accuracy_text(case, *compared) for case in (worst_case(level), CLEAN))
            return sentence("headline", "alone", first=compared[0], a=a, level=level, clean=clean)
        return self._of_two(*compared) if len(compared) == 2 else self._of_many(compared)

    def _of_two(self, reference: str, other: str) -> str:
        found = {level: self.at_level(level, other, reference) for level in self.results.tried}
        at = {sign: [level for level in found if found[level].sign == sign] for sign in (1, -1, 0)}
        wins, losses, ties = at[1], at[-1], at[0]
        told = {"firsts": names(wins or losses), "seconds": names(losses), "neither": names(ties)}
        if wins and losses:
            key = "depends in part" if ties else "depends"
            return sentence("headline", key, first=other, second=reference, **told)
        first, second = (reference, other) if losses else (other, reference)
        if ties and len(ties) < len(found):
            level = self.widest([first, second], wins or losses)
            return self._filled("more somewhere", first, second, level, **told)
        unsettled = [level for level in found if found[level] == UNSETTLED]
        if unsettled:
            return self._filled("unsettled", first, second, unsettled[-1])
        key = ("even" if ties else "more") + (" everywhere" if len(found) > 1 else "")
        return self._filled(key, first, second, self.widest([first, second]))

    def _of_many(self, compared: list[str]) -> str:
        """Name the best of three or more, where they differ most."""
        level = self.widest(compared)
        first, *others = sorted(compared, key=lambda name: -self.robust(level, name))
        close = [name for name in others if self.at_level(level, first, name).sign < 1]
        key, second = ("tied", close[0]) if close else ("leads", others[0])
        if close and self.at_level(level, first, second) == UNSETTLED:
            key = "unsettled"
        return self._filled(key, first, second, level, count=len(compared))

    def _filled(self, key: str, first: str, second: str, level: Level, **told: object) -> str:
        a, b = (self.strongest_text(level, name) for name in (first, second))
        verb = WORDS["verb"].get(self.trust(first), "is")
        slots = {"first": first, "second": second, "a": a, "b": b, "level": level, **told}
        reason = self.at_level(level, first, second).reason
        return sentence("headline", key, **slots, verb=verb, reason=reason)

    def worst(self, group: str) -> Level:
        """Where the least robust accuracy is known to be left; of equal ones the last."""

        member, *_ = self.results.groups[group]

        def left(level: Level) -> float:
            refuted = self.refuted(level, member)
            least = 1 - self.known_error(level, member).value if refuted else 1
            return min(self.robust(level, group), least)

        return min(reversed(self.results.tried), key=left)

    def widest(self, groups: Iterable[str], levels: Iterable[Level] = ()) -> Level:
        """Where the robust accuracies of some groups differ most; of equal ones the last.

        Args:
            levels: to choose from; by default all.
        """

        def spread(level: Level) -> float:
            shares = [self.robust(level, name) for name in groups]
            return max(shares) - min(shares)

        return max(reversed([*levels] or [*self.results.tried]), key=spread)

    @property
    def ranked(self) -> list[str]:
        """All groups, the most robust first where they differ most; else as they were given."""
        groups = [*self.results.groups]
        if self.results.counts_only or not self.results.tried:
            return groups
        level = self.widest(groups)
        return sorted(groups, key=lambda group: -self.robust(level, group))

    def robust(self, level: Level, group: str) -> float:
        """The mean robust accuracy of a group."""
        errors = [self.results.errors[worst_case(level), n] for n in self.results.groups[group]]
        return 1 - sum(error.value for error in errors) / len(errors)

    def accuracy_text(self, case: Case, group: str) -> str:
        """`59.0 % [58.0, 60.0]`, or of several seeds `59.0 % (3 seeds, 57.7 to 59.9)`."""
        n, members = self.results.n, self.results.groups[group]
        value, low, high, left = self.results.errors[case, members[0]]
        if len(members) == 1:
            text = share_text(1 - value, 1 - high, 1 - low, n)
            return f"{text}, {left} not attacked" if left else text
        shares = [1 - self.results.errors[case, name].value for name in members]
        of_all = sum(shares) / len(shares), min(shares), max(shares)
        mean, least, most = (percent(share, n) for share in of_all)
        return f"{mean} % ({len(shares)} seeds, {least} to {most})"

    def strongest_text(self, level: Level, group: str) -> str:
        """The robust accuracy by the strongest attack known, those of the diagnosis among them."""
        members = self.results.groups[group]
        refuted = [known for name in members if (known := self.known_text(level, name))]
        if not refuted:
            return self.accuracy_text(worst_case(level), group)
        key = "refuted seeds" if len(members) > 1 else "refuted"
        slots = {"known": refuted[0], "some": len(refuted), "seeds": len(members)}
        return sentence("accuracy", key, **slots)

    def at_level(self, level: Level, first: str, second: str) -> Comparison:
        """Compare robust accuracies.

        The winner must stay it if every image that was not attacked counts as broken, and every
        attack on it counts, fair or not.
        """
        found = self.at_case(worst_case(level), first, second)
        winner, loser = (first, second) if found.sign > 0 else (second, first)
        if found.sign and self._least(level, winner) <= self.robust(level, loser):
            return UNSETTLED
        return found

    def at_case(self, case: Case, first: str, second: str) -> Comparison:
        """Compare by a test; without one nothing is known."""
        return self._tests.get((case, first, second), Comparison(0, sentence("reason", "untested")))

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

    def _least(self, level: Level, group: str) -> float:
        """The least that the robust accuracy of a group can be by all that is known."""
        results, broken = self.results, []
        cases = [c for c in results.cases if c.norm == level.norm and c.epsilon <= level.epsilon]
        for name in results.groups[group]:
            worst = results.errors[worst_case(level), name]
            single = (results.errors[case, name].value for case in cases)
            known = self.known_error(level, name)
            exact = self._same_images(name) and self.refuted(level, name)
            probes = known.value if exact else known.low
            broken.append(max(worst.value + worst.not_attacked / results.n, probes, *single))
        return 1 - sum(broken) / len(broken)

    def known_error(self, level: Level, name: str) -> Error:
        """The error of a model after all attacks of its diagnosis; 0 where there is none."""
        table = self.results.diagnosis
        if table is None or level.norm != "linf" or "of" not in table:
            return Error(0, 0, 0)
        own = table[(table.model == name) & (table.of > 0) & (table.epsilon <= level.epsilon)]
        if own.empty:
            return Error(0, 0, 0)
        return Error(*rate(int(own.wrong.iloc[0]), int(own.of.iloc[0])))

    def _probed(self, name: str) -> int:
        """On how many images the diagnosis knows the error of a model."""
        table = self.results.diagnosis
        own = () if table is None or "of" not in table else table.of[table.model == name]
        return int(max(own, default=0))

    def _same_images(self, name: str) -> bool:
        """Whether those are the images that were attacked: both are the first ones."""
        return self.results.population is None and self._probed(name) == self.results.n

    def refuted(self, level: Level, name: str) -> bool:
        """Whether the diagnosis breaks more than the attacks did: beyond both intervals, or, of the
        same images, by McNemar's test, if it broke all that they did."""
        known = self.known_error(level, name)
        if not known.low:  # older results, which have no worst case, are not asked
            return False
        worst = self.results.errors[worst_case(level), name]
        more = (known.value - worst.value) * self.results.n
        alike = self._same_images(name) and mcnemar(max(more, 0), 0) < SIGNIFICANCE
        return alike or known.low > worst.high

    def known_text(self, level: Level, name: str) -> str:
        """The robust accuracy by the diagnosis, where it refutes that of the attacks."""
        if not self.refuted(level, name):
            return ""
        known = self.known_error(level, name)
        return share_text(1 - known.value, 1 - known.high, 1 - known.low, self._probed(name))

    # --- how far to trust that --------------------------------------------------------------------

    def trust(self, group: str) -> str:
        """The worst that is known of a group's models: one of `SEVERITY`."""
        diagnosis, members = self.results.diagnosis, self.results.groups[group]
        found = {} if diagnosis is None else overall(diagnosis)
        known = [str(found.get(name, "not tested")) for name in members]
        known += [caution.severity for caution in self.cautions if caution.model in members]
        return max(known, key=SEVERITY.index)

    @cached_property
    def cautions(self) -> list[Caution]:
        """Reasons to be careful, the worst first."""
        found = []
        for name in self.results.names:
            if self.results.is_random(name):
                found.append(Caution(name, RANDOM, sentence("caution", "random")))
            found += [*self._diagnosed(name), *self._outdone(name), *self._refuted(name)]
            found += [*self._failed(name), *self._not_attacked(name)]
        return sorted(found, key=lambda caution: -SEVERITY.index(caution.severity))

    def _diagnosed(self, name: str) -> list[Caution]:
        table = self.results.diagnosis
        if table is None:
            return []
        bad = table[(table.model == name) & table.verdict.isin(("suspicious", "broken"))]
        rows = bad.sort_values("verdict", kind="stable").head(EVIDENCE_SHOWN).itertuples()
        return [Caution(name, row.verdict, f"{row.indicator}: {row.evidence}") for row in rows]

    def _refuted(self, name: str) -> list[Caution]:
        """Where the attacks of the diagnosis break more than those asked for, beyond intervals."""
        levels = [level for level in self.results.tried if self.refuted(level, name)]
        return [
            Caution(
                name,
                "suspicious",
                sentence("caution", "refuted", level=level, known=self.known_text(level, name)),
            )
            for level in levels[-1:]
        ]

    def _outdone(self, name: str) -> list[Caution]:
        """Attacks that break more than those that should be stronger, beyond the intervals.

        One without the model's gradients, more than all with them: gradients that do not help hide
        something (Carlini et al. 2019). One with another access to this model than to others, more
        than all fair ones: the headline says too much.
        """
        results, own, found = self.results, TRANSFER + name, []
        for level in results.levels:
            errors = {c: results.errors[c, name] for c in results.cases if c.level == level}
            seen = {c: "white-box" if c.attack == own else access_of(c.attack) for c in errors}
            sighted = [case for case in errors if seen[case] == "white-box"]
            blind = [case for case in errors if seen[case] in ("black-box", "transfer")]
            fair = results.tried.get(level, [])
            unfair = [case for case in errors if is_attack(case) and case not in fair]
            for key, rivals, best in (("beaten", blind, sighted), ("unfair", unfair, fair)):
                if rivals and best:
                    rival = max(rivals, key=errors.__getitem__)
                    most = max(errors[case] for case in best)
                    if errors[rival].low > most.high:
                        more, less = (percent(e.value, results.n) for e in (errors[rival], most))
                        slots = {"case": results.case_text(rival), "more": more, "less": less}
                        found.append(Caution(name, "suspicious", sentence("caution", key, **slots)))
        return found

    def _failed(self, name: str) -> list[Caution]:
        """Attacks that ended in an error on some images."""
        costs = self.results.summary.costs
        rows = costs[(costs.source == name) & (costs.failed > 0)].itertuples()
        slots = [{"attack": r.attack, "count": int(r.failed), "failure": r.failure} for r in rows]
        n = self.results.n
        return [Caution(name, "not tested", sentence("caution", "failed", n=n, **s)) for s in slots]

    def _not_attacked(self, name: str) -> list[Caution]:
        results = self.results
        left = {case: results.errors[case, name].not_attacked for case in results.cases}
        whys = [
            sentence("caution", "not attacked", case=results.case_text(case), count=x, n=results.n)
            for case, x in left.items()
            if x
        ]
        return [Caution(name, "not tested", why) for why in whys]

    @property
    def next_steps(self) -> list[tuple[str, str]]:
        """What to type next about each model whose errors are doubtful: (model, step)."""
        results, found = self.results, []
        tried = {case.attack for case in results.cases}
        norms = {level.norm for level in results.levels}
        for name in results.names if results.diagnosis is not None else ():
            suited = suitable_attacks(results.diagnosis, [name])
            if any(self.refuted(level, name) for level in results.tried):
                suited.append(STRONG if STRONG not in tried else STRONGEST)
            able = [each for each in dict.fromkeys(suited) if fits(find(each), norms)]
            steps = [*to_type(able, tried), *where_untested(results.diagnosis, name)]
            found += [(name, step) for step in steps]
        return found

    @property
    def notes(self) -> list[str]:
        """How far the headline goes; a line each."""
        results, groups, models = self.results, self.results.groups, self.results.models
        attacks = dict.fromkeys(case.attack for cases in results.tried.values() for case in cases)
        sighted = [name for name in attacks if access_of(name) in ("white-box", "unknown", None)]
        weak = bool(attacks) and set(sighted) <= SINGLE_STEP
        contrary = [results.case_text(case) for case in self._disagreeing()]
        holds = {
            "single step": weak and sighted == [*attacks],
            "no gradients": weak and not sighted,
            "one gradient": weak and bool(sighted) and sighted != [*attacks],
            "screen": bool(results.settings.get("fgsm_screen")),
            "disagree": bool(contrary),
            "not diagnosed": results.diagnosis is None,
            "shared": results.diagnosis_is_shared,
            "part": results.limit is not None and results.population is None,
            "part drawn": results.limit is not None and results.population is not None,
            "one seed": len(groups) == len(models) and any(m["seed"] is not None for m in models),
        }
        slots = {"attacks": names(sighted), "cases": names(contrary), "n": str(results.n)}
        slots |= {"split": results.split, "population": str(results.population)}
        said = [sentence("note", key, **slots) for key, true in holds.items() if true]
        return [*map(_as_sentence, results.manifest.get("doubts", ())), *self._sampled(), *said]

    def _sampled(self) -> list[str]:
        """How many images it took, where they were drawn at random, and what all would have."""
        results, population = self.results, self.results.population
        if population is None:
            return []
        decides = bool(results.settings.get("until_decided"))
        margin = f"{100 * results.margin:g} % of the images"
        if results.is_enough:
            why = sentence("enough", "decided" if decides else "precision", margin=margin)
        else:
            aim = sentence("enough", "to decide" if decides else "to measure", margin=margin)
            why = sentence("enough", "all", aim=aim)
        seconds = float(results.summary.costs.seconds.sum())
        slots = {"n": results.n, "population": population, "why": why}
        slots |= {"spent": duration(seconds), "whole": duration(seconds * population / results.n)}
        keys = ["sampled", *(["always valid"] if results.n < population else [])]
        return [sentence("note", key, **slots) for key in keys]

    def _disagreeing(self) -> list[Case]:
        """Of two groups, the single attacks that contradict what sums all of them up."""
        pair, tried = list(self.results.groups), self.results.tried
        if len(pair) != 2 or self.results.counts_only:
            return []
        signs = {level: self.at_level(level, *pair).sign for level in tried}
        cases = [case for level in tried for case in tried[level]]
        return [c for c in cases if self.at_case(c, *pair).sign * signs[c.level] < 0]


def _as_sentence(text: str) -> str:
    return one_line(f"{text[:1].upper()}{text[1:]}.")


def names(items: Iterable[object]) -> str:
    """`a, b`; a dash for none."""
    return ", ".join(map(one_line, items)) or "-"
