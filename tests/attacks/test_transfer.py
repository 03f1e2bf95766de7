"""Attacks from another model."""

import pytest
import torch

from tests.attacks.models import Linear, image
from winnrobust.attacks import ATTACKS, Target, find
from winnrobust.runtime.errors import InputError

# Label 0 falls when the first pixel grows, or the second.
FIRST = [[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
SECOND = [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
BIAS = [0.55, 0.0]


def test_examples_are_made_on_the_other_model_alone_and_to_the_end():
    victim, source = Linear(FIRST, BIAS), Linear(SECOND, BIAS)
    images = torch.cat([image(0.5, 0.5, 0.5, 0.5), image(0.9, 0.5, 0.5, 0.5)])
    target = Target(
        victim, images, torch.tensor([0, 0]), others={"victim": victim, "source": source}
    )
    result = find("transfer:source").function(target, [0.1])
    # The source is broken at 0.55 and goes on to the end of the ball all the same.
    torch.testing.assert_close(result.adversarials[0][0], image(0.5, 0.6, 0.5, 0.5)[0])
    # The victim is wrong on the second image as it is.
    assert torch.equal(result.adversarials[0][1], images[1])
    assert victim.seen == [2]
    assert source.seen == [2] * (1 + 10)


def test_a_model_can_be_its_own_source():
    victim = Linear(FIRST, BIAS)
    target = Target(victim, image(*[0.5] * 4), torch.tensor([0]), others={"victim": victim})
    (found,) = find("transfer:victim").function(target, [0.1]).adversarials
    torch.testing.assert_close(found, image(0.6, 0.5, 0.5, 0.5))


def test_an_unknown_source_is_an_error():
    target = Target(
        Linear(FIRST), image(*[0.5] * 4), torch.tensor([0]), others={"a": Linear(FIRST)}
    )
    with pytest.raises(InputError, match=r"no model 'b' to transfer from; there are a$"):
        find("transfer:b").function(target, [0.1])


def test_find():
    assert find("pgd") is ATTACKS["pgd"]
    attack = find("transfer:my model")
    assert (attack.name, attack.norm, attack.access) == ("transfer:my model", "Linf", "transfer")


@pytest.mark.parametrize("name", ["", "nonesuch", "transfer:", "transfer"])
def test_unknown_names_are_an_error_with_the_list(name):
    with pytest.raises(InputError, match=r"unknown attack.*known are .*pgd.*transfer:NAME"):
        find(name)
