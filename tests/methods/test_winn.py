import pytest
import torch
import torch.nn.functional as F

from winnrobust.config import TrainConfig
from winnrobust.methods import METHODS, Batch
from winnrobust.methods.winn import Winn
from winnrobust.models import build
from winnrobust.randomness import stream

CPU = torch.device("cpu")


def make_winn(**settings) -> Winn:
    defaults = {"negatives_per_class": 3, "synthesis_max_steps": 4, "dataset": "mnist5k"}
    return Winn(TrainConfig(**defaults | settings), 1, 28, 10, CPU)


@pytest.fixture
def network():
    return build("vanilla", 1, 28, 10, stream(0, "weights"))


@pytest.fixture
def images():
    return torch.rand(6, 1, 28, 28, generator=stream(0, "images"))


def ignore(text: str) -> None:
    """Nobody watches."""


LABELS = torch.tensor([0, 1, 2, 3, 9, 9])


def test_loss_is_cross_entropy_plus_alpha_times_critic_loss(network, images):
    """Recomputed term by term, real and pseudo-negatives in passes of their own."""
    winn = make_winn(alpha=0.03, gp_weight=7.0)
    loss = winn.loss(network, Batch(images, LABELS, stream(0, "step")))

    same = stream(0, "step")
    fake, real = winn.pool.draw(LABELS, same), images * 2 - 1
    mix = torch.rand(6, generator=same).reshape(-1, 1, 1, 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(network.judge(between).critic.sum(), between)
    penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    gap = network.judge(real).critic.mean() - network.judge(fake).critic.mean()
    cross_entropy = F.cross_entropy(network.judge(real).logits, LABELS)

    torch.testing.assert_close(loss.total, cross_entropy + 0.03 * (-gap + 7 * penalty))
    torch.testing.assert_close(loss.parts["wasserstein"], gap)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy)


def test_pseudo_negatives_enter_no_class_loss(network, images):
    """With alpha 0 the parameter gradients are the baseline's."""
    batch = Batch(images, LABELS, stream(0, "step"))
    gradients = []
    for method in (make_winn(alpha=0.0), METHODS["baseline"](TrainConfig(), 1, 28, 10, CPU)):
        network.zero_grad()
        method.loss(network, batch).total.backward()
        gradients.append(network.classifier.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_pool_grows_by_every_epochs_negatives(network, images):
    winn = make_winn()
    assert len(winn.pool) == 30
    for epoch in (1, 2):
        winn.loss(network, Batch(images, LABELS, stream(0, "step")))
        end = winn.end_epoch(network, epoch, ignore)
        assert end.negatives.shape == (10, 3, 1, 28, 28)
        assert end.negatives.abs().max() <= 1
        assert len(winn.pool) == end.metrics["pool_size"] == 30 * (epoch + 1)


def test_threshold_range_spans_this_epochs_batch_means_only(network, images):
    winn = make_winn()
    winn.real_critic_means = [-1.0, 5.0, 2.0]
    metrics = winn.end_epoch(network, 1, ignore).metrics
    assert (metrics["threshold_low"], metrics["threshold_high"]) == (-1.0, 5.0)
    winn.loss(network, Batch(images, LABELS, stream(0, "step")))
    mean = network(images).critic.mean().item()
    metrics = winn.end_epoch(network, 2, ignore).metrics
    assert metrics["threshold_low"] == metrics["threshold_high"] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("carry", [False, True])
def test_restored_method_goes_on_like_the_original(network, images, carry):
    original, copy = (make_winn(synthesis_carry_adam=carry) for _ in range(2))
    original.real_critic_means = [0.0, 1.0]
    made = original.end_epoch(network, 1, ignore).negatives
    state = {name: value.clone() for name, value in original.state().items()}  # as in a file
    assert bool(state) == carry
    copy.restore(state, [made])
    for winn in (original, copy):
        winn.real_critic_means = [0.0, 1.0]
    next_original, next_copy = (w.end_epoch(network, 2, ignore).negatives for w in (original, copy))
    assert torch.equal(next_original, next_copy)
    assert torch.equal(original.pool.images, copy.pool.images)


def test_synthesis_leaves_the_network_alone(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    winn = make_winn()
    winn.real_critic_means = [0.0, 1.0]
    winn.end_epoch(network, 1, ignore)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_baseline_never_trains_the_critic(network, images):
    baseline = METHODS["baseline"](TrainConfig(), 1, 28, 10, CPU)
    baseline.loss(network, Batch(images, LABELS, stream(0, "step"))).total.backward()
    assert network.critic.weight.grad is None
    assert network.classifier.weight.grad is not None
