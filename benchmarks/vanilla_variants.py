"""Which vanilla CNN did the paper mean? Baselines of many variants, on validation images.

    python -m benchmarks.vanilla_variants follow runs/vanilla     # the protocol, all of it
    python -m benchmarks.vanilla_variants follow runs/vanilla --device cuda --jobs 16
    python -m benchmarks.vanilla_variants train runs/vanilla --seed 1 --variant dcgan
    python -m benchmarks.vanilla_variants report runs/vanilla reports/paper/vanilla-variants

What is varied, measured and decided, and why, is in `reports/paper/vanilla-variants/protocol.md`.
Every variant and seed has a folder of its own with a JSON line per epoch; the same command goes on
where it was interrupted. No test image is used.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from benchmarks.command import Command
from winnrobust.data.datasets import ImageSplit, load_dataset, to_unit
from winnrobust.models.initialization import CRITIC_STD, initialize_layer
from winnrobust.models.layers import layer_norm
from winnrobust.models.network import IntrospectiveNetwork
from winnrobust.reporting.figures import COLORS, save_figure, tidy
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.devices import resolve_device, waits
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import replacing, write_json, write_text
from winnrobust.runtime.intervals import rate
from winnrobust.runtime.randomness import stream
from winnrobust.runtime.readers import read_json

CPU = torch.device("cpu")
EPSILON = 0.125
BATCH = 100
VALIDATION_BATCH = 500
SAVE_EVERY = 50
"""In steps: how often the losses are looked at, and on a CPU, where an epoch takes minutes, the
state is saved."""
DIVERGED = "diverged.txt"
"""In the folder of a run whose loss was no longer finite: when that was."""
PAPER = {"clean": 0.89, "fgsm": 32.41}
"""Its vanilla CNN's errors on test images, in percent."""
CLEAN_LIMIT = 2.0
"""A variant above this validation error after the screening, in percent, is out."""
SCREENING_EPOCHS = 4
LONG_EPOCHS = 20
LAST = 2
"""Epochs whose mean stands for a variant in the screening."""
COMMON = 5_000
"""Validation images, the last ones, that no variant trains on."""
TF_SAME = ((1, 2, 1, 2), (1, 2, 1, 2), (2, 2, 2, 2), (1, 2, 1, 2))
"""TensorFlow's SAME padding (left, right, top, bottom) of 28 -> 14 -> 7 -> 4 -> 2 pixels."""


@dataclass(frozen=True)
class Variant:
    """A reading of the vanilla CNN and of its training.

    Attributes:
        weights: initialization of each convolution and of the linear layer: tf, dcgan or torch.
        scale: what the convolutions' weights are multiplied by afterwards.
    """

    weights: tuple[str, ...] = ("tf",) * 5
    norm: str = "layer"
    padding: str = "symmetric"
    channels: tuple[int, ...] = (64,) * 4
    train_images: int = 45_000
    lr: float = 1e-3
    scale: float = 1.0


TODAY = Variant()
DCGAN = Variant(weights=("dcgan",) * 5)
TORCH = Variant(weights=("torch",) * 5)
VARIANTS = {
    "dcgan": DCGAN,
    "today": TODAY,
    "dcgan, one-sided": replace(DCGAN, padding="one-sided"),
    "torch": TORCH,
    "tf, first convolution of dcgan": Variant(weights=("dcgan", "tf", "tf", "tf", "tf")),
    "tf, other convolutions of dcgan": Variant(weights=("tf", "dcgan", "dcgan", "dcgan", "tf")),
    "tf, linear layer of dcgan": Variant(weights=("tf", "tf", "tf", "tf", "dcgan")),
    "tf, lr 3e-3": replace(TODAY, lr=3e-3),
    "tf, convolutions / 16": replace(TODAY, scale=1 / 16),
    "dcgan, lr 3e-4": replace(DCGAN, lr=3e-4),
    "dcgan, batch norm": replace(DCGAN, norm="batch"),
    "today, batch norm": replace(TODAY, norm="batch"),
    "dcgan, no norm": replace(DCGAN, norm="none"),
    "today, no norm": replace(TODAY, norm="none"),
    "dcgan, 55,000": replace(DCGAN, train_images=55_000),
    "torch, lr 3e-3": replace(TORCH, lr=3e-3),
    "today, one-sided": replace(TODAY, padding="one-sided"),
    "dcgan, DCGAN's channels": replace(DCGAN, channels=(64, 128, 256, 512)),
}
"""In the order in which the screening trains them."""

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layer": layer_norm,
    "batch": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
}


def build(variant: Variant, generator: torch.Generator) -> IntrospectiveNetwork:
    """Build a variant for MNIST with fresh weights drawn from `generator`."""
    layers: list[nn.Module] = []
    inputs, size = 1, 28
    for channels, padding in zip(variant.channels, TF_SAME, strict=True):
        layers += [
            nn.ZeroPad2d((2, 2, 2, 2) if variant.padding == "symmetric" else padding),
            nn.Conv2d(inputs, channels, kernel_size=5, stride=2),
            NORMS[variant.norm](channels),
            nn.SiLU(),
        ]
        inputs, size = channels, (size + 1) // 2
    network = IntrospectiveNetwork(nn.Sequential(*layers, nn.Flatten()), inputs * size**2, 10)
    for layer, kind in zip(weighted(network), variant.weights, strict=True):
        initialize_layer(layer, generator, kind)
        if isinstance(layer, nn.Conv2d):
            layer.weight.data *= variant.scale
    nn.init.normal_(network.critic.weight, 0.0, CRITIC_STD, generator=generator)
    nn.init.zeros_(network.critic.bias)
    return network


def weighted(network: IntrospectiveNetwork) -> list[nn.Conv2d | nn.Linear]:
    """The convolutions and the linear layer to the logits, in order."""
    convolutions = [layer for layer in network.features.modules() if isinstance(layer, nn.Conv2d)]
    return [*convolutions, network.classifier]


def stable_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 + sum over the others of exp(their logit - the label's)), summed over the batch."""
    column = labels.unsqueeze(1)
    others = logits.scatter(1, column, -math.inf).logsumexp(1)
    return F.softplus(others - logits.gather(1, column).squeeze(1)).sum()


def measure(network: nn.Module, images: ImageSplit) -> dict[str, int]:
    """Count errors on images: clean, and under FGSM with both forms of the cross-entropy.

    Counts of the last `COMMON` images have names that end so.
    """
    network.eval()
    wrong: dict[str, list[Tensor]] = {name: [] for name in ("clean", "fgsm", "stable", "zero")}
    for raw, labels in zip(
        images.images.split(VALIDATION_BATCH), images.labels.split(VALIDATION_BATCH), strict=True
    ):
        clean = to_unit(raw)
        pixels = clean.clone().requires_grad_()
        logits = network(pixels).logits
        usual = F.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(usual, pixels, retain_graph=True)
        (stable,) = torch.autograd.grad(stable_cross_entropy(logits, labels), pixels)
        wrong["clean"].append(logits.argmax(1) != labels)
        wrong["zero"].append(gradient.flatten(1).abs().amax(1) == 0)
        with torch.no_grad():
            for name, direction in (("fgsm", gradient), ("stable", stable)):
                attacked = (clean + EPSILON * direction.sign()).clamp(0, 1)
                wrong[name].append(network(attacked).logits.argmax(1) != labels)
    found = {name: torch.cat(parts) for name, parts in wrong.items()}
    return {name: int(each.sum()) for name, each in found.items()} | {
        f"{name}_common": int(each[-COMMON:].sum()) for name, each in found.items()
    }


def splits(train_images: int, device: torch.device = CPU) -> tuple[ImageSplit, ImageSplit]:
    """Training and validation images: MNIST's 60,000 in file order, cut once."""
    data = load_dataset("mnist")
    images = torch.cat([data.train.images, data.valid.images]).to(device)
    labels = torch.cat([data.train.labels, data.valid.labels]).to(device)
    return (
        ImageSplit(images[:train_images], labels[:train_images]),
        ImageSplit(images[train_images:], labels[train_images:]),
    )


class Run:
    """A variant in training, and its folder: what it was made with, its state, an epoch per line.

    Weights and the order of the images are drawn on the CPU, the same for every device.
    """

    def __init__(self, folder: Path, variant: Variant, seed: int, device: torch.device) -> None:
        settings = json.loads(json.dumps(asdict(variant))) | {"seed": seed}
        if not (folder / "run.json").exists():
            began = provenance.describe(device)
            write_json(folder / "run.json", {"settings": settings, "began": began})
        elif read_json(folder / "run.json")["settings"] != settings:
            raise InputError(f"{folder} is of other settings; choose another folder")
        self.folder, self.seed = folder, seed
        self.network = build(variant, stream(seed, "weights")).to(device)
        if device == CPU:
            self.network.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=variant.lr, betas=(0.0, 0.9), eps=1e-8
        )
        self.rows: list[dict[str, Any]] = []
        self.losses: list[float] = []  # of the batches of the epoch under way
        self.seconds = 0.0  # spent on the epoch under way before the last start
        if (folder / "state.pt").exists():
            state = torch.load(folder / "state.pt", weights_only=True, map_location=device)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.rows, self.losses = state["rows"], state["losses"]
            self.seconds = state["seconds"]
        self.resume_clock()

    def resume_clock(self) -> None:
        self.began = time.monotonic() - self.seconds

    def save(self) -> None:
        state = {
            "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
            "rows": self.rows, "losses": self.losses,
            "seconds": time.monotonic() - self.began,
        }  # fmt: skip
        with replacing(self.folder / "state.pt") as temporary:
            torch.save(state, temporary)

    def train_epoch(self, images: ImageSplit) -> bool:
        """Go on to the end of the epoch; returns whether all losses are finite."""
        self.network.train()
        epoch = len(self.rows) + 1
        order = torch.randperm(len(images), generator=stream(self.seed, "batches", epoch))
        batches = order.to(images.labels.device).split(BATCH)
        unseen: list[Tensor] = []
        for step, chosen in enumerate(batches[len(self.losses) :], start=len(self.losses) + 1):
            logits = self.network(to_unit(images.images[chosen])).logits
            loss = F.cross_entropy(logits, images.labels[chosen])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            unseen.append(loss.detach())
            if step % SAVE_EVERY == 0 or step == len(batches):
                self.losses += torch.stack(unseen).tolist()
                unseen.clear()
                if not all(map(math.isfinite, self.losses)):
                    return False
                if not waits(loss.device):
                    self.save()
        return True

    def end_epoch(self, validation: ImageSplit) -> dict[str, Any]:
        """Measure the epoch and keep its weights; returns what is known of it."""
        trained = time.monotonic() - self.began
        row = {"epoch": len(self.rows) + 1, "cross_entropy": fmean(self.losses)}
        row |= {"n": len(validation)} | measure(self.network, validation)
        layers = weighted(self.network)
        row["rms"] = [layer.weight.detach().square().mean().sqrt().item() for layer in layers]
        row["train_seconds"] = round(trained, 1)
        row["seconds"] = round(time.monotonic() - self.began, 1)
        self.rows.append(row)
        self.losses, self.seconds = [], 0.0
        self.resume_clock()
        with replacing(self.folder / f"weights-{row['epoch']:03d}.pt") as temporary:
            torch.save(self.network.state_dict(), temporary)
        self.save()
        lines = "".join(json.dumps(each) + "\n" for each in self.rows)
        write_text(self.folder / "epochs.jsonl", lines)
        return row


def train(folder: Path, variant: Variant, seed: int, epochs: int, device: torch.device) -> None:
    """Train a variant up to `epochs`, from where it stopped; a diverged one is left as it is."""
    run = Run(folder, variant, seed, device)
    images, validation = splits(variant.train_images, device)
    while len(run.rows) < epochs and not (folder / DIVERGED).exists():
        if run.train_epoch(images):
            click.echo(f"{folder.name} {json.dumps(run.end_epoch(validation))}")
        else:
            write_text(folder / DIVERGED, f"in epoch {len(run.rows) + 1}\n")


def train_all(
    work: Path,
    names: Sequence[str],
    seeds: Sequence[int],
    epochs: int,
    device: torch.device,
    jobs: int,
) -> None:
    """Train variants of all these seeds: one after the other, or so many processes at a time."""
    runs = [(name, seed) for seed in seeds for name in names]
    if jobs == 1:
        for name, seed in runs:
            train(work / folder_of(name, seed), VARIANTS[name], seed, epochs, device)
        return

    def in_a_process(run: tuple[str, int]) -> int:
        name, seed = run
        options = ["--variant", name, "--seed", seed, "--epochs", epochs, "--device", device]
        command = ["-m", "benchmarks.vanilla_variants", "train", work, *options]
        return subprocess.run([sys.executable, *map(str, command)], check=False).returncode

    with ThreadPoolExecutor(jobs) as pool:
        codes = list(pool.map(in_a_process, runs))
    if failed := [run for run, code in zip(runs, codes, strict=True) if code]:
        raise InputError(f"these did not train to their end: {failed}")


def folder_of(name: str, seed: int) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in name).split()
    return f"{'-'.join(words)}-seed{seed}"


def table_of_epochs(work: Path) -> pd.DataFrame:
    """A row per variant, seed and epoch that was trained, with errors in percent."""
    rows = []
    for name in VARIANTS:
        for folder in sorted(work.glob(folder_of(name, 0)[:-1] + "*")):
            if not (folder / "epochs.jsonl").exists():
                continue
            seed = read_json(folder / "run.json")["settings"]["seed"]
            for line in (folder / "epochs.jsonl").read_text().splitlines():
                row = json.loads(line)
                row |= {f"rms_{i}": value for i, value in enumerate(row.pop("rms"), start=1)}
                rows.append({"variant": name, "seed": seed} | row)
    if not rows:
        raise InputError(f"{work} holds no finished epoch; `train` makes them")
    table = pd.DataFrame(rows)
    for measured in ("clean", "fgsm", "stable"):
        table[f"{measured} %"] = 100 * table[measured] / table.n
        table[f"{measured} common %"] = 100 * table[f"{measured}_common"] / COMMON
    return table


SCREENING = (
    "variant", "seeds", "clean %", "fgsm %", "distance", "seeds' fgsm %", "epochs' fgsm %",
    "stable %", "zero", "fgsm common %", "verdict",
)  # fmt: skip


def screening(work: Path, epochs: pd.DataFrame, length: int) -> pd.DataFrame:
    """A row per variant: what its seeds came to in the last two epochs of the screening."""
    rows = []
    for name in VARIANTS:
        trained = epochs[(epochs.variant == name) & (epochs.epoch <= length)]
        complete = trained.groupby("seed").filter(lambda run: len(run) == length)
        if complete.empty:
            note = f"{len(trained)} epochs" if len(trained) else "not run"
            if list(work.glob(f"{folder_of(name, 0)[:-1]}*/{DIVERGED}")):
                note = "out: diverged"
            rows.append({"variant": name, "verdict": note})
            continue
        last = complete[complete.epoch > length - LAST]
        of_seed = last.groupby("seed")["fgsm %"].mean()
        distance = of_seed.mean() - PAPER["fgsm"]
        clean = last["clean %"].mean()
        rows.append(
            {
                "variant": name, "seeds": str(len(of_seed)), "clean %": clean,
                "fgsm %": of_seed.mean(), "seeds' fgsm %": listed(of_seed),
                "epochs' fgsm %": f"{last['fgsm %'].min():.1f} to {last['fgsm %'].max():.1f}",
                "stable %": last["stable %"].mean(), "zero": str(last.zero.max()),
                "fgsm common %": last["fgsm common %"].mean(),
                "distance": distance,
                "verdict": "out: clean error" if clean > CLEAN_LIMIT else "",
            }
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=SCREENING)
    ranks = table.distance.abs().where(table.verdict == "").rank()
    table["rank"] = ranks.map(lambda rank: "" if math.isnan(rank) else f"{rank:g}")
    return table


def listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def chosen_epochs(epochs: pd.DataFrame, length: int) -> pd.DataFrame:
    """A row per run that went on after the screening: the epoch of the least clean error."""
    rows = []
    for (name, seed), run in epochs.groupby(["variant", "seed"], sort=False):
        if run.epoch.max() <= length:
            continue
        best = run[run.clean == run.clean.min()].iloc[-1]
        fgsm = rate(int(best.fgsm), int(best.n))
        late = run[run.epoch > run.epoch.max() - 10]
        rows.append(
            {
                "variant": name, "seed": seed, "epochs": run.epoch.max(), "epoch": best.epoch,
                "clean %": best["clean %"], "fgsm %": best["fgsm %"],
                "interval": f"{100 * fgsm.low:.1f} to {100 * fgsm.high:.1f}",
                "stable %": best["stable %"], "zero": best.zero,
                "last epoch: clean, fgsm %": listed(run.iloc[-1][["clean %", "fgsm %"]]),
                "fgsm % over the last ten": (
                    f"{late['fgsm %'].min():.1f} to {late['fgsm %'].max():.1f}"
                ),
                "answers": bool(
                    abs(best["fgsm %"] - PAPER["fgsm"]) <= 3
                    and abs(best["clean %"] - PAPER["clean"]) <= 0.3
                ),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def figure_of(epochs: pd.DataFrame) -> Figure:
    """Clean and FGSM errors per epoch; a color per variant, its seeds alike."""
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    panels = {
        "clean %": ("no attack", PAPER["clean"]),
        "fgsm %": (f"FGSM at {EPSILON}, usual cross-entropy", PAPER["fgsm"]),
        "stable %": (f"FGSM at {EPSILON}, stable cross-entropy", None),
    }
    names = list(dict.fromkeys(epochs.variant))
    for axes, (column, (title, paper)) in zip(
        figure.subplots(1, len(panels)), panels.items(), strict=True
    ):
        for (name, seed), run in epochs.groupby(["variant", "seed"], sort=False):
            number = names.index(name)
            axes.plot(
                run.epoch, run[column], "osD^vPX"[number // len(COLORS)] + "-", markersize=3.5,
                color=COLORS[number % len(COLORS)], linewidth=1.2,
                label=name if seed == 0 and column == "clean %" else None,
            )  # fmt: skip
        if paper is not None:
            axes.axhline(paper, color="black", linestyle="--", linewidth=1)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylabel("error on validation images, %")
        axes.xaxis.get_major_locator().set_params(integer=True)
        tidy(axes)
    figure.axes[0].set_yscale("log")
    figure.axes[0].yaxis.set_major_formatter("{x:g}")
    figure.axes[0].yaxis.set_minor_formatter("{x:g}")
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


REPORT = """# Which vanilla CNN did the paper mean?

Made by `{command}` at commit {commit}, {time}. The question, the variants and what decides were
written down before, in [protocol.md](protocol.md). All errors are of **validation images**; no test
image was used. The paper (test images): clean 0.89 %, FGSM at 0.125 32.41 %.

## Screening: {length} epochs, mean over the last two

{screening}

`distance` is the FGSM error (usual float32 cross-entropy) minus the paper's, in points; `rank`
orders its size among variants that are not out. `stable %`: the same attack with the form of the
cross-entropy that does not round away. `zero`: the most images, in one of the epochs, whose usual
gradient is 0 in every pixel. `fgsm common %`: on the last 5,000 validation images only, which is
all that the variant of 55,000 training images has. An FGSM error of 15,000 images has a sampling
error of at most 0.8 points (95 %); epochs and seeds differ by more.

## Longer training

{longer}

## Effective learning rate: root mean square of the weights

{rms}

![errors per epoch](errors.png)

The dashed lines are the paper's figures. Every epoch is a row of [epochs.csv](epochs.csv).
An epoch took {seconds} seconds in the median ({training} of them training) on
{machine}; several variants trained at once there.
"""


def markdown(table: pd.DataFrame) -> str:
    return table.map(cell_text).to_markdown(index=False, disable_numparse=True)


def cell_text(cell: Any) -> str:
    if isinstance(cell, float):
        return "" if math.isnan(cell) else f"{cell:.2f}"
    return str(cell)


def rms_table(epochs: pd.DataFrame) -> pd.DataFrame:
    """Of seed 0's first and last epoch: the weights' scale, a column per layer."""
    of_seed = epochs[epochs.seed == 0]
    columns = [column for column in epochs if str(column).startswith("rms_")]
    ends = of_seed.groupby("variant", sort=False).epoch.transform
    shown = of_seed[(of_seed.epoch == ends("min")) | (of_seed.epoch == ends("max"))]
    table = shown[["variant", "epoch", *columns]].copy()
    for column in columns:
        table[column] = table[column].map("{:.4f}".format)
    names = ["convolution 1", "convolution 2", "convolution 3", "convolution 4", "linear"]
    return table.rename(columns=dict(zip(columns, names, strict=True)))


def machine_of(run: dict[str, Any]) -> str:
    machine = run["began"]["machine"]
    return machine["gpu"] or machine["processor"]


def write_report(work: Path, out: Path) -> None:
    """Write tables, figure and manifest."""
    epochs = table_of_epochs(work)
    now = provenance.describe()
    runs = {
        folder.name: read_json(folder / "run.json") for folder in sorted(work.glob("*-seed[0-9]*"))
    }
    longer = chosen_epochs(epochs, SCREENING_EPOCHS)
    write_text(
        out / "report.md",
        REPORT.format(
            command=now["command"],
            commit=now["commit"], time=now["time"], length=SCREENING_EPOCHS,
            screening=markdown(screening(work, epochs, SCREENING_EPOCHS)),
            longer=markdown(longer) if len(longer) else "Not run yet.",
            rms=markdown(rms_table(epochs)),
            seconds=f"{epochs.seconds.median():.1f}",
            training=f"{epochs.train_seconds.median():.1f}",
            machine=", ".join(sorted({machine_of(run) for run in runs.values()})),
        ),
    )  # fmt: skip
    write_text(out / "epochs.csv", epochs.to_csv(index=False, float_format="%.6g"))
    save_figure(figure_of(epochs), out / "errors.png")
    images, validation = splits(45_000)
    data = {"train": images.sha256(), "validation": validation.sha256()}
    write_json(out / "manifest.json", now | {"data sha256": data, "runs": runs})


@click.group()
def main() -> None:
    """Train variants of the vanilla baseline; report which is nearest to the paper's."""
    keep_freed_memory()
    torch.set_num_threads(1)


device_option = click.option(
    "--device",
    default="cpu",
    show_default=True,
    callback=lambda ctx, it, name: resolve_device(name),
)
jobs_option = click.option(
    "--jobs", default=1, type=click.IntRange(1), show_default=True, help="Processes at a time."
)


@main.command("train", cls=Command)
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.option("--variant", "names", multiple=True, type=click.Choice(list(VARIANTS)))
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True)
@click.option("--epochs", default=SCREENING_EPOCHS, type=click.IntRange(1), show_default=True)
@device_option
@jobs_option
def train_command(
    work: Path,
    names: Sequence[str],
    seeds: Sequence[int],
    epochs: int,
    device: torch.device,
    jobs: int,
) -> None:
    """Train variants (default: all, in the protocol's order) into folders in WORK."""
    train_all(work, names or list(VARIANTS), seeds, epochs, device, jobs)


@main.command("follow", cls=Command)
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@device_option
@jobs_option
def follow_command(work: Path, device: torch.device, jobs: int) -> None:
    """Do all three steps of the protocol, from wherever the runs in WORK are."""

    def best(names: Sequence[str], seeds: Sequence[int], count: int) -> list[str]:
        epochs = table_of_epochs(work)
        table = screening(work, epochs[epochs.seed.isin(seeds)], SCREENING_EPOCHS)
        kept = table[table.variant.isin(names) & (table.verdict == "")]
        nearest = kept.distance.abs().sort_values(kind="stable").index
        return list(kept.loc[nearest].variant[:count])

    def run_all(names: Sequence[str], seeds: Sequence[int], epochs: int) -> None:
        train_all(work, list(dict.fromkeys(names)), seeds, epochs, device, jobs)

    run_all(list(VARIANTS), [0], SCREENING_EPOCHS)
    two = best(list(VARIANTS), [0], 2)
    run_all([*two, "today"], [1, 2], SCREENING_EPOCHS)
    run_all([*best(two, [0, 1, 2], 1), "today"], [0], LONG_EPOCHS)


@main.command("report", cls=Command)
@click.argument("work", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def report_command(work: Path, out: Path) -> None:
    """Write report.md, epochs.csv, errors.png and manifest.json of the runs in WORK to OUT."""
    write_report(work, out)


if __name__ == "__main__":
    main()
