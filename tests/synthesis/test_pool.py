import torch
from hypothesis import given
from hypothesis import strategies as st

from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import NegativePool


def test_pool_takes_the_numbered_image_of_the_asked_class():
    """Class k's images are filled with k + the number within the class / 10."""
    values = torch.arange(10.0)[:, None] + torch.arange(3) / 10
    pool = NegativePool(values.reshape(10, 3, 1, 1, 1))
    taken = pool.take(torch.tensor([7, 0, 7]), torch.tensor([2, 1, 0])).flatten()
    torch.testing.assert_close(taken, torch.tensor([7.2, 0.1, 7.0]))


def test_pool_draws_every_image_equally_often():
    values = torch.arange(2.0)[:, None] * 10 + torch.arange(4)
    drawn = NegativePool(values.reshape(2, 4, 1, 1, 1)).draw(2000, stream(0, "draw"))
    assert drawn.shape == (2, 2000, 1, 1, 1)
    for label, images in enumerate(drawn.flatten(1).long() - torch.tensor([[0], [10]])):
        shares = torch.bincount(images, minlength=4) / 2000
        assert (shares - 0.25).abs().max() < 0.05, label


def test_a_pool_of_the_newest_drops_the_old_as_it_grows():
    pool = NegativePool(torch.zeros(2, 2, 1, 1, 1), newest=0.5)
    pool.add(torch.full((2, 3, 1, 1, 1), 1.0))  # half of 5, rounded up
    assert pool.images[0].flatten().tolist() == [1, 1, 1]
    pool.add(torch.full((2, 1, 1, 1, 1), 2.0))
    assert pool.images[0].flatten().tolist() == [1, 1, 2]
    pool.add(torch.full((2, 2, 1, 1, 1), 3.0))
    assert pool.images[0].flatten().tolist() == [1, 2, 3, 3]
    assert (len(pool), pool.per_class) == (8, 4)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.floats(0.01, 1))
def test_a_pool_is_the_same_whether_filled_at_once_or_in_parts(counts, newest):
    """As a resumed run fills it, epoch by epoch."""
    parts = torch.arange(sum(counts)).reshape(1, -1, 1, 1, 1).split(counts, dim=1)
    pools = [NegativePool(torch.zeros(1, 2, 1, 1, 1), newest) for _ in range(2)]
    for part in parts:
        pools[0].add(part)
    pools[1].add(torch.cat(parts, dim=1))
    assert torch.equal(pools[0].images, pools[1].images)


def test_pool_keeps_the_old():
    pool = NegativePool(torch.zeros(2, 1, 1, 1, 1))
    pool.add(torch.ones(2, 3, 1, 1, 1))
    assert (len(pool), pool.per_class) == (8, 4)
    taken = pool.take(torch.tensor([1, 1, 1, 1]), torch.arange(4)).flatten()
    assert taken.tolist() == [0, 1, 1, 1]
