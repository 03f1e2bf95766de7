"""How fast is the evaluation, against a plain loop, foolbox and torchattacks? Prints ratios.

    python benchmarks/harness.py runs/my-baseline/model.safetensors

All attack the same images of the same model with the same budget and count its errors on them. Each
contestant has a process of its own, where it runs as its users have it: winnrobust with the
allocator and the memory layout that its command chooses, the others as they come. They take turns,
several rounds long, so that a machine that slows down slows all of them; the median counts.
"""

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import foolbox
import pandas as pd
import torchattacks
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.command import Command
from benchmarks.plain import EPSILON, Contestant, Logits, batched, in_batches, plain_fgsm
from winnrobust.attacks.pgd import RELATIVE_STEP
from winnrobust.data.datasets import load_dataset, to_unit
from winnrobust.evaluation import EvaluationSettings, run
from winnrobust.models.checkpoint import load_model
from winnrobust.runtime.allocator import keep_freed_memory


def winnrobust_attack(name: str, **settings: Any) -> Contestant:
    """The whole evaluation: attacked, checked, judged anew, and every outcome written down."""

    def attack(model: nn.Module, images: Tensor, labels: Tensor) -> int:
        chosen = EvaluationSettings(
            attacks=[name], epsilons={"linf": [EPSILON]}, num_examples=0, **settings
        )
        with TemporaryDirectory() as folder:
            found = run({"model": model}, images, labels, chosen, folder=Path(folder))
        return int(found.summary.errors.errors[0])

    return attack


def foolbox_attack(attack: foolbox.Attack) -> Contestant:
    """What comes out is judged as that of the others, who do not judge it themselves."""

    def adversarials(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return by_foolbox(attack, model, images, labels)[1]

    return batched(adversarials)


def foolbox_verdict(attack: foolbox.Attack) -> Contestant:
    """foolbox also says itself which examples are errors: one pass less."""

    def count(model: nn.Module, images: Tensor, labels: Tensor) -> int:
        return sum(
            int(by_foolbox(attack, model, *batch)[2].sum()) for batch in in_batches(images, labels)
        )

    return count


def by_foolbox(
    attack: foolbox.Attack, model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    victim = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
    found: tuple[Tensor, Tensor, Tensor] = attack(victim, images, labels, epsilons=EPSILON)
    return found


STEPS = 20
STEP = RELATIVE_STEP / STEPS
FOOLBOX_FGSM = foolbox.attacks.FGSM()
FOOLBOX_PGD = foolbox.attacks.LinfPGD(rel_stepsize=STEP, steps=STEPS, random_start=True)
OURS = "winnrobust"
SCREENED = "winnrobust, with the FGSM screen"
CONTESTANTS: dict[str, dict[str, Contestant]] = {
    "fgsm": {
        OURS: winnrobust_attack("fgsm"),
        "forward, backward, forward": batched(plain_fgsm),
        "the same, memory kept": batched(plain_fgsm),
        "foolbox": foolbox_attack(FOOLBOX_FGSM),
        "foolbox, its own verdict": foolbox_verdict(FOOLBOX_FGSM),
        "torchattacks": batched(lambda model, x, y: torchattacks.FGSM(model, eps=EPSILON)(x, y)),
    },
    "pgd": {
        OURS: winnrobust_attack("pgd"),
        SCREENED: winnrobust_attack("pgd", fgsm_screen=True),
        "foolbox": foolbox_attack(FOOLBOX_PGD),
        "foolbox, its own verdict": foolbox_verdict(FOOLBOX_PGD),
        "torchattacks": batched(
            lambda model, x, y: torchattacks.PGD(
                model, eps=EPSILON, alpha=STEP * EPSILON, steps=STEPS, random_start=True
            )(x, y)
        ),
    },
}
KEEP_MEMORY = (OURS, SCREENED, "the same, memory kept")
"""Contestants whose process keeps freed memory, as winnrobust's command does."""


class Job(NamedTuple):
    """What is attacked: the first `count` test images of a data set."""

    attack: str
    model_file: Path
    dataset: str
    count: int


@cache
def _loaded(job: Job) -> tuple[nn.Module, Tensor, Tensor]:
    network, _ = load_model(job.model_file)
    test = load_dataset(job.dataset).test.first(job.count)
    return Logits(network).eval(), to_unit(test.images), test.labels


def _timed(name: str, job: Job) -> tuple[float, int]:
    """Seconds of an attack, and the errors that it found; runs in the contestant's process."""
    contestant, (model, images, labels) = CONTESTANTS[job.attack][name], _loaded(job)
    began = time.perf_counter()
    errors = contestant(model, images, labels)
    return time.perf_counter() - began, errors


def race(job: Job, rounds: int) -> pd.DataFrame:
    """Time all contestants in turns: a row each, with the median and the ratio to the first."""
    contestants = CONTESTANTS[job.attack]
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    errors: dict[str, int] = {}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                ProcessPoolExecutor(
                    1,
                    multiprocessing.get_context("spawn"),
                    keep_freed_memory if name in KEEP_MEMORY else None,
                )
            )
            for name in contestants
        }
        for name, process in processes.items():  # does not count: caches, lazy set-up
            process.submit(_timed, name, job).result()
        for _ in tqdm(range(rounds), desc=job.attack):
            for name, process in processes.items():
                took, errors[name] = process.submit(_timed, name, job).result()
                seconds[name].append(took)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return pd.DataFrame(
        {
            "attack": f"pgd-{STEPS}" if job.attack == "pgd" else job.attack,
            "images": job.count,
            "by": list(contestants),
            "seconds": [round(median, 3) for median in medians.values()],
            "fastest": [round(min(values), 3) for values in seconds.values()],
            "slowest": [round(max(values), 3) for values in seconds.values()],
            "times ours": [round(median / medians[OURS], 2) for median in medians.values()],
            "adversarial error": [errors[name] / job.count for name in contestants],
        }
    )


def compare(model_file: Path, dataset: str, fgsm: int, pgd: int, rounds: int) -> pd.DataFrame:
    """Race all contestants on the model in a file, on the first test images of a data set."""
    tables = [
        race(Job(attack, model_file, dataset, count), rounds)
        for attack, count in (("fgsm", fgsm), ("pgd", pgd))
    ]
    return pd.concat(tables, ignore_index=True)


def versions() -> dict[str, str]:
    """The versions of the libraries compared with."""
    return {"foolbox": foolbox.__version__, "torchattacks": torchattacks.__version__}


@click.command(cls=Command)
@click.argument("model_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dataset", default="mnist", show_default=True)
@click.option("--fgsm-images", default=10_000, show_default=True)
@click.option("--pgd-images", default=2_000, show_default=True)
@click.option("--rounds", default=5, type=click.IntRange(1), show_default=True)
def main(model_file: Path, dataset: str, fgsm_images: int, pgd_images: int, rounds: int) -> None:
    """Time FGSM and PGD-20 at 0.125 on the model in MODEL_FILE."""
    table = compare(model_file, dataset, fgsm_images, pgd_images, rounds)
    click.echo(table.to_markdown(index=False))


if __name__ == "__main__":
    main()
