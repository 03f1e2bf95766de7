"""Are our attacks as strong as other libraries'? Prints errors and distances side by side.

    python benchmarks/attacks.py runs/my-baseline/model.safetensors

Every attack that foolbox, torchattacks, ART, adv_lib or pyautoattack (the authors' AutoAttack) also
has attacks the same images of the same model with the same steps and step sizes, or queries. Ours
is weaker only if McNemar's test on the images says so. A library that is not installed is skipped.
"""

import importlib.util
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from winnrobust.attacks import NORMS, Attack, Run, answer, find, run_attack, with_settings
from winnrobust.attacks.pgd import RELATIVE_STEP
from winnrobust.data.datasets import load_dataset, to_unit
from winnrobust.evaluation.paired import mcnemar
from winnrobust.models.checkpoint import load_model
from winnrobust.reporting.table import to_csv
from winnrobust.runtime import provenance
from winnrobust.runtime.files import write_json, write_text

LIBRARIES = ("foolbox", "torchattacks", "art", "adv_lib", "pyautoattack")
NOISE = 0.05
"""Ours is called weaker where McNemar's p-value is below this."""
SEED = 0
CW_STEP = 0.05
"""Adam's step size in our C&W."""


class Logits(nn.Module):
    """What other libraries can attack: logits alone; counts the images it was asked about."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.asked = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return self.network(images.float()).logits  # ART's HopSkipJump comes with float64


class Task(NamedTuple):
    """What everybody gets.

    Attributes:
        epsilon: the bound, in the attack's norm.
        steps: of an iterative attack, and of each class of a targeted one.
        queries: of a black-box attack.
    """

    model: Logits
    images: Tensor
    labels: Tensor
    epsilon: float
    steps: int
    queries: int


Contestant = Callable[[Task], Tensor]
"""Returns adversarial examples, or for a minimum-norm attack the nearest it found."""


def foolbox_contestants(task: Task) -> Iterator[tuple[str, Contestant]]:
    import foolbox

    step, attacks = RELATIVE_STEP / task.steps, foolbox.attacks

    def contestant(attack: foolbox.Attack, bound: float | None) -> Contestant:
        def run(task: Task) -> Tensor:
            victim = foolbox.PyTorchModel(task.model, bounds=(0, 1), device=task.images.device)
            return attack(victim, task.images, task.labels, epsilons=bound)[1]

        return run

    bounded = {
        "noise-uniform": attacks.LinfRepeatedAdditiveUniformNoiseAttack(repeats=10),
        "noise-gaussian": attacks.L2RepeatedAdditiveGaussianNoiseAttack(repeats=10),
        "fgsm": attacks.FGSM(),
        "bim": attacks.LinfBasicIterativeAttack(
            rel_stepsize=step, steps=task.steps, random_start=False
        ),
        "pgd": attacks.LinfPGD(rel_stepsize=step, steps=task.steps),
        "pgd-l2": attacks.L2PGD(rel_stepsize=step, steps=task.steps),
    }
    nearest = {
        "deepfool": attacks.L2DeepFoolAttack(steps=task.steps),
        "cw-l2": attacks.L2CarliniWagnerAttack(steps=task.steps, stepsize=CW_STEP),
        "ddn": attacks.DDNAttack(steps=task.steps),
        "fmn": attacks.LInfFMNAttack(steps=task.steps),
        "hopskipjump": attacks.HopSkipJumpAttack(steps=_hops(task.queries)),
    }
    yield from ((name, contestant(attack, task.epsilon)) for name, attack in bounded.items())
    yield from ((name, contestant(attack, None)) for name, attack in nearest.items())


def torchattacks_contestants(task: Task) -> Iterator[tuple[str, Contestant]]:
    import torchattacks

    epsilon, steps = task.epsilon, task.steps
    step = RELATIVE_STEP * epsilon / steps
    made = {
        "fgsm": lambda m: torchattacks.FGSM(m, eps=epsilon),
        "rfgsm": lambda m: torchattacks.RFGSM(m, eps=epsilon, alpha=epsilon / 2, steps=1),
        "bim": lambda m: torchattacks.BIM(m, eps=epsilon, alpha=step, steps=steps),
        "mifgsm": lambda m: torchattacks.MIFGSM(m, eps=epsilon, alpha=epsilon / steps, steps=steps),
        "pgd": lambda m: torchattacks.PGD(m, eps=epsilon, alpha=step, steps=steps),
        "pgd-l2": lambda m: torchattacks.PGDL2(m, eps=epsilon, alpha=step, steps=steps),
        "apgd-ce": lambda m: torchattacks.APGD(m, eps=epsilon, steps=steps, seed=SEED),
        "apgd-t": lambda m: torchattacks.APGDT(m, eps=epsilon, steps=steps, seed=SEED),
        "fab": lambda m: torchattacks.FAB(
            m, eps=epsilon, steps=steps, multi_targeted=True, n_classes=10, seed=SEED
        ),
        "square": lambda m: torchattacks.Square(m, eps=epsilon, n_queries=task.queries, seed=SEED),
        "autoattack": lambda m: torchattacks.AutoAttack(m, eps=epsilon, n_classes=10, seed=SEED),
        "deepfool": lambda m: torchattacks.DeepFool(m, steps=steps),
        "cw-l2": lambda m: torchattacks.CW(m, c=1, steps=steps, lr=CW_STEP),
    }
    for name, make in made.items():
        yield name, lambda task, make=make: make(task.model)(task.images, task.labels)


def art_contestants(task: Task) -> Iterator[tuple[str, Contestant]]:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    epsilon, steps, size = task.epsilon, task.steps, len(task.images)
    step = RELATIVE_STEP * epsilon / steps
    made = {
        "fgsm": lambda c: evasion.FastGradientMethod(c, eps=epsilon, batch_size=size),
        "bim": lambda c: evasion.BasicIterativeMethod(
            c, eps=epsilon, eps_step=step, max_iter=steps, batch_size=size, verbose=False
        ),
        "pgd": lambda c: evasion.ProjectedGradientDescent(
            c,
            eps=epsilon,
            eps_step=step,
            max_iter=steps,
            num_random_init=1,
            batch_size=size,
            verbose=False,
        ),
        "pgd-l2": lambda c: evasion.ProjectedGradientDescent(
            c,
            norm=2,
            eps=epsilon,
            eps_step=step,
            max_iter=steps,
            num_random_init=1,
            batch_size=size,
            verbose=False,
        ),
        "apgd-ce": lambda c: evasion.AutoProjectedGradientDescent(
            c,
            eps=epsilon,
            eps_step=2 * epsilon,
            max_iter=steps,
            nb_random_init=1,
            loss_type="cross_entropy",
            batch_size=size,
            verbose=False,
        ),
        "square": lambda c: evasion.SquareAttack(
            c, eps=epsilon, max_iter=task.queries, batch_size=size, verbose=False
        ),
        "cw-l2": lambda c: evasion.CarliniL2Method(
            c,
            binary_search_steps=9,
            max_iter=steps,
            learning_rate=CW_STEP,
            batch_size=size,
            verbose=False,
        ),
        "deepfool": lambda c: evasion.DeepFool(c, max_iter=steps, batch_size=size, verbose=False),
        "hopskipjump": lambda c: evasion.HopSkipJump(
            c, max_iter=_hops(task.queries), max_eval=10_000, verbose=False
        ),
    }

    def contestant(make: Callable[[PyTorchClassifier], Any]) -> Contestant:
        def run(task: Task) -> Tensor:
            classifier = PyTorchClassifier(
                task.model,
                loss=nn.CrossEntropyLoss(),
                input_shape=tuple(task.images.shape[1:]),
                nb_classes=10,
                clip_values=(0.0, 1.0),
                device_type="cpu",
            )
            made = make(classifier).generate(task.images.numpy(), task.labels.numpy())
            return torch.from_numpy(made)

        return run

    yield from ((name, contestant(make)) for name, make in made.items())


def adv_lib_contestants(task: Task) -> Iterator[tuple[str, Contestant]]:
    from adv_lib import attacks

    epsilon, steps = task.epsilon, task.steps
    relative = {"relative_step_size": RELATIVE_STEP / steps, "absolute_step_size": None}
    made = {
        "pgd": lambda m, x, y: attacks.pgd_linf(m, x, y, ε=epsilon, steps=steps, **relative),
        "apgd-ce": lambda m, x, y: attacks.apgd(
            m, x, y, eps=epsilon, norm=math.inf, n_iter=steps, loss_function="ce"
        ),
        "apgd-t": lambda m, x, y: attacks.apgd_targeted(
            m, x, y, eps=epsilon, norm=math.inf, n_iter=steps
        ),
        "fab": lambda m, x, y: attacks.fab(
            m, x, y, norm=math.inf, n_iter=steps, targeted_restarts=True
        ),
        "deepfool": lambda m, x, y: attacks.df(m, x, y, steps=steps),
        "cw-l2": lambda m, x, y: attacks.carlini_wagner_l2(
            m, x, y, learning_rate=CW_STEP, max_iterations=steps
        ),
        "ddn": lambda m, x, y: attacks.ddn(m, x, y, steps=steps, levels=None),
        "fmn": lambda m, x, y: attacks.fmn(m, x, y, norm=math.inf, steps=steps),
    }
    for name, make in made.items():
        yield name, lambda task, make=make: make(task.model, task.images, task.labels)


def pyautoattack_contestants(task: Task) -> Iterator[tuple[str, Contestant]]:
    from pyautoattack import AutoAttack
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    epsilon, steps = task.epsilon, task.steps
    made = {
        "apgd-ce": lambda m: APGDAttack(m, eps=epsilon, n_iter=steps, seed=SEED).perturb,
        "apgd-t": lambda m: APGDAttack_targeted(m, eps=epsilon, n_iter=steps, seed=SEED).perturb,
        "fab": lambda m: (
            FABAttack_PT(
                m, eps=epsilon, n_restarts=1, n_iter=steps, targeted=True, seed=SEED
            ).perturb
        ),
        "square": lambda m: SquareAttack(m, eps=epsilon, n_queries=task.queries, seed=SEED).perturb,
        "autoattack": lambda m: (
            lambda x, y: AutoAttack(m, eps=epsilon, seed=SEED).run_standard_evaluation(
                x, y, batch_size=len(x)
            )[0]
        ),
    }
    for name, make in made.items():
        yield name, lambda task, make=make: make(task.model)(task.images, task.labels)


CONTESTANTS = {
    "foolbox": foolbox_contestants,
    "torchattacks": torchattacks_contestants,
    "art": art_contestants,
    "adv_lib": adv_lib_contestants,
    "pyautoattack": pyautoattack_contestants,
}


def _hops(queries: int) -> int:
    """Return how many steps HopSkipJump makes of so many queries: 100 sqrt(t) + 25 in step t."""
    steps = 0
    while queries > 0:
        steps += 1
        queries -= int(100 * math.sqrt(steps)) + 25
    return steps


def ours(attack: Attack, task: Task) -> Tensor:
    if attack.name != "autoattack":  # that is the standard version, as theirs
        attack = with_settings(attack, steps=task.steps, queries=task.queries)
    # A bound that holds all images: a minimum-norm attack then returns the nearest it found.
    bound = math.inf if attack.minimum_norm else task.epsilon
    (found,) = run_attack(attack, task.model, task.images, task.labels, [bound], run=Run(seed=SEED))
    return found.images


class Judged(NamedTuple):
    """What became of the images: who is wrong within epsilon (N,), how far away, at what cost."""

    wrong: np.ndarray
    distances: np.ndarray
    asked: float
    seconds: float


def judge(attack: Attack, contestant: Contestant, task: Task) -> Judged:
    """Run a contestant and judge its examples by our own rules."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    task.model.asked = 0
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = contestant(task).detach()
    seconds, asked = time.perf_counter() - began, task.model.asked / len(task.images)
    sizes = NORMS[attack.norm].size(found - task.images)
    wrong = answer(task.model, found).logits.argmax(1) != task.labels
    distances = torch.where(wrong, sizes, torch.inf)
    distances[answer(task.model, task.images).logits.argmax(1) != task.labels] = 0
    return Judged((distances <= task.epsilon + 1e-5).numpy(), distances.numpy(), asked, seconds)


def compare(attack: Attack, task: Task, contestants: dict[str, Contestant]) -> list[dict]:
    """Return a row for each library: our error and its, and whether ours is lower beyond noise."""
    mine = judge(attack, lambda task: ours(attack, task), task)
    rows = []
    for library, contestant in contestants.items():
        try:
            theirs = judge(attack, contestant, task)
        except Exception as error:  # a library that fails is no reason to stop
            click.echo(f"{library}'s {attack.name} failed: {type(error).__name__}: {error}")
            continue
        only_mine = int((mine.wrong & ~theirs.wrong).sum())
        only_theirs = int((theirs.wrong & ~mine.wrong).sum())
        p_value = mcnemar(only_mine, only_theirs)
        weaker = only_theirs > only_mine and p_value < NOISE
        medians = (float(np.median(each.distances)) for each in (mine, theirs))
        our_median, their_median = medians if attack.minimum_norm else (math.nan, math.nan)
        rows.append(
            {
                "attack": attack.name,
                "epsilon": task.epsilon,
                "against": library,
                "our error": mine.wrong.mean(),
                "their error": theirs.wrong.mean(),
                "only ours": only_mine,
                "only theirs": only_theirs,
                "p": round(p_value, 4),
                "ours": "WEAKER" if weaker else "no weaker",
                "our median": round(our_median, 4),
                "their median": round(their_median, 4),
                "our images asked": round(mine.asked, 1),
                "their images asked": round(theirs.asked, 1),
                "our seconds": round(mine.seconds, 1),
                "their seconds": round(theirs.seconds, 1),
            }
        )
    return rows


@click.command()
@click.argument("model_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dataset", default="mnist", show_default=True)
@click.option("--images", default=500, show_default=True)
@click.option("--eps", default=0.1, show_default=True, help="Of the L-infinity attacks.")
@click.option("--eps-l2", default=1.0, show_default=True, help="Of the L2 attacks.")
@click.option("--steps", default=20, show_default=True)
@click.option("--queries", default=500, show_default=True)
@click.option("--attacks", help="Names, separated by commas.  [default: all]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for results and provenance.")
def main(
    model_file: Path,
    dataset: str,
    images: int,
    eps: float,
    eps_l2: float,
    steps: int,
    queries: int,
    attacks: str | None,
    out: Path | None,
) -> None:
    """Attack the first test images of a data set with the model in MODEL_FILE."""
    network, _ = load_model(model_file)
    model = Logits(network.requires_grad_(False)).eval()
    test = load_dataset(dataset).test
    pixels, labels = to_unit(test.images[:images]), test.labels[:images]
    installed = [name for name in LIBRARIES if importlib.util.find_spec(name)]
    for name in LIBRARIES:
        if name not in installed:
            click.echo(f"{name} is not installed and is skipped")
    tasks = {
        norm: Task(model, pixels, labels, epsilon, steps, queries)
        for norm, epsilon in (("linf", eps), ("l2", eps_l2))
    }
    rows = []
    for name in attacks.split(",") if attacks else _common(installed, tasks["linf"]):
        attack = find(name)
        task = tasks[attack.norm]
        contestants = {
            library: contestant
            for library in installed
            for known, contestant in CONTESTANTS[library](task)
            if known == name
        }
        found = compare(attack, task, contestants)
        for row in found:
            click.echo(" ".join(f"{key}={value}" for key, value in row.items()))
        rows += found
    table = pd.DataFrame(rows)
    text = table.to_markdown(index=False)
    click.echo(text)
    if out is not None:
        write_text(out / "attacks.md", text + "\n")
        write_text(out / "attacks.csv", to_csv(table))
        write_json(out / "attacks.json", provenance.describe() | {"against": installed})


def _common(installed: list[str], task: Task) -> list[str]:
    """Return the names of all attacks that an installed library has too."""
    names = [name for library in installed for name, _ in CONTESTANTS[library](task)]
    return list(dict.fromkeys(names))


if __name__ == "__main__":
    main()
