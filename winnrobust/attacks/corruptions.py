"""Common corruptions: the 15 of Hendrycks and Dietterich, in five severities, for any image size.

Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations, ICLR 2019. Written after its descriptions, with the strengths of the published data
sets: CIFAR-10-C's for small images, ImageNet-C's for others. As there, the results have 8 bits.
Motion blur is a sum of shifted images, as in the package imagecorruptions (Michaelis et al. 2019),
whose photographs of frost are laid over the images.

What is drawn belongs to an image, whatever batch it is in.
"""

import io
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import per_image
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream

SMALL = 64
"""Images whose shorter side has at most so many pixels get CIFAR-10-C's strengths."""
LUMA = (0.299, 0.587, 0.114)


class Draws:
    """Random numbers of n images, each from a stream of its own."""

    def __init__(self, streams: Sequence[torch.Generator]) -> None:
        self.streams = streams

    def each(self, draw: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Return what a function of a generator draws for every image (n, ...)."""
        return torch.stack([draw(*arguments, generator=each) for each in self.streams])

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return (n, *shape) from [low, high)."""
        return low + (high - low) * self.each(torch.rand, shape)

    def normal(self, *shape: int) -> Tensor:
        """Return (n, *shape), standard normal."""
        return self.each(torch.randn, shape)


# Each takes images (n, C, H, W) in [0, 1], a strength of its own and draws, and returns images that
# may leave [0, 1].

# --- noise ----------------------------------------------------------------------------------------


def gaussian_noise(images: Tensor, scale: float, draws: Draws) -> Tensor:
    return images + scale * draws.normal(*images.shape[1:])


def shot_noise(images: Tensor, photons: float, draws: Draws) -> Tensor:
    """Count photons, of which there are so many where a pixel is 1."""
    pairs = zip(images * photons, draws.streams, strict=True)
    return torch.stack([torch.poisson(rate, generator=each) for rate, each in pairs]) / photons


def impulse_noise(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Make a share of all values 0 or 1."""
    drawn = draws.uniform(0, 1, *images.shape[1:])
    return torch.where(drawn < share, (drawn < share / 2).to(images), images)


# --- blur -----------------------------------------------------------------------------------------


def defocus_blur(images: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """Average over a disk, whose edge is smoothed."""
    radius, smoothing = strength
    reach = max(8, int(radius))
    square = torch.arange(-reach, reach + 1) ** 2
    disk = ((square + square[:, None]) <= radius**2).double()
    near = {"radius": 1 if radius <= 8 else 2, "mode": "mirror"}
    kernel = torch.from_numpy(gaussian_filter((disk / disk.sum()).numpy(), smoothing, **near))
    edges = [(0, 0), (0, 0), (reach, reach), (reach, reach)]
    padded = torch.from_numpy(np.pad(images.numpy(), edges, mode="reflect"))
    channels = images.shape[1]
    return F.conv2d(padded, kernel.to(images).expand(channels, 1, -1, -1), groups=channels)


def glass_blur(images: Tensor, strength: tuple[float, int, int], draws: Draws) -> Tensor:
    """Swap pixels with others nearby, between two Gaussian blurs."""
    scale, far, rounds = strength
    images = _blurred(images, scale).clone()
    height, width = images.shape[2:]
    everyone = torch.arange(len(images))
    for _ in range(rounds):
        offsets = draws.uniform(-far, far, height, width, 2).floor().long()
        for row in range(height - far, far, -1):
            for column in range(width - far, far, -1):
                down, right = offsets[:, row - 1, column - 1].unbind(1)
                there = everyone, slice(None), row - 1 + down, column - 1 + right
                here = images[:, :, row - 1, column - 1].clone()
                images[:, :, row - 1, column - 1] = images[there]
                images[there] = here
    return _blurred(images, scale)


def motion_blur(images: Tensor, strength: tuple[int, float], draws: Draws) -> Tensor:
    """Blur along a line that is within 45 degrees of the horizontal."""
    return _moved(images, *strength, draws.uniform(-45, 45))


def zoom_blur(images: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """Average over the image and its enlargements up to a factor, in equal steps."""
    largest, step = strength
    factors = [1 + step * number for number in range(math.ceil(round((largest - 1) / step, 6)))]
    return torch.stack([images, *(_enlarged(images, factor) for factor in factors)]).mean(0)


# --- weather --------------------------------------------------------------------------------------


def snow(images: Tensor, strength: tuple[float, ...], draws: Draws) -> Tensor:
    """Whiten the image and lay blown flakes over it, once as drawn and once turned around."""
    mean, scale, size, least, radius, spread, share = strength
    flakes = _enlarged(mean + scale * draws.normal(1, *images.shape[2:]), size)
    flakes = torch.where(flakes < least, 0, flakes).clamp(0, 1)
    flakes = _moved(flakes, int(radius), spread, draws.uniform(-135, -45))
    whitened = torch.maximum(images, 1.5 * _gray(images) + 0.5)
    return share * images + (1 - share) * whitened + flakes + flakes.rot90(2, (2, 3))


def frost(images: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """Lay a part of a photograph of frost over the image."""
    height, width = images.shape[2:]
    photographs = _photographs(height, width)
    layers = []
    for which, down, right in draws.uniform(0, 1, 3).tolist():
        photograph = photographs[int(which * len(photographs))]
        top = int(down * (photograph.shape[1] - height + 1))
        left = int(right * (photograph.shape[2] - width + 1))
        layers.append(photograph[:, top : top + height, left : left + width])
    layer = torch.stack(layers)
    return strength[0] * images + strength[1] * (layer if images.shape[1] == 3 else _gray(layer))


def fog(images: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """Add a plasma fractal, and keep the brightest pixel as bright."""
    thickness, decay = strength
    height, width = images.shape[2:]
    side = 2 ** math.ceil(math.log2(max(height, width, 2)))
    mist = _plasma(side, decay, draws)[:, None, :height, :width]
    brightest = per_image(images.flatten(1).amax(1))
    return (images + thickness * mist) * brightest / (brightest + thickness)


def brightness(images: Tensor, more: float, draws: Draws) -> Tensor:
    """Raise the largest channel of every pixel, V in HSV, by so much; hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, images * raised / value.clamp_min(1e-12), raised)


# --- digital --------------------------------------------------------------------------------------


def contrast(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Bring every channel nearer to its mean."""
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * share + mean


def elastic_transform(images: Tensor, strength: tuple[float, ...], draws: Draws) -> Tensor:
    """Stretch by a random affine map, and shift every pixel by a smooth random field.

    The strengths are shares of the shorter side: how far pixels are shifted before smoothing, the
    smoothing, and how far three points of the affine map are moved.
    """
    height, width = images.shape[2:]
    shift, smoothing, stretch = (share * min(height, width) for share in strength)
    fields = draws.uniform(-1, 1, 2, height, width)
    smooth = (0, 0, smoothing, smoothing)
    fields = shift * torch.from_numpy(gaussian_filter(fields.numpy(), smooth, truncate=3))
    center, third = np.array([height, width]) // 2, min(height, width) // 3
    corners = center + third * np.array([[1, 1], [-1, 1], [-1, -1]])
    moved = corners + draws.uniform(-stretch, stretch, 3, 2).numpy()
    grid = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    points = (grid + fields).flatten(2)
    # Where a pixel comes from: the map that takes the moved corners back.
    known = np.concatenate([moved, np.ones((len(moved), 3, 1))], axis=2)
    target = np.broadcast_to(corners.astype(float), moved.shape)
    back = torch.from_numpy(np.linalg.pinv(known) @ target).to(images).transpose(1, 2)
    ones = torch.ones_like(points[:, :1])
    return _sampled(images, (back @ torch.cat([points, ones], 1)).reshape(fields.shape))


def pixelate(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Shrink to a share of the size by averaging, and enlarge again by repeating pixels."""
    height, width = images.shape[2:]
    small = max(int(width * share), 1), max(int(height * share), 1)

    def through(channel: np.ndarray) -> np.ndarray:
        shrunk = Image.fromarray(channel).resize(small, Image.Resampling.BOX)
        return np.asarray(shrunk.resize((width, height), Image.Resampling.NEAREST))

    return _by_channel(images, through)


def jpeg_compression(images: Tensor, quality: int, draws: Draws) -> Tensor:
    """Write and read every image as JPEG."""

    def through(pixels: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray((255 * pixels).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file), np.float32) / 255

    if images.shape[1] != 3:
        return _by_channel(images, through)
    found = np.stack([through(image) for image in images.permute(0, 2, 3, 1).numpy()])
    return torch.from_numpy(found).permute(0, 3, 1, 2)


# --- what they share ------------------------------------------------------------------------------


def _gray(images: Tensor) -> Tensor:
    """Return the brightness (n, 1, H, W)."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def _blurred(images: Tensor, scale: float) -> Tensor:
    found = gaussian_filter(images.numpy(), (0, 0, scale, scale), mode="nearest")
    return torch.from_numpy(found)


def _by_channel(images: Tensor, function: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    channels = images.flatten(0, 1).numpy()
    return torch.from_numpy(np.stack(list(map(function, channels)))).reshape(images.shape)


def _enlarged(images: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of images to their whole size."""
    height, width = images.shape[2:]
    part = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - part[0]) // 2, (width - part[1]) // 2
    middle = images[:, :, top : top + part[0], left : left + part[1]]
    size = max(round(part[0] * factor), height), max(round(part[1] * factor), width)
    large = F.interpolate(middle, size, mode="bilinear", align_corners=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[:, :, top : top + height, left : left + width]


def _moved(images: Tensor, radius: int, scale: float, angles: Tensor) -> Tensor:
    """Add shifted images along a line at these angles (n,) in degrees, with Gaussian weights."""
    height, width = images.shape[2:]
    weights = torch.exp(-(torch.arange(2 * radius + 1.0) ** 2) / (2 * scale**2))
    down, right = angles.deg2rad().sin(), angles.deg2rad().cos()
    everyone, blurred = torch.arange(len(images))[:, None, None], torch.zeros_like(images)
    for number, weight in enumerate((weights / weights.sum()).tolist()):
        rows = torch.arange(height) + (number * down - 0.5).ceil().long()[:, None]
        columns = torch.arange(width) + (number * right - 0.5).ceil().long()[:, None]
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        shifted = images[everyone, :, rows[:, :, None], columns[:, None, :]]
        blurred += weight * shifted.permute(0, 3, 1, 2)
    return blurred


def _plasma(side: int, decay: float, draws: Draws) -> Tensor:
    """Draw fractals (n, side, side) in [0, 1] by the diamond-square algorithm, on a torus."""
    heights, step, rough = torch.zeros(len(draws.streams), side, side), side, 100.0
    while step >= 2:
        half = step // 2

        def disturbed(total: Tensor, rough: float = rough) -> Tensor:
            return total / 4 + rough**2 * draws.uniform(-1, 1, *total.shape[1:])

        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = disturbed(pairs + pairs.roll(-1, 2))
        middles = heights[:, half::step, half::step]
        above, beside = middles + middles.roll(1, 1), middles + middles.roll(1, 2)
        heights[:, ::step, half::step] = disturbed(above + corners + corners.roll(-1, 2))
        heights[:, half::step, ::step] = disturbed(beside + corners + corners.roll(-1, 1))
        step, rough = half, rough / decay
    heights -= heights.flatten(1).amin(1)[:, None, None]
    return heights / heights.flatten(1).amax(1)[:, None, None]


def _sampled(images: Tensor, points: Tensor) -> Tensor:
    """Return images at points (n, 2, H, W) between their pixels, mirrored at the edges."""
    last = points.new_tensor([max(size - 1, 1) for size in images.shape[2:]])
    grid = (2 * points / last[:, None, None] - 1).flip(1).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=True)


def check_available() -> None:
    """Check that the photographs of frost are there.

    Raises:
        InputError: they are not.
    """
    _folder_of_frost()


def _folder_of_frost() -> Path:
    found = find_spec("imagecorruptions")
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "corruptions need photographs of frost, which the package imagecorruptions-imaug has:"
            " pip install 'winnrobust[corruptions]'"
        )
    return Path(found.submodule_search_locations[0]) / "frost"


@cache
def _photographs(height: int, width: int) -> list[Tensor]:
    """Return photographs (3, ., .) of at least this size; smaller for small images."""
    found = []
    for path in sorted(_folder_of_frost().iterdir()):
        with Image.open(path) as picture:
            share = 0.2 if min(height, width) <= SMALL else 1.0
            share = max(share, height / picture.height, width / picture.width)
            size = math.ceil(share * picture.width), math.ceil(share * picture.height)
            pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC))
        found.append(torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1))
    return found


# --- the fifteen ----------------------------------------------------------------------------------


class Corruption(NamedTuple):
    """A corruption.

    Attributes:
        function: from images, a strength and draws to images.
        small, large: the strengths of severities 1 to 5: CIFAR-10-C's and ImageNet-C's.
        does: a sentence for reports.
    """

    function: Callable[..., Tensor]
    small: Sequence[Any]
    large: Sequence[Any]
    does: str


OF = [
    Corruption(gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.1), (0.08, 0.12, 0.18, 0.26, 0.38),
               "Gaussian noise"),
    Corruption(shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3),
               "Poisson noise, as where there is little light"),
    Corruption(impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27),
               "single values made 0 or 1"),
    Corruption(defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
               ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
               "a blur by a disk, as out of focus"),
    Corruption(glass_blur, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
               ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
               "pixels swapped with others nearby, as through frosted glass"),
    Corruption(motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
               ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), "a blur along a line"),
    Corruption(zoom_blur, ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
               ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
               "a blur as of moving toward the object"),
    Corruption(snow, ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                      (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                      (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
               ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)), "blown flakes over a whitened image"),
    Corruption(frost, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
               ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
               "a photograph of frost laid over it"),
    Corruption(fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
               ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)), "a plasma fractal added"),
    Corruption(brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5),
               "the value of HSV raised"),
    Corruption(contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05),
               "less difference from the mean"),
    Corruption(elastic_transform, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06),
                                   (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
               ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02)), "stretched, and pixels shifted by a smooth field"),
    Corruption(pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25),
               "fewer and larger pixels"),
    Corruption(jpeg_compression, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7), "JPEG compression"),
]  # fmt: skip

BY_NAME = {each.function.__name__: each for each in OF}


def corrupted(
    images: Tensor, name: str, severity: int, seed: int, numbers: Sequence[int]
) -> Tensor:
    """Return corrupted images (n, C, H, W) uint8 on the CPU.

    Args:
        images: (n, C, H, W) in [0, 1].
        name: of the corruption.
        severity: from 1 to 5.
        seed, numbers: of the random numbers, and the images' among all.

    Raises:
        InputError: the photographs of frost are missing.

    >>> corrupted(torch.ones(1, 1, 4, 4), "contrast", 1, 0, [0]).unique()
    tensor([255], dtype=torch.uint8)
    """
    corruption = BY_NAME[name]
    small = min(images.shape[2:]) <= SMALL
    strength = (corruption.small if small else corruption.large)[severity - 1]
    draws = Draws([stream(seed, "corruption", name, severity, number) for number in numbers])
    made = corruption.function(images.detach().float().cpu().contiguous(), strength, draws)
    return (255 * made.clamp(0, 1)).round().byte()


def corrupt(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    corruption: str,
    run: Run = Run(),
) -> AttackResult:
    """Corrupt images, whatever the model says of them; once for all models.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: severity, from 1 to 5.
        corruption: its name.

    Raises:
        InputError: the photographs of frost are missing.
    """
    if run.out_of_time():
        return AttackResult.untouched(images, unfinished=True)
    key = ("corruption", corruption, epsilon)
    if key not in run.cache:
        numbers = run.numbers_of(images).tolist()
        run.cache[key] = corrupted(images, corruption, int(epsilon), run.seed, numbers)
    result = AttackResult.untouched(images)
    result.images.copy_(run.cache[key].to(images.device) / 255)
    return result


CORRUPTIONS: tuple[Attack, ...] = tuple(
    Attack(
        name=name,
        norm="corruptions",
        access="none",
        cost="nothing",
        summary=f"A corruption, not an attack: {each.does}.",
        source="Hendrycks, Dietterich 2019, arXiv:1903.12261",
        function=partial(corrupt, corruption=name),
    )
    for name, each in BY_NAME.items()
)
"""In the paper's order: noise, blur, weather, digital."""
