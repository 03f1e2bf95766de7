"""All that is measured of the models, before anything is concluded from it.

Two looks at a model's answers, and small attacks of our own, batch after batch.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import (
    NORMS,
    AttackResult,
    CleanPass,
    Run,
    draws,
    find,
    loss_gradient,
    run_attack,
    with_settings,
)
from winnrobust.attacks.gradients import log_odds
from winnrobust.attacks.pgd import RELATIVE_STEP
from winnrobust.evaluation.checks import as_floats
from winnrobust.evaluation.prediction import (
    OUT_OF_MEMORY,
    check_classes,
    errors_named,
    logits_from,
    moved,
    prediction,
)
from winnrobust.evaluation.state import channels_last, frozen, own_randomness
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError, brief

STEPS = 20
"""PGD's in an evaluation, unless it is set otherwise."""
PATIENT_STEPS, PATIENT_RESTARTS = 2 * STEPS, 2
"""What it spends here to show whether its usual budget is enough."""
QUERIES = 1000
"""What Square may ask about an image."""
FEW = 64
"""Images that costly probes attack: the first so many."""
EOT = 16
"""Draws that the attack on a model that answers at random averages over."""
STRAIGHT = "bpda:auto:pgd"
"""What follows gradients that pass straight through what hides them."""
DRAWS = 3
"""How often noise is drawn; the worst counts."""
HALF = 0.5
"""At this epsilon every image can be painted mid-gray: nothing is left to recognize."""
SCALES = (1 / 32, 1 / 4)
"""How far from a point its gradient is compared with the rise of the loss, in epsilons."""
DIRECTIONS = 6
"""Random directions that it is compared along."""
ASTRAY = 0.9
"""A gradient whose cosine to that of another pass is lower points somewhere else."""


class Mode(NamedTuple):
    """The mode in which a model was handed over, tried on one batch.

    Attributes:
        training: submodules in train mode.
        images: images that it was tried on.
        moved, flipped: how many of them get other logits, another class, than in eval mode.
        failure: why it does not answer in that mode; empty where it does.
    """

    training: int
    images: int
    moved: int
    flipped: int
    failure: str = ""


class Answers(NamedTuple):
    """What a model says of N unchanged images; (N,) bool each.

    Attributes:
        wrong: its class is not the label.
        moved, flipped: a second pass gives other logits, another class.
        noise_moved: it does so for the image under noise.
    """

    wrong: np.ndarray
    moved: np.ndarray
    flipped: np.ndarray
    noise_moved: np.ndarray


class Attacked(NamedTuple):
    """What attacks made of N images; (N,) bool where nothing else is said: is the model wrong?

    Losses are the log-odds of the other classes in double precision, logsumexp(others) - label,
    of which cross-entropy is a rising function.

    Attributes:
        gray: on mid-gray in the place of the image.
        noise: (N, E) bool, after `DRAWS` draws of uniform noise, at each of `epsilons_around`
            epsilon.
        usual: (N, E) bool, after PGD with its usual `STEPS` at each of them.
        patient: after PGD with `PATIENT_STEPS` and `PATIENT_RESTARTS`.
        margin: after PGD with `PATIENT_STEPS` on the margin of logits, not on cross-entropy.
        single_step: after FGSM.
        half_step: after FGSM at half the epsilon.
        path: at the end of a plain PGD path that nothing cuts short.
        clean_loss, single_step_loss: (N,) float64.
        path_loss: (N, steps + 1) float64, along that path, its random start first.
        gradients: (batches, 6) int64, `GradientStatistics` of the images as they are.
        uphill: (N, scales) float64, how much steeper the loss rises along its gradient than along
            random directions, as a share of what that gradient says; NaN where it does not rise.
        astray: a second pass gives the image a gradient that points elsewhere. A zero one is not
            astray.
    """

    gray: np.ndarray
    noise: np.ndarray
    usual: np.ndarray
    patient: np.ndarray
    margin: np.ndarray
    single_step: np.ndarray
    half_step: np.ndarray
    path: np.ndarray
    clean_loss: np.ndarray
    single_step_loss: np.ndarray
    path_loss: np.ndarray
    gradients: np.ndarray
    uphill: np.ndarray
    astray: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(N,) bool, what attacks along the gradient as it is break at the epsilon in question."""
        return self.single_step | self.path | self.patient | self.margin


@dataclass(frozen=True)
class Measurements:
    """What is known of one model.

    Attributes:
        epsilon: the L-infinity bound in question.
        differentiable: whether a gradient may be expected: torch knows parameters of the model.
        obstacle: why there is none; empty where there is one.
        attacked: None where there is no gradient.
        straight: (N,) bool, wrong already, or after the PGD of `margin` with gradients that pass
            straight through what hides them, on what is not known to break. None where it has none
            in that way, either.
        queried: of the first `FEW` images, (n,) bool, wrong already or after Square with `QUERIES`
            on those that are not known to break.
        averaged: of the same, wrong in most draws after PGD along gradients averaged over `EOT`
            draws; None for a model that does not answer at random, or has no gradient.
        single_draw: the same after PGD along the gradient of one draw; None like it.
        transferred: source -> (N,) bool, wrong on the examples made on that other model.
    """

    epsilon: float
    mode: Mode
    answers: Answers
    differentiable: bool
    obstacle: str
    attacked: Attacked | None
    straight: np.ndarray | None
    queried: np.ndarray
    averaged: np.ndarray | None
    single_draw: np.ndarray | None
    transferred: dict[str, np.ndarray]

    @property
    def known(self) -> np.ndarray:
        """(N,) bool, what is wrong as it is or after attacks along the gradient as it is."""
        return self.answers.wrong if self.attacked is None else self.attacked.known

    @property
    def epsilons(self) -> list[float]:
        """The E epsilons of its attacks, ascending."""
        return epsilons_around(self.epsilon)


def epsilons_around(epsilon: float) -> list[float]:
    """Return half of epsilon, itself, its double and `HALF`, ascending."""
    return sorted({epsilon / 2, epsilon, min(2 * epsilon, 1.0), HALF})


@dataclass(frozen=True)
class Batch:
    """Some images, and a model to attack with them.

    Attributes:
        name: of the model.
        models: all models by name, for attacks that transfer.
        images: (n, C, H, W) float32 in [0, 1], on the model's device.
        labels: (n,) int64.
        numbers: (n,) int64, of the images among all.
        seed: of all random draws.
        eot: draws that attacks average over.
    """

    name: str
    models: Mapping[str, nn.Module]
    images: Tensor
    labels: Tensor
    numbers: Tensor
    seed: int
    eot: int = 1

    @cached_property
    def clean(self) -> CleanPass:
        """What the model says of the images, shared by the attacks."""
        return CleanPass(self.models[self.name], self.images, self.labels, eot=self.eot)

    def attack(self, attack: str, epsilons: Sequence[float], **budget: Any) -> list[AttackResult]:
        """Run an attack at every epsilon, with other `steps`, `restarts` or `queries` if given.

        Raises:
            InputError: the attack fails on the model, or leaves the ball.
        """
        chosen, model = with_settings(find(attack), **budget), self.models[self.name]
        run = Run(
            seed=self.seed, numbers=self.numbers, eot=self.eot, clean=self.clean,
            surrogates=self.models,
        )  # fmt: skip
        with errors_named(self.name, self.images):
            return run_attack(chosen, model, self.images, self.labels, epsilons, run=run)

    def broken(self, attack: str, epsilons: Sequence[float], **budget: Any) -> np.ndarray:
        """Tell where the model is wrong, (n, epsilons) bool, on the examples of `attack`."""
        results = self.attack(attack, epsilons, **budget)
        return np.stack([self.judge(result.images)[0] for result in results], axis=1)

    def also_broken(
        self, known: np.ndarray, attack: str, epsilon: float, **budget: Any
    ) -> np.ndarray:
        """Tell where the model is wrong, (n,) bool, on the examples of `attack` or was before.

        Args:
            known: (n,) bool, what is known to break: it is not attacked again.
        """
        rows = torch.as_tensor(~known, device=self.images.device).nonzero().flatten()
        found = known.copy()
        if len(rows):
            found[~known] = self.of(rows).broken(attack, [epsilon], **budget)[:, 0]
        return found

    def of(self, rows: Tensor) -> "Batch":
        """Return the images numbered `rows` (m,) alone."""
        return replace(
            self, images=self.images[rows], labels=self.labels[rows], numbers=self.numbers[rows]
        )

    def logits(self, images: Tensor) -> Tensor:
        """Return what the model says of images."""
        return logits_from(self.name, self.models[self.name], images)

    def judge(self, images: Tensor, logits: Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Tell where the model is wrong (n,) on images, and at which loss (n,) float64.

        Args:
            logits: what it says of them, if that is known.
        """
        # On the CPU, because not every device has float64.
        seen = (self.logits(images) if logits is None else logits).cpu().double()
        labels = self.labels.cpu()
        return (seen.argmax(1) != labels).numpy(), log_odds(seen, labels).numpy()

    def loss_gradient(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (n, K) of images, and the gradient of the loss at them."""
        with errors_named(self.name, images):
            seen = loss_gradient(self.models[self.name], images, self.labels)
        return seen.logits, seen.gradient


@dataclass(frozen=True)
class Sample:
    """What the models are probed with: N images, taken in batches.

    Attributes:
        images: (N, C, H, W), uint8, or floating point in [0, 1].
        labels: (N,) int64.
        epsilon: the L-infinity bound in question, above 0.
        seed: of all random draws.
        batch_size: images at once.
        eot: draws that attacks average over.
    """

    images: Tensor
    labels: Tensor
    epsilon: float
    seed: int
    batch_size: int
    eot: int = 1

    def batches(self, name: str, models: Mapping[str, nn.Module]) -> Iterator[Batch]:
        """Yield the batches, to attack the model called `name` with."""
        device = device_of(models[name])
        for start in range(0, len(self.images), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            images = as_floats(self.images[chosen]).to(device)
            numbers = torch.arange(start, start + len(images), device=device)
            labels = self.labels[chosen].to(device)
            yield Batch(name, models, images, labels, numbers, self.seed, self.eot)


# --- all models -------------------------------------------------------------------------------


def measure(
    models: Mapping[str, nn.Module],
    sample: Sample,
    device: torch.device | None,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Measurements]:
    """Probe every model on `device`, or where it is, and give it back as it was.

    What models draw from torch's global generators depends on the sample's seed; the generators
    are left as they were.

    Args:
        progress: as in `diagnose`.

    Raises:
        InputError: a model cannot be used; the message says which and why.
    """
    few = as_floats(sample.images[:2]), sample.labels[:2]
    tried = as_floats(sample.images[: sample.batch_size])
    done = 0

    def advance(images: int) -> None:
        nonlocal done
        done += images
        if progress is not None:
            progress(done, len(models) * len(sample.images))

    places = {device or device_of(model) for model in models.values()}
    with own_randomness(places, sample.seed, "diagnosis"):
        modes = {name: _mode(name, model, tried, device) for name, model in models.items()}
        with frozen(models.values(), device):
            check_classes(models, few[0], sample.labels)
            with channels_last(models.values(), *few):
                obstacles = {name: _obstacle(model, *few) for name, model in models.items()}
                transferred = {
                    source: _transferred(source, models, sample)
                    for source, obstacle in obstacles.items()
                    if not obstacle
                }
                return {
                    name: Measurements(
                        sample.epsilon,
                        modes[name],
                        transferred={
                            source: at[name] for source, at in transferred.items() if source != name
                        },
                        **_probed(name, models, sample, obstacles[name], advance),
                    )
                    for name in models
                }


def _mode(name: str, model: nn.Module, images: Tensor, device: torch.device | None) -> Mode:
    """Compare what a model says in the modes that it came in with what it says in eval mode."""
    modes = {module: module.training for module in model.modules() if hasattr(module, "training")}
    with frozen([model], device):
        evaluated = logits_from(name, model, images)
        for module, training in modes.items():
            module.training = training
        try:
            given = logits_from(name, model, images)
        except InputError as error:
            return Mode(sum(modes.values()), len(images), 0, 0, failure=str(error))
    moved, flipped = (int(changed.sum()) for changed in _changes(evaluated, given))
    return Mode(sum(modes.values()), len(images), moved, flipped)


def _changes(first: Tensor, second: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Tell for which of n images the logits (n, K) moved, and for which the class flipped."""
    flipped = first.argmax(1) != second.argmax(1)
    return moved(first, second).cpu().numpy(), flipped.cpu().numpy()


def _obstacle(model: nn.Module, images: Tensor, labels: Tensor) -> str:
    """Tell why there is no gradient to follow; nothing where there is one."""
    device = device_of(model)
    try:
        loss_gradient(model, images.to(device), labels.to(device))
    except OUT_OF_MEMORY:
        raise
    except InputError as error:
        return str(error)
    except Exception as error:  # anyone's module may raise anything
        return f"its gradient fails: {type(error).__name__}: {brief(error)}"
    return ""


def _transferred(
    source: str, models: Mapping[str, nn.Module], sample: Sample
) -> dict[str, np.ndarray]:
    """Tell for every other model where it is wrong, (N,) bool, on the examples made on `source`."""
    wrong: dict[str, list[np.ndarray]] = {name: [] for name in models if name != source}
    for batch in sample.batches(source, models) if wrong else ():
        (made,) = batch.attack(f"transfer:{source}", [sample.epsilon])
        for name, parts in wrong.items():
            seen = prediction(name, models[name], made.images)
            parts.append((seen != batch.labels.cpu()).numpy())
    return {name: np.concatenate(parts) for name, parts in wrong.items()}


# --- one model --------------------------------------------------------------------------------


def _probed(
    name: str,
    models: Mapping[str, nn.Module],
    sample: Sample,
    obstacle: str,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Look at the answers of a model and attack it; returns fields of `Measurements`."""
    found: dict[str, list[Any]] = defaultdict(list)
    for batch in sample.batches(name, models):
        answers = _answers(batch, sample.epsilon)
        known = answers.wrong
        if not obstacle:
            attacked = _attacked(batch, sample.epsilon)
            known = attacked.known
            found["attacked"].append(attacked)
        found["answers"].append(answers)
        straight = _straight(batch, known, sample.epsilon)
        found["straight"].append(straight)
        known = known if straight is None else straight
        rows = (batch.numbers < FEW).nonzero().flatten()
        if len(rows):
            few, known = batch.of(rows), known[: len(rows)]
            queried = few.also_broken(known, "square", sample.epsilon, queries=QUERIES)
            found["queried"].append(queried)
            if (answers.moved | answers.noise_moved).any() and not obstacle:
                found["single_draw"].append(_in_most_draws(few, "pgd", sample.epsilon))
                several = replace(few, eot=max(EOT, few.eot))
                either = [_in_most_draws(several, how, sample.epsilon) for how in ("pgd", STRAIGHT)]
                found["averaged"].append(np.logical_or(*either))
        advance(len(batch.images))

    def joined(part: str) -> np.ndarray | None:
        parts = [each for each in found[part] if each is not None]
        return np.concatenate(parts) if parts else None

    hits = map(np.concatenate, zip(*found["attacked"], strict=True))
    return {
        "answers": Answers(*map(np.concatenate, zip(*found["answers"], strict=True))),
        "differentiable": next(models[name].parameters(), None) is not None,
        "obstacle": obstacle,
        "attacked": Attacked(*hits) if found["attacked"] else None,
        **{part: joined(part) for part in ("straight", "queried", "averaged", "single_draw")},
    }


def _straight(batch: Batch, known: np.ndarray, epsilon: float) -> np.ndarray | None:
    try:
        return batch.also_broken(known, STRAIGHT, epsilon, steps=PATIENT_STEPS, loss="margin")
    except InputError:  # no gradient in that way, either
        return None


def _answers(batch: Batch, epsilon: float) -> Answers:
    first, second = batch.logits(batch.images), batch.logits(batch.images)
    wrong = (first.argmax(1) != batch.labels).cpu().numpy()
    noisy = _random_start(batch, epsilon)
    noise_moved, _ = _changes(batch.logits(noisy), batch.logits(noisy))
    return Answers(wrong, *_changes(first, second), noise_moved)


def _in_most_draws(batch: Batch, attack: str, epsilon: float) -> np.ndarray:
    """Tell where the model is wrong in most of `EOT` draws, (n,) bool, on the examples."""
    (made,) = batch.attack(attack, [epsilon], steps=PATIENT_STEPS, loss="margin")
    wrong = [batch.judge(made.images)[0] for _ in range(EOT)]
    return np.mean(wrong, axis=0) > 0.5


def _attacked(batch: Batch, epsilon: float) -> Attacked:
    """Attack a batch in all the ways of `Attacked`.

    Raises:
        InputError: an attack fails on the model.
    """
    epsilons = epsilons_around(epsilon)
    fgsm, half = batch.attack("fgsm", [epsilon, epsilon / 2])
    single_step, single_step_loss = batch.judge(fgsm.images)
    path, path_loss = zip(*_path(batch, epsilon), strict=True)
    patient, margin = (
        batch.broken("pgd", [epsilon], steps=PATIENT_STEPS, **how)[:, 0]
        for how in ({"restarts": PATIENT_RESTARTS}, {"loss": "margin"})
    )
    return Attacked(
        gray=batch.judge(torch.full_like(batch.images, HALF))[0],
        noise=batch.broken("noise-uniform", epsilons, restarts=DRAWS),
        usual=batch.broken("pgd", epsilons, steps=STEPS),
        patient=patient,
        margin=margin,
        single_step=single_step,
        half_step=batch.judge(half.images)[0],
        path=path[-1],
        clean_loss=batch.judge(batch.images, batch.clean.answer.logits)[1],
        single_step_loss=single_step_loss,
        path_loss=np.stack(path_loss, axis=1),
        gradients=np.array([fgsm.statistics.on_host()]),
        uphill=np.stack([_uphill(batch, scale * epsilon) for scale in SCALES], axis=1),
        astray=_astray(batch),
    )


def _random_start(batch: Batch, epsilon: float) -> Tensor:
    offsets = NORMS["linf"].random(
        batch.numbers, tuple(batch.images.shape[1:]), batch.seed, "diagnosis"
    )
    return (batch.images + epsilon * offsets).clamp(0, 1)


def _path(batch: Batch, epsilon: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Judge every point of PGD's path, random start and end included, whatever it passes."""
    ball, points = NORMS["linf"], _random_start(batch, epsilon)
    for _ in range(STEPS):
        logits, gradient = batch.loss_gradient(points)
        yield batch.judge(points, logits)
        step = RELATIVE_STEP * epsilon / STEPS * gradient.sign()
        points = ball.project(points + step, batch.images, epsilon)
    yield batch.judge(points)


def _uphill(batch: Batch, distance: float) -> np.ndarray:
    """Compare the rise of the loss along the gradient's signs with that along random signs.

    Along its signs a loss rises by the gradient's L1 norm, along random ones by its L2 norm in
    the root mean square; their ratio needs no trust in the size of the gradient. Off the edges of
    [0, 1], so that both sides of a point are images.

    Returns:
        (n,) float64: 1 for a gradient that is right, about 0 for one that has nothing to do with
        the loss; NaN where the loss or the gradient is flat.
    """
    points = distance + (1 - 2 * distance) * _random_start(batch, 4 * distance)
    gradient = batch.loss_gradient(points)[1].double().cpu()
    largest = gradient.abs().flatten(1).amax(1).view(-1, 1, 1, 1)
    unit = gradient / largest.clamp_min(torch.finfo(torch.float64).tiny)
    ratio = (unit.abs().flatten(1).sum(1) / unit.flatten(1).norm(dim=1)).numpy()

    def rise(direction: Tensor) -> np.ndarray:
        ahead, behind = (batch.judge(points + s * direction)[1] for s in (distance, -distance))
        return ahead - behind

    shape = tuple(batch.images.shape[1:])
    along_random = [
        rise(draws.uniform(batch.numbers, shape, batch.seed, "uphill", number).sub(0.5).sign())
        for number in range(DIRECTIONS)
    ]
    expected = np.sqrt(np.mean(np.square(along_random), axis=0)) * ratio
    with np.errstate(divide="ignore", invalid="ignore"):
        share = rise(gradient.sign().to(points)) / expected
    return np.where(np.isfinite(share), share, np.nan)


def _astray(batch: Batch) -> np.ndarray:
    rows = [batch.clean.gradient().gradient, batch.loss_gradient(batch.images)[1]]
    # The largest entry becomes 1: squares must not underflow.
    first, second = (
        F.normalize(row.flatten(1), math.inf, eps=torch.finfo(row.dtype).tiny) for row in rows
    )
    return ((F.cosine_similarity(first, second) < ASTRAY) & first.any(1)).cpu().numpy()
