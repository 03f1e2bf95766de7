"""What every process of the tests' jobs computes; the first writes it to the file named."""

import sys

import torch

from winnrobust import distributed
from winnrobust.config import TrainConfig
from winnrobust.data import load_dataset, to_unit
from winnrobust.evaluation import run
from winnrobust.methods import METHODS, Batch
from winnrobust.models import build
from winnrobust.randomness import stream
from winnrobust.synthesis import Ascent, synthesise

CPU = torch.device("cpu")
BATCH = 7
"""Odd, so that two processes get unequal parts."""


def gradients(method_name: str) -> dict[str, torch.Tensor]:
    """One training step's loss and parameter gradients, in float64."""
    digits = load_dataset("mnist5k").train.first(BATCH)
    network = build("vanilla", 1, 28, 10, stream(0, "weights")).double()
    config = TrainConfig(method=method_name, negatives_per_class=3, alpha=1.0, at_steps=2)
    method = METHODS[method_name](config, 1, 28, 10, CPU)
    if method_name == "winn":
        method.pool.images = method.pool.images.double()
    mine = distributed.share(BATCH)
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
    distributed.sum_gradients(network.parameters())
    found = {name: parameter.grad for name, parameter in network.named_parameters()}
    logged = {name: value.detach().double() for name, value in losses.parts.items()}
    return found | {name: distributed.sum_up(value) for name, value in logged.items()}


def synthesis() -> dict:
    """An ascent of all classes, and Adam's moments after it."""
    network = build("vanilla", 1, 28, 10, stream(0, "weights"))
    start = torch.rand(10, 2, 1, 28, 28, generator=stream(0, "start")) * 2 - 1
    before = network.judge(start.flatten(0, 1)).critic.reshape(10, 2).mean(1).detach()
    thresholds = before + torch.linspace(-0.1, 0.2, 10)
    ascent = Ascent(0.02, 0.9, 0.9, max_steps=25, tolerance=2e-2, class_weight=0.5)
    result, adam = synthesise(network, start, torch.arange(10), thresholds, ascent)
    return {"result": result, "adam": adam["state"]}


def evaluation() -> dict:
    """A small evaluation of two networks under both attacks, in uneven batches."""
    digits = load_dataset("mnist5k").test.first(50)
    models = {name: build("vanilla", 1, 28, 10, stream(0, name)) for name in ("first", "second")}
    found = run(
        models,
        to_unit(digits.images),
        digits.labels,
        attacks=["fgsm", "pgd"],
        epsilons=[0.05, 0.125],
        batch_size=8,
        num_examples=12,
    )
    return {
        "table": found.table.to_dict(),
        "gradients": found.gradients.to_dict(),
        "clean": found.clean.to_dict(),
        "examples": {name: value.tolist() for name, value in vars(found.examples).items()},
    }


def main() -> None:
    with distributed.job():
        found = {
            "size": distributed.size(),
            **{name: gradients(name) for name in METHODS},
            "synthesis": synthesis(),
            "evaluation": evaluation(),
        }
        if distributed.is_first():
            torch.save(found, sys.argv[1])


if __name__ == "__main__":
    main()
