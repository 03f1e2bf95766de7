"""Evaluations as a gate of continuous integration: bounds that must hold, and what has changed."""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from winnrobust.evaluation.outcomes import (
    CLEAN,
    CORRUPTIONS,
    NO_ATTACK,
    Case,
    Level,
    PerImage,
    per_image,
)
from winnrobust.evaluation.paired import mcnemar
from winnrobust.evaluation.settings import EvaluationSettings
from winnrobust.evaluation.statistics import WORST_CASE, worst_case
from winnrobust.evaluation.threats import parse_threats, spelled
from winnrobust.reporting import load_results, read_metadata
from winnrobust.reporting.stored import Metadata
from winnrobust.reporting.table import Table, p_value, to_csv, to_text
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import replacing

# --- bounds -----------------------------------------------------------------------------------

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
GATE = re.compile(
    r"\s*(robust_accuracy|clean_accuracy)\s*(<=|>=|<|>)\s*(\S+)"
    r"(?:\s+at\s+(\w+\s*:\s*[^\s,]+))?(?:\s+of\s+(\S+))?\s*"
)


class Gate(NamedTuple):
    """What makes an evaluation fail.

    Attributes:
        text: as the user wrote it.
        metric: "robust_accuracy" or "clean_accuracy".
        comparison: one of `COMPARISONS`.
        bound: a share.
        level: norm and epsilon of a robust accuracy.
        model: the one that it is about; None for each of them.
    """

    text: str
    metric: str
    comparison: str
    bound: float
    level: Level | None
    model: str | None

    def is_at(self, level: Level) -> bool:
        """Tell whether it is about this level."""
        same = self.level is not None and self.level.norm == level.norm
        return same and bool(np.isclose(self.level.epsilon, level.epsilon))  # type: ignore[union-attr]


def parse_gate(text: str) -> Gate:
    """Read a gate such as `robust_accuracy < 0.4 at linf:8/255`, perhaps with `of NAME`.

    Raises:
        InputError: it is written in another way.

    >>> gate = parse_gate("robust_accuracy < 0.4 at linf:1/8 of mine")
    >>> gate.level, gate.bound, gate.model
    (Level(norm='linf', epsilon=0.125), 0.4, 'mine')
    """
    found = GATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        metric, comparison, bound, threat, model = found.groups()
        if (metric == "robust_accuracy") != (threat is not None) or not 0 <= float(bound) <= 1:
            raise ValueError
        level = None
        if threat is not None:
            ((kind, (epsilon,)),) = parse_threats(threat).items()
            level = Level(kind, epsilon)
    except ValueError:
        raise InputError(
            f"--fail-if '{text}' must be written like 'robust_accuracy < 0.4 at linf:8/255' or"
            " 'clean_accuracy < 0.9 of NAME', with a share from 0 to 1"
        ) from None
    return Gate(text, metric, comparison, float(bound), level, model)


def check_attacked(gate: Gate, settings: EvaluationSettings, models: Sequence[str]) -> None:
    """Check, before anything is attacked, that a gate is about something that will be.

    Raises:
        InputError: it is not; or is about corruptions, of which there is no worst case; or about
            none of these models.
    """
    _check_model(gate, models)
    attacked = [
        Level(norm, each)
        for norm in dict.fromkeys(attack.norm for attack in settings.chosen_attacks())
        for each in settings.bounds(norm)
        if norm != CORRUPTIONS
    ]
    if gate.level and not any(map(gate.is_at, attacked)):
        told = ", ".join(map(spelled, attacked)) or "no level"
        raise InputError(f"--fail-if '{gate.text}': nothing is attacked there, only at {told}")


def _check_model(gate: Gate, models: Sequence[str]) -> None:
    if gate.model is not None and gate.model not in models:
        raise InputError(
            f"--fail-if '{gate.text}': there is no model '{gate.model}'; there are"
            f" {', '.join(models)}"
        )


def judged_gates(gates: Sequence[Gate], folder: Path) -> tuple[list[str], list[str]]:
    """Say which gates an evaluation fails, and which it passes: a sentence for each and each model.

    Raises:
        InputError: a gate is about a model that is not there.
    """
    summary = load_results(folder).summary
    failed, passed = [], []
    for gate in gates:
        if gate.level is None:
            rows = summary.clean.assign(share=1 - summary.clean.error)
        else:
            levels = zip(summary.robust.norm, summary.robust.epsilon, strict=True)
            at = summary.robust[[gate.is_at(Level(*level)) for level in levels]]
            rows = at.assign(share=at.robust_accuracy)
        _check_model(gate, list(rows.model))
        where = f" at {spelled(gate.level)}" if gate.level else ""
        for row in rows[rows.model == gate.model].itertuples() if gate.model else rows.itertuples():
            found = f"{gate.metric} of {row.model}{where} is {row.share:.4f}"
            if COMPARISONS[gate.comparison](row.share, gate.bound):
                failed.append(f"{found} {gate.comparison} {gate.bound:g}")
            else:
                passed.append(f"{found}, not {gate.comparison} {gate.bound:g}")
    return failed, passed


# --- what has changed since ---------------------------------------------------------------------


class Changes(NamedTuple):
    """What an evaluation finds otherwise than an earlier one on the same images.

    Attributes:
        summary: a row per model and attack: columns model, attack, norm, epsilon, n, errors_before,
            errors_now, newly_wrong, newly_right, p_value (McNemar).
        images: a row per image that changed: model, attack, norm, epsilon, image, before, now
            ("right" or "wrong").
    """

    summary: pd.DataFrame
    images: pd.DataFrame


def check_baseline(old: Path, new: Metadata) -> None:
    """Check, before anything is attacked, that an earlier evaluation can be compared with.

    Raises:
        InputError: it holds no outcomes, or those of other images, or of no model in common.
    """
    before = read_metadata(old)
    if before.population or new.population:
        raise InputError(
            "--baseline compares the same images, one by one; leave out --precision and"
            " --until-decided, which take as many as are needed"
        )

    def images(metadata: Metadata) -> list[Any]:
        data = metadata.what.get("data", {})
        return [metadata.n, data.get("sha256"), data.get("pictures"), data.get("identity")]

    if images(before) != images(new):
        raise InputError(
            f"--baseline {old} is of other images ({before.n} of {before.dataset}); compare on the"
            " same --data or --dataset, and with the same --limit"
        )
    _pairs([model.name for model in before.models], [model.name for model in new.models], old)


def _pairs(before: Sequence[str], now: Sequence[str], old: Path) -> list[tuple[str, str]]:
    """Return which model is compared with which: those of one name, or the only ones."""
    common = [(name, name) for name in now if name in before]
    if not common and len(before) == len(now) == 1:
        return [(before[0], now[0])]
    if not common:
        raise InputError(
            f"--baseline {old} has the models {', '.join(before)}, and now there are"
            f" {', '.join(now)}; give those that belong together the same name"
        )
    return common


def changes_since(old: Path, new: Path) -> Changes:
    """Compare two results folders on the same images, image by image.

    Raises:
        InputError: as `check_baseline`; or outcomes are damaged.
    """
    names = [[model.name for model in read_metadata(folder).models] for folder in (old, new)]
    before, now = per_image(old), per_image(new)
    rows, changed = [], []
    for first, second in _pairs(names[0], names[1], old):
        cases = _in_common(before, now, first, second)
        for case, one, other in cases:
            newly_wrong, newly_right = ~one & other, one & ~other
            counts = int(newly_wrong.sum()), int(newly_right.sum())
            key = (second, case.attack, case.norm, case.epsilon)
            rows.append((*key, now.n, one.sum(), other.sum(), *counts, mcnemar(*counts)))
            for mask, words in (
                (newly_wrong, ("right", "wrong")),
                (newly_right, ("wrong", "right")),
            ):
                changed += [(*key, int(image), *words) for image in np.flatnonzero(mask)]
    key_columns = ["model", "attack", "norm", "epsilon"]
    numbers = ["n", "errors_before", "errors_now", "newly_wrong", "newly_right", "p_value"]
    return Changes(
        pd.DataFrame(rows, columns=[*key_columns, *numbers]),
        pd.DataFrame(changed, columns=[*key_columns, "image", "before", "now"]),
    )


def _in_common(
    before: PerImage, now: PerImage, first: str, second: str
) -> Iterator[tuple[Case, np.ndarray, np.ndarray]]:
    """Yield the attacks that both went through, and their worst cases, with who is wrong (n,)."""

    def wrong(found: PerImage, counts: np.ndarray, name: str) -> np.ndarray:
        return 2 * counts.astype(np.int64) >= found.draws[name]

    common = [case for case in now.cases if case in before.cases and np.isfinite(case.epsilon)]
    common = [
        case
        for case in common
        if (case, first, first) in before.wrong and (case, second, second) in now.wrong
    ]
    for case in (CLEAN, *common):
        yield (
            case,
            wrong(before, before.wrong[case, first, first], first),
            wrong(now, now.wrong[case, second, second], second),
        )
    for level in dict.fromkeys(case.level for case in common if case.norm != CORRUPTIONS):
        cases = [case for case in common if case.level == level]
        if len(cases) > 1:
            yield (
                Case(WORST_CASE, *level),
                wrong(before, worst_case(before, cases, first), first),
                wrong(now, worst_case(now, cases, second), second),
            )


def write_changes(changes: Changes, folder: Path) -> str:
    """Write both tables to `changes.csv` and `changed-images.csv`; return the first as text."""
    for name, frame in (("changes.csv", changes.summary), ("changed-images.csv", changes.images)):
        with replacing(folder / name) as temporary:
            temporary.write_text(to_csv(frame), encoding="utf-8")
    header = ["model", "attack", "errors before", "now", "newly wrong", "newly right", "p"]
    rows = [
        [
            row.model,
            f"{row.attack}, {Level(row.norm, row.epsilon)}" if row.norm else NO_ATTACK,
            *(str(getattr(row, name)) for name in ("errors_before", "errors_now")),
            str(row.newly_wrong),
            str(row.newly_right),
            p_value(row.p_value),
        ]
        for row in changes.summary.itertuples()
    ]
    return to_text([Table(f"Changes on the same {changes.summary.n.max()} images", header, rows)])
