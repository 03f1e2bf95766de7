"""`winnrobust reproduce --seeds`: refused before anything is trained."""

import pytest

from tests.cli.conftest import assert_one_line, winnrobust
from winnrobust.cli.reproduce import seed_list


@pytest.mark.parametrize("seeds", ["0,99999999999", "2147483648", "0," + 5000 * "9"])
def test_seeds_that_are_too_large_train_nothing(tmp_path, seeds):
    result = winnrobust("reproduce", "table3", "--seeds", seeds, "--out", tmp_path / "out")
    assert_one_line(result, "'--seeds'", "a seed must be at most 2147483647")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seeds", ["", "0,", "-1", "0;1", "1.5"])
def test_what_is_no_seed_trains_nothing(tmp_path, seeds):
    result = winnrobust("reproduce", "table3", "--seeds", seeds, "--out", tmp_path / "out")
    assert_one_line(result, "are no seeds; write --seeds 0 or --seeds 0,1,2")
    assert not (tmp_path / "out").exists()


def test_the_largest_seed_is_one():
    assert seed_list(" 0, 2147483647") == [0, 2147483647]
