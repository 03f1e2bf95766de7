import torch

from winnrobust.randomness import stream
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


def test_limited_pool_keeps_the_newest():
    pool = NegativePool(torch.zeros(2, 2, 1, 1, 1), limit=3)
    for value in (1, 2):
        pool.add(torch.full((2, 2, 1, 1, 1), float(value)))
    assert pool.images[0].flatten().tolist() == [1, 2, 2]
    assert (len(pool), pool.per_class) == (6, 3)


def test_pool_keeps_the_old():
    pool = NegativePool(torch.zeros(2, 1, 1, 1, 1))
    pool.add(torch.ones(2, 3, 1, 1, 1))
    assert (len(pool), pool.per_class) == (8, 4)
    taken = pool.take(torch.tensor([1, 1, 1, 1]), torch.arange(4)).flatten()
    assert taken.tolist() == [0, 1, 1, 1]
