import pytest
import torch
import torch.nn.functional as F

from winnrobust.models import build
from winnrobust.runtime.randomness import stream
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods import METHODS, Batch
from winnrobust.training.methods.winn import Winn

CPU = torch.device("cpu")


def make_winn(**settings) -> Winn:
    defaults = {"negatives_per_class": 3, "synthesis_max_steps": 4, "initial": "gaussian"}
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


def after_critic_means(winn: Winn, *means: float) -> Winn:
    """As if training steps with these batch means of the critic had just been made."""
    winn.score_means = [torch.tensor(mean) for mean in means]
    return winn


def batch_of(images: torch.Tensor) -> Batch:
    """The whole batch in this process."""
    return Batch(images, LABELS, len(LABELS), slice(None), stream(0, "step"))


def test_loss_is_cross_entropy_plus_alpha_times_critic_loss(network, images):
    """Recomputed term by term, real and pseudo-negatives in passes of their own."""
    winn = make_winn(alpha=0.03, gp_weight=7.0)
    loss = winn.loss(network, batch_of(images))

    same = stream(0, "step")
    choice = torch.randint(winn.pool.per_class, (6,), generator=same)
    fake, real = winn.pool.images[LABELS, choice], images * 2 - 1
    mix = torch.rand(6, generator=same).reshape(-1, 1, 1, 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(network.forward_signed(between).critic.sum(), between)
    penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    gap = network.forward_signed(real).critic.mean() - network.forward_signed(fake).critic.mean()
    cross_entropy = F.cross_entropy(network.forward_signed(real).logits, LABELS)

    torch.testing.assert_close(loss.total, cross_entropy + 0.03 * (-gap + 7 * penalty))
    torch.testing.assert_close(loss.parts["wasserstein"], gap)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy)


def test_pseudo_negatives_enter_no_class_loss(network, images):
    """With alpha 0 the parameter gradients are the baseline's."""
    batch = batch_of(images)
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
        winn.loss(network, batch_of(images))
        end = winn.end_epoch(network, epoch, ignore)
        assert end.negatives.shape == (10, 3, 1, 28, 28)
        assert end.negatives.abs().max() <= 1
        assert len(winn.pool) == end.metrics["pool_size"] == 30 * (epoch + 1)


def test_threshold_range_spans_the_batch_means(network, images):
    winn = make_winn()
    winn.loss(network, batch_of(images))
    (noted,) = winn.score_means
    assert noted.item() == pytest.approx(network(images).critic.mean().item(), abs=1e-6)
    metrics = after_critic_means(winn, -1.0, 5.0, 2.0).end_epoch(network, 1, ignore).metrics
    assert (metrics["threshold_low"], metrics["threshold_high"]) == (-1.0, 5.0)


def test_a_smaller_last_batch_does_not_widen_the_threshold_range(network, images):
    """It counts only where there is no other since the last synthesis."""
    winn = make_winn(batch_size=6)
    winn.loss(network, batch_of(images))
    last = Batch(images[:2], LABELS[:2], 2, slice(None), stream(0, "step"))
    winn.loss(network, last)
    metrics = winn.end_epoch(network, 1, ignore).metrics
    whole = pytest.approx(network(images).critic.mean().item(), abs=1e-6)
    assert metrics["threshold_low"] == metrics["threshold_high"] == whole
    winn.loss(network, last)
    alone = pytest.approx(network(images[:2]).critic.mean().item(), abs=1e-6)
    assert winn.end_epoch(network, 2, ignore).metrics["threshold_low"] == alone


def test_shares_of_the_batch_enter_the_critic_loss(network, images):
    """Half of six images get a pseudo-negative; a third of those pairs, one, is penalized."""
    winn = make_winn(negatives_share=0.5, gp_share=1 / 3, alpha=1.0)
    loss = winn.loss(network, batch_of(images))

    same = stream(0, "step")
    choice = torch.randint(winn.pool.per_class, (6,), generator=same)[:3]
    fake, real = winn.pool.images[LABELS[:3], choice], images * 2 - 1
    mix = torch.rand(6, generator=same)[:1].reshape(-1, 1, 1, 1)
    between = (mix * real[:1] + (1 - mix) * fake[:1]).requires_grad_()
    (slope,) = torch.autograd.grad(network.forward_signed(between).critic.sum(), between)
    gap = network.forward_signed(real).critic.mean() - network.forward_signed(fake).critic.mean()
    torch.testing.assert_close(loss.parts["wasserstein"], gap)
    torch.testing.assert_close(loss.parts["gradient_penalty"], (slope.norm() - 1) ** 2)


def test_synthesis_between_the_steps(network, images):
    winn = make_winn(synthesis_every=2)
    for step in (1, 2, 3):
        winn.loss(network, batch_of(images))
        winn.after_step(network, 1, step, ignore)
    assert winn.pool.per_class == 3 + 3  # after step 2
    end = winn.end_epoch(network, 1, ignore)  # and for step 3
    assert end.negatives.shape == (10, 6, 1, 28, 28)
    assert torch.equal(winn.pool.images[:, 3:], end.negatives)
    first, second = end.negatives.split(3, dim=1)
    assert not torch.equal(first, second), "each turn draws noise of its own"


def test_ascents_of_every_epoch_start_from_noise_of_their_own(network):
    winn = make_winn(synthesis_max_steps=1, synthesis_lr=1e-12)
    first, second = (
        after_critic_means(winn, 0.0, 1.0).end_epoch(network, epoch, ignore).negatives
        for epoch in (1, 2)
    )
    assert (first - second).abs().flatten(2).amax(2).min() > 0.1


def test_ascents_can_start_from_the_pool(network, images):
    """With a step of next to nothing, what comes out is what went in."""
    settings = {"synthesis_max_steps": 1, "synthesis_lr": 1e-12, "negatives_per_class": 4}
    winn = make_winn(synthesis_pool_share=0.75, **settings)
    old = winn.pool.images.clone()
    made = after_critic_means(winn, 0.0, 1.0).end_epoch(network, 1, ignore).negatives
    known = (made[:, :, None] - old[:, None]).abs().flatten(3).amax(3) < 1e-6  # made x old
    assert known.any(2).sum(1).tolist() == [3] * 10


def test_thresholds_and_stops_per_image(network, images):
    winn = make_winn(synthesis_per_image=True, synthesis_tolerance=0.05, synthesis_max_steps=40)
    low, high = -0.2, 0.2
    end = after_critic_means(winn, low, high).end_epoch(network, 1, ignore)
    draw = torch.rand(30, generator=stream(0, "thresholds", 1, 0))
    critic = network.forward_signed(end.negatives.flatten(0, 1)).critic
    gap = (critic - (low + (high - low) * draw)).abs()
    reached = (gap <= 0.05 + 1e-5).float().mean().item()
    assert reached == pytest.approx(end.metrics["synthesis_reached"])
    assert reached > 0.5


def test_leading_part_of_a_batch(images):
    whole = batch_of(images)
    parts = [
        Batch(images[part], LABELS[part], len(LABELS), part, stream(0, "step"))
        for part in (slice(0, 4), slice(4, 6))
    ]
    for share, size in ((1.0, 6), (0.5, 3), (0.8, 5), (0.01, 1)):
        leading = whole.leading(share)
        assert (leading.size, len(leading.labels)) == (size, size)
        pieces = [part.leading(share) for part in parts]
        assert torch.equal(torch.cat([piece.labels for piece in pieces]), LABELS[:size])
        assert torch.equal(torch.cat([piece.images for piece in pieces]), images[:size])
        again = [piece.leading(0.5) for piece in pieces]
        assert sum(len(piece.labels) for piece in again) == max(1, round(size / 2))


def test_leading_part_is_dealt_evenly(images):
    numbers = torch.arange(6)
    parts = [slice(rank, 6, 2) for rank in range(2)]
    batches = [Batch(images[p], numbers[p], 6, p, stream(0, "step")) for p in parts]
    for share, expected in ((1.0, [[0, 2, 4], [1, 3, 5]]), (0.5, [[0, 2], [1]]), (0.2, [[0], []])):
        pieces = [batch.leading(share) for batch in batches]
        assert [piece.labels.tolist() for piece in pieces] == expected
        assert [numbers[piece.part].tolist() for piece in pieces] == expected


@pytest.mark.parametrize("carry", [False, True])
def test_restored_method_goes_on_like_the_original(network, images, carry):
    original, copy = (make_winn(synthesis_carry_adam=carry, pool_newest=0.6) for _ in range(2))
    made = after_critic_means(original, 0.0, 1.0).end_epoch(network, 1, ignore).negatives
    state = {name: value.clone() for name, value in original.state().items()}  # as in a file
    assert bool(state) == carry
    copy.restore(state, [made])
    next_original, next_copy = (
        after_critic_means(w, 0.0, 1.0).end_epoch(network, 2, ignore).negatives
        for w in (original, copy)
    )
    assert torch.equal(next_original, next_copy)
    assert torch.equal(original.pool.images, copy.pool.images)


def test_synthesis_leaves_the_network_alone(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    after_critic_means(make_winn(), 0.0, 1.0).end_epoch(network, 1, ignore)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_baseline_never_trains_the_critic(network, images):
    baseline = METHODS["baseline"](TrainConfig(), 1, 28, 10, CPU)
    baseline.loss(network, batch_of(images)).total.backward()
    assert network.critic.weight.grad is None
    assert network.classifier.weight.grad is not None


def test_parts_of_a_batch_draw_what_the_whole_would(images):
    whole = batch_of(images)
    parts = [
        Batch(images[part], LABELS[part], len(LABELS), part, stream(0, "step"))
        for part in (slice(0, 4), slice(4, 6))
    ]
    for draw in (Batch.uniform, Batch.noise, lambda batch: batch.integers(100)):
        assert torch.equal(torch.cat([draw(part) for part in parts]), draw(whole))
    shares = [part.mean(part.labels.float()) for part in parts]
    torch.testing.assert_close(sum(shares), LABELS.float().mean())


def test_draws_are_uniform():
    batch = Batch(torch.zeros(1), torch.zeros(1), 4000, slice(None), stream(0, "step"))
    assert torch.bincount(batch.integers(4)).div(4000).sub(0.25).abs().max() < 0.03
    assert batch.uniform().mean().item() == pytest.approx(0.5, abs=0.03)
    noise = batch._replace(images=torch.zeros(1, 1, 2, 2)).noise()
    assert noise.shape == (4000, 1, 2, 2)
    assert noise.aminmax().min.item() == pytest.approx(-1, abs=1e-3)
    assert noise.aminmax().max.item() == pytest.approx(1, abs=1e-3)
    assert noise.mean((0, 1)).abs().max() < 0.03
