"""How fast is training, recipe by recipe, against a plain reference? Prints ratios.

    python benchmarks/training.py

Each contestant is measured in a process of its own, so that its peak memory is its own, and all
take turns, several rounds long, so that a machine that slows down slows all of them; medians
count. Operations are those that PyTorch counts: convolutions and matrix products.
"""

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import click
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm

from benchmarks.command import Command
from winnrobust.data.datasets import load_dataset, to_unit
from winnrobust.models import ARCHITECTURES, IntrospectiveNetwork, build
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import synthesize
from winnrobust.training.averaging import WeightAverage
from winnrobust.training.config import TrainConfig, make_config
from winnrobust.training.methods import Batch
from winnrobust.training.methods.winn import Winn

CPU = torch.device("cpu")
TRAIN_IMAGES = 45_000
ASCENT_STEPS = 200
"""Steps of a synthesis in the paper's recipe, for the time of an epoch: about what full MNIST took
here (see metrics.jsonl of any run). The fast recipe's steps are its cap."""
MATRIX = 2048
"""Side of the square matrices whose product measures the machine's peak."""

Step = Callable[[IntrospectiveNetwork, Winn, Tensor, Tensor], None]
Ascend = Callable[[IntrospectiveNetwork, Winn, Tensor, int], None]


def our_step(network: IntrospectiveNetwork, winn: Winn, images: Tensor, labels: Tensor) -> None:
    network.zero_grad(set_to_none=True)
    batch = Batch(images, labels, len(labels), slice(None), stream(0, "step"))
    winn.loss(network, batch).total.backward()


def our_ascent(network: IntrospectiveNetwork, winn: Winn, start: Tensor, steps: int) -> None:
    """`steps` steps towards a critic value that is out of reach."""
    count = start.shape[1]
    group = 1 if winn.config.synthesis.per_image else count
    groups = start.reshape(-1, group, *start.shape[2:])
    classes = torch.arange(10).repeat_interleave(count // group)
    goal = winn.goal(winn.config, classes, torch.full((len(groups),), 1e6))
    synthesize(network, groups, goal, replace(winn.ascent, max_steps=steps))


def plain_step(network: IntrospectiveNetwork, winn: Winn, images: Tensor, labels: Tensor) -> None:
    """The paper's loss as anybody would write it first: three passes, one after the other."""
    settings = winn.config.optimization
    network.zero_grad(set_to_none=True)
    real = 2 * images - 1
    fake = winn.pool.images[labels, torch.randint(winn.pool.per_class, (len(labels),))]
    logits, critic_real = network.forward_signed(real)
    critic_fake = network.forward_signed(fake).critic
    mix = torch.rand(len(labels), 1, 1, 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    critic = network.forward_signed(between).critic
    (slope,) = torch.autograd.grad(critic.sum(), between, create_graph=True)
    penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    critic_loss = critic_fake.mean() - critic_real.mean() + settings.gp_weight * penalty
    (F.cross_entropy(logits, labels) + settings.alpha * critic_loss).backward()


def plain_ascent(network: IntrospectiveNetwork, winn: Winn, start: Tensor, steps: int) -> None:
    """Class after class, each step looked at anew after clipping, as the authors' loop does."""
    for label, images in enumerate(start):
        pixels = images.clone().requires_grad_()
        adam = winn.ascent.optimizer([pixels])
        labels = torch.full((len(images),), label)
        for _ in range(steps):
            logits, critic = network.forward_signed(pixels)
            objective = (critic.mean() - 1e6).abs() + 0.5 * F.cross_entropy(logits, labels)
            (pixels.grad,) = torch.autograd.grad(objective, pixels)
            adam.step()
            pixels.data.clamp_(-1, 1)
            with torch.no_grad():
                network.forward_signed(pixels)


REFERENCE = "plain reference"
CONTESTANTS: dict[str, tuple[str, Step, Ascend]] = {
    REFERENCE: ("paper", plain_step, plain_ascent),
    "recipe paper": ("paper", our_step, our_ascent),
    "recipe fast": ("fast", our_step, our_ascent),
}
"""Name -> recipe, training step, ascent. The reference has neither channels last nor `mallopt`."""


class Operations(TorchDispatchMode):
    """Counts operations by PyTorch's own formulas.

    PyTorch's own `FlopCounterMode` also follows modules, and so fails on a gradient of a gradient.
    """

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def measure(name: str, arch: str) -> dict[str, float]:
    """Time one contestant once: seconds, operations and the process's peak memory."""
    recipe, step, ascend = CONTESTANTS[name]
    config = make_config({"recipe": recipe, "arch": arch, "method": "winn"}, "benchmark")
    if name != REFERENCE:
        keep_freed_memory()
    network = build(arch, 1, 28, 10, stream(0, "weights"))
    if name != REFERENCE:
        network.to(memory_format=torch.channels_last)
    winn = Winn(config, 1, 28, 10, CPU)
    few = load_dataset("mnist5k").train.first(config.optimization.batch_size)
    images, labels = to_unit(few.images), few.labels
    start = winn.pool.images

    optimizer = torch.optim.Adam(network.parameters(), config.optimization.lr, (0.0, 0.9))
    decay = config.optimization.average_decay
    average = None if name == REFERENCE else WeightAverage(network, decay)

    def whole_step() -> None:
        step(network, winn, images, labels)
        optimizer.step()
        if average is not None:
            average.update_parameters(network)

    step_seconds = seconds(whole_step, 7)
    one, three = (seconds(lambda n=n: ascend(network, winn, start, n), 3) for n in (1, 3))
    with Operations() as operations:
        step(network, winn, images, labels)
    return {
        "step": step_seconds,
        "operations": operations.total,
        "ascent_step": (three - one) / 2,
        "starts": seconds(lambda: winn._starts(1, 0), 1),
        "validation": seconds(lambda: no_gradients(network, images), 7) * 15_000 / len(labels),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def no_gradients(network: IntrospectiveNetwork, images: Tensor) -> None:
    with torch.no_grad():
        network(images)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall-clock time of some calls, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def peak_rate() -> float:
    """Operations per second of a float32 matrix product, the most this machine is known to do."""
    left, right = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    return 2 * MATRIX**3 / seconds(lambda: left @ right, 5)


def epoch_seconds(config: TrainConfig, found: dict[str, float]) -> float:
    """The time of an epoch of 45,000 images from that of its parts."""
    steps = math.ceil(TRAIN_IMAGES / config.optimization.batch_size)
    syntheses = steps // config.synthesis.every if config.synthesis.every else 1
    ascent_steps = min(ASCENT_STEPS, config.synthesis.max_steps)
    synthesis = found["starts"] + ascent_steps * found["ascent_step"]
    return steps * found["step"] + syntheses * synthesis + found["validation"]


def in_own_process(name: str, arch: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--arch", arch, "--measure", name]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(result.stdout)
    return found


def table_of(rounds: list[dict[str, dict[str, float]]], peak: float, arch: str) -> pd.DataFrame:
    rows = []
    for name, (recipe, _, _) in CONTESTANTS.items():
        config = make_config({"recipe": recipe, "arch": arch}, "benchmark")
        found = {
            key: statistics.median(turn[name][key] for turn in rounds) for key in rounds[0][name]
        }
        rate = found["operations"] / found["step"]
        rows.append(
            {
                "by": name,
                "images per step": config.optimization.batch_size,
                "step, ms": round(1e3 * found["step"], 1),
                "images": 10 * config.negatives.per_class,
                "ascent step, ms": round(1e3 * found["ascent_step"], 1),
                "epoch, s": round(epoch_seconds(config, found), 1),
                "GFLOP/s": round(rate / 1e9, 1),
                "of matrix peak": f"{rate / peak:.0%}",
                "peak memory, MiB": round(found["memory"]),
            }
        )
    table = pd.DataFrame(rows)
    table["epochs in the reference's time"] = (table["epoch, s"][0] / table["epoch, s"]).round(2)
    return table


def compare(arch: str, rounds: int) -> tuple[pd.DataFrame, float]:
    """Measure all contestants in turns; returns the table, and the peak in operations a second."""
    peaks, found = [], []
    for _ in tqdm(range(rounds), desc="training"):
        peaks.append(peak_rate())
        found.append({name: in_own_process(name, arch) for name in CONTESTANTS})
    peak = statistics.median(peaks)
    return table_of(found, peak, arch), peak


@click.command(cls=Command)
@click.option(
    "--arch", type=click.Choice(list(ARCHITECTURES)), default="vanilla", show_default=True
)
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--measure", "name", type=click.Choice(list(CONTESTANTS)), hidden=True)
def main(arch: str, rounds: int, name: str | None) -> None:
    """Time a training step, an ascent step and an epoch of every recipe on this machine's CPU."""
    if name is not None:
        click.echo(json.dumps(measure(name, arch)))
        return
    table, peak = compare(arch, rounds)
    click.echo(table.to_markdown(index=False))
    click.echo(f"Product of two {MATRIX} x {MATRIX} float32 matrices: {peak / 1e9:.0f} GFLOP/s.")


if __name__ == "__main__":
    main()
