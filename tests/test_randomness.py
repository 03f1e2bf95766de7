import torch

from winnrobust.randomness import stream


def test_streams_repeat_and_differ_by_seed_and_name():
    def draw(*names):
        return torch.rand(4, generator=stream(*names)).tolist()

    assert draw(0, "batches", 1) == draw(0, "batches", 1)
    draws = [
        draw(0, "batches", 1),
        draw(1, "batches", 1),
        draw(0, "batches", 2),
        draw(0, "noise", 1),
    ]
    assert len({tuple(values) for values in draws}) == 4
