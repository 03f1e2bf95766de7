import math

import pytest
import torch

from winnrobust.models import build
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream
from winnrobust.training.config import make_config
from winnrobust.training.methods import Batch, method_of

CPU = torch.device("cpu")
SMALL = {
    "unsupervised": True,
    "initial": "gaussian",
    "epochs": 3,
    "batch_size": 4,
    "start_images": 12,
    "iteration_images": 40,
    "iteration_passes": 2,
    "negatives_per_class": 6,
    "synthesis_max_steps": 2,
}


def make(method: str = "winn", **settings):
    config = make_config(SMALL | {"method": method} | settings)
    return method_of(config)(config, 1, 28, 1, CPU)


def ignore(text: str) -> None:
    """Nobody watches."""


@pytest.fixture
def network():
    return build("vanilla", 1, 28, 1, stream(0, "weights"))


@pytest.fixture
def images():
    return torch.rand(100, 1, 28, 28, generator=stream(0, "images"))


def batch_of(images: torch.Tensor) -> Batch:
    labels = torch.zeros(len(images), dtype=torch.int64)
    return Batch(images, labels, len(images), slice(None), stream(0, "step"))


def train(method, network, images, epoch: int):
    """An epoch's losses, without changing a weight, and what it ends with."""
    for chosen in method.order(epoch, len(images)).split(method.config.optimization.batch_size):
        method.loss(network, batch_of(images[chosen]))
    return method.end_epoch(network, epoch, ignore)


def test_winns_loss_is_the_critics_alone(network, images):
    method = make(gp_weight=7.0)
    method.order(1, len(images))
    loss = method.loss(network, batch_of(images[:4]))

    fake, real = method.pool.images[0, method.partners[:4]], images[:4] * 2 - 1
    mix = torch.rand(4, generator=stream(0, "step")).reshape(-1, 1, 1, 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(network.forward_signed(between).critic.sum(), between)
    penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    gap = network.forward_signed(real).critic.mean() - network.forward_signed(fake).critic.mean()
    torch.testing.assert_close(loss.total, -gap + 7 * penalty)
    torch.testing.assert_close(loss.parts["wasserstein"], gap)


def test_inns_loss_is_the_sigmoid_cross_entropy(network, images):
    method = make("inn")
    method.order(1, len(images))
    loss = method.loss(network, batch_of(images[:4]))
    fake = method.pool.images[0, method.partners[:4]]
    both = network.forward_signed(torch.cat([images[:4] * 2 - 1, fake])).critic
    wanted = torch.tensor([1.0] * 4 + [0.0] * 4)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(both, wanted)
    torch.testing.assert_close(loss.total, expected)
    seen = (both > 0).float()
    assert loss.parts["mistakes"].item() == pytest.approx((seen != wanted).float().mean().item())


def test_an_epoch_looks_at_more_images_each_time_and_at_the_same_pairs_in_every_pass(images):
    method = make()
    for epoch, count in enumerate([8, 16, 24], start=1):  # 1/5, 2/5, 3/5 of 40
        order = method.order(epoch, len(images))
        assert len(order) == method.length(epoch, len(images)) == 2 * count
        assert torch.equal(order[:count], order[count:])
        assert len(order[:count].unique()) == count, "without repetition"
        assert len(method.partners) == count
        passes = [
            torch.cat([method.partners_of(batch_of(images[:4])) for _ in range(count // 4)])
            for _ in range(2)
        ]
        assert torch.equal(*passes)
        assert torch.equal(passes[0], method.pool.images[0, method.partners])


def test_few_images_are_repeated(images):
    order = make().order(3, 10)
    assert len(order) == 48
    assert order.max() < 10


def test_thresholds_span_the_batch_means_of_the_trained_critic(network, images):
    """Whatever the critic was during the passes, it counts as it is at their end."""
    method = make()
    order = method.order(2, len(images))
    other = build("vanilla", 1, 28, 1, stream(1, "weights"))
    for chosen in order.split(4):
        method.loss(other, batch_of(images[chosen]))
    metrics = method.end_epoch(network, 2, ignore).metrics
    means = [network(images[chosen]).critic.mean().item() for chosen in order[:16].split(4)]
    assert metrics["threshold_low"] == pytest.approx(min(means), abs=1e-6)
    assert metrics["threshold_high"] == pytest.approx(max(means), abs=1e-6)


def test_inn_has_no_thresholds_and_stops_at_even_odds(network, images):
    end = train(make("inn", synthesis_max_steps=300), network, images, 1)
    assert "threshold_low" not in end.metrics
    assert end.metrics["synthesis_reached"] == 1
    critic = network.forward_signed(end.negatives[0]).critic
    assert torch.nn.functional.softplus(-critic).mean() <= math.log(2) + 1e-6


def test_the_next_cascade_starts_from_the_last_ones_samples(network, images):
    """Epochs of two cascades of three: the third makes as many as the next starts from."""
    method = make(cascades=2)
    noise = method.starts.clone()
    made = [train(method, network, images, epoch).negatives for epoch in (1, 2)]
    assert [len(each[0]) for each in made] == [6, 6]
    assert torch.equal(method.starts, noise)
    last = train(method, network, images, 3).negatives
    assert len(last[0]) == 12
    assert torch.equal(method.starts, last[0])
    assert len(method.pool) == 12 + 6 + 6 + 12
    one_step = make(cascades=2, synthesis_max_steps=1, synthesis_lr=1e-12)
    one_step.starts = last[0]
    again = train(one_step, network, images, 4).negatives[0]
    known = (again[:, None] - last[0]).abs().flatten(2).amax(2) < 1e-5
    assert known.any(1).all(), "ascents start from them"
    assert known.any(0).sum() == 6, "each from another"


@pytest.mark.parametrize(("starts", "differ"), [(6, False), (12, True)])
def test_ascents_of_every_epoch_start_from_others_as_far_as_there_are(
    network, images, starts, differ
):
    method = make(start_images=starts, synthesis_max_steps=1, synthesis_lr=1e-12)
    begun = []
    for epoch in (1, 2):
        made = train(method, network, images, epoch).negatives[0]
        known = (made[:, None] - method.starts).abs().flatten(2).amax(2) < 1e-5
        begun.append(known.any(0))
        assert begun[-1].sum() == len(made) == 6, "each from another"
    assert torch.equal(*begun) != differ


def test_the_last_cascade_leaves_nothing(network, images):
    assert len(train(make(cascades=2), network, images, 6).negatives[0]) == 6


@pytest.mark.parametrize("method", ["winn", "inn"])
def test_a_restored_method_goes_on_like_the_original(network, images, method):
    original, copy = (make(method, cascades=2) for _ in range(2))
    made = [train(original, network, images, epoch).negatives for epoch in (1, 2, 3)]
    copy.restore(original.state(), made)
    next_original = train(original, network, images, 4).negatives
    next_copy = train(copy, network, images, 4).negatives
    assert torch.equal(next_original, next_copy)
    assert torch.equal(original.pool.images, copy.pool.images)


def test_wgan_gps_critic_learns_from_its_generators_samples(network, images):
    method = make("wgan-gp", gp_weight=0.0)
    method.order(1, len(images))
    batch = batch_of(images[:4])
    loss = method.loss(network, batch)
    latents = batch_of(images[:4]).latents(method.config.generation.dcgan_latents)
    fake = method.generator.module(latents, torch.zeros(4, dtype=torch.int64))
    gap = network.forward_signed(fake).critic.mean() - network(images[:4]).critic.mean()
    torch.testing.assert_close(loss.total, gap)
    loss.total.backward()
    assert all(p.grad is None for p in method.generator.module.parameters())


def test_wgan_gps_generator_raises_the_critic_on_its_samples_every_fifth_step(network, images):
    method = make("wgan-gp", lr=1e-3)
    weight = next(method.generator.module.parameters())
    before, frozen = weight.detach().clone(), network.features[3].weight.detach().clone()

    latents = 2 * torch.rand(64, 100, generator=stream(0, "latents")) - 1

    def mean_critic():
        with torch.no_grad():
            samples = method.generator.module(latents, torch.zeros(64, dtype=torch.int64))
            return network.forward_signed(samples).critic.mean()

    first = mean_critic()
    for step in range(1, 5):
        method.after_step(network, 1, step, ignore)
    assert torch.equal(weight, before)
    for step in range(5, 51):
        method.after_step(network, 1, step, ignore)
    assert mean_critic() > first
    assert torch.equal(network.features[3].weight, frozen)
    assert network.features[3].weight.grad is None


def test_every_step_of_wgan_gps_generator_has_draws_of_its_own(network):
    method, latents = make("wgan-gp"), []
    method.generator.module.register_forward_pre_hook(lambda _, given: latents.append(given[0]))
    for epoch, step in [(1, 5), (1, 10), (2, 1), (2, 6)]:  # four steps in the first epoch
        method.after_step(network, epoch, step, ignore)
    assert len(torch.cat(latents).unique(dim=0)) == 4 * 4
    assert torch.cat(latents).min() < -0.99
    assert 0.99 < torch.cat(latents).max() <= 1


def test_wgan_gps_critic_steps_are_counted_over_all_epochs(network):
    """Epochs of three steps: the fifth is the second of the second epoch."""
    method = make("wgan-gp", iteration_images=15, iteration_passes=1, batch_size=1)
    assert [method.length(epoch, 99) for epoch in (1, 2)] == [3, 6]
    weight = next(method.generator.module.parameters())
    changed = []
    for epoch, step in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]:
        before = weight.detach().clone()
        method.after_step(network, epoch, step, ignore)
        changed.append(not torch.equal(weight, before))
    assert changed == [False] * 4 + [True, False]


def test_a_processs_part_of_a_batch_gets_its_own_partners(images):
    whole, halves = make(), [make(), make()]
    for method in (whole, *halves):
        method.order(1, len(images))
    batch = batch_of(images[:4])
    parts = [
        batch._replace(images=images[part], labels=batch.labels[part], part=part)
        for part in (slice(0, 1), slice(1, 4))
    ]
    for _ in range(2):
        pieces = [m.partners_of(part) for m, part in zip(halves, parts, strict=True)]
        assert torch.equal(torch.cat(pieces), whole.partners_of(batch))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "inn"}, "'inn' trains without labels; add --unsupervised"),
        ({"method": "baseline", "unsupervised": True}, "needs labels; without them there are"),
        (
            {"method": "magic", "unsupervised": True},
            "unknown method 'magic'; known are winn, inn",
        ),
    ],
)
def test_methods_with_and_without_labels_are_told_apart(settings, message):
    with pytest.raises(InputError, match=message):
        method_of(make_config(settings))


def test_a_recipe_for_labels_is_refused():
    with pytest.raises(InputError, match="recipe 'fast' is for training with labels"):
        make_config({"unsupervised": True, "recipe": "fast"})


def test_without_labels_the_defaults_are_those_of_the_authors_64x64_code():
    config = make_config({"unsupervised": True, "lr": 0.5})
    assert (config.optimization.lr, config.optimization.batch_size) == (0.5, 50)
    assert (config.epochs, config.negatives.per_class) == (100, 1000)
    assert config.synthesis.lr == 0.01
    inn = make_config({"unsupervised": True, "method": "inn"})
    assert inn.generation.iteration_passes == 1
