"""On a real GPU: no attack waits for it at every step, and all comes to what a CPU comes to."""

import copy
import json
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.attacks.models import Wavy, attacked
from winnrobust import evaluate
from winnrobust.attacks import ATTACKS
from winnrobust.data.datasets import Dataset, to_unit
from winnrobust.models import build
from winnrobust.runtime.devices import resolve_device
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import Ascent, near, synthesize
from winnrobust.training.config import TrainConfig
from winnrobust.training.loop import train
from winnrobust.training.manifest import start_run
from winnrobust.training.methods import Batch, adam_of, method_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

MOST_WAITS = 0.5
"""Waits per forward pass: with one at every step there is at least 1 per pass, or per two."""
LENGTHS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    **{
        name: ({"steps": 20}, {"steps": 40})
        for name in (
            "bim", "mifgsm", "pgd", "pgd-l2", "apgd-ce", "apgd-t", "fab", "ddn", "fmn", "deepfool"
        )
    },
    "cw-l2": ({"steps": 20, "searches": 3}, {"steps": 40, "searches": 3}),
    "square": ({"queries": 100}, {"queries": 200}),
    "hopskipjump": ({"queries": 500}, {"queries": 1000}),
}  # fmt: skip
"""Attack -> settings for so many steps, and for twice as many."""


@pytest.fixture(scope="module")
def device() -> torch.device:
    return resolve_device("cuda")


def waits_of(work: Callable[[], object]) -> int:
    """Count how often some work waits for the GPU; the work is done once before, to warm up."""
    work()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(each.message) for each in seen)


def test_waits_are_seen(device):
    numbers = torch.arange(3, device=device)
    assert waits_of(lambda: [numbers.sum().item() for _ in range(4)]) >= 4
    assert waits_of(lambda: torch.ones(3).to(device)) >= 1
    assert waits_of(lambda: numbers + 1) == 0


class Counted(nn.Module):
    """A network that counts its forward passes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.passes = network, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        return self.network(images).logits


@pytest.mark.parametrize("name", LENGTHS)
def test_an_attack_does_not_wait_at_every_step(name, device):
    network = Counted(build("vanilla", 1, 28, 10, stream(0, "weights")).to(device).eval())
    images = torch.rand(64, 1, 28, 28, generator=stream(0, "images")).to(device)
    labels = network(images).argmax(1)
    # So small that next to nothing breaks: all steps are taken.
    epsilon = {} if ATTACKS[name].minimum_norm else {"epsilon": 1e-5}

    def measured(settings: dict[str, int]) -> tuple[int, int]:
        def work() -> None:
            network.passes = 0
            ATTACKS[name].function(
                network, images, labels, **{**ATTACKS[name].settings, **epsilon, **settings}
            )

        return waits_of(work), network.passes

    (few, passes_few), (many, passes_many) = map(measured, LENGTHS[name])
    print(f"\n{name}: {few} waits in {passes_few} passes, {many} in {passes_many}")
    assert many - few <= MOST_WAITS * (passes_many - passes_few) + 2


@pytest.mark.parametrize("name", [*LENGTHS, "fgsm", "rfgsm", "noise-uniform"])
def test_an_attack_finds_what_it_finds_on_a_cpu(name, device):
    """In float64, on a smooth network, where rounding decides little in a few steps."""
    model = Wavy(frequency=0.5)
    images = 0.2 + 0.6 * torch.rand(24, 1, 4, 4, generator=stream(1, "images"), dtype=torch.float64)
    labels = model(images).argmax(1)
    settings = LENGTHS.get(name, ({}, {}))[0]
    epsilon = 0.05 if ATTACKS[name].norm == "linf" else 0.15
    here = attacked(name, model, images, labels, epsilon, **settings)
    there = attacked(
        name, copy.deepcopy(model).to(device), images.to(device), labels.to(device), epsilon,
        **settings,
    )  # fmt: skip
    apart = (there.images.cpu() - here.images).abs().flatten(1).amax(1)
    differ = (apart > 1e-3).sum().item()
    print(f"\n{name}: {differ} of 24 images differ, at most by {apart.max():.1e}")
    assert differ <= 1
    assert (there.gradients.cpu() != here.gradients).sum() <= 1
    assert (there.queries.cpu() != here.queries).sum() <= 1


def test_evaluate_counts_the_errors_that_a_cpu_counts(trained, device):
    network, images, labels = trained
    models = {"first": network, "second": build("vanilla", 1, 28, 10, stream(1, "weights")).eval()}
    settings = {
        "attacks": ["fgsm", "pgd", "apgd-ce", "square", "transfer:second"],
        "epsilons": [0.05, 0.1], "steps": 10, "queries": 50, "batch_size": 100,
    }  # fmt: skip
    tables = []
    for place in (torch.device("cpu"), device):
        moved = {name: copy.deepcopy(model).to(place) for name, model in models.items()}
        tables.append(evaluate(moved, images[:300], labels[:300], **settings))
    cpu, gpu = tables
    errors = ["clean_errors_source", "clean_errors_target", "source_errors", "target_errors"]
    apart = (cpu[errors] - gpu[errors]).abs()
    print(f"\n{apart.to_string()}")
    assert len(cpu) == len(gpu)
    assert apart.to_numpy().max() <= 2, "of 300 images, what rounding may decide"


def config_of(method: str, **settings: object) -> TrainConfig:
    return TrainConfig(method=method, dataset="mnist5k", epochs=2, **settings)


WINN = {"negatives_per_class": 5, "synthesis_max_steps": 30}


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("baseline", {}),
        ("winn", WINN),
        ("winn", WINN | {"synthesis_carry_adam": True, "average_decay": 0.99}),
        ("winn", WINN | {"synthesis_per_image": True, "synthesis_pool_share": 0.6}),
        ("icn", WINN),
        ("pgd-at", {"at_steps": 2}),
    ],
)
def test_training_is_what_it_is_on_a_cpu(method, settings, few_digits, device, tmp_path):
    config = config_of(method, **settings)
    histories = []
    for place in (torch.device("cpu"), device):
        path = tmp_path / str(len(histories))
        run = start_run(path, config, few_digits, place)
        train(run, config, few_digits, place)
        histories.append(run.metrics.read_text().splitlines())
        assert run.model.exists()
    print("\n" + "\n".join(history[0] for history in histories))
    cpu, gpu = (json.loads(history[0]) for history in histories)
    assert gpu["loss"] == pytest.approx(cpu["loss"], rel=2e-2)
    assert gpu["cross_entropy"] == pytest.approx(cpu["cross_entropy"], rel=2e-2)


@pytest.mark.parametrize("method", ["baseline", "winn"])
def test_a_step_of_training_does_not_wait(method, digits: Dataset, device):
    config = config_of(method)
    trained = method_of(config)(config, 1, 28, 10, device)
    network = build("vanilla", 1, 28, 10, stream(0, "weights")).to(device)
    adam = adam_of(config, network.parameters())
    images = to_unit(digits.train.images[:100]).to(device)
    labels = digits.train.labels[:100].to(device)
    batch = Batch(images, labels, 100, slice(None), stream(0, "steps"))

    def step() -> None:
        loss = trained.loss(network, batch).total
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()

    assert waits_of(step) == 0


def test_an_ascent_waits_every_few_steps_and_ends_as_on_a_cpu(device):
    network = build("vanilla", 1, 12, 10, stream(0, "weights")).double()
    start = torch.rand((10, 4, 1, 12, 12), generator=stream(0, "start"), dtype=torch.float64)
    start = 2 * start - 1
    with torch.no_grad():
        means = network.forward_signed(start.flatten(0, 1)).critic.reshape(10, 4).mean(1)
    thresholds = means + torch.linspace(-0.1, 0.2, 10, dtype=torch.float64)

    def on(place: torch.device, thresholds: Tensor, limit: int):
        ascent = Ascent(0.02, 0.9, 0.9, limit)
        goal = near(torch.arange(10, device=place), thresholds.to(place), 2e-2, 0.5)
        return synthesize(copy.deepcopy(network).to(place), start.to(place), goal, ascent)[0]

    here, there = (on(place, thresholds, 25) for place in (torch.device("cpu"), device))
    assert torch.equal(there.steps, here.steps)
    assert torch.equal(there.reached, here.reached)
    # Adam steps by the sign where a gradient is rounding alone, as some pixels' are.
    apart = (there.images.cpu() - here.images).abs()
    assert (apart > 1e-6).double().mean() < 0.02
    assert apart.max() <= 2 * 0.02 * 25
    never = torch.full((10,), 1e6, dtype=torch.float64)
    few, many = (waits_of(lambda limit=limit: on(device, never, limit)) for limit in (30, 90))
    print(f"\nan ascent: {few} waits in 30 steps, {many} in 90")
    assert many - few <= 60 / 5
