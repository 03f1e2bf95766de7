"""Running an attack: epsilons, budgets, time, and what it may not return."""

import math
import re
import time
from dataclasses import replace

import pytest
import torch

from tests.attacks.models import LABEL, Linear, attacked, image
from winnrobust.attacks import ATTACKS, AttackResult, Run, find, run_attack, with_settings
from winnrobust.attacks.base import Attack
from winnrobust.runtime.errors import InputError

MODEL = Linear([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]], [0.55, 0.0])
IMAGES = image(*[0.5] * 4)


def own(function, **options):
    """An attack of a user's."""
    return Attack("own", "linf", "white-box", "", "Mine.", "", function, **options)


def test_an_attack_of_ones_own_has_the_same_signature():
    def brighter(model, images, labels, *, epsilon, share=1.0, run):
        result = AttackResult.untouched(images)
        return replace(result, images=(images + share * epsilon).clamp(0, 1))

    half = own(brighter, settings={"share": 0.5})
    first, second = run_attack(half, MODEL, IMAGES, LABEL, [0.1, 0.9], run=Run())
    torch.testing.assert_close(first.images, IMAGES + 0.05)
    torch.testing.assert_close(second.images, IMAGES + 0.45)
    assert half.parameters == {"share": 0.5}


def test_an_attack_keeps_its_name_and_settings_in_another_norm():
    few = find("pgd(steps=3)")
    there = few.in_norm("l2")
    assert (there.name, there.norm, there.norms) == ("pgd(steps=3)", "l2", few.norms)
    (result,) = run_attack(there, MODEL, IMAGES, LABEL, [0.04], run=Run())
    offsets = result.images - IMAGES
    assert result.gradients.tolist() == [3]
    assert offsets.norm() <= 0.04 + 1e-6  # in Linf all pixels could move by so much
    assert there.in_norm("linf") == few.in_norm("linf") == few
    assert find("pgd-l2").in_norm("l2") == find("pgd-l2")


def test_a_norm_that_an_attack_does_not_know():
    with pytest.raises(InputError, match="attack 'fgsm' bounds the norm linf, not l2"):
        find("fgsm").in_norm("l2")
    assert own(None).norms == ("linf",)


def test_what_leaves_the_ball_is_an_error_that_names_the_attack():
    def cheat(model, images, labels, *, epsilon, run):
        return replace(AttackResult.untouched(images), images=images + 2 * epsilon)

    with pytest.raises(InputError, match=r"attack 'own' left the ball.*0\.2 in Linf"):
        run_attack(own(cheat), MODEL, IMAGES, LABEL, [0.1], run=Run())


def test_each_epsilon_has_the_same_share_of_the_time_whatever_others_leave():
    shares = []

    def quick(model, images, labels, *, epsilon, run):
        shares.append(run.deadline - time.monotonic())
        time.sleep(0.05)
        return AttackResult.untouched(images)

    run_attack(own(quick), MODEL, IMAGES, LABEL, [0.1, 0.0, 0.2, 0.3], run=Run(), seconds=6.0)
    assert shares == pytest.approx([2.0, 2.0, 2.0], abs=0.1)  # at 0 there is nothing to do
    shares.clear()
    run_attack(own(quick), MODEL, IMAGES, LABEL, [0.1], run=Run(), seconds=6.0)
    assert shares == pytest.approx([6.0], abs=0.1)  # a single one has all of it


def test_a_deadline_is_never_put_off():
    deadlines = []

    def note(model, images, labels, *, epsilon, run):
        deadlines.append(run.deadline)
        return AttackResult.untouched(images)

    soon = time.monotonic() + 1
    run_attack(own(note), MODEL, IMAGES, LABEL, [0.1], run=Run(deadline=soon), seconds=100)
    assert deadlines == [soon]


def test_the_nearest_example_counts_at_every_epsilon_that_it_is_within():
    near, far, any_size = attacked("fab", MODEL, IMAGES, LABEL, [0.04, 0.06, float("inf")])
    assert torch.equal(near.images, IMAGES)
    assert MODEL(far.images).argmax(1).item() == 1
    assert torch.equal(far.images, any_size.images)
    assert 0.05 < any_size.distance.item() < 0.06
    assert near.gradients.item() > 0
    assert far.gradients.item() == any_size.gradients.item() == 0


def test_a_budget_sets_what_an_attack_has():
    pgd = with_settings(ATTACKS["pgd"], steps=7, restarts=3, queries=11)
    assert (pgd.parameters["steps"], pgd.parameters["restarts"]) == (7, 3)
    assert "queries" not in pgd.parameters
    assert with_settings(pgd).parameters["steps"] == 7
    assert with_settings(ATTACKS["pgd-l2"], steps=7).parameters["norm"] == "l2"
    assert with_settings(ATTACKS["fgsm"], steps=7).parameters == ATTACKS["fgsm"].parameters
    assert with_settings(ATTACKS["square"], queries=11).parameters["queries"] == 11


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, attack in ATTACKS.items()
        if re.fullmatch(r"(\d+ x )?\d+ gradients?", attack.cost)
    ],
)
def test_an_attack_that_breaks_nothing_costs_what_it_says(name):
    stubborn = Linear([[0.0] * 4, *[[1.0, 0.0, 0.0, 0.0]] * 9], [100.0] + [0.0] * 9)
    result = attacked(name, stubborn, IMAGES, LABEL, 0.1)
    said = math.prod(map(int, re.findall(r"\d+", ATTACKS[name].cost)))
    assert result.gradients.tolist() == [said]


def test_settings_tell_what_is_not_part_of_the_attack():
    assert ATTACKS["pgd"].parameters["screen"] is False


def test_a_part_of_a_run_keeps_what_belongs_to_its_images():
    run = Run(first=10, targets=torch.tensor([3, 4, 5]))
    part = run.of(torch.tensor([2, 0]), torch.zeros(3, 1, 2, 2))
    assert part.numbers.tolist() == [12, 10]
    assert part.targets.tolist() == [5, 3]


def test_attacks_are_found_by_name():
    assert find("pgd") is ATTACKS["pgd"]
    assert all(name == attack.name for name, attack in ATTACKS.items())
    with pytest.raises(InputError, match=r"unknown attack 'typo'; known are .*pgd.*transfer:NAME"):
        find("typo")
