"""The table of faults fits the code, and the nearest tests find each of them."""

import pytest

from tests.attacks.mutants import MUTANTS, ROOT, survives


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_the_table_fits_the_code(mutant):
    whole = (ROOT / "winnrobust" / mutant.room / mutant.file).read_text()
    assert whole.count(mutant.text) == 1
    assert (ROOT / "tests" / mutant.room / mutant.tests).exists()


@pytest.mark.mutation
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_the_nearest_tests_find_it(mutant):
    assert not survives(mutant)
