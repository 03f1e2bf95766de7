"""Images and labels as people have them: accepted where it is clear what is meant."""

import numpy as np
import pytest
import torch

from winnrobust.data.checks import checked_images, checked_labels
from winnrobust.runtime.errors import InputError

BYTES = torch.randint(0, 256, (2, 3, 8, 9), generator=torch.Generator().manual_seed(0))
"""Two color images as whole numbers 0 .. 255."""
UNIT = BYTES.float() / 255


@pytest.mark.parametrize(
    "given",
    [
        BYTES.byte(),
        BYTES,
        BYTES.int().numpy(),
        BYTES.numpy().astype(np.uint16),
        BYTES.double(),
        BYTES.permute(0, 2, 3, 1).byte(),
        BYTES.permute(0, 2, 3, 1).numpy(),
        BYTES.byte().to(memory_format=torch.channels_last),
        BYTES.byte().numpy()[:, :, ::-1][:, :, ::-1],
    ],
    ids=[
        "uint8",
        "int64",
        "int32",
        "uint16",
        "floats",
        "last",
        "array",
        "channels_last",
        "strides",
    ],
)
def test_the_same_images_are_the_same_in_every_form(given):
    found = checked_images(given)
    assert found.dtype == torch.uint8
    assert torch.equal(found, BYTES.byte())


def test_floats_in_0_to_255_that_are_not_whole_are_divided():
    torch.testing.assert_close(checked_images(BYTES * 0.99), UNIT * 0.99)


def test_rounding_outside_the_range_is_clamped():
    edge = UNIT.clone()
    edge[0, 0, 0, 0], edge[0, 0, 0, 1] = -1e-6, 1 + 1e-6
    found = checked_images(edge)
    assert (found[0, 0, 0, 0], found[0, 0, 0, 1]) == (0, 1)
    assert torch.equal(found[1], UNIT[1])
    assert checked_images(UNIT).data_ptr() == UNIT.data_ptr()


def test_gray_binary_and_four_channel_images_are_images():
    assert checked_images(UNIT[:, 0]).shape == (2, 1, 8, 9)
    assert checked_images(UNIT[:, 0] > 0.5).dtype == torch.float32
    four = torch.rand(2, 4, 8, 9)
    assert torch.equal(checked_images(four), four)
    assert torch.equal(checked_images(four.permute(0, 2, 3, 1)), four)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (UNIT * 2 - 1, r"range from -1 to 1; undo their normalization \(images \* std \+ mean"),
        ((UNIT - 0.1307) / 0.3081, "these range from -0.42.* to 2.8"),
        (UNIT * 2, r"must lie in \[0, 1\]; these range from 0 to 2"),
        (UNIT + 1e-5, "must lie in"),
        (BYTES * 2, "of integers must lie in 0 .. 255; these range from 0 to 5"),
        (BYTES // 255, "of integers must lie in 0 .. 255; these range from 0 to 1; .* as floats"),
        ((BYTES // 255).byte(), "are uint8 and hold only 0 and 1, .* if 1 is white give .* floats"),
        (BYTES.numpy().astype(np.uint16) * 257, "must lie in 0 .. 255; these range from 0 to 655"),
        (UNIT * float("nan"), "contain NaN"),
        (UNIT.to(torch.complex64), "not complex"),
        (UNIT[0, 0], r"not \(8, 9\); one image is images\[None\]"),
        (UNIT[:0], "there are no images"),
        ([[1, 2], [3]], "must hold plain numbers in one shape"),
        (None, "must be a torch tensor or a numpy array, not NoneType"),
    ],
)
def test_images_whose_meaning_is_not_clear_end_in_one_line(images, message):
    with pytest.raises(InputError, match=message) as caught:
        checked_images(images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        [2, 0, 1],
        (2, 0, 1),
        [[2], [0], [1]],
        np.array([2.0, 0.0, 1.0]),
        torch.tensor([2, 0, 1], dtype=torch.int8),
        torch.eye(3)[[2, 0, 1]],
        np.eye(3, dtype=bool)[[2, 0, 1]],
        torch.eye(3, dtype=torch.int64)[[2, 0, 1]],
    ],
    ids=["list", "tuple", "(N, 1)", "floats", "int8", "one-hot", "bools", "one-hot int"],
)
def test_the_same_labels_are_the_same_in_every_form(given):
    found = checked_labels(given, 3)
    assert found.dtype == torch.int64
    assert found.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.rand(3, 4), r"neither class numbers nor one-hot; .* labels\.argmax\(1\)"),
        (torch.ones(3, 4), r"labels\.argmax\(1\)"),
        (torch.zeros(3, 4), r"labels\.argmax\(1\)"),
        ([0.5, 1, 2], "must be 3 integers .* such as 0.5"),
        ([0, 1], r"must be 3 integers .* not int64 of shape \(2,\)"),
        ([0, -1, 2], "must be 0 or more; the lowest is -1"),
        (["a", "b", "c"], "must hold plain numbers"),
        (7, "must be a torch tensor or a numpy array, not int"),
        (torch.zeros(3, dtype=torch.complex64), "must be integers, not complex64"),
    ],
)
def test_labels_whose_meaning_is_not_clear_end_in_one_line(labels, message):
    with pytest.raises(InputError, match=message) as caught:
        checked_labels(labels, 3)
    assert "\n" not in str(caught.value)
