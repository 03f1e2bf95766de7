"""What every attack promises, whatever it does."""

import pytest
import torch

from winnrobust.attacks import ATTACKS, Budget, Target, check_adversarials
from winnrobust.attacks.passes import logits

EPSILONS = {"Linf": [0.03, 0.0, 0.01], "L2": [0.5, 0.0, 0.2]}
SMALL = Budget(steps=2, restarts=2, queries=30)
"""Enough to break some of the images below, not all."""


@pytest.fixture
def digits_batch(network):
    """Six random images; the network is right about four and wrong about two."""
    images = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    labels = logits(network, images).argmax(1)
    labels[[1, 4]] = (labels[[1, 4]] + 1) % 10
    return images, labels


@pytest.fixture(params=list(ATTACKS))
def attack(request):
    return ATTACKS[request.param]


def run(attack, network, images, labels, **options):
    target = Target(network, images, labels, seed=5, **options)
    return attack.function(target, EPSILONS[attack.norm], SMALL)


def test_examples_are_in_the_ball_and_in_the_order_of_the_epsilons(attack, network, digits_batch):
    images, labels = digits_batch
    result = run(attack, network, images, labels)
    for epsilon, found in zip(EPSILONS[attack.norm], result.adversarials, strict=True):
        check_adversarials(attack, images, found, epsilon)
    if attack.name != "fgsm":  # as the paper's authors do, FGSM moves what is wrong already
        for found in result.adversarials:
            assert torch.equal(found[[1, 4]], images[[1, 4]])


def test_nothing_of_the_caller_is_changed(attack, network, digits_batch):
    images, labels = digits_batch
    before = [tensor.clone() for tensor in (images, labels, *network.parameters())]
    flags = [parameter.requires_grad for parameter in network.parameters()]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    result = run(attack, network, images, labels)
    assert torch.equal(torch.rand(3), expected)  # the global generator is the caller's
    for found in result.adversarials:
        found.zero_()
    assert all(map(torch.equal, (images, labels, *network.parameters()), before))
    assert flags == [parameter.requires_grad for parameter in network.parameters()]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.training
    assert torch.is_grad_enabled()


def test_the_same_seed_makes_the_same_examples(attack, network, digits_batch):
    first, second = (run(attack, network, *digits_batch) for _ in range(2))
    for ours, theirs in zip(first.adversarials, second.adversarials, strict=True):
        assert torch.equal(ours, theirs)


def test_an_image_is_attacked_alike_in_any_batch(attack, network, digits_batch):
    network.double()  # float32 sums differ between batch sizes
    images, labels = digits_batch[0].double(), digits_batch[1]
    whole = run(attack, network, images, labels)
    part = run(attack, network, images[2:5], labels[2:5], first=2)
    for ours, theirs in zip(whole.adversarials, part.adversarials, strict=True):
        torch.testing.assert_close(ours[2:5], theirs)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_does_not_matter(attack, mode, network, digits_batch):
    expected = run(attack, network, *digits_batch)
    with mode():
        images, labels = (tensor * 1 for tensor in digits_batch)
        found = run(attack, network, images, labels)
    for ours, theirs in zip(expected.adversarials, found.adversarials, strict=True):
        assert torch.equal(ours, theirs)


def test_past_the_deadline_no_time_is_spent(attack, network, digits_batch):
    images, labels = digits_batch
    if attack.name == "fgsm":
        return  # one pass
    result = run(attack, network, images, labels, deadline=0.0)
    assert all(torch.equal(found, images) for found in result.adversarials)


def test_minimum_norm_attacks_return_distances(attack, network, digits_batch):
    images, labels = digits_batch
    result = run(attack, network, images, labels)
    assert (result.distances is not None) == attack.minimum_norm
    if result.distances is None:
        return
    assert result.distances.shape == labels.shape
    assert result.distances[[1, 4]].tolist() == [0, 0]
    for epsilon, found in zip(EPSILONS[attack.norm], result.adversarials, strict=True):
        wrong = logits(network, found).argmax(1) != labels
        assert torch.equal(wrong, result.distances <= epsilon)


def test_every_attack_says_what_it_is(attack):
    assert attack.name in ATTACKS
    assert attack.summary.endswith(".")
    assert attack.cost
    assert attack.source
