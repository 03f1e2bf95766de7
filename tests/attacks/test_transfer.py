"""Attacks from another model."""

import time
from dataclasses import replace

import pytest
import torch

from tests.attacks.models import Answers, Linear, image
from tests.attacks.trajectories import Recorder, start
from winnrobust.attacks import ATTACKS, Run, find, run_attack, with_settings
from winnrobust.attacks.mifgsm import mifgsm
from winnrobust.runtime.errors import InputError

# Label 0 falls when the first pixel grows, or the second.
FIRST = [[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
SECOND = [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
BIAS = [0.55, 0.0]
LABEL = torch.tensor([0])


def test_examples_are_made_on_the_other_model_alone_and_to_the_end():
    victim, source = Linear(FIRST, BIAS), Linear(SECOND, BIAS)
    images = torch.cat([image(0.5, 0.5, 0.5, 0.5), image(0.9, 0.5, 0.5, 0.5)])
    run = Run(surrogates={"victim": victim, "source": source})
    attack = find("transfer:source")
    (result,) = run_attack(attack, victim, images, LABEL.repeat(2), [0.1], run=run)
    # The source is broken at 0.55 and goes on to the end of the ball all the same.
    torch.testing.assert_close(result.images[0], image(0.5, 0.6, 0.5, 0.5)[0])
    # The victim is wrong on the second image as it is.
    assert torch.equal(result.images[1], images[1])
    assert victim.seen == [2]
    assert source.seen == [2] * 10
    assert result.gradients.tolist() == [10, 10]
    assert result.queries.tolist() == [0, 0]


def test_a_model_can_be_its_own_source():
    victim = Linear(FIRST, BIAS)
    run = Run(surrogates={"victim": victim})
    result = find("transfer:victim").function(
        victim, image(*[0.5] * 4), LABEL, epsilon=0.1, run=run
    )
    torch.testing.assert_close(result.images, image(0.6, 0.5, 0.5, 0.5))


def test_examples_are_made_once_for_all_victims():
    source = Recorder(lead=5.0)
    victims = {"a": Linear(FIRST, BIAS), "b": Linear(SECOND, BIAS), "source": source}
    images, labels = torch.cat([start((1, 2, 2), seed) for seed in range(3)]), LABEL.repeat(3)
    source = Recorder((1, 2, 2), lead=5.0)
    victims["source"] = source
    run, attack = Run(surrogates=victims), find("transfer:source")
    results = {
        name: run_attack(
            attack, victim.double(), images, labels, [0.05, 0.1], run=replace(run, seed=0)
        )
        for name, victim in victims.items()
    }
    assert len(source.points) == 2 * 10 + 1  # for each epsilon once; it is a victim itself
    expected = mifgsm(source, images, labels, epsilon=0.1, run=Run(early_stop=False)).images
    for name, found in results.items():
        torch.testing.assert_close(found[1].images, expected)
        assert found[1].gradients.tolist() == ([10] * 3 if name == "a" else [0] * 3)
        assert found[1].statistics.on_host().images == (30 if name == "a" else 0)


def test_what_differs_is_made_anew():
    source = Recorder((1, 2, 2), lead=5.0)
    victim, images = Linear(FIRST, BIAS).double(), start((1, 2, 2))
    run = Run(surrogates={"source": source, "other": Recorder((1, 2, 2), lead=2.0)})
    found = [
        run_attack(with_settings(find(name), steps=steps), victim, images, LABEL, [0.1], run=run)[0]
        for name, steps in [("transfer:source", 3), ("transfer:other", 3), ("transfer:source", 5)]
    ]
    assert [result.gradients.item() for result in found] == [3, 3, 5]
    # Another batch has a cache of its own.
    run_attack(
        with_settings(find("transfer:source"), steps=3),
        victim,
        start((1, 2, 2), seed=5),
        LABEL,
        [0.1],
        run=replace(run, cache={}),
    )
    assert len(source.points) == 3 + 5 + 3


def test_targets_are_aimed_at_on_the_other_model():
    weight = [[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    model = Linear(weight, [0.6, 0.0, 0.0])
    run = Run(surrogates={"m": model}, targets=torch.tensor([2]))
    result = find("transfer:m").function(model, image(*[0.5] * 4), LABEL, epsilon=0.2, run=run)
    assert model(result.images).argmax(1).item() == 2


def test_targets_of_another_victim_are_aimed_at_anew():
    source, victim = Recorder((1, 2, 2), lead=3.0), Linear(FIRST, BIAS).double()
    shared = Run(surrogates={"source": source})
    first, again, second = (
        find("transfer:source").function(
            victim, start((1, 2, 2)), LABEL, epsilon=0.1,
            run=replace(shared, targets=torch.tensor([target])),
        )
        for target in (1, 1, 2)
    )  # fmt: skip
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, second.images)
    assert [result.gradients.item() for result in (first, again, second)] == [10, 0, 10]


def test_time_that_runs_out_on_the_surrogate_concerns_what_is_attacked_alone(monkeypatch):
    source, victim = Recorder((1, 2, 2), lead=5.0), Linear(FIRST, BIAS).double()
    images = torch.cat([start((1, 2, 2)), torch.ones(1, 1, 2, 2, dtype=torch.float64)])
    monkeypatch.setattr(time, "monotonic", lambda: float(len(source.points) > 3))
    run = Run(surrogates={"source": source}, deadline=1.0)
    result = find("transfer:source").function(victim, images, LABEL.repeat(2), epsilon=0.1, run=run)
    assert result.unfinished.tolist() == [True, False]  # the victim is wrong on the second
    assert run.cache == {}


def test_examples_that_time_cut_short_are_not_kept():
    source, victim = Recorder((1, 2, 2), lead=5.0), Linear(FIRST, BIAS).double()
    run = Run(surrogates={"source": source})
    attack, images = find("transfer:source"), start((1, 2, 2))
    (late,) = run_attack(attack, victim, images, LABEL, [0.1], run=run, seconds=0.0)
    assert late.unfinished.all()
    assert torch.equal(late.images, images)
    (again,) = run_attack(attack, victim, images, LABEL, [0.1], run=run)
    assert not again.unfinished.any()
    assert again.gradients.tolist() == [10]


def test_a_surrogate_without_gradient_is_an_error():
    run = Run(surrogates={"flat": Answers(lambda images: images.flatten(1).detach())})
    with pytest.raises(InputError, match="no gradient to follow"):
        find("transfer:flat").function(
            Linear(FIRST), image(*[0.5] * 4), LABEL, epsilon=0.1, run=run
        )


def test_an_unknown_source_is_an_error():
    run = Run(surrogates={"a": Linear(FIRST)})
    with pytest.raises(InputError, match=r"no model 'b' to transfer from; there are a$"):
        find("transfer:b").function(Linear(FIRST), image(*[0.5] * 4), LABEL, epsilon=0.1, run=run)


def test_find():
    assert find("pgd") is ATTACKS["pgd"]
    attack = find("transfer:my model")
    assert (attack.name, attack.norm, attack.access) == ("transfer:my model", "linf", "transfer")
    assert attack.targeted
    assert attack.cost == "10 gradients of another model"
    assert "MI-FGSM on the model 'my model', all steps" in attack.summary


@pytest.mark.parametrize("name", ["", "nonesuch", "transfer:", "transfer"])
def test_unknown_names_are_an_error_with_the_list(name):
    with pytest.raises(InputError, match=r"unknown attack.*known are .*pgd.*transfer:NAME"):
        find(name)
