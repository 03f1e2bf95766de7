"""ICN, GDL and DCGAN negatives: losses recomputed term by term, and what makes their negatives."""

import pytest
import torch
import torch.nn.functional as F

from winnrobust.config import TrainConfig
from winnrobust.methods import METHODS, Batch
from winnrobust.methods.side_network import SideNetwork
from winnrobust.models import build
from winnrobust.models.dcgan import dcgan_generator
from winnrobust.randomness import stream
from winnrobust.synthesis import class_score, critic_score, near, synthesise

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1, 2, 3, 9, 9])
NAMES = ("icn", "gdl", "dcgan-negatives")


def make(name: str, **settings):
    defaults = {"negatives_per_class": 3, "synthesis_max_steps": 4}
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
    logits = network.judge(fake).logits[torch.arange(count), LABELS[:count]]
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


@pytest.mark.parametrize("name", NAMES)
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
    reached = network.judge(end.negatives.flatten(0, 1)).logits.unflatten(0, (10, 3))
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
        result, _ = synthesise(network, start, goal, ascent)
        labels = classes.repeat_interleave(2)
        before, after = (
            score(network.judge(images.flatten(0, 1)), labels).reshape(10, 2).mean(1)
            for images in (start, result.images)
        )
        assert (after > before).all()


def test_gdl_learns_log_odds_and_each_stage_goes_on_from_the_last(network, digits):
    """A stage tells digits from its negatives better and better; the next has fresh weights and
    starts from the samples of the last."""
    method = make("gdl", negatives_per_class=2)
    images, labels = digits.train.images[:50].float() / 255, digits.train.labels[:50]
    losses, first_weights = [], []
    for epoch in (1, 2):
        generator = stream(0, "steps", epoch)
        for step in range(6):
            batch = Batch(images, labels, 50, slice(None), generator)
            losses.append(method.loss(network, batch).parts["gdl_loss"].item())
            if step == 0:
                first_weights.append(method.stage.module.classifier.weight.detach().clone())
        assert losses[-1] < 0.5 * losses[-6]
        newest = method.pool.images[:, -2:].clone()
        assert torch.equal(method._starts(epoch, 0), newest)
        end = method.end_epoch(network, epoch, ignore)
        made = end.negatives
        assert "gdl_threshold_low" in end.metrics
        assert "threshold_low" not in end.metrics, "the model file would take it for the CNN's"
        assert (made - newest).abs().max() <= 4 * 0.02 * 4  # a few of Adam's steps away
        assert method.stage is None
    assert not torch.equal(*first_weights)


def test_dcgan_descends_both_losses(network, images):
    """The first step's losses by hand, with the networks as they were drawn."""
    method = make("dcgan-negatives", dcgan_latents=5)
    generator = dcgan_generator(5, 1, 28, 10, stream(0, "dcgan generator"))
    discriminator = build("vanilla", 1, 28, 10, stream(0, "dcgan discriminator"))
    parts = method.loss(network, batch_of(images)).parts
    latents = 2 * torch.rand(6, 5, generator=stream(0, "step")) - 1
    samples = generator(latents, LABELS)
    rows = torch.arange(6)
    real, fake = (discriminator.judge(x).logits[rows, LABELS] for x in (2 * images - 1, samples))
    expected = -(torch.sigmoid(real).log() + (1 - torch.sigmoid(fake)).log()).mean()
    torch.testing.assert_close(parts["discriminator_loss"], expected)
    fooled = method.discriminator.module.judge(samples).logits[rows, LABELS]
    torch.testing.assert_close(parts["generator_loss"], -torch.sigmoid(fooled).log().mean())
    for side, before in ((method.generator, generator), (method.discriminator, discriminator)):
        moved = zip(side.module.parameters(), before.parameters(), strict=True)
        assert sum(not torch.equal(now, then) for now, then in moved) > 5


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
