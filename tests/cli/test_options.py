import math

from winnrobust.cli.options import epsilons


def test_epsilons_as_numbers_and_as_gray_levels():
    assert epsilons("0.125") == [0.125]
    assert epsilons("8/255,0.0625, 1/2") == [8 / 255, 0.0625, 0.5]
    assert epsilons("3/2", at_most=math.inf) == [1.5]
