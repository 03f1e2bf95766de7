"""A network that imitates a model's answers, whose gradients are not misleading.

Examples made on it are shown to the model, as an attacker makes them who sees answers alone.

Papernot, McDaniel, Goodfellow, Jha, Celik, Swami: Practical Black-Box Attacks against Machine
Learning, 2017, arXiv:1602.02697. There the surrogate learns labels; here logits, which tell more.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import PREFIX, Attack, logits_of
from winnrobust.data.streams import ImageStream
from winnrobust.evaluation.checks import as_floats
from winnrobust.evaluation.diagnosis.next_steps import SURROGATE
from winnrobust.evaluation.state import devices_of, frozen, own_randomness
from winnrobust.models import build
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.progress import log
from winnrobust.workflows.given import shown_progress

NAME = SURROGATE.removeprefix(PREFIX)
MOST = 4096
"""Images that it learns from, at most: the first ones."""
SIDE, LARGEST = 32, 64
"""Images of another shape than a square of at most so many pixels are scaled to `SIDE`."""
STEPS, BATCH_SIZE, LEARNING_RATE = 1000, 64, 1e-3
NOISE = 0.3
"""Added to or taken from every pixel, at most: answers near the images tell where they turn."""


def surrogates_for(
    attacks: Sequence[Attack],
    models: Mapping[str, nn.Module],
    images: ImageStream,
    seed: int,
    device: torch.device | None = None,
    *,
    progress: bool = False,
) -> dict[str, dict[str, nn.Module]]:
    """Return of each model the network that `transfer:surrogate` needs; nothing if none does.

    Args:
        models: by name; one that is called `surrogate` itself is what is transferred from.
        images: to be attacked.
        seed: of the surrogates' first weights and of what they are asked about.
        device: where to compute; None is where each model is.
        progress: whether to show how far it is, and to say in the end how far they agree.
    """
    if SURROGATE not in {attack.name for attack in attacks} or NAME in models:
        return {}
    few = as_floats(images.batch(0, min(len(images), MOST)).images)
    found = {}
    for name, model in models.items():
        with shown_progress(progress, f"surrogate of {name}") as tell:
            surrogate, alike = train_surrogate(name, model, few, seed, device, tell)
        if progress:
            log(f"the surrogate of {name} agrees with it on {alike:.0%} of the images")
        found[name] = {NAME: surrogate}
    return found


def train_surrogate(
    name: str,
    model: nn.Module,
    images: Tensor,
    seed: int,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[nn.Module, float]:
    """Return a small network that was trained to answer like a model, and on which share of the
    images both see the same class.

    Args:
        name: what the model is called.
        model: takes (N, C, H, W) in [0, 1], returns logits (N, K).
        images: (N, C, H, W) in [0, 1].
        seed, device: as for `surrogates_for`.
        progress: called with (steps done, steps in all).
    """
    generator = torch.Generator().manual_seed(seed)
    with frozen([model], device), own_randomness(devices_of({name: model}), seed, NAME):
        place = device_of(model)

        @torch.no_grad()
        def asked(queries: Tensor) -> Tensor:
            found = logits_of(model(queries)).float()
            return found - found.mean(1, keepdim=True)

        few = asked(images[:BATCH_SIZE].to(place))
        scale = few.std().clamp(min=1e-6)
        height, width = images.shape[2:]
        side = height if height == width <= LARGEST else SIDE
        network = build("vanilla", images.shape[1], side, few.shape[1], generator)
        surrogate = Surrogate(network, side).to(place)
        optimizer = torch.optim.Adam(surrogate.parameters(), LEARNING_RATE)
        with torch.enable_grad():
            for step in range(STEPS):
                some = images[torch.randint(len(images), (BATCH_SIZE,), generator=generator)]
                reach = NOISE * torch.rand((BATCH_SIZE, 1, 1, 1), generator=generator)
                signs = torch.randint(2, some.shape, generator=generator) * 2 - 1
                queries = (some + reach * signs).clamp(0, 1).to(place)
                loss = F.mse_loss(surrogate(queries), asked(queries) / scale)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if progress is not None:
                    progress(step + 1, STEPS)
        surrogate.eval()
        with torch.no_grad():
            alike = [
                (surrogate(part.to(place)).argmax(1) == asked(part.to(place)).argmax(1)).cpu()
                for part in images.split(BATCH_SIZE)
            ]
    return surrogate, float(torch.cat(alike).float().mean())


class Surrogate(nn.Module):
    """The vanilla CNN behind a scaling to so many pixels: (N, C, H, W) in [0, 1] -> logits."""

    def __init__(self, network: nn.Module, side: int) -> None:
        super().__init__()
        self.network, self.side = network, side

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        if images.shape[2:] != (self.side, self.side):
            size = (self.side, self.side)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        logits: Tensor = self.network(images).logits
        return logits
