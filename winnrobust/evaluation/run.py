"""The evaluation: every model is attacked, every example judged, every outcome written down."""

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.attacks import Step
from winnrobust.data.streams import ImageStream, Shuffled, checked_data
from winnrobust.evaluation import outcomes
from winnrobust.evaluation.batch import Job, attack_batch
from winnrobust.evaluation.checks import as_floats, checked_models
from winnrobust.evaluation.examples import Examples, read_examples
from winnrobust.evaluation.prediction import OUT_OF_MEMORY, answers_at_random, check_classes
from winnrobust.evaluation.sequential import DECISIVE, check_sampled, is_enough, looks
from winnrobust.evaluation.settings import EvaluationSettings, check_surrogates
from winnrobust.evaluation.state import channels_last, devices_of, frozen, own_randomness
from winnrobust.evaluation.statistics import Summary, summarize
from winnrobust.evaluation.targets import check_targets
from winnrobust.evaluation.threats import defaults_for
from winnrobust.runtime import distributed
from winnrobust.runtime.devices import device_of, resolve_device
from winnrobust.runtime.errors import InputError

LOOKED_AT = 16
"""Images on which it is found out whether a model answers at random."""

FIRST_BATCH = {"cpu": 128, "cuda": 1024}
"""Images in the first batch, where their number is not given."""
QUICK = 5.0
"""Seconds: after a batch that took less the next one is twice as large. A slow one shows progress
sooner, and less is lost with it."""
LARGEST_BATCH = {"cpu": 1024, "cuda": 2048}
MOST_BYTES = 2**22
"""Of a batch's images as float32 on a CPU, where too much memory ends the process. What a network
keeps of them for a gradient is up to a thousand times as much."""

DEFAULT_SETTINGS = EvaluationSettings()

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RunResult:
    """What an evaluation found.

    Attributes:
        summary: all tables.
        examples: the first images, kept whole; None if none were asked for.
        batch_size: images at once in the end; halved where memory was short.
    """

    summary: Summary
    examples: Examples | None
    batch_size: int


def run(
    models: Mapping[str, nn.Module],
    images: Tensor | np.ndarray | ImageStream,
    labels: Tensor | np.ndarray | None = None,
    settings: EvaluationSettings = DEFAULT_SETTINGS,
    *,
    folder: Path,
    device: torch.device | str | None = None,
    surrogates: Mapping[str, Mapping[str, nn.Module]] | None = None,
    progress: Progress | None = None,
    callback: Callable[[Step], None] | None = None,
) -> RunResult:
    """Attack every model, let models judge the examples, and write down every outcome.

    Models are held in eval mode without parameter gradients and given back exactly as they were;
    no tensor of the caller's is changed, nor are torch's random generators. Memory does not grow
    with the number of images, but for a byte for each image, case and judge in the end. Where
    several processes work together (`winnrobust.runtime.distributed`), each takes some of the
    batches and all return the whole result.

    No attack is trusted: what it made is checked to be an image within the ball, and every model,
    the one under attack among them, judges it anew. A model that answers at random is asked several
    times.

    Args:
        models: name -> any module that takes (N, C, H, W) float32 in [0, 1] and returns logits
            (N, K), or an object with `.logits`.
        images: (N, C, H, W), uint8, or floating point in [0, 1]; or a stream of them with their
            labels (`winnrobust.data.streams`), which is read batch after batch.
        labels: (N,) integers, the true classes 0 .. K - 1.
        settings: what is done to the models; by default in the threats that suit the size of
            the images.
        folder: results folder; every batch is written to it when it is done. Batches that are there
            already are taken as they are.
        device: where to compute; None leaves every model where it is.
        surrogates: of each model, networks by name that attacks on it may transfer from; those
            evaluated are there anyway.
        progress: called after each attack on each model on each batch with (done, total), where an
            image counts once for every attack on every model.
        callback: called after every gradient step of every attack; on a GPU that is slower.

    Raises:
        InputError: an argument or a model cannot be used, an attack left the ball, or the folder
            holds outcomes of something else; the message says which and why.
    """
    nets = checked_models(models)
    others = {name: dict(own) for name, own in (surrogates or {}).items()}
    known = [*nets, *set[str]().union(*others.values())]
    held = [*nets.values(), *(each for own in others.values() for each in own.values())]
    data = checked_data(images, labels)
    check_sampled(settings, list(nets))
    if settings.sampled:
        data = Shuffled(data, settings.seed)
    place = None if device is None else resolve_device(str(device))
    checksums = {name: _checksum(net.state_dict().values()) for name, net in nets.items()}
    try:
        with frozen(held, place), own_randomness(devices_of(nets), settings.seed, "probe"):
            head = data.batch(0, LOOKED_AT)
            settings, _ = settings.completed(defaults_for(None, head.images.shape[1:]))
            attacks = settings.chosen_attacks()
            check_surrogates(attacks, known)
            identity = {
                "models": checksums,
                "data": data.identity(),
                "settings": settings.decisive(),
            }
            few, truth = as_floats(head.images), head.labels
            classes = check_classes(nets, few[:2], truth if data.labels is None else data.labels)
            check_targets(settings.targeted, len(data), classes)
            with channels_last(held, few[:2], truth[:2]):
                random = {name: answers_at_random(name, net, few) for name, net in nets.items()}
                often = {name: settings.judge_draws if random[name] else 1 for name in nets}
                draws = distributed.broadcast(often)  # the same in all processes
                job = Job(
                    nets, others, attacks, settings, draws, data, classes, Path(folder), identity,
                    callback,
                )  # fmt: skip
                size = _attack_my_share(job, few[0].numel(), progress)
    except OUT_OF_MEMORY:
        raise InputError(
            "there is not enough memory for the models and a single image; use the device cpu"
        ) from None
    size = min(distributed.all_gather(size))
    found = None
    if distributed.is_main_process():
        found = summarize(folder, list(nets)), read_examples(Path(folder))
    summary, examples = distributed.broadcast(found)  # type: ignore[misc]
    return RunResult(summary, examples, size)


def _checksum(tensors: Iterable[object]) -> int:
    total = 0
    for tensor in tensors:
        if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            total = zlib.crc32(plain.view(torch.uint8).numpy().data, total)
    return total


# --- batch after batch ------------------------------------------------------------------------


def _attack_my_share(job: Job, pixels: int, progress: Progress | None) -> int:
    """Attack this process's share of the batches that are missing; returns their size at the end.

    Every process cuts the images, which have so many `pixels`, at the same places. Where they come
    in a random order, it goes on from look to look, and ends when that is enough.

    Raises:
        InputError: batches that are there are of another evaluation.
    """
    n, given = len(job.data), job.settings.batch_size
    parts = outcomes.parts(job.folder) if distributed.is_main_process() else []
    for part in parts:
        if part.facts().get("evaluation") != job.identity:
            raise part.unusable("is of other models, images or settings")
    finished = distributed.broadcast([range(part.start, part.stop) for part in parts])
    size, most = (given, given) if given else distributed.broadcast(_sizes(job, pixels))
    # One process goes through all images; several have many shares, as some images take long.
    processes = distributed.world_size()
    many = n if processes == 1 else max(n // (8 * processes), min(size, -(-n // processes)))
    part_size = given or many
    before, rounds, done = sum(map(len, finished)), len(job.attacks) * len(job.models), 0

    def report(images: int, attacks: int) -> None:
        if progress is not None:
            here = (done * rounds + images * attacks) * processes
            progress(min(before * rounds + here, n * rounds), n * rounds)

    for share in _shares(job, part_size, finished):
        start = share.start
        while start < share.stop:
            batch, began = range(start, min(start + size, share.stop)), time.monotonic()
            try:
                attack_batch(job, batch, report, strict=not (finished or done))
            except OUT_OF_MEMORY:
                if size == 1:
                    raise
                most = size = size // 2
                continue
            done += len(batch)
            start = batch.stop
            if time.monotonic() - began < QUICK:
                size = min(2 * size, most)
    return size


def _shares(job: Job, size: int, finished: Sequence[range]) -> Iterator[range]:
    """Yield the images that this process must attack, until that is enough.

    Args:
        size: of a share, at most.
        finished: what is done already.
    """
    if not job.settings.sampled:
        shares = outcomes.missing(len(job.data), size, finished)
        yield from shares[distributed.strided_shard(len(shares))]
        return
    last = max((batch.stop for batch in finished), default=0)
    for look in looks(len(job.data)):
        if look >= last:  # at those before it was not enough
            yield from outcomes.missing(look, size, outcomes.finished(job.folder))
            summary = summarize(job.folder, list(job.models), DECISIVE)
            if is_enough(summary, job.settings.until_decided, job.settings.margin):
                return


def _sizes(job: Job, pixels: int) -> tuple[int, int]:
    """Return how many images to attack at once at first, and where batches are quick."""
    if all(device_of(model).type == "cuda" for model in job.models.values()):
        first, most = FIRST_BATCH["cuda"], LARGEST_BATCH["cuda"]
    else:
        most = max(min(LARGEST_BATCH["cpu"], MOST_BYTES // (4 * pixels)), 1)
        first = min(FIRST_BATCH["cpu"], most)
    # What a random model draws belongs to a batch: batches that depend on the time taken would
    # make its outcomes depend on it, and on where an evaluation was interrupted.
    return first, first if max(job.draws.values()) > 1 else most
