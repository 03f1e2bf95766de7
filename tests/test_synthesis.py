import pytest
import torch
import torch.nn.functional as F

from winnrobust.models import build
from winnrobust.randomness import stream
from winnrobust.synthesis import Ascent, InitialDistribution, NegativePool, synthesise

ASCENT = Ascent(lr=0.02, beta1=0.9, beta2=0.9, max_steps=25, tolerance=2e-2, class_weight=0.5)
CLASSES = torch.arange(10)


@pytest.fixture(scope="module")
def network():
    return build("vanilla", 1, 28, 10, stream(0, "weights"))


@pytest.fixture(scope="module")
def start():
    return torch.rand(10, 2, 1, 28, 28, generator=stream(0, "start")) * 2 - 1


def one_class_after_the_other(network, start, thresholds, ascent):
    """The authors' loop, literally: a batch per class, judged anew after every clipped step."""
    made, steps = [], []
    for label, (images, threshold) in enumerate(zip(start, thresholds, strict=True)):
        pixels = images.clone().requires_grad_()
        adam = torch.optim.Adam([pixels], ascent.lr, betas=(ascent.beta1, ascent.beta2))
        labels = torch.full((len(images),), label)
        for step in range(1, ascent.max_steps + 1):  # noqa: B007 (used after the loop)
            output = network.judge(pixels)
            objective = (output.critic.mean() - threshold).abs()
            objective = objective + ascent.class_weight * F.cross_entropy(output.logits, labels)
            (pixels.grad,) = torch.autograd.grad(objective, pixels)
            adam.step()
            pixels.data.clamp_(-1, 1)
            if (network.judge(pixels).critic.mean() - threshold).abs() <= ascent.tolerance:
                break
        made.append(pixels.detach())
        steps.append(step)
    return torch.stack(made), steps


def test_all_classes_at_once_equal_one_after_the_other(network, start):
    reachable = network.judge(start.flatten(0, 1)).critic.reshape(10, 2).mean(1).detach()
    thresholds = reachable + torch.linspace(-0.1, 0.2, 10)
    result, _ = synthesise(network, start, CLASSES, thresholds, ASCENT)
    images, steps = one_class_after_the_other(network, start, thresholds, ASCENT)
    assert result.steps.tolist() == steps
    assert len(set(steps)) > 2, "the classes should stop at different steps"
    torch.testing.assert_close(result.images, images, rtol=0, atol=2e-4)


def test_stops_when_the_mean_critic_is_within_tolerance(network, start):
    before = network.judge(start.flatten(0, 1)).critic.reshape(10, 2).mean(1).detach()
    thresholds = before + 0.05
    thresholds[3] = 1e6  # never reached
    result, _ = synthesise(network, start, CLASSES, thresholds, ASCENT)
    gap = network.judge(result.images.flatten(0, 1)).critic.reshape(10, 2).mean(1) - thresholds
    assert torch.equal(result.reached, gap.abs() <= ASCENT.tolerance)
    assert not result.reached[3]
    assert result.reached.sum() >= 5
    assert result.steps[3] == ASCENT.max_steps
    assert result.images.abs().max() <= 1


def test_takes_at_least_one_step(network, start):
    already = network.judge(start.flatten(0, 1)).critic.reshape(10, 2).mean(1).detach()
    loose = Ascent(0.02, 0.9, 0.9, max_steps=5, tolerance=10.0, class_weight=0.5)
    result, _ = synthesise(network, start, CLASSES, already, loose)
    assert result.steps.tolist() == [1] * 10
    assert not torch.equal(result.images, start)


def test_start_images_and_parameters_are_untouched(network, start):
    before = start.clone()
    synthesise(network, start, CLASSES, torch.zeros(10), ASCENT)
    assert torch.equal(start, before)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_carried_moments_change_the_first_step(network, start):
    one_step = Ascent(0.02, 0.9, 0.9, max_steps=1, tolerance=0.0, class_weight=0.5)
    fresh, state = synthesise(network, start, CLASSES, torch.full((10,), 5.0), one_step)
    carried, _ = synthesise(network, start, CLASSES, torch.full((10,), 5.0), one_step, state)
    assert not torch.equal(fresh.images, carried.images)


def make_initial(size: int = 28, channels: int = 1) -> InitialDistribution:
    return InitialDistribution(channels, size, 128, 0.1, stream(0, "initial distribution"))


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_initial_images_have_the_right_shape_and_range(channels, size):
    images = make_initial(size, channels).sample(4, stream(0, "noise"))
    assert images.shape == (4, channels, size, size)
    assert images.abs().max() <= 1
    assert images.std() > 0.5, "mostly saturated blobs (method.md A5)"


def test_initial_weights_have_the_papers_number_and_spread():
    initial = make_initial()
    count = initial.project.numel() + sum(kernel.numel() for kernel in initial.kernels)
    # 5,361,537 with the authors' biases (all zero) and norm scales, which ours leaves out.
    biases = 512 * 16 + 256 + 128 + 64 + 1
    scales_and_shifts = 2 * (512 + 256 + 128 + 64)
    assert count + biases + scales_and_shifts == 5_361_537
    assert initial.kernels[0].std().item() == pytest.approx(0.1, rel=0.01)
    assert initial.kernels[0].abs().max() <= 0.1 * 3**0.5


def test_initial_images_depend_only_on_the_generators():
    first, again = (make_initial().sample(2, stream(0, "noise", 1)) for _ in range(2))
    other = make_initial().sample(2, stream(0, "noise", 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_pool_takes_the_numbered_image_of_the_asked_class():
    """Class k's images are filled with k + the number within the class / 10."""
    values = torch.arange(10.0)[:, None] + torch.arange(3) / 10
    pool = NegativePool(values.reshape(10, 3, 1, 1, 1))
    taken = pool.take(torch.tensor([7, 0, 7]), torch.tensor([2, 1, 0])).flatten()
    torch.testing.assert_close(taken, torch.tensor([7.2, 0.1, 7.0]))


def test_groups_may_share_a_class_or_leave_one_out(network, start):
    """Ten groups of two images of the classes 3 and 7 alone."""
    classes = torch.tensor([3, 7] * 5)
    towards = Ascent(0.05, 0.9, 0.9, max_steps=40, tolerance=0.0, class_weight=5.0)
    result, _ = synthesise(network, start, classes, torch.zeros(10), towards)
    seen = network.judge(result.images.flatten(0, 1)).logits.argmax(1)
    assert torch.equal(seen, classes.repeat_interleave(2))


def test_pool_draws_every_image_equally_often():
    values = torch.arange(2.0)[:, None] * 10 + torch.arange(4)
    drawn = NegativePool(values.reshape(2, 4, 1, 1, 1)).draw(2000, stream(0, "draw"))
    assert drawn.shape == (2, 2000, 1, 1, 1)
    for label, images in enumerate(drawn.flatten(1).long() - torch.tensor([[0], [10]])):
        shares = torch.bincount(images, minlength=4) / 2000
        assert (shares - 0.25).abs().max() < 0.05, label


def test_limited_pool_keeps_the_newest():
    pool = NegativePool(torch.zeros(2, 2, 1, 1, 1), limit=3)
    for value in (1, 2):
        pool.add(torch.full((2, 2, 1, 1, 1), float(value)))
    assert pool.images[0].flatten().tolist() == [1, 2, 2]
    assert (len(pool), pool.per_class) == (6, 3)


def test_pool_keeps_the_old():
    pool = NegativePool(torch.zeros(2, 1, 1, 1, 1))
    pool.add(torch.ones(2, 3, 1, 1, 1))
    assert (len(pool), pool.per_class) == (8, 4)
    taken = pool.take(torch.tensor([1, 1, 1, 1]), torch.arange(4)).flatten()
    assert taken.tolist() == [0, 1, 1, 1]
