import math

from winnrobust.cli.options import EpsilonList


def test_epsilons_as_numbers_and_as_grey_levels():
    epsilons = EpsilonList("--eps", 1)
    assert epsilons.convert("0.125", None, None) == [0.125]
    assert epsilons.convert("8/255,0.0625, 1/2", None, None) == [8 / 255, 0.0625, 0.5]
    assert EpsilonList("--eps-l2", math.inf).convert("3/2", None, None) == [1.5]
