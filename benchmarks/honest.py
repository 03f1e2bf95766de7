"""Honest models, and falsely robust ones that come out of a training: made in seconds, on digits.

Whatever is trained here is trained on the 4,000 digits that come with the package.
"""

from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import CleanPass, Run, find, loss_gradient, with_settings
from winnrobust.data.datasets import load_dataset, to_unit
from winnrobust.defenses import Around
from winnrobust.workflows.loading import load

BATCH = 100


@cache
def digits(split: str = "train") -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) in [0, 1] and labels."""
    part = getattr(load_dataset("mnist5k"), split)
    return to_unit(part.images), part.labels


def cnn(
    width: int = 8, activation: Callable[[], nn.Module] = nn.ReLU, **layers: nn.Module
) -> nn.Module:
    """Two convolutions and two linear layers; `norm` and `drop` come between."""
    norm, drop = layers.get("norm", nn.Identity()), layers.get("drop", nn.Identity())
    return nn.Sequential(
        nn.Conv2d(1, width, 5, 2, 2), norm, activation(),
        nn.Conv2d(width, 2 * width, 5, 2, 2), activation(), nn.Flatten(), drop,
        nn.Linear(2 * width * 49, 64), activation(), nn.Linear(64, 10),
    )  # fmt: skip


def mlp(*widths: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((784, *widths), (*widths, 10), strict=True):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


class Rows(nn.Module):
    """A recurrent network that reads an image row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.GRU(28, 64, batch_first=True)
        self.answer = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.answer(self.read(images[:, 0])[0][:, -1])
        return out


class Patches(nn.Module):
    """A small transformer over 7 x 7 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 48, 7, 7)
        self.place = nn.Parameter(torch.randn(1, 16, 48) * 0.02)
        self.mix = nn.TransformerEncoderLayer(48, 4, 96, 0.0, batch_first=True, norm_first=True)
        self.answer = nn.Linear(48, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images).flatten(2).transpose(1, 2) + self.place
        out: Tensor = self.answer(self.mix(tokens).mean(1))
        return out


class Residual(nn.Module):
    """A few residual blocks."""

    def __init__(self, width: int = 8, blocks: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 5, 2, 2)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(blocks))
        self.answer = nn.Linear(width * 49, 10)

    def forward(self, images: Tensor) -> Tensor:
        seen = F.relu(self.first(images))
        for block in self.blocks:
            seen = F.relu(seen + block(seen))
        out: Tensor = self.answer(F.avg_pool2d(seen, 2).flatten(1))
        return out


class Mean(nn.Module):
    """The mean logits of several networks."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([network(images) for network in self.networks]).mean(0)


def trained(
    build: Callable[[], nn.Module],
    epochs: int = 3,
    *,
    seed: int = 0,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
    rate: float = 2e-3,
    limit: int | None = None,
) -> nn.Module:
    """Build and train a network; `loss` takes it, a batch of images and their labels."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        images, labels = digits()
        images, labels = images[:limit], labels[:limit]
        optimizer = torch.optim.Adam(model.parameters(), rate)
        for _ in range(epochs):
            for chosen in torch.randperm(len(labels)).split(BATCH):
                loss_of = loss or plain
                value = loss_of(model.train(), images[chosen], labels[chosen])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
    return model.eval()


def plain(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(model(images), labels)


def smoothed(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(model(images), labels, label_smoothing=0.2)


def noisy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return plain(model, (images + 0.2 * torch.randn_like(images)).clamp(0, 1), labels)


def fast(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, start: float = 1.0,
    step: float = 1.25,
) -> Tensor:  # fmt: skip
    """FGSM from a random start (Wong, Rice, Kolter 2020); with start 0 plain FGSM."""
    at = (images + start * epsilon * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
    uphill = loss_gradient(model, at, labels).gradient.sign()
    moved = (at + step * epsilon * uphill).clamp(images - epsilon, images + epsilon).clamp(0, 1)
    return plain(model, moved, labels)


def hardened(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, steps: int = 7
) -> Tensor:
    """PGD adversarial training (Madry et al. 2018)."""
    return plain(model, _moved(model, images, labels, epsilon, steps), labels)


def traded(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Cross-entropy, and the distance of the answers to an image and to its attacked copy."""
    clean, moved = model(images), model(_moved(model, images, labels, epsilon, 5))
    apart = F.kl_div(moved.log_softmax(1), clean.softmax(1), reduction="batchmean")
    return F.cross_entropy(clean, labels) + 4 * apart


def _moved(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, steps: int) -> Tensor:
    attack = with_settings(find("pgd"), steps=steps)
    run = Run(seed=int(torch.randint(0, 2**31, ())), clean=CleanPass(model, images, labels))
    moved: Tensor = attack.function(
        model, images, labels, epsilon=epsilon, run=run, **attack.settings
    ).images
    return moved


def regularized(model: nn.Module, images: Tensor, labels: Tensor, weight: float = 30.0) -> Tensor:
    """Cross-entropy and the square of its gradient at the images (Ross, Doshi-Velez 2018)."""
    pixels = images.clone().requires_grad_(True)
    losses = F.cross_entropy(model(pixels), labels, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), pixels, create_graph=True)
    return losses.mean() + weight * gradient.square().flatten(1).sum(1).mean()


def distilled(model: nn.Module, images: Tensor, labels: Tensor, temperature: float = 40) -> Tensor:
    """Defensive distillation (Papernot et al. 2016): trained hot, used cold."""
    taught = (base()(images) / 2).softmax(1).detach()
    return -(taught * (model(images) / temperature).log_softmax(1)).sum(1).mean()


@cache
def base() -> nn.Module:
    """What the defenses are put around."""
    return trained(cnn)


@cache
def pgd_trained() -> nn.Module:
    return trained(cnn, 8, loss=partial(hardened, epsilon=0.15))


def shipped(name: str) -> nn.Module:
    return load(f"zoo:{name}")


def scaled(factor: float) -> Callable[[], nn.Module]:
    return lambda: Around(base(), after=lambda logits: factor * logits)


def quantized_weights() -> nn.Module:
    model = trained(cnn, seed=3)
    for weight in model.parameters():
        step = weight.abs().max() / 31
        weight.data = (weight / step).round() * step
    return model


def pruned_weights() -> nn.Module:
    model = trained(cnn, seed=4)
    for weight in model.parameters():
        least = weight.abs().flatten().quantile(0.5)
        weight.data = torch.where(weight.abs() < least, 0.0, weight)
    return model


HONEST: dict[str, Callable[[], nn.Module]] = {
    "cnn": base,
    "cnn, other seed": lambda: trained(cnn, seed=1),
    "cnn, narrow": lambda: trained(partial(cnn, 3)),
    "cnn, wide": lambda: trained(partial(cnn, 32), 2),
    "cnn, batch norm": lambda: trained(lambda: cnn(norm=nn.BatchNorm2d(8))),
    "cnn, dropout in training": lambda: trained(lambda: cnn(drop=nn.Dropout(0.5))),
    "cnn, SiLU": lambda: trained(partial(cnn, activation=nn.SiLU)),
    "cnn, tanh": lambda: trained(partial(cnn, activation=nn.Tanh)),
    "cnn, sigmoid": lambda: trained(partial(cnn, activation=nn.Sigmoid), 6),
    "linear": lambda: trained(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))),
    "mlp": lambda: trained(lambda: mlp(64)),
    "mlp, deep": lambda: trained(lambda: mlp(64, 64, 64, 64)),
    "mlp, wide": lambda: trained(lambda: mlp(512)),
    "residual": lambda: trained(Residual),
    "recurrent": lambda: trained(Rows, 5),
    "transformer": lambda: trained(Patches, 5),
    "low accuracy": lambda: trained(cnn, 1, limit=400),
    "few images": lambda: trained(cnn, 30, limit=200),
    "trained long": lambda: trained(cnn, 15, rate=4e-3),
    "label smoothing": lambda: trained(cnn, loss=smoothed),
    "trained on noise": lambda: trained(cnn, 4, loss=noisy),
    "weights of 6 bits": quantized_weights,
    "half the weights": pruned_weights,
    "mean of three": lambda: Mean(*(trained(cnn, 2, seed=seed) for seed in (5, 6, 7))),
    "softmax": lambda: Around(base(), after=lambda logits: logits.softmax(1)),
    "log-softmax": lambda: Around(base(), after=lambda logits: logits.log_softmax(1)),
    "logits x 1000": scaled(1e3),
    "logits x 30": scaled(30.0),
    "normalized inside": lambda: trained(
        lambda: Around(cnn(), before=lambda images: (images - 0.13) / 0.31)
    ),
    "FGSM-trained, random start": lambda: trained(cnn, 6, loss=partial(fast, epsilon=0.1)),
    "PGD-trained": pgd_trained,
    "PGD-trained, batch norm": lambda: trained(
        lambda: cnn(norm=nn.BatchNorm2d(8)), 6, loss=partial(hardened, epsilon=0.1)
    ),
    "PGD-trained mlp": lambda: trained(lambda: mlp(256), 6, loss=partial(hardened, epsilon=0.1)),
    "TRADES": lambda: trained(cnn, 6, loss=partial(traded, epsilon=0.125)),
    "PGD-trained, x 1000": lambda: Around(pgd_trained(), after=lambda logits: 1e3 * logits),
    "zoo:mnist-vanilla-baseline": partial(shipped, "mnist-vanilla-baseline"),
    "zoo:mnist-vanilla-winn": partial(shipped, "mnist-vanilla-winn"),
    "zoo:mnist-vanilla-gdl": partial(shipped, "mnist-vanilla-gdl"),
}
"""Name -> what makes it."""

TRAINED_FALSE: dict[str, Callable[[], nn.Module]] = {
    "FGSM-trained, overfitted": lambda: trained(
        cnn, 12, loss=partial(fast, epsilon=0.2, start=0.0, step=1.0), rate=3e-3
    ),
    "PGD-trained, attacked at twice its radius": pgd_trained,
    "distilled": lambda: trained(cnn, 10, loss=distilled, rate=5e-3),
    "gradient regularized": lambda: trained(cnn, 5, loss=regularized),
}
"""Falsely robust by training."""
