"""ICN, GDL and DCGAN negatives: losses recomputed term by term, and what makes their negatives."""

import copy

import pytest
import torch
import torch.nn.functional as F

from winnrobust.models import build
from winnrobust.models.dcgan import dcgan_generator
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import class_score, critic_score, near, synthesize
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods import METHODS, Batch
from winnrobust.training.methods.side_network import SideNetwork

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1, 2, 3, 9, 9])
NAMES = ("icn", "gdl", "dcgan-negatives")


def make(name: str, **settings):
    defaults = {"negatives_per_class": 3, "synthesis_max_steps": 4, "initial": "gaussian"}
    return METHODS[name](TrainConfig(method=name, **defaults | settings), 1, 28, 10, CPU)


@pytest.fixture
def network():
    return build("vanilla", 1, 28, 10, stream(0, "weights"))


@pytest.fixture
def images():
    return torch.rand(6, 1, 28, 28, generator=stream(0, "images"))


def batch_of(images: torch.Tensor, part: slice = slice(None)) -> Batch:
    return Batch(images[part], LABELS[part], len(LABELS), part, stream(0, "step"))


def ignore(text: str) -> None:
    """Nobody watches."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_loss_is_cross_entropy_and_softplus_of_the_negatives_class_logit(
    network, images, name, share
):
    """With known negatives, all alike within a class, whatever is drawn."""
    method = make(name, negatives_weight=0.3, negatives_share=share)
    method.pool.images = method.pool.images[:, :1].expand_as(method.pool.images).clone()
    found = method.loss(network, batch_of(images))

    count = round(share * 6)
    fake = method.pool.images[LABELS[:count], 0]
    logits = network.forward_signed(fake).logits[torch.arange(count), LABELS[:count]]
    negatives_loss = (1 + logits.exp()).log().mean()
    cross_entropy = F.cross_entropy(network(images).logits, LABELS)
    torch.testing.assert_close(found.total, 0.7 * cross_entropy + 0.3 * negatives_loss)
    torch.testing.assert_close(found.parts["negatives_loss"], negatives_loss)


@pytest.mark.parametrize("name", NAMES)
def test_without_weight_it_is_the_baseline(network, images, name):
    gradients = []
    for method in (make(name, negatives_weight=0.0), make("baseline")):
        network.zero_grad()
        method.loss(network, batch_of(images)).total.backward()
        gradients.append(network.classifier.weight.grad.clone())
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", ["icn", "gdl"])
def test_pool_grows_by_what_an_epoch_made(network, images, name):
    method = make(name)
    for epoch in (1, 2):
        method.loss(network, batch_of(images))
        end = method.end_epoch(network, epoch, ignore)
        assert end.negatives.shape == (10, 3, 1, 28, 28)
        assert end.negatives.abs().max() <= 1
        assert not end.negatives.requires_grad
        assert torch.equal(method.pool.images[:, -3:], end.negatives)
        assert end.metrics["pool_size"] == 30 * (epoch + 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_critic_is_left_alone(network, images, name):
    make(name).loss(network, batch_of(images)).total.backward()
    assert network.critic.weight.grad is None


@pytest.mark.parametrize("name", ["gdl", "dcgan-negatives"])
def test_what_makes_the_negatives_leaves_the_classifier_alone_and_the_reverse(
    network, images, name
):
    """The step beside it gives the classifier no gradient; the classifier's loss gives it none."""
    method = make(name)
    total = method.loss(network, batch_of(images)).total
    assert all(parameter.grad is None for parameter in network.parameters())
    sides = [part for part in vars(method).values() if isinstance(part, SideNetwork)]
    assert sides
    for side in sides:
        side.optimizer.zero_grad()
    total.backward()
    for side in sides:
        assert all(parameter.grad is None for parameter in side.module.parameters())


def test_icn_climbs_the_logit_of_the_class(network, images):
    """Its thresholds span the means of the true class's logit, and its ascents reach them."""
    easy = {"synthesis_lr": 0.1, "synthesis_tolerance": 0.05, "synthesis_max_steps": 40}
    method = make("icn", synthesis_class_weight=0.0, **easy)
    method.loss(network, batch_of(images))
    (noted,) = method.score_means
    logits = network(images).logits[torch.arange(6), LABELS]
    assert noted.item() == pytest.approx(logits.mean().item(), abs=1e-6)
    method.score_means = [torch.tensor(2.0), torch.tensor(2.0)]
    end = method.end_epoch(network, 1, ignore)
    reached = network.forward_signed(end.negatives.flatten(0, 1)).logits.unflatten(0, (10, 3))
    own = torch.stack([reached[label, :, label].mean() for label in range(10)])
    assert end.metrics["synthesis_reached"] == 1
    torch.testing.assert_close(own, torch.full((10,), 2.0), rtol=0, atol=0.051)


def test_scores_of_an_output(network, images):
    output = network(images)
    assert torch.equal(critic_score(output, LABELS), output.critic)
    assert class_score(output, LABELS).tolist() == [
        row[label] for row, label in zip(output.logits.tolist(), LABELS.tolist(), strict=True)
    ]


def test_the_score_decides_what_an_ascent_raises(network):
    """One step towards a far threshold: the score asked for rises."""
    start = torch.rand(10, 2, 1, 28, 28, generator=stream(0, "start")) - 0.5
    classes, far = torch.arange(10), torch.full((10,), 100.0)
    ascent = make("icn", synthesis_max_steps=1).ascent
    for score in (critic_score, class_score):
        goal = near(classes, far, tolerance=1e-3, class_weight=0.0, score=score)
        result, _ = synthesize(network, start, goal, ascent)
        labels = classes.repeat_interleave(2)
        before, after = (
            score(network.forward_signed(images.flatten(0, 1)), labels).reshape(10, 2).mean(1)
            for images in (start, result.images)
        )
        assert (after > before).all()


def test_gdl_learns_log_odds_and_each_stage_goes_on_from_the_last(network, digits):
    """A stage tells digits from its negatives better and better; the next has fresh weights and
    starts from the samples of the last."""
    method = make("gdl", negatives_per_class=2)
    images, labels = digits.train.images[:20].float() / 255, digits.train.labels[:20]
    losses, first_weights = [], []
    for epoch in (1, 2):
        generator = stream(0, "steps", epoch)
        for step in range(6):
            batch = Batch(images, labels, 20, slice(None), generator)
            losses.append(method.loss(network, batch).parts["gdl_loss"].item())
            if step == 0:
                first_weights.append(method.stage.module.classifier.weight.detach().clone())
        assert losses[-1] < 0.5 * losses[-6]
        newest = method.pool.images[:, -2:].clone()
        assert torch.equal(method.samples, newest)
        end = method.end_epoch(network, epoch, ignore)
        made = end.negatives
        assert "gdl_threshold_low" in end.metrics
        assert "threshold_low" not in end.metrics, "the model file would take it for the CNN's"
        assert (made - newest).abs().max() <= 4 * 0.02 * 4  # a few of Adam's steps away
        assert method.stage is None
    assert not torch.equal(*first_weights)


def test_a_gdl_stage_tells_real_images_from_negatives_of_their_class(network, images):
    """Its loss by hand; its step goes down it; what it notes are its own scores of real images."""
    method = make("gdl")
    method.pool.images = method.pool.images[:, :1].expand_as(method.pool.images).clone()
    method.loss(network, batch_of(images))
    method.score_means = []
    critic, rows = copy.deepcopy(method.stage.module), torch.arange(6)

    def loss_of(stage):
        real, fake = (
            stage.forward_signed(x).logits[rows, LABELS]
            for x in (2 * images - 1, method.pool.images[LABELS, 0])
        )
        return -(torch.sigmoid(real).log().mean() + torch.sigmoid(-fake).log().mean()), real

    found = method.loss(network, batch_of(images)).parts["gdl_loss"]
    expected, real = loss_of(critic)
    torch.testing.assert_close(found, expected)
    assert loss_of(method.stage.module)[0] < expected
    assert method.score_means[0].item() == pytest.approx(real.mean().item(), abs=1e-6)


def test_gdl_climbs_the_stages_logit_of_the_class_and_nothing_else(network, images):
    """Adam's first step goes by the sign of the gradient."""
    method = make("gdl", synthesis_max_steps=1, synthesis_lr=0.02)
    method.loss(network, batch_of(images))
    critic = method.stage.module
    start = (method.samples * 0.9).requires_grad_()
    method.samples = start.detach().clone()
    method.score_means = [torch.tensor(100.0), torch.tensor(100.0)]  # out of reach
    logits = critic.forward_signed(start.flatten(0, 1)).logits
    (gradient,) = torch.autograd.grad(
        logits[torch.arange(30), torch.arange(10).repeat_interleave(3)].sum(), start
    )
    made = method.end_epoch(network, 1, ignore).negatives
    steep = gradient.abs() > 1e-4
    assert steep.float().mean() > 0.5
    expected = (start + 0.02 * gradient.sign()).clamp(-1, 1)
    torch.testing.assert_close(made[steep], expected[steep].detach(), rtol=0, atol=1e-4)


def test_gdl_makes_as_many_where_the_pool_keeps_fewer_and_goes_on_from_them(network, images):
    method = make("gdl", negatives_per_class=4, pool_newest=0.1)
    made = []
    for epoch in (1, 2):
        method.loss(network, batch_of(images))
        made.append(method.end_epoch(network, epoch, ignore).negatives)
        assert made[-1].shape[1] == 4
        assert method.pool.per_class < 4
    resumed = make("gdl", negatives_per_class=4, pool_newest=0.1)
    resumed.restore(method.state(), made)
    assert torch.equal(resumed.samples, made[-1])


def test_gdl_stages_are_as_wide_as_the_classifier():
    config = TrainConfig(method="gdl", arch="cnn64", width=0.125, negatives_per_class=1)
    method = METHODS["gdl"](config, 3, 64, 10, CPU)
    network = build("cnn64", 3, 64, 10, stream(0, "weights"), 0.125)
    method.loss(network, batch_of(torch.rand(6, 3, 64, 64, generator=stream(0, "images"))))
    stage = method.stage.module
    assert [p.shape for p in stage.parameters()] == [p.shape for p in network.parameters()]


def test_dcgan_hands_over_new_samples_of_every_class_in_place_of_the_old(network, images):
    method = make("dcgan-negatives", dcgan_latents=5)
    for epoch in (1, 2):
        method.loss(network, batch_of(images))
        end = method.end_epoch(network, epoch, ignore)
        latents = 2 * torch.rand(30, 5, generator=stream(0, "samples", epoch)) - 1
        for label in range(10):
            part = latents[3 * label : 3 * label + 3]
            expected = method.generator.module(part, torch.full((3,), label)).detach()
            torch.testing.assert_close(end.negatives[label], expected)
        assert torch.equal(method.pool.images, end.negatives)
        assert not end.negatives.requires_grad
        assert end.metrics["pool_size"] == 30
    resumed = make("dcgan-negatives", dcgan_latents=5)
    resumed.restore(method.state(), [torch.zeros(10, 3, 1, 28, 28), end.negatives])
    assert torch.equal(resumed.pool.images, end.negatives)


def test_a_side_network_refuses_moments_of_another_shape(network, images):
    method = make("dcgan-negatives", dcgan_latents=5)
    method.loss(network, batch_of(images))
    state = method.state()
    name = "generator.moments.0.exp_avg"
    with pytest.raises(ValueError, match="exp_avg of parameter 0"):
        method.restore(state | {name: state[name][1:]}, [])


def test_dcgan_descends_both_losses(network, images):
    """The first step's losses by hand, with the networks as they were drawn; it lowers them."""
    method = make("dcgan-negatives", dcgan_latents=5)
    generator = dcgan_generator(5, 1, 28, 10, stream(0, "dcgan generator"))
    discriminator = build("vanilla", 1, 28, 10, stream(0, "dcgan discriminator"))
    parts = method.loss(network, batch_of(images)).parts
    latents = 2 * torch.rand(6, 5, generator=stream(0, "step")) - 1
    samples = generator(latents, LABELS)
    rows = torch.arange(6)
    real, fake = (
        discriminator.forward_signed(x).logits[rows, LABELS] for x in (2 * images - 1, samples)
    )
    expected = -(torch.sigmoid(real).log() + (1 - torch.sigmoid(fake)).log()).mean()
    torch.testing.assert_close(parts["discriminator_loss"], expected)
    fooled = method.discriminator.module.forward_signed(samples).logits[rows, LABELS]
    torch.testing.assert_close(parts["generator_loss"], -torch.sigmoid(fooled).log().mean())
    real, fake = (
        method.discriminator.module.forward_signed(x).logits[rows, LABELS]
        for x in (2 * images - 1, samples)
    )
    after = -(torch.sigmoid(real).log() + (1 - torch.sigmoid(fake)).log()).mean()
    assert after < parts["discriminator_loss"]
    again = method.generator.module(latents, LABELS)
    after = (
        -torch.sigmoid(method.discriminator.module.forward_signed(again).logits[rows, LABELS])
        .log()
        .mean()
    )
    assert after < parts["generator_loss"]
    for side in (method.generator, method.discriminator):
        assert side.optimizer.defaults["betas"] == (0.5, 0.999)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 30)])
def test_generators_make_images_of_any_size(channels, size):
    module = dcgan_generator(7, channels, size, 10, stream(0, "g"))
    images = module(torch.zeros(2, 7), torch.tensor([0, 9]))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    assert not torch.equal(images[0], images[1]), "the class counts"


def test_latents_of_parts_are_those_of_the_whole(images):
    whole = batch_of(images).latents(4)
    parts = [batch_of(images, part).latents(4) for part in (slice(0, 4), slice(4, 6))]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.shape == (6, 4)
    assert whole.min() >= -1
    assert whole.max() < 1
