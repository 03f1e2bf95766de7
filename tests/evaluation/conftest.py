"""Attacks of the tests' own, known by name."""

import pytest

from tests.evaluation.tiny import DOWN, DOWN_L2, NEAREST, UP
from winnrobust.attacks import ATTACKS


@pytest.fixture
def tiny_attacks(monkeypatch) -> None:
    """Make `up`, `down`, `down-l2` and `nearest` attacks as any other."""
    for attack in (UP, DOWN, DOWN_L2, NEAREST):
        monkeypatch.setitem(ATTACKS, attack.name, attack)
