"""The indicators' statistics, on measurements whose verdict can be worked out by hand."""

from typing import Any

import numpy as np
import pytest

from winnrobust.evaluation.diagnosis.indicators import (
    OF_ANSWERS,
    OF_ATTACKS,
    OF_PROBES,
    Finding,
    conclude,
    strongest_error,
)
from winnrobust.evaluation.diagnosis.measurements import (
    FEW,
    STEPS,
    Answers,
    Attacked,
    Measurements,
    Mode,
    epsilons_around,
)

EPSILON = 0.125
AT_EPSILON, AT_HALF = 1, 3


def first(count: int, n: int) -> np.ndarray:
    """The first `count` of n images."""
    return np.arange(n) < count


def column(index: int, broken: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What broke at every epsilon: `broken` at one, `others` elsewhere."""
    columns = [others] * len(epsilons_around(EPSILON))
    columns[index] = broken
    return np.stack(columns, axis=1)


def measurements(n: int, transferred: dict[str, np.ndarray] | None = None, **hits: Any):
    """A model that is right about n images, which no attack breaks, but for what is given."""
    none = first(0, n)
    nowhere = column(0, none, none)
    losses = {
        "clean_loss": np.zeros(n),
        "single_step_loss": np.ones(n),
        "path_loss": np.linspace(0, 2, STEPS + 1) * np.ones((n, 1)),
        "gradients": np.array([[n, 0, n, 0, 0, 0]]),
        "uphill": np.ones((n, 2)),
    }
    few = {name: hits.pop(name, none[:FEW]) for name in ("queried", "averaged", "single_draw")}
    straight = hits.pop("straight", none)
    answers = Answers(*(hits.pop(name, none) for name in Answers._fields))
    untouched = dict.fromkeys(Attacked._fields, none) | {"noise": nowhere, "usual": nowhere}
    return Measurements(
        epsilon=EPSILON,
        mode=Mode(0, n, 0, 0),
        answers=answers,
        differentiable=True,
        obstacle="",
        attacked=Attacked(**untouched | losses | hits),
        straight=straight,
        **few,
        transferred=transferred or {},
    )


def found(indicator: str, n: int, **hits: Any) -> Finding:
    return conclude(measurements(n, **hits))[indicator]


# Two attacks that differ on k images, all one way: McNemar's p is 2 / 2**k, so 1/64 for 7 and
# 1/128 for 8; 1 % lies between them.


@pytest.mark.parametrize(
    ("more", "n", "verdict"),
    [
        (7, 100, "ok"),  # may be chance
        (8, 100, "suspicious"),
        (10, 100, "suspicious"),  # a tenth is not more than a tenth
        (11, 100, "broken"),
        (8, 400, "ok"),  # no chance, but not more than 2 %
        (9, 400, "suspicious"),
    ],
)
def test_a_rival_must_be_stronger_beyond_chance_and_by_enough(more, n, verdict):
    assert found("steps and restarts", n, patient=first(more, n)).verdict == verdict
    assert found("iterative vs single step", n, single_step=first(more, n)).verdict == verdict
    transferred = found("transfer vs white box", n, transferred={"other": first(more, n)})
    assert transferred.verdict == verdict
    noise = column(AT_EPSILON, first(more, n), first(0, n))
    # Where noise is not stronger it is as strong, which is suspicious enough.
    expected = "suspicious" if verdict == "ok" else verdict
    assert found("noise vs attack", n, noise=noise).verdict == expected
    falling = column(AT_EPSILON, first(more, n), first(0, n))
    assert found("error over epsilon", n, usual=falling).verdict == verdict


def test_the_evidence_counts_both_sides():
    hits = {"patient": first(12, 100), "usual": column(AT_EPSILON, ~first(95, 100), first(0, 100))}
    assert found("steps and restarts", 100, **hits) == (
        "ok",
        "PGD (20 steps): 5 of 100 wrong (5.0 % [2.2, 11.2]); PGD (40 steps, 2 restarts):"
        " 12 of 100 wrong (12.0 % [7.0, 19.8]); 5 only by the first, 12 only by the second"
        " (p = 0.14)",
    )


def test_transfer_names_the_worst_source():
    sources = {"weak": first(3, 100), "strong": first(20, 100)}
    finding = found("transfer vs white box", 100, transferred=sources)
    assert finding.verdict == "broken"
    assert "transfer from strong: 20 of 100" in finding.evidence


# Wilson's interval of k in 300 begins above 5 % from 23 on, and above 50 % from 167 on:
# 22: (22 + 1.92 - 1.96 * sqrt(22 * 278 / 300 + 0.96)) / 303.84 = 0.0490
# 23: (23 + 1.92 - 1.96 * sqrt(23 * 277 / 300 + 0.96)) / 303.84 = 0.0517
# 166: (166 + 1.92 - 1.96 * sqrt(166 * 134 / 300 + 0.96)) / 303.84 = 0.4967
# 167: (167 + 1.92 - 1.96 * sqrt(167 * 133 / 300 + 0.96)) / 303.84 = 0.5001


@pytest.mark.parametrize(
    ("count", "verdict"),
    [(0, "ok"), (22, "ok"), (23, "suspicious"), (166, "suspicious"), (167, "broken")],
)
def test_a_defect_counts_with_the_lower_end_of_its_interval(count, verdict):
    flat = np.where(first(count, 300)[:, None], 1.0, np.linspace(0, 2, STEPS + 1))
    assert found("loss along the attack", 300, path_loss=flat).verdict == verdict
    statistics = np.array([[300, 0, 300, count, count, 0]])
    assert found("gradients", 300, gradients=statistics).verdict == verdict
    halves = np.array([[150, 0, 150, count // 2, 0, 0], [150, 0, 150, 0, 0, count - count // 2]])
    assert found("gradients", 300, gradients=halves).verdict == verdict


def test_gradients_turned_by_rounding_are_never_more_than_suspicious():
    assert found("gradients", 300, astray=first(22, 300)).verdict == "ok"
    assert found("gradients", 300, astray=first(300, 300)).verdict == "suspicious"


# 1 - Wilson's lower end of the k in 300 that stand: 0.9908 for 6, 0.9887 for 7.


@pytest.mark.parametrize(
    ("broken", "gray", "verdict"),
    [
        (300, 270, "ok"),
        (294, 270, "ok"),
        (293, 270, "suspicious"),
        (263, 270, "suspicious"),  # fewer than gray, but that may be chance
        (262, 270, "broken"),
    ],
)
def test_error_at_half(broken, gray, verdict):
    usual = column(AT_HALF, first(broken, 300), first(0, 300))
    hits = {"usual": usual, "gray": first(gray, 300)}
    assert found("error at epsilon 0.5", 300, **hits).verdict == verdict


def test_noise_as_strong_as_the_attack_depends_on_larger_epsilons():
    none, all_of_them = first(0, 100), first(100, 100)
    stronger_at_half = column(AT_HALF, all_of_them, none)
    finding = found("noise vs attack", 100, usual=stronger_at_half)
    assert finding.verdict == "not tested"
    assert "as 0.5 does" in finding.evidence
    assert found("noise vs attack", 100).verdict == "suspicious"
    # Nothing is left for an attack to do better.
    everything = {"usual": column(0, all_of_them, all_of_them)} | {
        "noise": column(0, all_of_them, all_of_them)
    }
    assert found("noise vs attack", 100, **everything).verdict == "ok"


def test_losses_decide_where_errors_do_not():
    def verdict(ends: np.ndarray, single_step: float) -> str:
        path = np.linspace(0, 1, STEPS + 1) * ends[:, None]
        hits = {"path_loss": path, "single_step_loss": np.full(100, single_step)}
        return found("iterative vs single step", 100, **hits).verdict

    assert verdict(np.full(100, 2.0), 1.0) == "ok"
    assert verdict(np.full(100, 0.5), 1.0) == "suspicious"
    assert verdict(np.full(100, 1.0), 1.0) == "ok"  # as on a linear model
    assert verdict(np.full(100, 0.0), 0.0) == "suspicious"  # neither moved
    # 36 against 64 is chance at 1 % (p = 0.0066 for 36, 0.012 for 37).
    assert verdict(np.where(first(37, 100), 2.0, 0.5), 1.0) == "ok"
    assert verdict(np.where(first(36, 100), 2.0, 0.5), 1.0) == "suspicious"


def test_every_indicator_speaks_and_says_why():
    everything = conclude(measurements(100, transferred={"other": first(0, 100)}))
    assert list(everything) == [*OF_ANSWERS, *OF_ATTACKS, *OF_PROBES]
    assert all(finding.evidence for finding in everything.values())


@pytest.mark.parametrize(
    ("more", "verdict"), [(4, "ok"), (5, "suspicious"), (15, "suspicious"), (17, "broken")]
)
def test_a_probe_counts_with_what_it_breaks_besides(more, verdict):
    # Wilson's intervals of 4, 5, 15 and 17 in 100 begin at 1.6, 2.2, 9.3 and 10.9 %.
    known = first(30, 100)
    straight = first(30 + more, 100)
    finding = found("straight through", 100, patient=known, straight=straight)
    assert finding.verdict == verdict
    assert f"{more} more" in finding.evidence
    # What is known already is nothing that a probe adds.
    assert found("straight through", 100, patient=straight, straight=straight).verdict == "ok"


def test_a_black_box_is_compared_with_all_that_gradients_break():
    queried = first(40, 100)[:FEW]
    assert found("black box vs white box", 100, queried=queried).verdict == "broken"
    known = {"patient": first(40, 100), "straight": first(40, 100)}
    assert found("black box vs white box", 100, queried=queried, **known).verdict == "ok"
    assert found("black box vs white box", 100, queried=queried, straight=first(40, 100)) == (
        found("black box vs white box", 100, queried=queried, **known)
    )


def test_steps_that_break_fewer_are_a_sign_too():
    many = column(AT_EPSILON, first(77, 256), first(0, 256))
    assert found("steps and restarts", 256, usual=many, patient=first(64, 256)).verdict != "ok"
    same = column(AT_EPSILON, first(64, 256), first(0, 256))
    uncut = {"usual": same, "patient": first(64, 256)}
    assert found("steps and restarts", 256, **uncut, path=first(60, 256)).verdict == "ok"
    assert found("steps and restarts", 256, **uncut, path=first(120, 256)).verdict == "broken"


@pytest.mark.parametrize(("more", "verdict"), [(5, "ok"), (12, "broken")])
def test_a_margin_that_breaks_more_than_cross_entropy(more, verdict):
    hits = {"patient": first(50, 100), "margin": first(50 + more, 100)}
    assert found("another loss", 100, **hits).verdict == verdict


def test_a_single_step_that_is_better_at_half_the_length():
    overfitted = {"single_step": first(2, 100), "half_step": first(30, 100)}
    assert found("single step over epsilon", 100, **overfitted).verdict == "ok"  # and PGD no better
    refuted = overfitted | {"patient": first(71, 100)}
    assert found("single step over epsilon", 100, **refuted).verdict == "suspicious"
    honest = {"single_step": first(60, 100), "half_step": first(30, 100), "patient": first(90, 100)}
    assert found("single step over epsilon", 100, **honest).verdict == "ok"


def test_a_gradient_along_which_the_loss_does_not_rise():
    def verdict(share: float, count: int, **more: Any) -> str:
        uphill = np.ones((100, 2))
        uphill[:count, 1] = share
        return found("gradient vs loss", 100, uphill=uphill, **more).verdict

    assert verdict(0.3, 100) == "ok"  # a curved loss
    assert verdict(0.1, 20) == "ok"
    assert verdict(0.1, 40) == "suspicious"
    assert verdict(0.1, 100) == verdict(-1.0, 100) == "broken"
    assert verdict(np.nan, 100) == "not tested"  # flat
    assert verdict(-1.0, 100, noise_moved=first(1, 100)) == "not tested"  # random


def test_random_off_the_grid_alone():
    assert found("random answers", 100).verdict == "ok"
    finding = found("random answers", 100, noise_moved=first(100, 100))
    assert finding.verdict == "suspicious"
    assert "0 of 100 images other logits" in finding.evidence
    assert "under noise 100" in finding.evidence


def test_the_strongest_error_is_of_all_probes_together():
    hits = {"patient": first(10, 100), "straight": first(20, 100), "queried": first(30, 100)[:FEW]}
    other = {"other": ~first(95, 100)}
    assert strongest_error(measurements(100, other, **hits)) == (35, 100)
    # Of a random model attacks break some by luck: what is wrong in most draws counts.
    lucky = hits | {"moved": first(5, 100), "averaged": first(7, 64), "single_draw": first(3, 64)}
    assert strongest_error(measurements(100, other, **lucky)) == (7, 64)
