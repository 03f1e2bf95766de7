import torch
from hypothesis import given
from hypothesis import strategies as st

from winnrobust.runtime.randomness import stream, uniform


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


@given(st.integers(0, 50), st.integers(1, 5), st.integers(1, 20))
def test_an_item_has_its_numbers_however_the_list_is_cut(first, count, size):
    whole = uniform(3, "starts", first=0, shape=(60, size, 1))
    part = uniform(3, "starts", first=first, shape=(count, size, 1))
    assert torch.equal(part, whole[first : first + count])


def test_uniform_numbers_fill_the_unit_interval():
    numbers = uniform(0, "starts", first=0, shape=(100, 1, 28, 28))
    assert numbers.dtype == torch.float32
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert not torch.equal(numbers, uniform(1, "starts", first=0, shape=(100, 1, 28, 28)))
