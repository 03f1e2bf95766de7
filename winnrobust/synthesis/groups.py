"""Groups of images that share a threshold and a stop, and how many of them are moved at once."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from torch import Tensor

LARGEST_GROUP = 100
"""Images in a group, at most: as many as in the paper's synthesis."""

PIXELS_AT_ONCE = 2**19
"""Of all images that are moved at once, unless the user says otherwise: 512 images of 32x32."""


def images_at_once(image_size: int) -> int:
    """How many images to move at once."""
    return max(1, PIXELS_AT_ONCE // image_size**2)


def groups_of(classes: Tensor, largest: int = LARGEST_GROUP) -> list[Tensor]:
    """Numbers of the images of each group: of one class, at most `largest`, sizes differing by 1.

    Args:
        classes: (N,) int64.
    """
    groups: list[Tensor] = []
    for label in classes.unique():
        members = (classes == label).nonzero().flatten()
        groups += members.tensor_split(math.ceil(len(members) / largest))
    return groups


def together(groups: Sequence[Tensor], at_once: int) -> Iterator[list[int]]:
    """Yield numbers of groups of equal size, with `at_once` images together if it can be."""
    by_size = defaultdict(list)
    for number, group in enumerate(groups):
        by_size[len(group)].append(number)
    for size, numbers in by_size.items():
        few = max(1, at_once // size)
        for first in range(0, len(numbers), few):
            yield numbers[first : first + few]
