"""Models whose answers can be worked out by hand, and a short way to attack them."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from winnrobust.attacks import ATTACKS, AttackResult, Run, find, run_attack
from winnrobust.attacks.base import Attack

LABEL = torch.tensor([0])
EVERY = [attack.in_norm(norm) for attack in ATTACKS.values() for norm in attack.norms]
"""Every attack in each of its norms."""


def called(attack: Attack) -> str:
    """Return what a test with an attack is called."""
    return f"{attack.name}-{attack.norm}"


def attacked(
    attack: str | Attack,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilons: float | list[float],
    run: Run = Run(),
    **settings: object,
) -> AttackResult | list[AttackResult]:
    """Run an attack, by its name, with settings of its function; one result for one epsilon."""
    found = find(attack) if isinstance(attack, str) else attack
    found = configured(found, **settings)
    many = epsilons if isinstance(epsilons, list) else [epsilons]
    results = run_attack(found, model, images, labels, many, run=run)
    return results if isinstance(epsilons, list) else results[0]


def configured(attack: Attack, **settings: object) -> Attack:
    """Return the attack with other settings."""
    return replace(attack, settings={**attack.settings, **settings})


def image(*pixels: float) -> Tensor:
    """One 2x2 gray image (1, 1, 2, 2)."""
    return torch.tensor(pixels).reshape(1, 1, 2, 2)


class Linear(nn.Module):
    """Logits = weight @ pixels + bias for images (N, 1, 2, 2); remembers its batch sizes."""

    def __init__(self, weight: list[list[float]], bias: list[float] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.bias = torch.tensor(bias or [0.0] * len(weight))
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return images.flatten(1) @ self.weight.T + self.bias


class Answers(nn.Module):
    """Whatever a function answers; remembers its batch sizes."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return self.answer(images)


class Wavy(nn.Module):
    """A small network of sines in float64: its loss goes up and down on the way through a ball.

    It takes images (N, 1, 4, 4) of any dtype, tells `classes` classes apart and remembers what it
    was asked about.
    """

    def __init__(self, classes: int = 5, frequency: float = 3.0, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        first = torch.randn(24, 16, generator=generator, dtype=torch.float64)
        second = torch.randn(classes, 24, generator=generator, dtype=torch.float64)
        self.register_buffer("first", frequency * first)
        self.register_buffer("second", second)
        self.inputs: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.inputs.append(images.detach().clone().double())
        return (images.double().flatten(1) @ self.first.T).sin() @ self.second.T


def wavy_problem(count: int = 8, **options: float) -> tuple[Wavy, Tensor, Tensor]:
    """Return a `Wavy`, images away from 0 and 1, and the labels that it gives them."""
    model = Wavy(**options)
    generator = torch.Generator().manual_seed(1)
    images = 0.2 + 0.6 * torch.rand(count, 1, 4, 4, generator=generator, dtype=torch.float64)
    labels = model(images).argmax(1)
    model.inputs.clear()
    return model, images, labels
