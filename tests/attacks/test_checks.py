"""Every attack's examples are checked, and the attack is named."""

import pytest
import torch

from winnrobust.attacks import ATTACKS, check_adversarials
from winnrobust.runtime.errors import InputError

IMAGES = torch.full((2, 1, 2, 2), 0.5)


def moved(*offsets: float) -> torch.Tensor:
    return IMAGES + torch.tensor(offsets).reshape(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("name", "adversarials", "epsilon"),
    [
        ("fgsm", moved(0.1, -0.1, 0.0, 0.1), 0.1),
        ("pgd-l2", moved(0.1, -0.1, 0.1, 0.1), 0.2),
        ("fgsm", IMAGES, 0.0),
        ("fgsm", moved(0.5, -0.5, 0.0, 0.0), 0.5),
        ("fgsm", moved(0.1000005, 0.0, 0.0, 0.0), 0.1),
    ],
)
def test_what_is_inside_passes(name, adversarials, epsilon):
    check_adversarials(ATTACKS[name], IMAGES, adversarials, epsilon)


@pytest.mark.parametrize(
    ("name", "adversarials", "epsilon", "says"),
    [
        ("fgsm", moved(0.101, 0.0, 0.0, 0.0), 0.1, r"'fgsm' left the ball.*0\.101 in Linf"),
        ("pgd-l2", moved(0.1, -0.1, 0.1, 0.1), 0.19, r"'pgd-l2' left the ball.*0\.2 in L2"),
        ("bim", moved(0.6, 0.0, 0.0, 0.0), 1.0, r"'bim' left \[0, 1\].*1\.1"),
        ("bim", moved(0.0, -0.6, 0.0, 0.0), 1.0, r"'bim' left \[0, 1\].*-0\.1"),
        ("pgd", moved(float("nan"), 0.0, 0.0, 0.0), 1.0, "'pgd' returned pixels.*not finite"),
        ("pgd", moved(float("inf"), 0.0, 0.0, 0.0), 1.0, "'pgd' returned pixels.*not finite"),
        ("pgd", IMAGES[:1], 1.0, "'pgd' returned shape"),
    ],
)
def test_what_is_outside_is_an_error_that_names_the_attack(name, adversarials, epsilon, says):
    with pytest.raises(InputError, match=says):
        check_adversarials(ATTACKS[name], IMAGES, adversarials, epsilon)
