"""What every attack promises, whatever it does."""

import pytest
import torch

from tests.attacks.models import EVERY, attacked, called, configured
from winnrobust.attacks import ATTACKS, Run, check_examples, logits, with_settings

EPSILONS = {"linf": [0.03, 0.0, 0.01], "l2": [0.5, 0.0, 0.2], "l1": [4, 0, 2], "l0": [20, 0, 9]}
DRAW_NOTHING = {
    "fgsm",
    "bim",
    "mifgsm",
    "fab",
    "deepfool",
    "cw-l2",
    "ddn",
    "fmn",
    "sigma-zero",
    "aa-fast",
}
"""DDN draws only where a gradient is 0, aa-fast only where its ascents broke nothing."""


def small(attack):
    """The attack with enough to break some of the images below, not all."""
    queries = 90 if attack.name == "hopskipjump" else 12
    attack = with_settings(attack, steps=2, restarts=2, queries=queries)
    return configured(attack, searches=2) if "searches" in attack.parameters else attack


@pytest.fixture
def six(network):
    """Six random images; the network is right about four and wrong about two."""
    images = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    labels = logits(network, images).argmax(1)
    labels[[1, 4]] = (labels[[1, 4]] + 1) % 10
    return images, labels


@pytest.fixture(params=EVERY, ids=called)
def attack(request):
    return small(request.param)


def run(attack, network, images, labels, **options):
    options = {"seed": 5, **options}
    return attacked(attack, network, images, labels, EPSILONS[attack.norm], Run(**options))


def test_examples_are_in_the_ball_and_in_the_order_of_the_epsilons(attack, network, six):
    images, labels = six
    results = run(attack, network, images, labels)
    for epsilon, result in zip(EPSILONS[attack.norm], results, strict=True):
        check_examples(attack.name, attack.norm, images, result.images, epsilon)
        if attack.name != "fgsm":  # as with the paper's authors, FGSM moves what is wrong already
            assert torch.equal(result.images[[1, 4]], images[[1, 4]])
            assert result.gradients[[1, 4]].tolist() == result.queries[[1, 4]].tolist() == [0, 0]
        assert not result.unfinished.any()


def test_nothing_of_the_caller_is_changed(attack, network, six):
    images, labels = six
    network.train()
    next(network.parameters()).grad = torch.ones_like(next(network.parameters()))
    before = [tensor.clone() for tensor in (images, labels, *network.parameters())]
    flags = [parameter.requires_grad for parameter in network.parameters()]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    results = run(attack, network, images, labels)
    assert torch.equal(torch.rand(3), expected)  # the global generator is the caller's
    for result in results:
        assert not result.images.requires_grad
        result.images.zero_()
    assert all(map(torch.equal, (images, labels, *network.parameters()), before))
    assert flags == [parameter.requires_grad for parameter in network.parameters()]
    first, *others = network.parameters()
    assert torch.equal(first.grad, torch.ones_like(first))
    assert all(parameter.grad is None for parameter in others)
    assert network.training
    assert torch.is_grad_enabled()


def test_the_same_seed_makes_the_same_examples(attack, network, six):
    first, second = (run(attack, network, *six) for _ in range(2))
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours.images, theirs.images)


def test_another_seed_makes_others_where_an_attack_draws(attack, network, six):
    first, second = (run(attack, network, *six, seed=seed) for seed in (5, 6))
    assert torch.equal(first[0].images, second[0].images) == (attack.name in DRAW_NOTHING)


def test_an_image_is_attacked_alike_in_any_batch(attack, network, six):
    network.double()  # float32 sums differ between batch sizes
    images, labels = six[0].double(), six[1]
    whole = run(attack, network, images, labels)
    part = run(attack, network, images[2:5], labels[2:5], first=2)
    rows = torch.tensor([5, 0, 3])
    chosen = run(attack, network, images[rows], labels[rows], numbers=rows)
    for ours, theirs, others in zip(whole, part, chosen, strict=True):
        torch.testing.assert_close(ours.images[2:5], theirs.images)
        torch.testing.assert_close(ours.images[rows], others.images)
        assert torch.equal(ours.gradients[2:5], theirs.gradients)
        assert torch.equal(ours.queries[rows], others.queries)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("directly", [False, True])
def test_the_callers_gradient_mode_does_not_matter(attack, mode, directly, network, six):
    def examples(images, labels):
        if not directly:
            return run(attack, network, images, labels)[0].images
        epsilon = {} if attack.minimum_norm else {"epsilon": EPSILONS[attack.norm][0]}
        return attack.function(
            network, images, labels, run=Run(seed=5), **epsilon, **attack.settings
        ).images

    expected = examples(*six)
    with mode():
        found = examples(*(tensor * 1 for tensor in six))
    assert torch.equal(expected, found)


def test_the_caller_may_want_gradients_of_the_images(attack, network, six):
    images, labels = six
    expected = run(attack, network, images, labels)
    found = run(attack, network, images.clone().requires_grad_(), labels)
    assert torch.equal(expected[0].images, found[0].images)


@pytest.mark.parametrize("eot", [1, 2])
def test_costs_are_what_the_model_was_asked(attack, eot, network, six):
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    results = run(attack, network, *six, eot=eot)
    told = sum(int((result.gradients + result.queries).sum()) for result in results)
    # The look at the images themselves belongs to nobody; FGSM's gradient is that look.
    clean = 0 if attack.name == "fgsm" else 6 * eot
    if attack.name == "deepfool":  # may ask about all classes at the point where an image leaves
        assert told + clean <= sum(seen) < 1.5 * told
    else:
        assert sum(seen) == told + clean
    gradients = sum(int(result.gradients.sum()) for result in results)
    assert sum(int(result.statistics.on_host().images) for result in results) == gradients
    assert (gradients > 0) == (attack.access == "white-box")


def test_minimum_norm_attacks_return_distances(attack, network, six):
    images, labels = six
    results = run(attack, network, images, labels)
    for epsilon, result in zip(EPSILONS[attack.norm], results, strict=True):
        assert (result.distance is not None) == attack.minimum_norm
        if result.distance is None:
            continue
        assert result.distance.shape == labels.shape
        assert result.distance[[1, 4]].tolist() == [0, 0]
        wrong = logits(network, result.images).argmax(1) != labels
        assert torch.equal(wrong, result.distance <= epsilon)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_attacked_around_its_own_dtype(attack, dtype, network, six):
    network.to(dtype)
    images, labels = six[0], logits(network, six[0]).argmax(1)
    (result,) = attacked(attack, network, images, labels, EPSILONS[attack.norm][:1], Run())[:1]
    assert result.images.dtype == torch.float32
    # Images that are in half precision themselves end in float32 all the same.
    (rounded,) = attacked(attack, network, images.to(dtype), labels, EPSILONS[attack.norm][:1])
    assert rounded.images.dtype == torch.float32


def test_every_attack_says_what_it_is(attack):
    assert attack.name in ATTACKS
    assert attack.summary.endswith(".")
    assert attack.cost
    assert attack.source
