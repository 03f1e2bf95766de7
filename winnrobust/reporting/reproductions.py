"""The paper's tables as jobs: which networks they need, and how much training a budget allows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Group(NamedTuple):
    """Networks of one architecture on one data set, which a table compares with each other.

    Attributes:
        dataset, arch, methods: what is trained; the baseline comes first.
        published: the data set of the paper's figures that stand beside ours.
        epsilons: of the attack, in [0, 1] units: the paper's as the authors' code (for MNIST) has
            it, and as its text has it.
    """

    dataset: str
    arch: str
    methods: tuple[str, ...]
    published: str
    epsilons: tuple[float, float]


MNIST_EPSILONS = (0.125, 0.0625)
SVHN_EPSILONS = (0.005, 0.0025)


@dataclass(frozen=True)
class Target:
    """A table.

    Attributes:
        title: what it shows.
        groups: its networks.
        attacked: whether it has errors under attack (Tables 3 and 4), or test errors (Table 2).
    """

    title: str
    groups: tuple[Group, ...]
    attacked: bool


SVHN = Group("svhn", "resnet32", ("baseline", "winn"), "svhn", SVHN_EPSILONS)
MNIST_RESNET = Group("mnist", "resnet32", ("baseline", "winn"), "mnist", MNIST_EPSILONS)

TARGETS: dict[str, Target] = {
    "table2": Target(
        "Table 2: test errors",
        (
            Group(
                "mnist",
                "vanilla",
                ("baseline", "gdl", "dcgan-negatives", "icn", "winn"),
                "mnist",
                MNIST_EPSILONS,
            ),
            MNIST_RESNET,
            SVHN,
        ),
        attacked=False,
    ),
    "table3": Target(
        "Table 3: FGSM on MNIST",
        (
            Group("mnist", "vanilla", ("baseline", "icn", "winn"), "mnist", MNIST_EPSILONS),
            MNIST_RESNET,
        ),
        attacked=True,
    ),
    "table4": Target("Table 4: FGSM on SVHN", (SVHN,), attacked=True),
    "table4-cifar10": Target(
        "Like Table 4, but on 20,000 images of CIFAR-10, a tenth of them for validation",
        (Group("cifar10-20k", "resnet32", ("baseline", "winn"), "svhn", SVHN_EPSILONS),),
        attacked=True,
    ),
}
"""Name on the command line -> table; "table4-cifar10" is not in the paper."""


@dataclass(frozen=True)
class TrainingBudget:
    """How much training a table may take.

    Attributes:
        summary: what it is for.
        seeds: the seeds of every method, unless told.
        epochs: of every architecture.
        settings: of every training; the paper's where nothing is said.
        stand_ins: data set -> one that takes its place.
    """

    summary: str
    seeds: tuple[int, ...]
    epochs: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    stand_ins: Mapping[str, str] = field(default_factory=dict)


BUDGETS: dict[str, TrainingBudget] = {
    "quick": TrainingBudget(
        "minutes on two CPU cores: 3,500 training images, of MNIST those that come along",
        seeds=(0,),
        epochs={"vanilla": 10, "resnet32": 3},
        settings={
            "limit_train": 3500,
            "batch_size": 50,
            "negatives_per_class": 10,
            "synthesis_lr": 0.05,
            "synthesis_max_steps": 60,
        },
        stand_ins={"mnist": "mnist5k"},
    ),
    "cpu": TrainingBudget(
        "a night on two CPU cores: all training images, the fast recipe, few epochs",
        seeds=(0,),
        epochs={"vanilla": 30, "resnet32": 30},
        settings={"recipe": "fast"},
    ),
    "paper": TrainingBudget(
        "the paper's recipe in full, for a GPU",
        seeds=(0, 1, 2),
        epochs={"vanilla": 200, "resnet32": 200},
    ),
}
"""Name on the command line -> budget."""
