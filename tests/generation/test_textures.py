import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

from winnrobust.generation.sampling import Sampler
from winnrobust.generation.textures import (
    PatchCritic,
    blended,
    crops_of,
    draw_texture,
    load_texture,
    patches,
)
from winnrobust.models import ClassifierOutput, build
from winnrobust.models.checkpoint import ModelInfo
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream
from winnrobust.training.config import make_config

CPU = torch.device("cpu")


class Sum:
    """f is the sum of the pixels."""

    def forward_signed(self, images):
        critic = images.sum((1, 2, 3))
        return ClassifierOutput(critic[:, None], critic)


def test_overlapping_patches_give_a_pixel_the_mean_of_their_gradients():
    """The mean of P sums has the slope 1 / P at every pixel of a single patch, and of two."""
    canvas = torch.rand(1, 1, 7, 7, generator=stream(0, "canvas")).requires_grad_()
    critic = PatchCritic(Sum(), 4, 10, stream(0, "patches"))
    critic.forward_signed(canvas).critic.mean().backward()
    again = stream(0, "patches")
    tops, lefts = (torch.randint(4, (10,), generator=again) for _ in range(2))
    covered = torch.zeros(7, 7)
    for top, left in zip(tops, lefts, strict=True):
        covered[top : top + 4, left : left + 4] += 1
    assert covered.max() > 2
    torch.testing.assert_close(canvas.grad[0, 0], (covered > 0) / 10)


def test_a_canvas_is_seen_by_its_patches():
    canvas = torch.arange(49.0).reshape(1, 1, 7, 7)
    found = PatchCritic(Sum(), 4, 5, stream(0, "patches")).forward_signed(canvas).critic
    again = stream(0, "patches")
    tops, lefts = (torch.randint(4, (5,), generator=again) for _ in range(2))
    torch.testing.assert_close(found, patches(canvas[0], tops, lefts, 4).sum((1, 2, 3)))


def test_patches_are_cut_where_they_are_asked_for():
    canvas = torch.arange(12.0).reshape(1, 3, 4)
    cut = patches(canvas, torch.tensor([0, 1]), torch.tensor([2, 0]), 2)
    assert cut.tolist() == [[[[2, 3], [6, 7]]], [[[4, 5], [8, 9]]]]


def make_sampler(cascades: int = 1, steps: int = 3) -> Sampler:
    config = make_config(
        {"unsupervised": True, "synthesis_max_steps": steps, "synthesis_lr": 0.1}, "test"
    )
    networks = [build("cnn64", 3, 16, 1, stream(n, "weights"), 0.125) for n in range(cascades)]
    info = ModelInfo("cnn64", 3, 16, 1, "x", "winn", 0, 1, None, cascades, (), 0.125)
    return Sampler(networks, info, config, [(1e3, 1e3)] * cascades)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (40, 21), (1, 50)])
def test_textures_of_any_size_are_drawn_and_come_again_with_the_seed(width, height):
    first, again, other = (
        draw_texture(make_sampler(), width, height, seed=seed, device=CPU).image
        for seed in (0, 0, 1)
    )
    assert first.shape == (3, height, width)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_cascade_goes_on_with_the_canvas():
    one, two = (draw_texture(make_sampler(n), 20, 20, seed=0, device=CPU).image for n in (1, 2))
    assert 0 < (one - two).abs().max() < 0.2, "three more steps of about 0.1 in [-1, 1]"


def test_the_drawing_raises_what_the_network_gives_to_its_patches():
    sampler = make_sampler(steps=15)
    start, end = (
        draw_texture(make_sampler(steps=n), 32, 32, seed=0, device=CPU).image[None] for n in (1, 15)
    )
    corner = torch.arange(0, 17, 4)
    values = [
        sampler.networks[0](patches(canvas[0], corner, corner, 16)).critic.mean()
        for canvas in (start, end)
    ]
    assert values[0] < values[1]


def test_the_crops_of_a_picture_are_parts_of_it(tmp_path):
    ramp = torch.arange(20 * 24).reshape(20, 24) % 251
    Image.fromarray(ramp.to(torch.uint8).numpy()).save(tmp_path / "ramp.png")
    data = crops_of(str(tmp_path / "ramp.png"), 16, 0, "ramp")
    assert (data.num_classes, data.channels, data.image_size) == (1, 1, 16)
    crop = data.train.images[0, 0].long()
    places = [
        (top, left)
        for top in range(5)
        for left in range(9)
        if torch.equal(ramp[top : top + 16, left : left + 16], crop)
    ]
    assert len(places) == 1
    assert len({tuple(image.flatten()[:2].tolist()) for image in data.train.images[:2000]}) == 45
    assert data.train.sha256() == crops_of(str(tmp_path / "ramp.png"), 16, 0, "ramp").train.sha256()


def test_embedded_pictures_need_scikit_image_alone(monkeypatch):
    assert load_texture("brick").shape == (1, 512, 512)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(InputError, match=r"pip install 'winnrobust\[textures\]'"):
        load_texture("grass")


def test_what_is_no_texture_is_named(tmp_path):
    with pytest.raises(InputError, match="neither a picture nor one of the embedded grass"):
        load_texture("marble")
    Image.new("L", (15, 40)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match="has 15x40 pixels, less than crops of 16x16"):
        crops_of(str(tmp_path / "small.png"), 16, 0, "small")


def test_it_is_told_whether_the_ascents_came_to_their_ends():
    """Two networks of three steps each, whose thresholds are out of reach, or reached at once."""
    for threshold, steps, reached in ((1e3, 6, False), (-1e3, 2, True)):
        sampler = replace(make_sampler(2), thresholds=[(threshold, threshold)] * 2)
        made = draw_texture(sampler, 20, 20, seed=0, device=CPU)
        assert (made.steps, made.reached) == (steps, reached)


class Pixels:
    """Independent pixels around 0.25."""

    def sample(self, count, generator):
        return 0.25 + 0.1 * torch.randn(count, 1, 8, 8, generator=generator)


def test_the_canvas_varies_everywhere_as_one_image_does():
    """So neither the seams nor the middles of the images that it starts from show."""
    canvas = blended(Pixels(), 8, 800, 803, stream(0, "canvas"))
    assert canvas.shape == (1, 800, 803)
    phases = canvas[:, :, :800].reshape(200, 4, 200, 4)  # of a pixel in the overlap of four images
    means, deviations = phases.mean((0, 2)), phases.std((0, 2))
    torch.testing.assert_close(means, torch.full((4, 4), 0.25), rtol=0, atol=0.003)
    torch.testing.assert_close(deviations, torch.full((4, 4), 0.1), rtol=0.03, atol=0)


def test_a_canvas_of_any_odd_size_is_covered():
    assert blended(Pixels(), 7, 5, 31, stream(0, "canvas")).shape == (1, 5, 31)
