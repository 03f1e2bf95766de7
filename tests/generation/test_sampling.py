import math
from dataclasses import replace

import pytest
import torch

from winnrobust.generation.sampling import Noise, Sampler, draw
from winnrobust.models import build
from winnrobust.models.checkpoint import ModelInfo
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream
from winnrobust.training.config import TrainConfig

CPU = torch.device("cpu")
SIZE = 12


@pytest.fixture(autouse=True)
def float64():
    """Ascents multiply rounding errors by about a million, which differ with the processor."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make_sampler(cascades: int = 1, method: str = "winn", low: float = 0.0, high: float = 0.05):
    networks = [build("vanilla", 1, SIZE, 10, stream(n, "weights")) for n in range(cascades)]
    info = ModelInfo("vanilla", 1, SIZE, 10, "mnist5k", method, 0, 1, 0.1, cascades)
    config = TrainConfig(
        method=method,
        initial="gaussian",
        synthesis_max_steps=30,
        synthesis_lr=0.05,
        synthesis_class_weight=0.0,
        synthesis_tolerance=0.01,
    )
    return Sampler(networks, info, config, [(low, high)] * cascades)


def drawn(sampler, classes, **settings):
    return draw(sampler, torch.tensor(classes), seed=0, device=CPU, **settings)


def test_every_sample_comes_with_what_is_known_of_it():
    sampler = make_sampler()
    samples = drawn(sampler, [3, 7, 3, 3, 7])
    output = sampler.networks[0](samples.images)
    torch.testing.assert_close(samples.critic, output.critic.detach())
    assert torch.equal(samples.seen, output.logits.argmax(1))
    assert samples.images.min() >= 0
    assert samples.images.max() <= 1
    for label in (3, 7):
        own = samples.classes == label
        (threshold,) = samples.thresholds[own].unique().tolist()  # a class is a group here
        assert 0 <= threshold <= 0.05
        gap = abs(samples.critic[own].mean().item() - threshold)
        assert (gap <= 0.01) == samples.reached[own].all().item()
    assert samples.reached.any()


def test_samples_do_not_depend_on_the_batch_size():
    classes = list(range(10)) * 2 + [0]
    together, apart = (drawn(make_sampler(), classes, batch_size=size) for size in (500, 2))
    torch.testing.assert_close(together.images, apart.images, rtol=0, atol=1e-6)
    assert torch.equal(together.steps, apart.steps)


def test_a_large_class_is_split_into_groups_of_at_most_a_hundred():
    sampler = make_sampler(low=-1e6, high=1e6)  # so that no two thresholds are alike
    hasty = replace(sampler, config=sampler.config.replace(synthesis_max_steps=1))
    samples = drawn(hasty, [5] * 201)
    _, sizes = samples.thresholds.unique(return_counts=True)
    assert sizes.tolist() == [67, 67, 67]


def test_the_seed_decides_what_is_drawn():
    first, again = (draw(make_sampler(), torch.zeros(2).long(), seed=1, device=CPU) for _ in "ab")
    other = draw(make_sampler(), torch.zeros(2).long(), seed=2, device=CPU)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_a_cascade_goes_on_with_the_images_of_the_one_before():
    """The second network of two has the weights of a single one whose start is the first's end."""
    whole = make_sampler(cascades=2)
    first = Sampler(whole.networks[:1], make_sampler().info, whole.config, whole.thresholds[:1])
    halfway, end = drawn(first, [1, 1, 1]), drawn(whole, [1, 1, 1])
    assert (end.steps > halfway.steps).all()
    moved = (end.images - halfway.images).abs().max()
    assert 0 < moved <= 0.05 * 30, "no further than the second network's steps go"


@pytest.mark.parametrize("kind", ["langevin", "dropout"])
def test_noise_changes_the_ascent_and_comes_again_with_the_seed(kind):
    plain = drawn(make_sampler(), [1, 2])
    noisy, again = (drawn(make_sampler(), [1, 2], noise=Noise(kind, 0.1)) for _ in range(2))
    assert not torch.equal(noisy.images, plain.images)
    assert torch.equal(noisy.images, again.images)


def test_progress_goes_from_the_first_step_to_the_last():
    """Two batches through two networks, at most 30 steps each; early stops jump to the end."""
    told = []
    sampler = make_sampler(cascades=2)
    samples = drawn(sampler, [0] * 4 + [1] * 4, batch_size=4,
                    progress=lambda *news: told.append(news))  # fmt: skip
    done = [news[0] for news in told]
    assert {news[1] for news in told} == {2 * 2 * 30}
    assert done == sorted(done)
    assert (done[0], done[-1]) == (1, 120)
    assert samples.steps[::4].sum() < 120
    assert {30, 60, 90} <= set(done)
    assert told[0][2].startswith("0 samples done, synthesis step 0")
    assert any(news[2].startswith("4 samples done") for news in told)


def test_what_an_icn_raises_is_the_logit_of_the_class():
    sampler = make_sampler(method="icn")
    samples = drawn(sampler, [3, 7])
    logits = sampler.networks[0](samples.images).logits.detach()
    torch.testing.assert_close(samples.critic, logits[[0, 1], [3, 7]])


def test_what_cannot_be_sampled_from_is_named():
    with pytest.raises(InputError, match="method baseline draws no samples"):
        drawn(make_sampler(method="baseline"), [0])
    sampler = make_sampler()
    with pytest.raises(InputError, match="give the range of critic values with --threshold"):
        drawn(replace(sampler, thresholds=[]), [0])
    assert not math.isnan(drawn(sampler, [0]).thresholds.item())
