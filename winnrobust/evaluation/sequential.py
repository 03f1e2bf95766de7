"""When an evaluation that attacks images in a random order has seen enough."""

from collections.abc import Iterator, Sequence
from typing import Any

from winnrobust.evaluation.settings import EvaluationSettings
from winnrobust.evaluation.statistics import SIGNIFICANCE, Summary
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError

FIRST_LOOK = 32
"""Images before the first look at what they tell."""
BETWEEN = 8
"""Later ones come when there are an eighth more images, so that no more than that are too many."""


DECISIVE = ("clean", "errors", "robust", "gaps")
"""Tables of a `Summary` that `is_enough` reads."""
EQUAL = "equal"
"""What is decided where two models differ by no more than a margin."""


def looks(n: int) -> Iterator[int]:
    """Yield after how many of n images to look whether that is enough; the last one is n.

    They do not depend on the batches, so that an evaluation ends where it would have ended without
    an interruption.

    >>> list(looks(150)), len(list(looks(10_000)))
    ([32, 64, 96, 128, 150], 40)
    """
    done = 0
    while done < n:
        done = min(done + max(FIRST_LOOK, done // BETWEEN), n)
        yield done


def check_sampled(settings: EvaluationSettings, models: Sequence[str]) -> None:
    """Check, before any work, that images can be drawn at random until something is decided.

    Raises:
        InputError: they cannot; the message says why.
    """
    if settings.sampled and distributed.world_size() > 1:
        raise InputError(
            "precision and until_decided are for one process: several would have to wait for each"
            " other after every look; start one, or leave them out"
        )
    if settings.until_decided and len(models) < 2:
        raise InputError(
            f"until_decided compares models, and there is only {', '.join(models)}; give a second"
            " one, or precision instead"
        )


def is_enough(summary: Summary, until_decided: bool, margin: float) -> bool:
    """Tell whether an evaluation need not go on.

    Args:
        summary: of the images so far, with its `DECISIVE` tables.
        until_decided: whether every comparison of two models in the worst case of a threat model
            is to be settled; else every error is to be known to `margin`.
        margin: a share.
    """
    if until_decided:
        gaps = summary.gaps
        return len(gaps) > 0 and all(decision(row, margin) for row in gaps.itertuples())
    return widest(summary) <= margin


def widest(summary: Summary) -> float:
    """Return how far an end of an interval is away from the error, at most."""
    robust = summary.robust.rename(
        columns={"robust_accuracy": "error", "low": "error_low", "high": "error_high"}
    )
    return max(
        float(max((table.error_high - table.error).max(), (table.error - table.error_low).max()))
        for table in (summary.clean, summary.errors, robust)
        if len(table)
    )


def decision(row: Any, margin: float) -> str:
    """Say what a row of `Summary.gaps` settles: the more robust model, `EQUAL`, or nothing.

    Args:
        margin: the largest difference that does not matter.
    """
    if row.p_value < SIGNIFICANCE:
        return str(row.second if row.difference > 0 else row.first)
    return EQUAL if -margin <= row.low and row.high <= margin else ""
