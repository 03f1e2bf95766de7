import pytest
import torch
import torch.nn.functional as F

from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import GaussianImages, ProjectedNetwork, RandomNetwork
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods import INITIAL, initial_of


def make_initial(size: int = 28, channels: int = 1) -> ProjectedNetwork:
    return ProjectedNetwork(channels, size, 128, 0.1, stream(0, "initial distribution"))


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_initial_images_have_the_right_shape_and_range(channels, size):
    images = make_initial(size, channels).sample(4, stream(0, "noise"))
    assert images.shape == (4, channels, size, size)
    assert images.abs().max() <= 1
    assert images.std() > 0.5, "mostly saturated blobs"


def test_initial_weights_have_the_papers_number_and_spread():
    initial = make_initial()
    count = initial.project.numel() + sum(kernel.numel() for kernel, _ in initial.layers)
    # 5,361,537 with the authors' biases (all zero) and norm scales, which ours leaves out.
    biases = 512 * 16 + 256 + 128 + 64 + 1
    scales_and_shifts = 2 * (512 + 256 + 128 + 64)
    assert count + biases + scales_and_shifts == 5_361_537
    assert initial.layers[0][0].std().item() == pytest.approx(0.1, rel=0.01)
    assert initial.layers[0][0].abs().max() <= 0.1 * 3**0.5


def test_initial_images_depend_only_on_the_generators():
    first, again = (make_initial().sample(2, stream(0, "noise", 1)) for _ in range(2))
    other = make_initial().sample(2, stream(0, "noise", 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 64), (3, 100)])
@pytest.mark.parametrize("name", INITIAL)
def test_every_distribution_draws_images_of_any_size_in_the_range(name, channels, size):
    initial = initial_of(TrainConfig(initial=name), channels, size)
    images = initial.sample(2, stream(0, "noise"))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    assert torch.equal(images, initial.sample(2, stream(0, "noise")))
    if name != "projected":
        assert images.amax((1, 2, 3)).tolist() == pytest.approx([1, 1])
        assert images.amin((1, 2, 3)).tolist() == pytest.approx([-1, -1])


def test_upsampling_goes_by_steps_of_two_to_the_papers_size():
    sizes = [size for _, size in RandomNetwork(3, 64, 0.1, stream(0, "weights")).layers]
    assert sizes == [8, 16, 32, 64]
    images = RandomNetwork(3, 64, 0.1, stream(0, "weights")).sample(1, stream(0, "noise"))
    again = F.interpolate(images[:, :, ::2, ::2], scale_factor=2, mode="nearest")
    assert torch.equal(images, again), "the last upsampling repeats pixels"


def test_gaussian_pixels_know_nothing_of_their_neighbors():
    images = GaussianImages(1, 64).sample(8, stream(0, "noise"))
    left, right = images[..., :-1].flatten(), images[..., 1:].flatten()
    assert abs(torch.corrcoef(torch.stack([left, right]))[0, 1]) < 0.03
