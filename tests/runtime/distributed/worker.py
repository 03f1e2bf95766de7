"""What every process of the tests' jobs computes."""

from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tests.evaluation import tiny
from tests.evaluation.tiny import IMAGES, LABELS, MODELS, NEAREST
from winnrobust.attacks import ATTACKS
from winnrobust.data.datasets import load_dataset, to_unit
from winnrobust.data.folders import Pictures
from winnrobust.data.streams import open_images
from winnrobust.evaluation import RunResult
from winnrobust.models import build
from winnrobust.runtime import distributed
from winnrobust.runtime.files import write_json
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import Ascent, near, synthesize
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods import METHODS, Batch
from winnrobust.training.methods.side_network import SideNetwork

CPU = torch.device("cpu")
BATCH = 7
"""Odd, so that two processes get unequal parts."""
PICTURES = 75


def gradients(method_name: str) -> dict[str, torch.Tensor]:
    """One training step's loss and parameter gradients, in float64."""
    digits = load_dataset("mnist5k").train.first(BATCH)
    network = build("vanilla", 1, 28, 10, stream(0, "weights")).double()
    config = TrainConfig(
        method=method_name,
        initial="gaussian",
        negatives_per_class=3,
        alpha=1.0,
        at_steps=2,
        gp_share=0.5,
        negatives_share=0.8,
    )
    method = METHODS[method_name](config, 1, 28, 10, CPU)
    if hasattr(method, "pool"):
        method.pool.images = method.pool.images.double()
    for part in vars(method).values():
        if isinstance(part, SideNetwork):
            part.module.double()
    mine = distributed.strided_shard(BATCH)
    losses = method.loss(
        network,
        Batch(
            to_unit(digits.images)[mine].double(),
            digits.labels[mine],
            BATCH,
            mine,
            stream(0, "step"),
        ),
    )
    losses.total.backward()
    distributed.all_reduce_gradients(network.parameters())
    found = {name: parameter.grad for name, parameter in network.named_parameters()}
    logged = {name: value.detach().double() for name, value in losses.parts.items()}
    return found | {name: distributed.all_reduce(value) for name, value in logged.items()}


def synthesis() -> dict:
    """An ascent of all classes, and Adam's moments after it; in float64, as rounding grows."""
    network = build("vanilla", 1, 12, 10, stream(0, "weights")).double()
    noise = torch.rand(10, 2, 1, 12, 12, generator=stream(0, "start"), dtype=torch.float64)
    start = noise * 2 - 1
    before = network.forward_signed(start.flatten(0, 1)).critic.reshape(10, 2).mean(1).detach()
    thresholds = before + torch.linspace(-0.1, 0.2, 10)
    goal = near(torch.arange(10), thresholds, tolerance=2e-2, class_weight=0.5)
    result, adam = synthesize(network, start, goal, Ascent(0.02, 0.9, 0.9, max_steps=25))
    return {"result": result, "adam": adam["state"]}


class Noisy(nn.Module):
    """Answers at random."""

    def __init__(self) -> None:
        super().__init__()
        self.network = build("vanilla", 1, 28, 10, stream(0, "noisy"))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images).logits
        return logits + 0.1 * torch.randn_like(logits)


def evaluation(folder: Path, **settings: object) -> RunResult:
    """A small evaluation of three networks, one of them random, in uneven batches."""
    digits = load_dataset("mnist5k").test.first(30)
    models = {name: build("vanilla", 1, 28, 10, stream(0, name)) for name in ("first", "second")}
    models["noisy"] = Noisy()
    return tiny.evaluation(
        models,
        digits.images,
        digits.labels,
        ["fgsm", "pgd", "pgd-l2"],
        [0.05, 0.125],
        batch_size=8,
        num_examples=12,
        steps=4,
        folder=folder,
        **settings,
    )


def distances(folder: Path) -> RunResult:
    """An evaluation with a minimum-norm attack, in batches smaller than what a process gets."""
    with patch.dict(ATTACKS, {"nearest": NEAREST}):
        return tiny.evaluation(
            MODELS, IMAGES, LABELS, ["nearest"], l2=[0.2], batch_size=1, folder=folder
        )


def pictures(folder: Path) -> RunResult:
    """An evaluation of a folder of pictures; `read-RANK.json` says which ones a process read."""
    rank = distributed.rank()
    root = folder / f"pictures-{rank}"
    digits = load_dataset("mnist5k").test.first(PICTURES)
    for number, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        (root / str(int(label))).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(root / str(int(label)) / f"{number}.png")
    read: list[str] = []
    original = Pictures.read

    def noted(self: Pictures, name: str) -> np.ndarray:
        read.append(name)
        return original(self, name)

    models = {"net": build("vanilla", 1, 28, 10, stream(0, "net"))}
    with patch.object(Pictures, "read", noted):
        found = tiny.evaluation(models, open_images(root), None, batch_size=8, folder=folder)
    write_json(folder / f"read-{rank}.json", read)
    return found


EVALUATIONS = {
    "pictures": pictures,
    "untargeted": evaluation,
    "targeted": partial(evaluation, targeted="random"),
    "distances": distances,
}


def work(folder: Path) -> None:
    """Compute everything, and write it to found.pt."""
    with distributed.job():
        found = {
            "size": distributed.world_size(),
            **{name: gradients(name) for name in METHODS},
            "synthesis": synthesis(),
            **{name: evaluate(folder / name) for name, evaluate in EVALUATIONS.items()},
        }
        if distributed.is_main_process():
            torch.save(found, folder / "found.pt")
