"""Is aa-fast's verdict AutoAttack's, at a tenth of its cost? One table, image by image.

    python -m benchmarks.aa_fast train FOLDER      # small nets beside those of winnrobust
    python -m benchmarks.aa_fast reference FOLDER  # the authors' AutoAttack; goes on where it was
    python -m benchmarks.aa_fast compare FOLDER    # aa-fast on the same images, and the table

The protocol, written down before the attack was:

* Reference: the authors' AutoAttack (pyautoattack 0.2.0), version "standard", seed 0, in Linf, L2
  and L1, on batches of 20 images. AutoAttack's epsilons are those of `CASES`.
* Images: the first test images of a model's data set, those that it gets wrong included. Nothing is
  developed on them: that is done on validation images (`--split valid`).
* Cost: passes of an image through a model, with a gradient (forward and backward) and without,
  counted by a module around the model. A gradient pass is worth `GRADIENT_PASS` forward ones; a
  "gradient-equivalent" is that many forward passes. Time is the process's own CPU time, on one
  thread: on an idle machine that is the wall clock.
* Models: whatever `MODELS` lists. Those that `train` makes are chosen by nothing: one training
  each, the last weights count. The net with dropout is evaluated without it, as such nets are used.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import NORMS, NormName, Run, find, run_attack
from winnrobust.data.datasets import ImageSplit, load_dataset, to_unit
from winnrobust.models.checkpoint import load_model
from winnrobust.reporting.table import to_csv
from winnrobust.runtime.files import write_json, write_text
from winnrobust.runtime.readers import read_json
from winnrobust.zoo import locate

GRADIENT_PASS = 2.5
"""Forward passes that a gradient pass is worth: on a CPU 2.2 to 3, on a GPU about 3."""
CHUNK = 20
"""Images of one file, attacked as one batch."""

Epsilons = Mapping[NormName, tuple[float, ...]]
"""By norm."""
MNIST: Epsilons = {"linf": (0.125,), "l2": (1.5,), "l1": (10.0,)}
ROBUST_MNIST: Epsilons = {**MNIST, "linf": (0.25, 0.125)}
CLOTHES: Epsilons = {"linf": (8 / 255,), "l2": (0.5,), "l1": (5.0,)}
CIFAR: Epsilons = {"linf": (8 / 255,), "l2": (0.5,), "l1": (12.0,)}
PLAIN_CIFAR: Epsilons = {"linf": (2 / 255,), "l2": (0.25,), "l1": (5.0,)}


class Model(NamedTuple):
    """A model of the comparison.

    Attributes:
        source: a path, `zoo:NAME`, or what `train` makes it of.
        dataset: whose images are attacked.
        epsilons: by norm.
        most: how many images at most, of a slow model.
    """

    source: "str | Recipe"
    dataset: str
    epsilons: Epsilons
    most: int = 1000


class Recipe(NamedTuple):
    """A small net and how it is trained: Adam, 128 images a batch, learning rate 0.002 to 0.

    Attributes:
        build: makes the untrained net.
        epochs: over the first 18,000 training images.
        epsilon, steps: of adversarial training in Linf; 0 steps is plain training. Epsilon rises to
            this over the first half.
        step: its step size.
    """

    build: Callable[[], nn.Module]
    epochs: int = 3
    epsilon: float = 0.0
    steps: int = 0
    step: float = 0.0


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def perceptron(width: int, dropout: float = 0.0) -> nn.Module:
    hidden = [nn.Linear(784, width), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(
        nn.Flatten(), *hidden, nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(width, 10),
    )  # fmt: skip


def pooled(width: int) -> nn.Module:
    """ReLU and max pooling, as in the first robust networks for MNIST."""
    return nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(98 * width, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def strided(width: int) -> nn.Module:
    """Four convolutions for 32x32 images in color."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, stride=2), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, stride=2), nn.ReLU(),
        nn.Conv2d(2 * width, 4 * width, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * width, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


RUNS = "reports/mnist-robustness/runs"
MODELS: dict[str, Model] = {
    "mnist-baseline": Model("zoo:mnist-vanilla-baseline", "mnist", MNIST),
    "mnist-winn": Model("zoo:mnist-vanilla-winn", "mnist", MNIST),
    "mnist-pgd-at": Model(f"{RUNS}/mnist-vanilla-pgd-at-seed0", "mnist", ROBUST_MNIST),
    "mnist-trades": Model(f"{RUNS}/mnist-vanilla-trades-seed0", "mnist", ROBUST_MNIST),
    "mnist-icn": Model("zoo:mnist-vanilla-icn", "mnist", MNIST),
    "mnist-gdl": Model("zoo:mnist-vanilla-gdl", "mnist", MNIST),
    "mnist-dcgan": Model("zoo:mnist-vanilla-dcgan-negatives", "mnist", MNIST),
    "clothes-baseline": Model("zoo:fashion-mnist-vanilla-baseline", "fashion-mnist", CLOTHES),
    "clothes-winn": Model("zoo:fashion-mnist-vanilla-winn", "fashion-mnist", CLOTHES),
    "mnist-linear": Model(Recipe(linear), "mnist", {"linf": (0.05,), "l2": (0.5,), "l1": (4.0,)}),
    "mnist-dropout": Model(Recipe(lambda: perceptron(256, 0.5), 5), "mnist", MNIST),
    "mnist-narrow": Model(Recipe(lambda: pooled(4)), "mnist", MNIST),
    "mnist-wide": Model(Recipe(lambda: perceptron(1024)), "mnist", MNIST),
    "cifar-pgd-at": Model(
        Recipe(lambda: strided(32), 10, 8 / 255, 5, 3 / 255), "cifar10-20k", CIFAR
    ),
    "cifar-fgsm-at": Model(
        Recipe(lambda: strided(24), 10, 8 / 255, 1, 10 / 255), "cifar10-20k", CIFAR
    ),
    "cifar-plain": Model(Recipe(lambda: strided(16), 6), "cifar10-20k", PLAIN_CIFAR),
    "mnist-pooled-at": Model(
        Recipe(lambda: pooled(8), 8, 0.3, 7, 0.08), "mnist", {**MNIST, "linf": (0.3,)}
    ),
    "mnist-resnet-baseline": Model("zoo:mnist-resnet32-baseline", "mnist", MNIST, 10),
    "mnist-resnet-winn": Model("zoo:mnist-resnet32-winn", "mnist", MNIST, 10),
    "cifar-resnet-baseline": Model(
        "zoo:cifar10-20k-resnet32-baseline", "cifar10-20k", PLAIN_CIFAR, 10
    ),
    "cifar-resnet-winn": Model("zoo:cifar10-20k-resnet32-winn", "cifar10-20k", PLAIN_CIFAR, 10),
}


class Counted(nn.Module):
    """Logits of a model; counts images shown with and without a gradient."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.gradients, self.queries = network.eval().requires_grad_(False), 0, 0

    def forward(self, images: Tensor) -> Tensor:
        if torch.is_grad_enabled() and images.requires_grad:
            self.gradients += len(images)
        else:
            self.queries += len(images)
        found = self.network(images)
        return found if isinstance(found, Tensor) else found.logits


def build(name: str, folder: Path) -> Counted | None:
    """Load a model; None if it is still to be trained."""
    source = MODELS[name].source
    if isinstance(source, str):
        return Counted(load_model(locate(Path(source)) / "model.safetensors")[0])
    file = folder / "nets" / f"{name}.pt"
    if not file.exists():
        return None
    network = source.build()
    network.load_state_dict(torch.load(file, weights_only=True))
    return Counted(network)


def chunks(name: str, split: str, images: int) -> list[tuple[int, int]]:
    count = min(images, MODELS[name].most)
    return [(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def images_of(name: str, split: str, start: int, stop: int) -> tuple[Tensor, Tensor]:
    dataset = load_dataset(MODELS[name].dataset)
    part: ImageSplit = getattr(dataset, split).batch(start, stop)
    return to_unit(part.images), part.labels


@click.group(help=__doc__)
def main() -> None:
    torch.set_num_threads(1)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def train(folder: Path) -> None:
    """Train the small nets that are not there yet."""
    (folder / "nets").mkdir(parents=True, exist_ok=True)
    for name, model in MODELS.items():
        file = folder / "nets" / f"{name}.pt"
        if isinstance(model.source, str) or file.exists():
            continue
        torch.manual_seed(0)
        network = trained(model.source, load_dataset(model.dataset).train.first(18_000))
        torch.save(network.state_dict(), file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)
        images, labels = images_of(name, "valid", 0, 1000)
        error = (network.eval()(images).argmax(1) != labels).float().mean()
        click.echo(f"{name}: validation error {error:.1%}")


def trained(recipe: Recipe, split: ImageSplit) -> nn.Module:
    """Train a net, adversarially if its recipe says so (from a random start, on the signs)."""
    network = recipe.build()
    optimizer = torch.optim.Adam(network.parameters(), 0.002)
    batches = -(-len(split) // 128) * recipe.epochs
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, batches)
    for epoch in range(recipe.epochs):
        share = min(1.0, 2 * (epoch + 1) / recipe.epochs)
        epsilon, step = share * recipe.epsilon, share * recipe.step
        for rows in torch.randperm(len(split)).split(128):
            images, labels = to_unit(split.images[rows]), split.labels[rows]
            points = images
            if recipe.steps:
                points = images + epsilon * (2 * torch.rand_like(images) - 1)
            for _ in range(recipe.steps):
                points.requires_grad_(True)
                loss = F.cross_entropy(network(points), labels, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, points)
                points = points.detach() + step * gradient.sign()
                points = images + (points - images).clamp(-epsilon, epsilon)
                points = points.clamp(0, 1)
            optimizer.zero_grad()
            F.cross_entropy(network(points), labels).backward()
            optimizer.step()
            schedule.step()
    return network


def run_reference(model: Counted, images: Tensor, labels: Tensor, norm: str, epsilon: float) -> Any:
    """Attack with the authors' AutoAttack; what it left, stage by stage, and what it took."""
    from pyautoattack import AutoAttack  # type: ignore[import-untyped]

    attack = AutoAttack(
        model, norm={"linf": "Linf", "l2": "L2", "l1": "L1"}[norm], eps=epsilon, seed=0
    )
    attack.verbose = False
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    stages: dict[str, Any] = {"clean": {"broken": (~right).tolist()}}
    order, points = list(attack.attacks_to_run), images.clone()
    for stage in order:  # one after the other, as `run_standard_evaluation` does
        model.gradients = model.queries = 0
        began = time.process_time(), time.monotonic()
        rows = right.nonzero().flatten()
        if len(rows):
            attack.attacks_to_run = [stage]
            made, _ = attack.run_standard_evaluation(images[rows], labels[rows], batch_size=CHUNK)
            points[rows] = made
            with torch.no_grad():
                right[rows] = model(made).argmax(1) == labels[rows]
        stages[stage] = {
            "broken": (~right).tolist(),
            "gradients": model.gradients,
            "queries": model.queries,
            "cpu": time.process_time() - began[0],
            "wall": time.monotonic() - began[1],
        }
    return stages


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--images", default=1000, help="At most so many of each model.")
@click.option("--split", type=click.Choice(["test", "valid"]), default="test")
@click.option("--norms", default="linf,l2,l1")
@click.option("--models", default=",".join(MODELS))
def reference(folder: Path, images: int, split: str, norms: str, models: str) -> None:
    """Run AutoAttack on chunk after chunk, every model's first one first; skip what is there."""
    (folder / "reference").mkdir(parents=True, exist_ok=True)
    for start in range(0, images, CHUNK):
        for norm in [norm for norm in NORMS if norm in norms.split(",")]:
            for name, model in MODELS.items():
                for epsilon in model.epsilons[norm] if name in models.split(",") else ():
                    reference_chunk(folder, name, split, norm, epsilon, start)


def reference_chunk(
    folder: Path, name: str, split: str, norm: str, epsilon: float, start: int
) -> None:
    file = folder / "reference" / f"{name}-{split}-{norm}-{epsilon:.4f}-{start:05d}.json"
    network = build(name, folder)
    stop = min(start + CHUNK, MODELS[name].most)
    if network is None or file.exists() or start >= stop:
        return
    pictures, labels = images_of(name, split, start, stop)
    stages = run_reference(network, pictures, labels, norm, epsilon)
    write_json(file, {"first": start, "n": len(labels), "stages": stages})
    broken = json.dumps([sum(stage["broken"]) for stage in stages.values()])
    click.echo(f"{file.name} {broken} {sum(s.get('cpu', 0) for s in stages.values()):.0f} s")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--attack", default="aa-fast")
def compare(folder: Path, attack: str) -> None:
    """Attack what the reference has attacked, and write FOLDER/ATTACK.csv."""
    rows = []
    for name, model in MODELS.items():
        for norm, epsilons in model.epsilons.items():
            for epsilon in epsilons:
                pattern = f"{name}-test-{norm}-{epsilon:.4f}-*.json"
                for file in sorted((folder / "reference").glob(pattern)):
                    rows.append(compare_chunk(folder, file, name, norm, epsilon, attack))
    table = pd.DataFrame(rows).groupby(["model", "norm", "epsilon"], sort=False).sum().reset_index()
    table["error_less"] = (table.reference_broken - table.broken) / table.n
    table["passes_share"] = table.passes / table.reference_passes
    table["cpu_share"] = table.cpu / table.reference_cpu
    write_text(folder / f"{attack}.csv", to_csv(table))
    click.echo(table.to_string(float_format="%.3g"))


def compare_chunk(
    folder: Path, file: Path, name: str, norm: NormName, epsilon: float, attack: str
) -> dict[str, Any]:
    """One chunk's row; made anew only if it is not there."""
    made = folder / attack / file.name
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        write_json(made, attacked(folder, file, name, norm, epsilon, attack))
    return dict(read_json(made))


def attacked(
    folder: Path, file: Path, name: str, norm: NormName, epsilon: float, attack: str
) -> dict[str, Any]:
    reference = read_json(file)
    first, n, stages = reference["first"], reference["n"], list(reference["stages"].values())
    network = build(name, folder)
    assert network is not None
    images, labels = images_of(name, "test", first, first + n)
    began = time.process_time()
    chosen = find(attack).in_norm(norm)
    result = run_attack(chosen, network, images, labels, [epsilon], run=Run(first=first))[0]
    cpu = time.process_time() - began
    passes = GRADIENT_PASS * network.gradients + network.queries
    with torch.no_grad():
        broken = network(result.images).argmax(1) != labels
    theirs = torch.tensor(stages[-1]["broken"])
    return {
        "model": name,
        "norm": norm,
        "epsilon": epsilon,
        "n": n,
        "wrong_already": sum(stages[0]["broken"]),
        "reference_broken": int(theirs.sum()),
        "broken": int(broken.sum()),
        "only_reference": int((theirs & ~broken).sum()),
        "only_ours": int((broken & ~theirs).sum()),
        "reference_passes": sum(
            GRADIENT_PASS * each["gradients"] + each["queries"] for each in stages[1:]
        ),
        "passes": passes,
        "reference_cpu": sum(each["cpu"] for each in stages[1:]),
        "cpu": cpu,
    }


if __name__ == "__main__":
    main()
