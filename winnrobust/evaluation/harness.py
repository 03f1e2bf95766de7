"""The evaluation: every model attacked, every attack judged by every model, in one pass."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.attacks import (
    DEFAULT_BUDGET,
    NO_GRADIENTS,
    Attack,
    AttackResult,
    Budget,
    Target,
    check_adversarials,
)
from winnrobust.evaluation import inputs, journal
from winnrobust.evaluation.aims import AIMS
from winnrobust.evaluation.batch_size import fastest_batch_size
from winnrobust.evaluation.counts import AttackOnModel, Counts, Effort, Judged
from winnrobust.evaluation.examples import Examples, combined, empty_examples, fill
from winnrobust.evaluation.layout import channels_last
from winnrobust.evaluation.outcome import Evaluation, evaluation_of
from winnrobust.evaluation.pixel_gradient import matrix_products
from winnrobust.evaluation.plan import Plan
from winnrobust.evaluation.prediction import (
    check_classes,
    checked_logits,
    errors_named,
    prediction,
)
from winnrobust.evaluation.speed import sped_up
from winnrobust.evaluation.state import frozen
from winnrobust.runtime import distributed
from winnrobust.runtime.devices import device_of, resolve_device
from winnrobust.runtime.errors import InputError


def run(
    models: Mapping[str, nn.Module],
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    attacks: Sequence[str] = ("fgsm",),
    epsilons: Sequence[float] = (0.125,),
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    num_examples: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    epsilons_l2: Sequence[float] = (1.5,),
    budget: Budget = DEFAULT_BUDGET,
    aim: str | None = None,
    seconds: float | None = None,
    unfinished: Path | None = None,
) -> Evaluation:
    """Attack every model and let every model judge every adversarial example.

    Models are held in eval mode without parameter gradients and given back exactly as they were;
    no tensor of the caller's is changed. Memory does not grow with the number of images, but for
    the distances. Where several processes work together (`winnrobust.runtime.distributed`), each
    takes some of the batches and all return the whole result.

    No attack is trusted: what it made is checked to be an image within the ball, and every model,
    the one under attack among them, judges it anew.

    Args:
        models: name -> any module that takes (N, C, H, W) float32 in [0, 1] and returns logits
            (N, K), or an object with `.logits`.
        images: (N, C, H, W), floating point, in [0, 1].
        labels: (N,) integers, the true classes 0 .. K - 1.
        attacks: names that `winnrobust.attacks.find` knows; repeated ones are dropped.
        epsilons: bounds from 0 to 1 of the L-infinity attacks, in the units of the images; repeated
            ones are dropped. At 0 the adversarial example is the image.
        batch_size: images per step; it changes the memory needed, not the result (up to float
            rounding). None measures which is fastest.
        device: where to compute; None leaves every model where it is.
        num_examples: how many of the first images to keep whole in the result.
        seed: of the attacks' random starts and random aims; those of an image do not depend on its
            batch.
        progress: called after each attack on each model on each batch with (done, total), where an
            image counts once for every attack on every model.
        epsilons_l2: bounds of the L2 attacks, as `epsilons`, but with no upper limit.
        budget: what each attack may spend on a batch, and over how many answers of a random model
            it averages.
        aim: a name in `winnrobust.evaluation.aims.AIMS` makes the attacks targeted: "random" draws
            a wrong class for every image, "least-likely" takes the wrong one with the lowest clean
            logit. An error is still whatever is not the true class.
        seconds: time for each attack on each model, over all batches (of a process). When it is
            spent, the images that are left stay as they are; `Evaluation.costs` counts them.
        unfinished: a folder that gets every batch when it is done. The batches that are there
            already are taken as they are: they must come from a call with the same models, images
            and settings (but for `batch_size`, `device`, `progress` and the number of processes).

    Raises:
        InputError: an argument or a model cannot be used, or an attack left the ball; the message
            says which and why.
    """
    nets = inputs.checked_models(models)
    pixels = inputs.checked_images(images)
    truth = inputs.checked_labels(labels, len(pixels))
    if batch_size is not None:
        inputs.check_count("batch_size", batch_size, at_least=1)
    inputs.check_count("num_examples", num_examples, at_least=0)
    inputs.check_count("seed", seed, at_least=0)
    place = None if device is None else resolve_device(str(device))
    plan = Plan(
        models=nets,
        attacks=inputs.checked_attacks(attacks, aim),
        epsilons={
            "Linf": inputs.checked_epsilons(epsilons),
            "L2": inputs.checked_epsilons(epsilons_l2, "epsilons_l2", at_most=math.inf),
        },
        budget=inputs.checked_budget(budget),
        aim=aim,
        seconds=inputs.checked_seconds(seconds),
        seed=seed,
    )
    inputs.check_sources(plan.attacks, nets)
    try:
        with frozen(nets.values(), place):
            check_classes(nets, pixels[:2], truth)
            few = pixels[:2], truth[:2]
            with sped_up(nets.values(), (channels_last, matrix_products), *few):
                size = batch_size or distributed.broadcast(fastest_batch_size(nets, pixels))
                mine = _attack_my_part(
                    plan, pixels, truth, size, num_examples, progress, unfinished
                )
    except torch.cuda.OutOfMemoryError:
        raise InputError(
            "the GPU has not enough memory for the models and a single image; use --device cpu"
        ) from None
    parts = distributed.all_gather(mine)
    total = Counts(plan, len(pixels))
    total.add_all([counts for counts, _, _ in parts])
    kept = combined([examples for _, examples, _ in parts])
    return evaluation_of(plan, len(pixels), total, kept, min(size for _, _, size in parts))


def _attack_my_part(
    plan: Plan,
    pixels: Tensor,
    truth: Tensor,
    size: int,
    num_examples: int,
    progress: Callable[[int, int], None] | None,
    unfinished: Path | None,
) -> tuple[Counts, Examples, int]:
    """Attack this process's share of the batches; returns the batch size it ended with.

    Every process cuts the images at the same places, so the counts are those of one process. The
    first also counts the batches that an interrupted call finished.
    """
    counts = Counts(plan, len(pixels))
    examples = empty_examples(
        list(plan.models), plan.cases, pixels[:num_examples], truth[:num_examples]
    )
    finished = [] if unfinished is None else distributed.broadcast(journal.finished(unfinished))
    if unfinished is not None and distributed.is_main_process():
        for part in finished:
            judged, kept = journal.read_batch(unfinished, part, plan)
            counts.add(judged, truth[part.start : part.stop], part.start)
            _keep(judged, kept, part.start, examples)
    before = sum(map(len, finished))
    tell = _counting(plan, len(pixels), before, progress)
    done = 0
    parts = journal.missing(len(pixels), size, finished)
    for part in parts[distributed.rank() :: distributed.world_size()]:
        start = part.start
        while start < part.stop:
            batch = slice(start, min(start + size, part.stop))
            room = max(num_examples - start, 0)
            try:
                judged, kept = _judge_batch(
                    plan, pixels[batch], truth[batch], start, room, counts.efforts,
                    partial(tell, done),
                )  # fmt: skip
            except torch.cuda.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
                continue
            if unfinished is not None:
                journal.write_batch(unfinished, start, judged, kept)
            counts.add(judged, truth[batch], start)
            _keep(judged, kept, start, examples)
            done += batch.stop - start
            start = batch.stop
    return counts, examples, size


def _counting(
    plan: Plan, n: int, finished: int, progress: Callable[[int, int], None] | None
) -> Callable[[int, int, int], None]:
    """Return what turns (images done before a batch, its images, attacks on it) into progress.

    Args:
        finished: how many of the `n` images were done by an interrupted call.
    """
    rounds = len(plan.attacks) * len(plan.models)

    def tell(before: int, batch: int, attacks: int) -> None:
        if progress is not None:
            done = (before * rounds + batch * attacks) * distributed.world_size()
            progress(min(finished * rounds + done, n * rounds), n * rounds)

    return tell


def _judge_batch(
    plan: Plan,
    images: Tensor,
    labels: Tensor,
    start: int,
    room: int,
    before: Mapping[AttackOnModel, Effort],
    tell: Callable[[int, int], None],
) -> tuple[Judged, list[Tensor]]:
    """Attack all models with one batch, which begins at image `start` of all, and judge it.

    Args:
        before: what the attacks took so far.
        tell: called after each attack with (images of the batch, attacks on it so far).

    Returns:
        The judgement and, for each case, the first `room` adversarial examples.
    """
    clean, aims, efforts, distances, predictions, kept = [], [], {}, {}, {}, {}
    for source in plan.models:
        target = _target(plan, source, images, labels, start)
        if target.aims is not None:
            aims.append(target.aims.cpu())
        # First those whose pass over the clean images serves all.
        for attack in sorted(plan.attacks, key=lambda attack: not attack.uses_clean_gradient):
            key = attack.name, source
            result, efforts[key] = _attack(plan, attack, source, target, before[key].seconds)
            if result.distances is not None:
                distances[key] = result.distances.cpu()
            epsilons = plan.epsilons[attack.norm]
            for epsilon, adversarials in zip(epsilons, result.adversarials, strict=True):
                case = attack.name, epsilon, source
                kept[case] = adversarials[:room].cpu()
                predictions[case] = torch.stack(
                    [prediction(name, judge, adversarials) for name, judge in plan.models.items()]
                )
            tell(len(images), len(efforts))
        # Last, because an attack may have made this pass already.
        clean.append(_clean_logits(source, target).argmax(1).cpu())
    judged = Judged(
        clean=torch.stack(clean),
        predictions=torch.stack([predictions[case] for case in plan.cases]),
        aims=torch.stack(aims) if aims else None,
        efforts=efforts,
        distances=distances,
    )
    return judged, [kept[case] for case in plan.cases]


def _target(plan: Plan, source: str, images: Tensor, labels: Tensor, start: int) -> Target:
    device = device_of(plan.models[source])
    target = Target(
        plan.models[source],
        images.to(device),
        labels.to(device),
        first=start,
        seed=plan.seed,
        others=plan.models,
    )
    if plan.aim is not None:
        _clean_logits(source, target)
        target.aims = AIMS[plan.aim](target)
    return target


def _clean_logits(source: str, target: Target) -> Tensor:
    with errors_named(source, target.images):
        logits = target.clean_logits
    return checked_logits(source, logits, len(target.images))


def _attack(
    plan: Plan, attack: Attack, source: str, target: Target, spent: float
) -> tuple[AttackResult, Effort]:
    """Attack a batch, unless that attack on that model has spent its time, and check the result."""
    epsilons = plan.epsilons[attack.norm]
    if spent >= plan.seconds:
        return _unattacked(attack, target, epsilons), Effort(NO_GRADIENTS, 0, len(target.images))
    began = time.monotonic()
    target.deadline = began + plan.seconds - spent
    try:
        result = attack.function(target, epsilons, plan.budget)
    except torch.cuda.OutOfMemoryError:
        raise
    except InputError as error:
        raise InputError(f"attack '{attack.name}' on model '{source}': {error}") from None
    except Exception as error:  # anyone's module may raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"attack '{attack.name}' on model '{source}': {type(error).__name__}: {reason}"
        ) from error
    for epsilon, adversarials in zip(epsilons, result.adversarials, strict=True):
        check_adversarials(attack, target.images, adversarials, epsilon)
    seconds = time.monotonic() - began
    unfinished = len(target.images) if target.out_of_time() else 0
    return result, Effort(result.gradients, seconds, unfinished)


def _unattacked(attack: Attack, target: Target, epsilons: Sequence[float]) -> AttackResult:
    """Return the images as they are."""
    distances = None
    if attack.minimum_norm:
        distances = target.images.new_zeros(len(target.images))
        distances[target.standing] = math.inf
    return AttackResult([target.images for _ in epsilons], NO_GRADIENTS, distances)


def _keep(judged: Judged, kept: Sequence[Tensor], start: int, examples: Examples) -> None:
    """Copy what belongs to the first images into `examples`."""
    fill(examples.clean_predictions.T, start, judged.clean.T)
    for row, adversarials in enumerate(kept):
        fill(examples.adversarials[row], start, adversarials)
        fill(examples.predictions[row].T, start, judged.predictions[row].T)
