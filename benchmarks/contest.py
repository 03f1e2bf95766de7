"""Verdicts of several libraries on the same images: who breaks how many, and at what cost.

Everybody attacks the same test images of `mnist5k`, which come with the package, one library after
the other in one process on one thread. What comes out is judged by the same rules, and passes are
counted by the same module around the model. `benchmarks.evaluation` runs it and shows the table.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.aa_fast import GRADIENT_PASS, Counted, run_reference
from benchmarks.honest import digits, shipped
from winnrobust.attacks import NORMS, NormName, Run, find, run_attack
from winnrobust.runtime import provenance
from winnrobust.runtime.files import write_json
from winnrobust.runtime.readers import read_json

MODELS = ("mnist-vanilla-winn", "mnist-vanilla-baseline")
EPSILONS: dict[NormName, float] = {"linf": 0.125, "l2": 1.5, "l1": 10.0}
IMAGES = 20
SEED = 0
ROUNDING = 1e-4
"""By this share of epsilon an example may be farther away: other libraries round as they like."""
OURS, AUTOATTACK, REFERENCE = "aa-fast", "our autoattack", "AutoAttack, its authors'"
ORDER = {"linf": math.inf, "l2": 2, "l1": 1}


class Task(NamedTuple):
    """What everybody gets."""

    model: Counted
    images: Tensor
    labels: Tensor
    norm: NormName
    epsilon: float


Attack = Callable[[Task], Tensor]
"""Returns examples (N, C, H, W); of a minimum-norm attack the nearest it found."""


def ours(name: str) -> Attack:
    def attack(task: Task) -> Tensor:
        chosen, run = find(name).in_norm(task.norm), Run(seed=SEED)
        return run_attack(
            chosen, task.model, task.images, task.labels, [task.epsilon], run=run
        )[0].images  # fmt: skip

    return attack


def by_foolbox(task: Task) -> Iterator[tuple[str, Attack]]:
    import foolbox

    known = foolbox.attacks
    pgd = {"linf": known.LinfPGD, "l2": known.L2PGD, "l1": known.L1PGD}[task.norm]
    fmn = {"linf": known.LInfFMNAttack, "l2": known.L2FMNAttack, "l1": known.L1FMNAttack}[task.norm]

    def made(attack: Any, bound: float | None) -> Attack:
        def run(task: Task) -> Tensor:
            victim = foolbox.PyTorchModel(task.model, bounds=(0, 1), device="cpu")
            found: Tensor = attack(victim, task.images, task.labels, epsilons=bound)[1]
            return found

        return run

    yield "PGD, 200 steps", made(pgd(steps=200, rel_stepsize=0.025), task.epsilon)
    yield "FMN, 500 steps", made(fmn(steps=500), None)


def by_torchattacks(task: Task) -> Iterator[tuple[str, Attack]]:
    import torchattacks

    if task.norm == "l1":  # its AutoAttack has no L1
        make: Any = torchattacks.EADL1
        yield "EAD-L1, 9 x 100 steps", lambda task: make(task.model)(task.images, task.labels)
        return
    make = torchattacks.AutoAttack
    settings = {"norm": NORMS[task.norm].display, "eps": task.epsilon, "seed": SEED}
    yield "AutoAttack", lambda task: make(task.model, **settings)(task.images, task.labels)


def by_adversarial_library(task: Task) -> Iterator[tuple[str, Attack]]:
    from adv_lib import attacks

    order, epsilon = ORDER[task.norm], task.epsilon
    yield (
        "APGD-T, 9 x 100 steps",
        lambda task: attacks.apgd_targeted(
            task.model, task.images, task.labels, epsilon, order, use_large_reps=task.norm == "l1"
        ),
    )
    yield (
        "FMN, 500 steps",
        lambda task: attacks.fmn(task.model, task.images, task.labels, order, steps=500),
    )


LIBRARIES = {
    "foolbox": by_foolbox,
    "torchattacks": by_torchattacks,
    "adversarial-library": by_adversarial_library,
}


def contestants(task: Task) -> Iterator[tuple[str, str, Attack]]:
    """Library, attack, and what runs it; a library that is not installed is left out."""
    yield "winnrobust", OURS, ours("aa-fast")
    yield "winnrobust", AUTOATTACK, ours("autoattack")
    for library, attacks in LIBRARIES.items():
        try:
            yield from ((library, name, attack) for name, attack in attacks(task))
        except ImportError as error:
            click.echo(f"without {library}: {error}")


def judged(task: Task, examples: Tensor) -> Tensor:
    """Tell which images (N,) are broken: wrong anyway, or wrong within epsilon and in [0, 1]."""
    sizes = NORMS[task.norm].size(examples - task.images)
    inside = (examples >= -1e-6).flatten(1).all(1) & (examples <= 1 + 1e-6).flatten(1).all(1)
    with torch.no_grad():
        before, after = (task.model(each).argmax(1) for each in (task.images, examples))
    near = sizes <= task.epsilon * (1 + ROUNDING)
    return (before != task.labels) | ((after != task.labels) & near & inside)


def measure(task: Task, attack: Attack) -> dict[str, Any]:
    """Run an attack: who is broken, and what it took of passes and of processor time."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    task.model.gradients = task.model.queries = 0
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        examples = attack(task).detach().float()
    took = time.process_time() - began
    counts = {"gradients": task.model.gradients, "queries": task.model.queries, "seconds": took}
    return {"broken": judged(task, examples).tolist(), **counts}


def measure_reference(task: Task) -> dict[str, Any]:
    """The same of the authors' AutoAttack, version "standard", one attack of it after the other."""
    stages = list(
        run_reference(task.model, task.images, task.labels, task.norm, task.epsilon).values()
    )
    return {"broken": stages[-1]["broken"]} | {
        name: sum(stage[key] for stage in stages[1:])
        for name, key in (("gradients", "gradients"), ("queries", "queries"), ("seconds", "cpu"))
    }


@cache
def commit() -> str | None:
    """The commit of the code that this process has read."""
    return provenance.describe()["commit"]


def case(name: str, norm: NormName, work: Path) -> Iterator[dict[str, Any]]:
    """Measure all contestants on a model in a norm; what `work` has is not measured again."""
    images, labels = (each[:IMAGES] for each in digits("test"))
    task = Task(Counted(shipped(name)).eval(), images, labels, norm, EPSILONS[norm])
    about = {"model": name, "norm": norm, "epsilon": task.epsilon, "n": IMAGES}
    entries = [("pyautoattack", REFERENCE, None), *contestants(task)]
    for library, attack, run in entries:
        file = work / "contest" / f"{name}-{norm}-{IMAGES}-{library}-{attack.split(',')[0]}.json"
        if not file.exists():
            found = measure(task, run) if run else measure_reference(task)
            of = {"library": library, "attack": attack, "commit": commit()}
            write_json(file, about | of | found)
            click.echo(f"{file.stem}: {sum(found['broken'])} of {IMAGES}, {found['seconds']:.0f} s")
        yield read_json(file)


def contest(work: Path) -> pd.DataFrame:
    """A row for every model, norm and attack; the columns are those of contest.csv."""
    rows = []
    for norm in EPSILONS:
        for name in MODELS:
            found = list(case(name, norm, work))
            theirs = np.array(found[0]["broken"])
            for each in found:
                broken, n = np.array(each.pop("broken")), each["n"]
                rows.append(each | {
                    "broken": broken.sum(), "error": broken.mean(),
                    "only_reference": (theirs & ~broken).sum(),
                    "only_this": (broken & ~theirs).sum(),
                    "gradients": each["gradients"] / n, "queries": each["queries"] / n,
                    "passes": (GRADIENT_PASS * each["gradients"] + each["queries"]) / n,
                    "seconds": each["seconds"] / n,
                })  # fmt: skip
    return pd.DataFrame(rows)
