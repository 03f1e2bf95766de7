"""What is concluded from the measurements: one function for each sign of false robustness.

A verdict is `ok`: no such sign; `suspicious`: a sign that chance does not explain, so stronger
attacks are due before the model is called robust; `broken`: the attacks do not work on this model,
so its error under attack means nothing; `not tested`: the sign cannot be looked for.

Two attacks are compared on the same images by McNemar's exact test, and a share of images counts
with the lower end of its 95 % interval: a handful of images decides nothing.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import numpy as np

from winnrobust.attacks.gradients import TINY
from winnrobust.attacks.norms import epsilon_text
from winnrobust.evaluation.diagnosis.measurements import (
    EOT,
    FEW,
    HALF,
    PATIENT_RESTARTS,
    PATIENT_STEPS,
    QUERIES,
    STEPS,
    Attacked,
    Measurements,
)
from winnrobust.evaluation.paired import mcnemar
from winnrobust.evaluation.prediction import SAME
from winnrobust.runtime.intervals import rate

Verdict = Literal["ok", "suspicious", "broken", "not tested"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

# Carlini et al. and Pintor et al. name the comparisons; what counts as a difference is our choice.
ALPHA = 0.01
"""Two attacks differ where McNemar's test says so at this level."""
MATTERS = 0.02
"""A rival attack that breaks at most this share of the images more is no sign."""
RUINS = 0.1
"""An attack that breaks this share of the images less than its rival does not work."""
SOME, MOST = 0.05, 0.5
"""A defect of more than these shares of the images is suspicious, and broken."""
NEARLY_ALL = 0.99
"""What the interval of "about 100 %" must reach."""
FEWEST = 30
"""Images that a model must get right before attacks can show anything."""

LOSS_MATTERS = 0.05
"""So much more must another loss break: cross-entropy loses a little to a margin everywhere."""
UPHILL, DOWNHILL = 0.25, 0.15
"""The share of what a gradient says by which its loss must rise, and the share of the images where
it may fail to."""

USUAL_PGD = f"PGD ({STEPS} steps)"
PATIENT_PGD = f"PGD ({PATIENT_STEPS} steps, {PATIENT_RESTARTS} restarts)"
MARGIN_PGD = f"PGD on the margin ({PATIENT_STEPS} steps)"
STRAIGHT_PGD = "the same with gradients straight through what hides them (bpda:auto)"
SQUARE = f"Square ({QUERIES} queries)"
NO_GRADIENT = "a white-box attack has no gradient to follow"
KNOWN = "all attacks along its gradients"


class Finding(NamedTuple):
    """A verdict, and the measured numbers that it rests on in a sentence."""

    verdict: Verdict
    evidence: str


def conclude(measured: Measurements) -> dict[str, Finding]:
    """Return indicator -> what it says of the model."""
    found = {name: indicator(measured) for name, indicator in OF_ANSWERS.items()}
    right = int((~measured.answers.wrong).sum())
    blind = Finding("not tested", NO_GRADIENT)
    few = Finding("not tested", f"only {right} images are classified right; it takes {FEWEST}")
    for name, of_attack in OF_ATTACKS.items():
        attacked = measured.attacked
        found[name] = blind if attacked is None else few
        if attacked is not None and right >= FEWEST:
            found[name] = of_attack(measured, attacked)
    for name, of_probes in OF_PROBES.items():
        expected = measured.attacked is not None or measured.differentiable
        found[name] = few if expected else blind
        if expected and right >= FEWEST:
            found[name] = of_probes(measured)
    return found


def strongest_error(measured: Measurements) -> tuple[int, int]:
    """Return how many images a model gets wrong by all that is known, and of how many.

    All probes at the epsilon in question together. Of a model that answers at random what is wrong
    in most draws: of many attacks each breaks some by luck.
    """
    if (measured.answers.moved | measured.answers.noise_moved).any():
        tried = [each for each in (measured.averaged, measured.single_draw) if each is not None]
        if not tried:
            return int(measured.answers.wrong.sum()), len(measured.answers.wrong)
        return int(np.logical_or.reduce(tried).sum()), len(tried[0])
    broken = measured.known.copy()
    for more in (measured.straight, *measured.transferred.values()):
        if more is not None:
            broken |= more
    broken[: len(measured.queried)] |= measured.queried
    return int(broken.sum()), len(broken)


# --- signs in the model's answers -------------------------------------------------------------


def train_mode(measured: Measurements) -> Finding:
    """A model handed over in train mode (dropout, batch norm) is not the one attacked here.

    Modes are looked at as they came; every attack of ours holds models in eval mode.
    """
    mode = measured.mode
    if not mode.training:
        return Finding("ok", "handed over in eval mode")
    if mode.failure:
        return Finding(
            "suspicious", f"handed over in train mode, where it does not answer: {mode.failure}"
        )
    if not mode.moved:
        return Finding("ok", "handed over in train mode, where it answers as in eval mode")
    if measured.answers.moved.any():
        return Finding("not tested", "handed over in train mode, but random in eval mode as well")
    return Finding(
        "suspicious",
        f"handed over in train mode ({mode.training} modules), where {mode.moved} of {mode.images}"
        f" images get other logits and {mode.flipped} another class than in eval mode, in which it"
        " is attacked here",
    )


def random_answers(measured: Measurements) -> Finding:
    """A model that answers at random needs attacks that average over its randomness.

    It may do so beside the grid of 255ths alone, where attacks are and clean images are not.
    Carlini et al.; Pintor et al., unstable predictions.
    """
    answers = measured.answers
    n, moved, flipped = len(answers.moved), answers.moved.sum(), answers.flipped.sum()
    noisy = answers.noise_moved.sum()
    if not moved and not noisy:
        return Finding("ok", f"a second pass gives all {n} images the same logits, under noise too")
    evidence = (
        f"a second pass gives {moved} of {n} images other logits and {flipped} another class, under"
        f" noise {noisy} other logits; average gradients over its randomness (EOT)"
    )
    if measured.averaged is not None and measured.single_draw is not None:
        evidence += (
            f"; in most of {EOT} draws wrong after {MARGIN_PGD}: {_errors(measured.single_draw)},"
            f" with gradients of {EOT} draws: {_errors(measured.averaged)}"
        )
    return Finding("suspicious", evidence)


def gradients(measured: Measurements) -> Finding:
    """Gradients that are missing, zero or not finite leave nothing to follow.

    A tiny one is not a sign by itself, because attacks take its direction; a direction that is
    another one in every pass is, though averaging may get over it. Carlini et al.; Pintor et al.,
    unavailable gradients.
    """
    if measured.attacked is None:
        return Finding(
            "broken" if measured.differentiable else "not tested",
            measured.obstacle,
        )
    _, _, images, zero, tiny, nonfinite = measured.attacked.gradients.sum(0).tolist()
    astray = int(measured.attacked.astray.sum())
    verdict = _defect(zero + nonfinite, images)
    if verdict == "ok" and _defect(astray, images) != "ok":
        verdict = "suspicious"
    return Finding(
        verdict,
        f"of {images} images, {zero} have a gradient of exact zeros, {nonfinite} one that is not"
        f" finite, and {astray} one that points elsewhere in a second pass;"
        f" {tiny} have none above {TINY:g}",
    )


# --- signs in what the attacks achieve --------------------------------------------------------


def gradient_vs_loss(measured: Measurements, attacked: Attacked) -> Finding:
    """A loss that does not rise along its gradient, but elsewhere, has another gradient.

    Compared with finite differences along the gradient's signs and along random ones.
    """
    if (measured.answers.moved | measured.answers.noise_moved).any():
        return Finding("not tested", "its answers are random, and so are differences of them")
    seen = attacked.uphill[np.isfinite(attacked.uphill).all(1)]
    if len(seen) < FEWEST:
        return Finding("not tested", f"the loss of only {len(seen)} images rises at all")
    least = seen.min(1)
    astray = int((least < UPHILL).sum())
    near, far = (100 * np.median(seen[:, column]) for column in range(2))
    return Finding(
        _defect(astray, len(seen), DOWNHILL),
        f"the loss rises along the gradient by {near:.0f} % of what it says in small steps, by"
        f" {far:.0f} % in larger ones (medians), for {astray} of {len(seen)} images by less than"
        f" {100 * UPHILL:.0f} %",
    )


def loss_along_the_attack(measured: Measurements, attacked: Attacked) -> Finding:
    """A loss that ends no higher than it began means that the gradient does not point uphill.

    Pintor et al., incomplete optimization.
    """
    right = ~measured.answers.wrong
    stuck = int((attacked.path_loss[right, -1] <= attacked.path_loss[right, 0]).sum())
    return Finding(
        _defect(stuck, int(right.sum())),
        f"the loss is no higher after {STEPS} steps than at the start for {stuck} of the"
        f" {right.sum()} images that the model gets right",
    )


def iterative_vs_single_step(measured: Measurements, attacked: Attacked) -> Finding:
    """Many small steps that do no better than a single one follow gradients that mislead.

    On a linear model they do equally well, so equal losses are a sign only where not even the
    single step raises the loss. Carlini et al., sanity tests.
    """
    beaten = _rivals(USUAL_PGD, attacked.path, "FGSM", attacked.single_step)
    if beaten.verdict != "ok":
        return beaten
    right = ~measured.answers.wrong
    ends, single_step = attacked.path_loss[right, -1], attacked.single_step_loss[right]
    differ = ~np.isclose(ends, single_step, rtol=SAME, atol=SAME)
    higher = int((differ & (ends > single_step)).sum())
    lower = int((differ & (ends < single_step)).sum())
    if mcnemar(higher, lower) < ALPHA:
        good = higher > lower
    else:
        good = (single_step > attacked.clean_loss[right]).mean() > MOST
    return Finding(
        "ok" if good else "suspicious",
        f"{beaten.evidence}; the loss ends above FGSM's for {higher} images that it"
        f" gets right, below for {lower}",
    )


def noise_vs_attack(measured: Measurements, attacked: Attacked) -> Finding:
    """An attack that breaks no more images than random noise does not attack.

    Carlini et al., brute force.
    """
    contests = {
        epsilon: (attacked.usual[:, column], attacked.noise[:, column])
        for column, epsilon in enumerate(measured.epsilons)
        if epsilon >= measured.epsilon
    }
    attack, noise = contests[measured.epsilon]
    beaten = _rivals(USUAL_PGD, attack, "uniform noise", noise)
    if beaten.verdict != "ok" or _wins(attack, noise) or _is_nearly_all(attack):
        return beaten
    larger = [epsilon for epsilon, contest in contests.items() if _wins(*contest)]
    if larger:
        return Finding(
            "not tested",
            f"{beaten.evidence}; too small an epsilon to tell them apart, as"
            f" {epsilon_text(larger[0])} does",
        )
    return Finding(
        "suspicious",
        f"{beaten.evidence}; nor do they differ up to epsilon {epsilon_text(max(contests))}",
    )


def steps_and_restarts(measured: Measurements, attacked: Attacked) -> Finding:
    """An attack that more steps or restarts still strengthen was stopped too early.

    One that they weaken is at the mercy of where it stands, and so is one that breaks more where it
    goes on after its first success. Carlini et al.; Pintor et al., incomplete optimization.
    """
    usual = attacked.usual[:, measured.epsilons.index(measured.epsilon)]
    more = _rivals(USUAL_PGD, usual, PATIENT_PGD, attacked.patient)
    fewer = _rivals(PATIENT_PGD, attacked.patient, USUAL_PGD, usual)
    uncut = _rivals(USUAL_PGD, usual, f"{USUAL_PGD} that never stops", attacked.path)
    return _worst([more, uncut, fewer])


def another_loss(measured: Measurements, attacked: Attacked) -> Finding:
    """A margin of logits that breaks far more than cross-entropy does: that one is saturated.

    Or it follows the mean of all classes, as at a high temperature. Tramer et al. 2020.
    """
    return _rivals(PATIENT_PGD, attacked.patient, MARGIN_PGD, attacked.margin, LOSS_MATTERS)


def straight_through(measured: Measurements) -> Finding:
    """Gradients that lead further once they pass straight through a part were hidden by it.

    Athalye et al. 2018, BPDA.
    """
    if measured.straight is None:
        return Finding("not tested", "there is nothing to pass through")
    return _added(KNOWN, measured.known, STRAIGHT_PGD, measured.straight)


def single_step_over_epsilon(measured: Measurements, attacked: Attacked) -> Finding:
    """A single step that does better at half the length crosses a wall that training put there.

    Catastrophic overfitting to FGSM: Wong, Rice, Kolter 2020; Andriushchenko, Flammarion 2020.
    Where many steps break no more, that is not misleading.
    """
    full, half = (
        f"FGSM at epsilon {epsilon_text(measured.epsilon)}",
        f"at {epsilon_text(measured.epsilon / 2)}",
    )
    shorter = _rivals(full, attacked.single_step, half, attacked.half_step)
    many = _rivals(full, attacked.single_step, PATIENT_PGD, attacked.patient)
    if shorter.verdict != "ok" and many.verdict == "broken":
        return Finding("suspicious", f"{shorter.evidence}; {many.evidence}")
    return Finding("ok", shorter.evidence)


def error_over_epsilon(measured: Measurements, attacked: Attacked) -> Finding:
    """A larger ball holds all examples of a smaller one, so the error cannot fall.

    Carlini et al., sanity tests.
    """
    attacks = list(zip(measured.epsilons, attacked.usual.T, strict=True))
    worst = _worst(
        _rivals(
            f"epsilon {epsilon_text(larger)}",
            broken,
            f"epsilon {epsilon_text(smaller)}",
            broken_before,
        )
        for (smaller, broken_before), (larger, broken) in pairwise(attacks)
    )
    errors = ", ".join(
        f"{100 * broken.mean():.1f} % at {epsilon_text(epsilon)}" for epsilon, broken in attacks
    )
    evidence = f"{USUAL_PGD}, error over epsilon: {errors}"
    return Finding(
        worst.verdict, evidence if worst.verdict == "ok" else f"{evidence}; {worst.evidence}"
    )


def error_at_half(measured: Measurements, attacked: Attacked) -> Finding:
    """At epsilon 0.5 every image can be painted mid-gray, so an attack must break about all.

    One that breaks fewer than the gray paint does not work. Carlini et al., sanity tests; Pintor et
    al., unconstrained attack failure.
    """
    half = attacked.usual[:, measured.epsilons.index(HALF)]
    evidence = f"{USUAL_PGD} at epsilon {HALF:g}: {_errors(half)}"
    if _wins(attacked.gray, half):
        return Finding("broken", f"{evidence}, which mid-gray beats: {_errors(attacked.gray)}")
    return Finding("ok" if _is_nearly_all(half) else "suspicious", evidence)


def black_box_vs_white_box(measured: Measurements) -> Finding:
    """An attack that sees only answers cannot beat one that sees gradients, unless these mislead.

    Or unless it stops too early; whatever the cause, it is not strong enough. Carlini et al.
    """
    known = measured.known if measured.straight is None else measured.straight
    return _added(KNOWN, known[:FEW], SQUARE, measured.queried)


def transfer_vs_white_box(measured: Measurements, attacked: Attacked) -> Finding:
    """Examples made on another model cannot beat those made on the model, unless these fail.

    Carlini et al.; Pintor et al., transfer failure.
    """
    if not measured.transferred:
        return Finding("not tested", "no other model with gradients to transfer from")
    return _worst(
        _rivals(PATIENT_PGD, attacked.patient, f"transfer from {source}", broken)
        for source, broken in measured.transferred.items()
    )


OF_ANSWERS: dict[str, Callable[[Measurements], Finding]] = {
    "train mode": train_mode,
    "random answers": random_answers,
    "gradients": gradients,
}
"""Name -> indicator, of any model."""

OF_ATTACKS: dict[str, Callable[[Measurements, Attacked], Finding]] = {
    "gradient vs loss": gradient_vs_loss,
    "loss along the attack": loss_along_the_attack,
    "iterative vs single step": iterative_vs_single_step,
    "noise vs attack": noise_vs_attack,
    "steps and restarts": steps_and_restarts,
    "another loss": another_loss,
    "single step over epsilon": single_step_over_epsilon,
    "error over epsilon": error_over_epsilon,
    "error at epsilon 0.5": error_at_half,
    "transfer vs white box": transfer_vs_white_box,
}
"""Name -> indicator, of a model with gradients."""

OF_PROBES: dict[str, Callable[[Measurements], Finding]] = {
    "straight through": straight_through,
    "black box vs white box": black_box_vs_white_box,
}
"""Name -> indicator, of a model that has a gradient or should have one."""


# --- the statistics ---------------------------------------------------------------------------


def _rivals(
    attack: str,
    broken: np.ndarray,
    rival: str,
    rival_broken: np.ndarray,
    matters: float = MATTERS,
) -> Finding:
    """Judge an attack by whether a rival that should not be stronger is so on the same images.

    Args:
        attack, rival: what they are called.
        broken, rival_broken: (N,) bool, where the model is wrong after each.
        matters: how much stronger it must be.
    """
    n = len(broken)
    only, rival_only = int((broken & ~rival_broken).sum()), int((rival_broken & ~broken).sum())
    p_value, gap = mcnemar(only, rival_only), (rival_only - only) / n
    verdict: Verdict = "ok"
    if p_value < ALPHA and gap > matters:
        verdict = "broken" if gap > RUINS else "suspicious"
    return Finding(
        verdict,
        f"{attack}: {_errors(broken)}; {rival}: {_errors(rival_broken)}; {only} only by the first,"
        f" {rival_only} only by the second (p = {p_value:.2g})",
    )


def _added(attack: str, broken: np.ndarray, rival: str, with_rival: np.ndarray) -> Finding:
    """Judge attacks by what another one breaks that they do not.

    Args:
        broken: (N,) bool, where the model is wrong after the attacks.
        with_rival: where it is wrong after those or the rival.
    """
    n, more = len(broken), int((with_rival & ~broken).sum())
    share, low, high = rate(more, n)
    return Finding(
        "broken" if low > RUINS else "suspicious" if low > MATTERS else "ok",
        f"{attack}: {_errors(broken)}; {rival}: {more} more ({100 * share:.1f} % [{100 * low:.1f},"
        f" {100 * high:.1f}])",
    )


def _wins(attack: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether an attack breaks more of the same images than another one, beyond chance."""
    only, other_only = int((attack & ~other).sum()), int((other & ~attack).sum())
    return only > other_only and mcnemar(only, other_only) < ALPHA


def _is_nearly_all(broken: np.ndarray) -> bool:
    return rate(int(broken.sum()), len(broken)).high >= NEARLY_ALL


def _defect(count: int, total: int, some: float = SOME) -> Verdict:
    """Judge a defect that `count` of `total` images have."""
    low = rate(count, total).low
    return "broken" if low > MOST else "suspicious" if low > some else "ok"


def _worst(findings: Iterable[Finding]) -> Finding:
    return max(findings, key=lambda finding: VERDICTS.index(finding.verdict))


def _errors(broken: np.ndarray) -> str:
    count, n = int(broken.sum()), len(broken)
    share, low, high = (100 * value for value in rate(count, n))
    return f"{count} of {n} wrong ({share:.1f} % [{low:.1f}, {high:.1f}])"
