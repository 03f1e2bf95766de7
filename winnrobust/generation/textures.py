"""Textures: one picture as a data set of its crops, and canvases of any size (paper 5.2)."""

import importlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.data.datasets import Dataset, ImageSplit
from winnrobust.data.folders import load_picture
from winnrobust.generation.sampling import Sampler, ranges_of
from winnrobust.models import ClassifierOutput
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import Critic, InitialDistribution, Pace, Progress, silent, synthesize
from winnrobust.training.methods import ascent_of, initial_of, method_of

EMBEDDED = ("grass", "gravel", "brick")
"""Pictures that come with scikit-image (CC0), 512x512 gray pixels."""

TRAIN_CROPS, VALID_CROPS = 10_000, 500

COVERAGE = 8
"""How many patches lie over a pixel, on average: the paper's 200 of 64x64 on 320x320 pixels."""

LARGEST_COUNT = 256
"""Patches at once, at most; on larger canvases fewer lie over a pixel, and it takes more steps."""


def load_texture(source: str) -> Tensor:
    """Load a picture (C, H, W) uint8: one of `EMBEDDED`, or a file.

    Raises:
        InputError: it is neither, or scikit-image is missing.
    """
    if source not in EMBEDDED:
        if not Path(source).is_file():
            raise InputError(
                f"{source} is neither a picture nor one of the embedded {', '.join(EMBEDDED)}"
            )
        return load_picture(Path(source))
    try:
        data = importlib.import_module("skimage.data")
    except ImportError:
        raise InputError(
            f"the picture '{source}' comes with scikit-image; pip install 'winnrobust[textures]',"
            " or give a picture of your own"
        ) from None
    return torch.from_numpy(np.ascontiguousarray(getattr(data, source)())).unsqueeze(0)


def crops_of(source: str, size: int, seed: int, name: str) -> Dataset:
    """Cut random crops of `size` pixels from a picture: a data set without labels.

    Raises:
        InputError: as `load_texture`, or the picture is smaller than that.
    """
    picture = load_texture(source)
    _, height, width = picture.shape
    if min(height, width) < size:
        raise InputError(
            f"{source} has {width}x{height} pixels, less than crops of {size}x{size}; lower"
            " --image-size"
        )

    def crops(count: int, part: str) -> ImageSplit:
        generator = stream(seed, "crops", part)
        tops, lefts = (
            torch.randint(length - size + 1, (count,), generator=generator)
            for length in (height, width)
        )
        return ImageSplit(patches(picture, tops, lefts, size), torch.zeros(count).long())

    train, valid = crops(TRAIN_CROPS, "train"), crops(VALID_CROPS, "valid")
    return Dataset(name, 1, train, valid, valid.first(0))


def patches(canvas: Tensor, tops: Tensor, lefts: Tensor, size: int) -> Tensor:
    """Cut squares (N, C, size, size) out of (C, H, W), N given by their upper left corners."""
    corners = zip(tops.tolist(), lefts.tolist(), strict=True)
    return torch.stack([canvas[:, y : y + size, x : x + size] for y, x in corners])


class PatchCritic:
    """A network that sees a canvas of any size by random patches of it, others every time.

    Where patches overlap, a pixel's gradient is the mean of theirs.

    Args:
        network: of images of `size` pixels.
        size: side of the patches.
        count: how many at once.
        generator: of their places (CPU).
    """

    def __init__(self, network: Critic, size: int, count: int, generator: torch.Generator) -> None:
        self.network, self.size, self.count, self.generator = network, size, count, generator

    def forward_signed(self, canvases: Tensor) -> ClassifierOutput:
        """Logits and critic of the patches of one canvas (1, C, H, W) in [-1, 1]."""
        (canvas,) = canvases
        tops, lefts = (
            torch.randint(length - self.size + 1, (self.count,), generator=self.generator)
            for length in canvas.shape[1:]
        )
        covered = torch.zeros(canvas.shape[1:])  # by how many patches
        for top, left in zip(tops.tolist(), lefts.tolist(), strict=True):
            covered[top : top + self.size, left : left + self.size] += 1
        share = 1 / covered.clamp_min(1).to(canvas)
        fixed = canvas.detach()
        averaging = fixed + share * (canvas - fixed)  # the canvas, but for its gradients
        return self.network.forward_signed(patches(averaging, tops, lefts, self.size))


class Texture(NamedTuple):
    """What was drawn.

    Attributes:
        image: (C, H, W) in [0, 1].
        steps: of the ascents, over all cascades.
        reached: whether each of them came to its threshold.
    """

    image: Tensor
    steps: int
    reached: bool


def draw_texture(
    sampler: Sampler,
    width: int,
    height: int,
    *,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> Texture:
    """Draw a texture of any size, in pixels.

    The ascent works on a canvas that is larger by a patch, so that its ends, over which few patches
    lie, can be cut off. It starts from initial images of the network's size that overlap.

    Args:
        sampler: trained on crops of one picture; its networks are moved to `device`.
        progress: called in every step.

    Raises:
        InputError: as `sampling.ranges_of`.
    """
    size, config = sampler.info.image_size, sampler.config
    ranges, goal_of = ranges_of(sampler), method_of(config).goal
    initial = initial_of(config, sampler.info.in_channels, size)
    high, wide = height + size, width + size
    canvas = blended(initial, size, high, wide, stream(seed, "texture")).to(device)
    count = min(LARGEST_COUNT, round(COVERAGE * high * wide / size**2))
    ascent, steps, reached = ascent_of(config), 0, True
    pace = Pace(len(ranges), ascent.max_steps, progress)
    for cascade, (lowest, highest) in enumerate(ranges):
        network = sampler.networks[cascade].to(device).eval()
        critic = PatchCritic(network, size, count, stream(seed, "texture patches", cascade))
        draw = torch.rand(1, generator=stream(seed, "texture stop", cascade))
        threshold = (lowest + (highest - lowest) * draw).to(device)
        goal = goal_of(config, torch.zeros(1, dtype=torch.int64, device=device), threshold)
        made, _ = synthesize(critic, canvas[None, None], goal, ascent, progress=pace.step)
        pace.end()
        canvas = made.images[0, 0]
        steps, reached = steps + int(made.steps), reached and bool(made.reached)
    edge = size // 2
    image = (canvas[:, edge : edge + height, edge : edge + width].cpu() + 1) / 2
    return Texture(image, steps, reached)


def blended(
    initial: InitialDistribution, size: int, height: int, width: int, generator: torch.Generator
) -> Tensor:
    """A canvas (C, height, width) of initial images that overlap by half, so that no seams show.

    The squares of a pixel's weights add up to 1: it varies as much as a pixel of one image does.
    """
    step = size // 2
    down, across = -(-height // step) + 1, -(-width // step) + 1
    tiles = initial.sample(down * across, generator)
    mean = tiles.mean()
    window = torch.sin(torch.pi * (torch.arange(2 * step) + 0.5) / (2 * step))
    weighted = (tiles[..., : 2 * step, : 2 * step] - mean) * window[:, None] * window
    high, wide = (down + 1) * step, (across + 1) * step
    columns = weighted.unsqueeze(0).flatten(2).transpose(1, 2)
    canvas = F.fold(columns, (high, wide), kernel_size=2 * step, stride=step)[0]
    # The first half of an image has no other over it.
    return (mean + canvas[:, step : step + height, step : step + width]).clamp(-1, 1)
