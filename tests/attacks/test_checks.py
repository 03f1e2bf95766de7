"""Every attack's examples are checked, and the attack is named."""

import pytest
import torch

from winnrobust.attacks import check_examples
from winnrobust.runtime.errors import InputError

IMAGES = torch.full((2, 1, 2, 2), 0.5)


def moved(*offsets: float) -> torch.Tensor:
    return IMAGES + torch.tensor(offsets).reshape(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("norm", "examples", "epsilon"),
    [
        ("linf", moved(0.1, -0.1, 0.0, 0.1), 0.1),
        ("l2", moved(0.1, -0.1, 0.1, 0.1), 0.2),
        ("linf", IMAGES, 0.0),
        ("linf", moved(0.5, -0.5, 0.0, 0.0), 0.5),
        ("linf", moved(0.1000005, 0.0, 0.0, 0.0), 0.1),
        ("l2", moved(*[0.1000008] * 4), 0.2),  # every pixel may be off by a rounding
    ],
)
def test_what_is_inside_passes(norm, examples, epsilon):
    check_examples("mine", norm, IMAGES, examples, epsilon)


@pytest.mark.parametrize(
    ("norm", "examples", "epsilon", "says"),
    [
        ("linf", moved(0.101, 0.0, 0.0, 0.0), 0.1, r"'mine' left the ball.*0\.101 in Linf"),
        ("linf", moved(0.1000015, 0.0, 0.0, 0.0), 0.1, r"'mine' left the ball.*in Linf"),
        ("l2", moved(0.1, -0.1, 0.1, 0.1), 0.19, r"'mine' left the ball.*0\.2 in L2"),
        ("linf", moved(0.6, 0.0, 0.0, 0.0), 1.0, r"'mine' left \[0, 1\].*1\.1"),
        ("linf", moved(0.0, -0.6, 0.0, 0.0), 1.0, r"'mine' left \[0, 1\].*-0\.1"),
        ("linf", moved(float("nan"), 0.0, 0.0, 0.0), 1.0, "'mine' returned pixels.*not finite"),
        ("linf", moved(float("inf"), 0.0, 0.0, 0.0), 1.0, "'mine' returned pixels.*not finite"),
        ("linf", IMAGES[:1], 1.0, "'mine' returned shape"),
    ],
)
def test_what_is_outside_is_an_error_that_names_the_attack(norm, examples, epsilon, says):
    with pytest.raises(InputError, match=says):
        check_examples("mine", norm, IMAGES, examples, epsilon)
