"""On a device a loop does not wait for the result of every query or step."""

import pytest
import torch

from tests.attacks.models import configured
from tests.attacks.trajectories import Recorder, start
from tests.attacks.waiting import Waits
from winnrobust.attacks import Run, find

SETTINGS = {
    "square": {"epsilon": 0.05, "queries": 200},
    "hopskipjump": {"queries": 1000},
    "cw-l2": {"steps": 20, "searches": 4},
    "ddn": {"steps": 60},
    "fmn": {"steps": 60},
    "autoattack": {"epsilon": 0.03, "steps": 10, "queries": 100},
}


@pytest.mark.parametrize(
    ("name", "norm"), [(name, norm) for name in SETTINGS for norm in find(name).norms]
)
def test_it_waits_less_often_than_it_asks(name, norm, monkeypatch):
    attack = configured(find(name).in_norm(norm), **SETTINGS[name])
    images = torch.cat([start(seed=seed) for seed in range(8)])
    labels = torch.zeros(8).long()
    plain = attack.function(Recorder(lead=6.0), images, labels, **attack.settings)
    model = Recorder(lead=6.0)
    with Waits(monkeypatch) as waits:
        found = attack.function(model, images, labels, run=Run(), **attack.settings)
    # Twice for every fifth query: how many are left, and which.
    assert waits.count <= 2 * len(model.points) / 5 + 15
    # And it comes to the same.
    torch.testing.assert_close(found.images, plain.images)
    assert torch.equal(found.queries, plain.queries)
    assert torch.equal(found.gradients, plain.gradients)
