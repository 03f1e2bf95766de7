"""The fifteen corruptions: by hand, against imagecorruptions, and the same in any batch."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.attacks.models import attacked
from winnrobust.attacks import CORRUPTIONS, Run, corruptions, find
from winnrobust.attacks.corruptions import BY_NAME, corrupted
from winnrobust.runtime.errors import InputError

RANDOM = {
    "gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost",
    "fog", "elastic_transform",
}  # fmt: skip
BLURS = {"defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform", "pixelate"}


def pictures(*shape: int) -> torch.Tensor:
    """Smooth images, in which something is seen."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(shape[0], shape[1], 5, 5, generator=generator)
    return nn.functional.interpolate(coarse, shape[2:], mode="bilinear").mul(255).round() / 255


def test_there_are_the_papers_fifteen_and_they_need_no_name():
    assert len(CORRUPTIONS) == len(BY_NAME) == 15
    for attack in CORRUPTIONS:
        assert find(attack.name) is attack
        assert (attack.norm, attack.access) == ("corruptions", "none")
        assert attack.summary.startswith("A corruption, not an attack: ")
    with pytest.raises(InputError, match="has no setting 'corruption'; it has none"):
        CORRUPTIONS[0](corruption="fog")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 70, 66), (4, 5, 7), (1, 1, 2)])
@pytest.mark.parametrize("name", BY_NAME)
def test_images_of_any_size_stay_images(name, shape):
    for severity in (1, 5):
        made = corrupted(pictures(2, *shape), name, severity, 0, [0, 1])
        assert made.shape == (2, *shape)
        assert made.dtype == torch.uint8


@pytest.mark.parametrize("name", BY_NAME)
def test_a_corruption_belongs_to_an_image_a_seed_and_a_severity(name):
    images = pictures(3, 1, 28, 28)
    whole = corrupted(images, name, 3, 7, [4, 5, 6])
    alone = corrupted(images[1:2], name, 3, 7, [5])
    assert torch.equal(whole[1:2], alone)
    twins = corrupted(images[:1].expand(2, -1, -1, -1), name, 3, 7, [1, 2])
    assert torch.equal(twins[0], twins[1]) == (name not in RANDOM)
    again = corrupted(images, name, 3, 8, [4, 5, 6])
    assert torch.equal(whole, again) == (name not in RANDOM)


# Of elastic transforms the published severities are of different kinds: the first stretches most.
@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "elastic_transform"])
@pytest.mark.parametrize("side", [32, 96])
def test_higher_severities_change_more(name, side):
    images = pictures(12, 3, side, side)
    changes = [
        float((corrupted(images, name, severity, 0, range(12)) / 255 - images).abs().mean())
        for severity in (1, 5)
    ]
    assert 0 < changes[0] < changes[1]


@pytest.mark.parametrize("name", sorted(BLURS))
def test_blurs_leave_an_even_image_alone(name):
    even = torch.full((1, 1, 30, 30), 100 / 255)
    assert corrupted(even, name, 5, 0, [0]).unique().tolist() == [100]


def test_noise_has_the_published_strength():
    gray = torch.full((4, 1, 64, 64), 0.5)
    noise = corrupted(gray, "gaussian_noise", 1, 0, range(4)) / 255 - 0.5
    assert float(noise.std()) == pytest.approx(0.04, rel=0.05)
    flipped = corrupted(gray, "impulse_noise", 5, 0, range(4))
    assert float((flipped == 0).double().mean()) == pytest.approx(0.035, rel=0.2)
    assert float((flipped == 255).double().mean()) == pytest.approx(0.035, rel=0.2)
    counted = corrupted(gray, "shot_noise", 5, 0, range(4)) / 255
    assert float(counted.std()) == pytest.approx(math.sqrt(0.5 / 50), rel=0.1)


def test_contrast_and_brightness_by_hand():
    image = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    # Of mean 0.5 half remains: 0.25 and 0.75.
    assert corrupted(image, "contrast", 2, 0, [0]).flatten().tolist() == [64, 191]
    color = torch.tensor([0.2, 0.4, 0.1]).reshape(1, 3, 1, 1)
    # The value 0.4 becomes 0.6; hue and saturation stay.
    brighter = corrupted(color, "brightness", 4, 0, [0]).flatten().tolist()
    assert brighter == [round(255 * x) for x in (0.3, 0.6, 0.15)]


def test_glass_swaps_pixels_with_their_neighbors():
    image = pictures(1, 1, 32, 32)
    seen = corrupted(image, "glass_blur", 1, 0, [0]).double()  # hardly blurred
    before = (255 * image).round()
    assert torch.equal(seen.flatten().sort().values, before.flatten().sort().values.double())
    assert (seen != before).double().mean() > 0.5


def test_fog_is_no_brighter_than_the_image():
    images = 0.8 * pictures(4, 1, 32, 32)
    for severity in (1, 5):
        fogged = corrupted(images, "fog", severity, 0, range(4)).flatten(1).amax(1)
        assert (fogged <= (255 * images.flatten(1).amax(1)).ceil()).all()


def test_snow_falls_on_black_once_and_once_turned_around():
    snowed = corrupted(torch.zeros(3, 1, 32, 32), "snow", 4, 0, range(3)).float()
    assert all(len(image.unique()) > 10 for image in snowed)  # no even white
    torch.testing.assert_close(snowed, snowed.rot90(2, (2, 3)), atol=1, rtol=0)


def test_motion_is_nearer_to_the_horizontal():
    dots = torch.zeros(20, 1, 33, 33)
    dots[:, :, 16, 16] = 1
    seen = corrupted(dots, "motion_blur", 5, 0, range(20)).double()[:, 0]
    place = torch.arange(33.0).double()
    rows, columns = seen.sum(2), seen.sum(1)
    spread = [
        (mass * (place - 16) ** 2).sum(1) / mass.sum(1) for mass in (rows, columns)
    ]  # fmt: skip
    assert (spread[0] <= spread[1] + 0.5).all()
    assert (rows[:, :15].sum(1) > 0).any()
    assert (rows[:, 18:].sum(1) > 0).any()  # upwards as well as downwards


def test_elastic_transforms_stretch_and_shift():
    ramp = (0.2 + 0.6 * torch.arange(48) / 47).expand(4, 1, 48, 48)
    inner = slice(8, 40)
    stretched, both = (
        corrupted(ramp, "elastic_transform", severity, 0, range(4)).double()[:, :, inner, inner]
        for severity in (1, 5)
    )
    before = (255 * ramp[:, :, inner, inner]).round()
    assert ((stretched - before).abs().flatten(1).amax(1) > 2).all()
    # A ramp that is stretched alone is a plane, but for rounding.
    rows, columns = (each.flatten() for each in torch.meshgrid(
        torch.arange(32.0), torch.arange(32.0), indexing="ij"
    ))  # fmt: skip
    planes = torch.stack([torch.ones_like(rows), rows, columns], 1).double()
    for made, is_plane in ((stretched, True), (both, False)):
        values = made.flatten(1).T
        off = (values - planes @ torch.linalg.lstsq(planes, values).solution).abs().amax(0)
        assert ((off < 1.5) == is_plane).all()


def test_pixels_become_larger_in_both_directions_alike():
    image = torch.rand(1, 1, 8, 40, generator=torch.Generator().manual_seed(0))
    large = corrupted(image, "pixelate", 5, 0, [0])[0, 0]
    assert large.unique(dim=0).shape[0] == int(8 * 0.65)
    assert large.unique(dim=1).shape[1] == int(40 * 0.65)


@pytest.mark.parametrize(
    ("name", "far"),
    [("defocus_blur", 1), ("zoom_blur", 2), ("brightness", 1), ("contrast", 1), ("pixelate", 1),
     ("jpeg_compression", 0)],
)  # fmt: skip
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_what_draws_nothing_is_what_imagecorruptions_makes(name, far, severity):
    """Theirs cuts values off after the comma, ours rounds; zooms differ by a part of a pixel."""
    library = pytest.importorskip("imagecorruptions.corruptions")
    image = pictures(1, 3, 96, 96)
    pixels = (255 * image[0]).round().byte().permute(1, 2, 0).numpy()
    theirs = np.array(getattr(library, name)(Image.fromarray(pixels), severity), float)
    ours = corrupted(image, name, severity, 0, [0])[0].permute(1, 2, 0).numpy().astype(float)
    inner = slice(20, -20) if name == "zoom_blur" else slice(None)
    assert np.abs(ours - theirs)[inner, inner].max() <= far + 1


def test_a_batch_is_corrupted_once_for_all_models(monkeypatch):
    images, calls = pictures(3, 1, 12, 12), []
    entry = corruptions.BY_NAME["contrast"]
    counted = entry._replace(function=lambda *given: calls.append(1) or entry.function(*given))
    monkeypatch.setitem(corruptions.BY_NAME, "contrast", counted)
    run, labels = Run(), torch.zeros(3, dtype=torch.int64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    first, second = (
        attacked(find("contrast"), model, images, labels, [1.0, 2.0], run) for _ in range(2)
    )
    assert len(calls) == 2  # one for each severity
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.gradients.tolist() == one.queries.tolist() == [0, 0, 0]
        # Results that someone writes to are nobody else's.
        assert one.images.data_ptr() != other.images.data_ptr()


def test_without_the_photographs_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(corruptions, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'winnrobust\[corruptions\]'"):
        corruptions.check_available()
