"""Every method's loss by hand, on images of two pixels whose logits are the pixels themselves.

f(x) = 3 x1 + 4 x2 + 7 has the slope 5 everywhere, so the gradient penalty is 16.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from winnrobust.models import IntrospectiveNetwork
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import NegativePool
from winnrobust.training.config import make_config
from winnrobust.training.methods import Batch, method_of
from winnrobust.training.methods.side_network import SideNetwork

CPU = torch.device("cpu")
PENALTY = 16.0


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def pixels(*pairs: tuple[float, float]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.float64).reshape(-1, 1, 1, 2)


REAL = pixels((1.0, 0.0), (0.0, -1.0), (1.0, 1.0), (-1.0, 0.5))
"""In [-1, 1]; f is 10, 3, 14, 6."""
LABELS = torch.tensor([0, 1, 1, 0])
POOL = torch.stack([pixels((0.5, 0.5)), pixels((-1.0, -0.5))])
"""A pseudo-negative of each class; f is 10.5 and 2."""
OF_CLASS_0, OF_CLASS_1 = 10.5, 2.0
CROSS_ENTROPY = (softplus(-1) + softplus(1) + softplus(0) + softplus(1.5)) / 4
"""Of the logits (1, 0), (0, -1), (1, 1), (-1, 0.5)."""


def linear(classes: int = 2) -> IntrospectiveNetwork:
    """Two logits that are the pixels, and f; or f as the only logit."""
    network = IntrospectiveNetwork(nn.Flatten(), 2, classes).double()
    weights = torch.tensor([[3.0, 4.0]])
    with torch.no_grad():
        critic = network.classifier if classes == 1 else network.critic
        critic.weight.copy_(weights)
        critic.bias.fill_(7.0)
        if classes > 1:
            network.classifier.weight.copy_(torch.eye(2))
            network.classifier.bias.zero_()
    return network


def batch_of(part: slice = slice(None), labels: Tensor = LABELS) -> Batch:
    """The images of a process; all draw the same numbers."""
    images = (REAL + 1) / 2
    return Batch(images[part], labels[part], len(labels), part, stream(0, "step"))


def make(name: str, unsupervised: bool = False, **settings):
    config = make_config(
        {"method": name, "unsupervised": unsupervised, "initial": "gaussian"}
        | {"negatives_per_class": 1, "start_images": 4, "iteration_images": 8, "batch_size": 4}
        | settings
    )
    method = method_of(config)(config, 1, 2, 1 if unsupervised else 2, CPU)
    if hasattr(method, "pool") and not unsupervised:
        method.pool = NegativePool(POOL)
    return method


def values(losses) -> dict[str, float]:
    return {"total": losses.total.item()} | {k: v.item() for k, v in losses.parts.items()}


def test_the_baseline():
    assert values(make("baseline").loss(linear(), batch_of())) == pytest.approx(
        {"total": CROSS_ENTROPY, "cross_entropy": CROSS_ENTROPY, "train_error": 0.75}
    )


MARGINS = (-1.0, 1.0, 0.0, 1.5)
"""The other logit less the label's. Its slope in a pixel in [-1, 1] is 1 or -1."""


@pytest.mark.parametrize("name", ["baseline", "winn"])
def test_margins_are_shrunk_by_what_a_radius_can_take_from_them(name):
    """Both pixels, moved by 0.125 in [0, 1], which is 0.25 in [-1, 1], take 0.5 from the margin."""
    found = values(make(name, margin_radius=0.125, alpha=0.0).loss(linear(), batch_of()))
    assert found["cross_entropy"] == pytest.approx(sum(softplus(m + 0.5) for m in MARGINS) / 4)
    assert found["total"] == pytest.approx(found["cross_entropy"])
    assert found["train_error"] == 0.75


@pytest.mark.parametrize("name", ["baseline", "winn"])
def test_a_network_learns_to_have_gentle_margins(name):
    """Logits of s times the pixels have margins of s m, and 0.5 s is taken: d/ds of it at s = 1."""
    network = linear()
    make(name, margin_radius=0.125, alpha=0.0).loss(network, batch_of()).total.backward()
    slope = (network.classifier.weight.grad * torch.eye(2)).sum().item()
    expected = sum((m + 0.5) / (1 + math.exp(-m - 0.5)) for m in MARGINS) / 4
    assert slope == pytest.approx(expected)


def test_the_penalty_on_margins_leaves_the_critics_loss_alone():
    plain, shrunk = (
        values(make("winn", margin_radius=radius).loss(linear(), batch_of())) for radius in (0, 0.1)
    )
    for name in ("wasserstein", "gradient_penalty", "gradient_norm"):
        assert shrunk[name] == pytest.approx(plain[name])


def test_winn():
    """E f(u) = (10.5 + 2 + 2 + 10.5) / 4 = 6.25, E f(x) = 8.25."""
    found = values(make("winn", alpha=0.5, gp_weight=3.0).loss(linear(), batch_of()))
    assert found == pytest.approx(
        {
            "total": CROSS_ENTROPY + 0.5 * (6.25 - 8.25 + 3 * PENALTY),
            "cross_entropy": CROSS_ENTROPY,
            "wasserstein": 2.0,
            "gradient_penalty": PENALTY,
            "gradient_norm": 5.0,
            "train_error": 0.75,
        }
    )


def test_winn_on_a_share_of_the_batch():
    """The first images have partners, of their own classes; all count for E f(x)."""
    settings = {"alpha": 1.0, "gp_weight": 1.0, "gp_share": 0.5}
    for share, labels, mean in (
        (0.5, LABELS, (OF_CLASS_0 + OF_CLASS_1) / 2),
        (0.75, LABELS, (OF_CLASS_0 + 2 * OF_CLASS_1) / 3),
        (0.25, 1 - LABELS, OF_CLASS_1),
    ):
        method = make("winn", negatives_share=share, **settings)
        found = values(method.loss(linear(), batch_of(labels=labels)))
        assert found["wasserstein"] == pytest.approx(8.25 - mean)
        assert found["gradient_penalty"] == pytest.approx(PENALTY)


def test_winn_penalizes_every_pair_where_it_lies():
    """f = x1^2 + x2^2: at z = mix * x + (1 - mix) * u the slope is 2 |z|; a mix for each pair."""

    class Squares(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) ** 2

    network = linear()
    network.features = Squares()
    with torch.no_grad():
        network.critic.weight.fill_(1.0)
    found = values(make("winn").loss(network, batch_of()))
    draws = stream(0, "step")
    torch.randint(1, (4,), generator=draws)  # the partners
    mix = torch.rand(4, generator=draws).double()[:, None]
    between = mix * REAL.flatten(1) + (1 - mix) * POOL[LABELS, 0].flatten(1)
    slopes = 2 * between.norm(dim=1)
    assert found["gradient_norm"] == pytest.approx(slopes.mean().item(), abs=1e-6)
    assert found["gradient_penalty"] == pytest.approx(((slopes - 1) ** 2).mean().item(), abs=1e-6)


def test_winn_raises_the_critic_on_real_images_and_lowers_it_on_pseudo_negatives():
    """Of f = w . x + b the Wasserstein term has the slope E u - E x in w, and none in b."""
    network = linear()
    method = make("winn", alpha=1.0, gp_weight=0.0)
    method.loss(network, batch_of()).total.backward()
    expected = (POOL[LABELS, 0] - REAL).mean(0).flatten()
    torch.testing.assert_close(network.critic.weight.grad[0], expected)
    assert network.critic.bias.grad.item() == pytest.approx(0)


def test_winn_notes_the_critics_mean_for_the_thresholds():
    method = make("winn")
    method.loss(linear(), batch_of())
    assert [mean.item() for mean in method.score_means] == pytest.approx([8.25])


# The logits of their own class on the pool are 0.5 and -0.5; on real images 1, -1, 1, -1.
NEGATIVES_LOSS = (softplus(0.5) + softplus(-0.5)) / 2


@pytest.mark.parametrize("name", ["icn", "gdl", "dcgan-negatives"])
def test_icn_and_its_kin(name):
    method = make(name, negatives_weight=0.25)
    if name == "dcgan-negatives":
        with_tiny_networks(method)
    found = values(method.loss(linear(), batch_of()))
    assert found["cross_entropy"] == pytest.approx(CROSS_ENTROPY)
    assert found["negatives_loss"] == pytest.approx(NEGATIVES_LOSS)
    assert found["total"] == pytest.approx(0.75 * CROSS_ENTROPY + 0.25 * NEGATIVES_LOSS)
    assert found["train_error"] == 0.75


class Constant(nn.Module):
    """A generator of one image that it learns, whatever is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Parameter(pixels((0.5, 0.5)))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        assert latents.shape == (len(labels), 100)
        assert latents.abs().max() <= 1
        return self.image.expand(len(labels), 1, 1, 2)


def with_tiny_networks(method) -> tuple[nn.Module, nn.Module]:
    """Give a DCGAN a generator and a discriminator of two pixels, which take small steps."""
    networks = Constant(), linear()
    method.generator, method.discriminator = (
        SideNetwork(network, torch.optim.SGD(network.parameters(), lr=lr))
        for network, lr in zip(networks, (0.1, 0.0), strict=True)
    )
    return networks


def test_a_dcgan():
    """All samples are (0.5, 0.5). The discriminator stands still here; the generator goes up both
    classes' logits, each for half of the samples."""
    method = make("dcgan-negatives")
    generator, discriminator = with_tiny_networks(method)
    found = values(method.loss(linear(), batch_of()))
    real = (softplus(-1) + softplus(1)) / 2
    assert found["discriminator_loss"] == pytest.approx(real + softplus(0.5))
    assert found["generator_loss"] == pytest.approx(softplus(-0.5))
    step = 0.1 * 0.5 / (1 + math.exp(0.5))
    assert generator.image.flatten().tolist() == pytest.approx([0.5 + step] * 2)
    slope = torch.zeros(2, 2, dtype=torch.float64)
    for x, label in zip(REAL.flatten(1), LABELS, strict=True):
        slope[label] -= torch.sigmoid(-x[label]) * x / 4
        slope[label] += torch.sigmoid(torch.tensor(0.5)) * 0.5 / 4
    torch.testing.assert_close(discriminator.classifier.weight.grad, slope)


def test_icn_notes_the_logits_mean_for_the_thresholds():
    method = make("icn")
    method.loss(linear(), batch_of())
    assert [mean.item() for mean in method.score_means] == pytest.approx([0.0])
    method.loss(linear(), batch_of(labels=torch.tensor([0, 0, 0, 0])))
    assert method.score_means[1].item() == pytest.approx((1 + 0 + 1 - 1) / 4)


def test_a_gdl_stage():
    """Logistic loss of the own class's logit, on all real images and on those with partners."""
    method = make("gdl", negatives_share=0.5)
    stage = linear()
    method.stage = SideNetwork(stage, torch.optim.SGD(stage.parameters(), lr=0.1))
    before = stage.classifier.weight.detach().clone()
    found = values(method.loss(linear(), batch_of()))
    real = (2 * softplus(-1) + 2 * softplus(1)) / 4
    assert found["gdl_loss"] == pytest.approx(real + NEGATIVES_LOSS)
    assert method.score_means[0].item() == pytest.approx(0.0)
    slope = torch.zeros(2, 2, dtype=torch.float64)
    for x, label in zip(REAL.flatten(1), LABELS, strict=True):
        slope[label] -= torch.sigmoid(-x[label]) * x / 4
    for u, label in zip(POOL[LABELS[:2], 0].flatten(1), LABELS[:2], strict=True):
        slope[label] += torch.sigmoid(u[label]) * u / 2
    torch.testing.assert_close(stage.classifier.weight.detach(), before - 0.1 * slope)


def unsupervised(name: str, **settings):
    """With the pool of both classes as one, in the order of the images that get them."""
    method = make(name, unsupervised=True, **settings)
    method.order(5, 4)
    method.pool = NegativePool(POOL[LABELS, 0][None])
    method.partners = torch.arange(4)
    return method


def test_winn_without_labels():
    found = values(unsupervised("winn", gp_weight=3.0).loss(linear(1), batch_of()))
    assert found == pytest.approx(
        {
            "total": 6.25 - 8.25 + 3 * PENALTY,
            "wasserstein": 2.0,
            "gradient_penalty": PENALTY,
            "gradient_norm": 5.0,
        }
    )


def test_inn():
    """With f = 3 x1 + 4 x2: 3, -4, 7, -1 on real images, 3.5, -5, -5, 3.5 on pseudo-negatives."""
    network = linear(1)
    with torch.no_grad():
        network.classifier.bias.zero_()
    found = values(unsupervised("inn").loss(network, batch_of()))
    real, fake = (3, -4, 7, -1), (3.5, -5, -5, 3.5)
    log_loss = (sum(softplus(-f) for f in real) + sum(softplus(f) for f in fake)) / 8
    wasserstein = (sum(real) - sum(fake)) / 4
    assert found == pytest.approx(
        {"total": log_loss, "log_loss": log_loss, "wasserstein": wasserstein, "mistakes": 0.5}
    )


@pytest.mark.parametrize("f", [0.0, 0.5, -0.5])
def test_inn_makes_one_mistake_of_two_where_f_is_the_same_everywhere(f):
    network = linear(1)
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.bias.fill_(f)
    assert values(unsupervised("inn").loss(network, batch_of()))["mistakes"] == 0.5


def test_wgan_gp():
    """All samples are (0.5, 0.5), where f is 10.5; the generator goes up f's slope (3, 4)."""
    method = make("wgan-gp", unsupervised=True, gp_weight=2.0)
    generator = Constant()
    method.generator = SideNetwork(generator, torch.optim.SGD(generator.parameters(), lr=0.1))
    method.order(1, 4)
    network = linear(1)
    found = values(method.loss(network, batch_of()))
    assert found["total"] == pytest.approx(10.5 - 8.25 + 2 * PENALTY)
    assert found["wasserstein"] == pytest.approx(-2.25)
    method.after_step(network, 1, 4, lambda text: None)
    assert generator.image.flatten().tolist() == [0.5, 0.5]
    method.after_step(network, 1, 5, lambda text: None)
    assert generator.image.flatten().tolist() == pytest.approx([0.8, 0.9])
    assert network.classifier.weight.grad is None


@pytest.mark.parametrize("name", ["baseline", "winn", "icn", "pgd-at", "trades", "inn"])
def test_the_parts_of_a_batch_add_up_to_it(name):
    """What several processes get, dealt in turns."""

    def losses(part: slice) -> dict[str, float]:
        if name == "inn":
            return values(unsupervised("inn").loss(linear(1), batch_of(part)))
        settings = {"at_steps": 2, "negatives_share": 0.75, "gp_share": 0.5, "margin_radius": 0.1}
        method = make(name, **settings)
        return values(method.loss(linear(), batch_of(part)))

    whole, parts = losses(slice(0, 4, 1)), [losses(slice(rank, 4, 2)) for rank in range(2)]
    added = {key: sum(part[key] for part in parts) for key in whole}
    assert added == pytest.approx(whole)
