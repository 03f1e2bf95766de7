"""The first sentences of a report: true, and no stronger than the numbers."""

from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from winnrobust.evaluation.metrics import cost_table
from winnrobust.reporting.threat import threat_model
from winnrobust.reporting.trust import NOT_DIAGNOSED

from tests.reporting.conftest import (
    describe_model,
    diagnosis_of,
    make_attacked,
    make_evaluation,
)
from winnrobust.reporting.results import Results
from winnrobust.reporting.verdict import NO_WHITE_BOX, ONE_SEED, verdict

CLEAN = {"baseline": 20, "winn": 20}
OK = {"baseline": {"gradients": "ok"}, "winn": {"gradients": "ok"}}


def results_of(evaluation, models=None, diagnosis=None, limit=None) -> Results:
    """Results in memory, without a folder."""
    rates = evaluation.clean.set_index("model")
    described = models or [describe_model(name) for name in rates.index]
    rows = [
        model
        | {
            "n": int(rates.n[model["name"]]),
            "clean_errors": int(rates.errors[model["name"]]),
            "clean_error": float(rates.error[model["name"]]),
            "clean_error_low": float(rates.error_low[model["name"]]),
            "clean_error_high": float(rates.error_high[model["name"]]),
        }
        for model in described
    ]
    return Results(
        dataset="mnist", split="test", limit=limit, n=rows[0]["n"], models=rows,
        table=evaluation.table, worst=evaluation.worst, paired=evaluation.paired,
        aimed=evaluation.aimed, gradients=evaluation.gradients, costs=evaluation.costs,
        examples=evaluation.examples, manifest={}, diagnosis=diagnosis,
    )  # fmt: skip


def attacked(*errors, **given):
    """(attack, epsilon, baseline's errors, winn's) of 1,000 images -> the verdict."""
    cases = {
        (attack, "Linf", epsilon): {"baseline": baseline, "winn": winn}
        for attack, epsilon, baseline, winn in errors
    }
    return verdict(results_of(make_attacked(cases, CLEAN), **given))


def test_more_robust_under_every_attack():
    told = attacked(("fgsm", 0.125, 400, 100), ("pgd", 0.125, 820, 410), diagnosis=diagnosis_of(OK))
    assert told.warnings == []
    assert told.claims[0] == (
        "winn is more robust than baseline under every attack tried (fgsm, pgd) at epsilon 0.125:"
        " worst-case error 41.0 % [38.0, 44.1] against 82.0 % [79.5, 84.3]; no sign of gradient"
        " masking."
    )


def test_less_robust_under_every_attack():
    told = attacked(("fgsm", 0.125, 100, 400), ("pgd", 0.125, 410, 820))
    assert told.claims[0] == (
        "winn is less robust than baseline under every attack tried (fgsm, pgd) at epsilon 0.125:"
        " worst-case error 82.0 % [79.5, 84.3] against 41.0 % [38.0, 44.1]."
    )


def test_a_difference_within_noise_is_called_that():
    told = attacked(("fgsm", 0.125, 105, 100), ("pgd", 0.125, 410, 411))
    assert told.claims[0] == (
        "There is no difference beyond noise between winn and baseline under any attack tried"
        " (fgsm, pgd) at epsilon 0.125: worst-case error 41.1 % [38.1, 44.2] against 41.0 % [38.0,"
        " 44.1] (McNemar p = 1.000)."
    )


def test_one_attack_that_disagrees_takes_the_claim_back():
    told = attacked(
        ("fgsm", 0.125, 400, 100), ("pgd", 0.125, 820, 410), ("square", 0.125, 100, 101)
    )
    assert told.claims[0] == (
        "winn is more robust than baseline in the worst case over the attacks tried (fgsm, pgd,"
        " square) at epsilon 0.125: worst-case error 41.0 % [38.0, 44.1] against 82.0 % [79.5,"
        " 84.3]; but no difference beyond noise under square at epsilon 0.125."
    )


def test_fgsm_and_pgd_that_contradict_each_other_are_both_told():
    told = attacked(("fgsm", 0.125, 400, 100), ("pgd", 0.125, 500, 800))
    assert told.claims[0].startswith("winn is less robust than baseline in the worst case")
    assert "; but winn errs less under fgsm at epsilon 0.125." in told.claims[0]


def test_what_depends_on_epsilon_says_where():
    told = attacked(
        ("pgd", 0.03, 400, 100), ("pgd", 0.06, 700, 350), ("pgd", 0.25, 1000, 1000),
        ("pgd", 0.125, 800, 900),
    )  # fmt: skip
    assert told.claims[:2] == [
        "Whether winn is more robust than baseline depends on epsilon: under pgd, the only attack"
        " tried, it is more robust at epsilon 0.03 and 0.06; no difference beyond noise at epsilon"
        " 0.25; it is less robust at epsilon 0.125.",
        "winn against baseline: pgd error 10.0 % [8.3, 12.0] against 40.0 % [37.0, 43.1] at"
        " epsilon 0.03, pgd error 35.0 % [32.1, 38.0] against 70.0 % [67.1, 72.8] at epsilon 0.06;"
        " pgd error 100.0 % [99.6, 100.0] against 100.0 % [99.6, 100.0] at epsilon 0.25; pgd error"
        " 90.0 % [88.0, 91.7] against 80.0 % [77.4, 82.4] at epsilon 0.125.",
    ]


def test_with_many_epsilons_only_the_largest_has_its_figures():
    few = attacked(*(("pgd", epsilon, 400, 100) for epsilon in (0.1, 0.2, 0.3)))
    assert few.claims[0].count("[37.0, 43.1]") == 3
    many = attacked(*(("pgd", epsilon, 400, 100) for epsilon in (0.1, 0.4, 0.2, 0.3)))
    assert many.claims[0].count("[37.0, 43.1] at epsilon 0.4") == 1
    assert many.claims[0].count("[37.0, 43.1]") == 1


def test_single_attacks_that_say_something_else_are_told_after_what_depends_on_epsilon():
    told = attacked(
        ("fgsm", 0.1, 300, 100), ("pgd", 0.1, 400, 200), ("fgsm", 0.2, 500, 300),
        ("pgd", 0.2, 900, 900), diagnosis=diagnosis_of(OK),
    )  # fmt: skip
    assert told.claims[0] == (
        "Whether winn is more robust than baseline depends on epsilon: in the worst case over the"
        " attacks tried (fgsm, pgd), it is more robust at epsilon 0.1; no difference beyond noise"
        " at epsilon 0.2."
    )
    assert told.claims[2:4] == [
        "Single attacks say something else: winn errs less under fgsm at epsilon 0.2.",
        "There is no sign of gradient masking.",
    ]


def test_a_transfer_from_one_of_the_compared_is_not_compared():
    """To itself it is a white box, so that the other one looks better than it is."""
    told = attacked(("transfer:baseline", 0.1, 900, 20), ("pgd", 0.1, 410, 411))
    assert told.claims[0].startswith(
        "There is no difference beyond noise between winn and baseline under pgd, the only attack"
    )
    told = attacked(("transfer:baseline", 0.1, 900, 20))
    assert told.claims[0] == "winn and baseline were attacked by transfer from one of them alone."
    told = attacked(("transfer:other", 0.1, 900, 20))
    assert told.claims[0].startswith("winn is more robust than baseline under transfer:other")


def test_a_winner_that_falls_is_said_to_fall():
    told = attacked(("pgd", 0.125, 990, 700))
    assert told.claims[1] == "Even so winn errs on most images at epsilon 0.125."
    assert "Even so" not in " ".join(attacked(("pgd", 0.125, 990, 400)).claims)


def test_broken_comes_first_and_takes_the_claim_back():
    diagnosis = diagnosis_of(
        {
            "baseline": {"gradients": "ok"},
            "winn": {"gradients": "broken", "noise": "suspicious", "budget": "broken"},
        }
    )
    told = attacked(("pgd", 0.125, 800, 100), diagnosis=diagnosis)
    assert told.warnings == [
        "Do not trust the robustness of winn: its diagnosis is broken (gradients: gradients"
        " measured on winn; budget: budget measured on winn)."
    ]
    assert told.claims[0].startswith("winn only seems more robust than baseline under pgd")
    assert "no sign of gradient masking" not in told.claims[0]


def test_suspicious_is_a_caution():
    diagnosis = diagnosis_of({"baseline": {"gradients": "ok"}, "winn": {"noise": "suspicious"}})
    told = attacked(("pgd", 0.125, 800, 100), diagnosis=diagnosis)
    assert told.warnings[0].startswith("Take the robustness of winn with caution: its diagnosis is")
    assert told.claims[0].startswith("winn looks more robust than baseline")


def test_an_attack_without_gradients_that_beats_all_with_them_is_a_sign():
    told = attacked(
        ("pgd", 0.125, 800, 100), ("square", 0.125, 700, 300), diagnosis=diagnosis_of(OK)
    )
    assert told.warnings == [
        "Take the robustness of winn with caution: square 0.125, which does not see its gradients,"
        " breaks 30.0 % of the images, and pgd 0.125, the strongest attack that does, 10.0 %."
    ]
    assert told.claims[0].startswith("winn looks more robust than baseline")
    assert "no sign of gradient masking" not in told.claims[0]


@pytest.mark.parametrize(
    "rival",
    [
        ("square", 0.125, 790, 120),  # within noise
        ("square", 0.25, 790, 300),  # with another budget
        ("autoattack", 0.125, 790, 300),  # sees gradients too
        ("transfer:winn", 0.125, 790, 300),  # is no transfer to winn
        ("noise-uniform", 0.125, 790, 300),  # a control: the diagnosis compares with it
    ],
)
def test_what_is_no_rival_without_gradients(rival):
    told = attacked(("pgd", 0.125, 800, 100), rival, diagnosis=diagnosis_of(OK))
    assert told.warnings == []


def test_a_broken_loser_does_not_make_the_winner_doubtful():
    """Its real errors can only be more."""
    diagnosis = diagnosis_of({"baseline": {"gradients": "broken"}, "winn": {"gradients": "ok"}})
    told = attacked(("pgd", 0.125, 800, 100), diagnosis=diagnosis)
    assert told.claims[0].startswith("winn is more robust than baseline")
    assert "no sign of gradient masking" not in told.claims[0]
    assert "robustness of baseline" in told.warnings[0]


def test_many_broken_indicators_are_counted():
    found = {f"indicator {index}": "broken" for index in range(4)}
    told = attacked(("pgd", 0.125, 8, 1), diagnosis=diagnosis_of({"winn": found}))
    assert "2 more in the diagnosis below" in told.warnings[0]


def test_indicators_that_were_not_tested_are_not_passed_over():
    found = {"gradients": "ok", "noise": "ok", "black-box": "not tested"}
    told = attacked(("pgd", 0.125, 800, 100), diagnosis=diagnosis_of(dict.fromkeys(CLEAN, found)))
    assert told.claims[0].endswith("; no sign of gradient masking in what could be tested.")
    del found["noise"]
    found["gradients"] = "not tested"
    told = attacked(("pgd", 0.125, 800, 100), diagnosis=diagnosis_of(OK | {"winn": found}))
    assert "masking" not in told.claims[0]
    assert (
        "The diagnosis could test too little of winn to say whether its gradients are masked."
        in told.notes
    )


def test_without_a_diagnosis_nothing_is_said_about_masking():
    told = attacked(("pgd", 0.125, 800, 100))
    assert "masking" not in told.claims[0]
    assert NOT_DIAGNOSED in told.notes


@pytest.mark.parametrize(
    ("attacks", "expected"),
    [
        (["fgsm"], "Only single-step attacks were tried (fgsm)."),
        (["fgsm", "rfgsm"], "Only single-step attacks were tried (fgsm, rfgsm)."),
        (["transfer:other"], NO_WHITE_BOX),
        (
            ["fgsm", "square"],
            "Of the attacks that use a model's own gradients only single-step ones were tried",
        ),
        (["noise-uniform"], None),
        (["fgsm", "pgd"], None),
        (["of-another-version"], None),
    ],
)
def test_weak_attacks_are_called_weak(attacks, expected):
    notes = attacked(*((attack, 0.125, 800, 100) for attack in attacks)).notes
    cautions = [note for note in notes if "single-step" in note or note == NO_WHITE_BOX]
    assert [caution.startswith(expected or "-") for caution in cautions] == [True] * bool(expected)


def test_noise_is_a_control_and_proves_nothing():
    told = attacked(("noise-uniform", 0.125, 800, 100))
    assert told.claims[0] == "Nothing was attacked: there are only controls, or epsilon is 0."
    told = attacked(("noise-uniform", 0.125, 20, 20), ("pgd", 0.125, 800, 100))
    assert "under pgd, the only attack tried," in told.claims[0]
    assert "robust" not in attacked(("pgd", 0.0, 20, 20)).claims[0]


def test_clean_errors_are_compared_too():
    evaluation = make_attacked(
        {("pgd", "Linf", 0.1): {"a": 500, "b": 100, "c": 90}}, {"a": 20, "b": 60, "c": 21}
    )
    assert verdict(results_of(evaluation)).claims[-1] == (
        "Without an attack a errs on 2.0 % [1.3, 3.1], b on 6.0 % [4.7, 7.6] (more, McNemar p <"
        " 0.001) and c on 2.1 % [1.4, 3.2] (no difference beyond noise, McNemar p = 1.000)."
    )


def test_equals_are_not_ranked():
    evaluation = make_attacked(
        {("pgd", "Linf", 0.1): {"a": 900, "b": 400, "c": 400}}, {"a": 20, "b": 20, "c": 20}
    )
    assert verdict(results_of(evaluation)).claims[0] == (
        "Of 3 models b and c err least, and equally often at epsilon 0.1 under pgd, the only attack"
        " tried: 40.0 % [37.0, 43.1]. a errs most, 90.0 % [88.0, 91.7]."
    )
    even = make_attacked(
        {("pgd", "Linf", 0.1): dict.fromkeys("abc", 400)}, dict.fromkeys("abc", 20)
    )
    assert verdict(results_of(even)).claims[0] == (
        "All 3 models err equally often at epsilon 0.1 under pgd, the only attack tried: 40.0 %"
        " [37.0, 43.1]."
    )


def test_a_ranking_names_the_attacks_of_its_own_norm():
    evaluation = make_attacked(
        {
            ("pgd", "Linf", 0.1): {"a": 900, "b": 405, "c": 300},
            ("pgd-l2", "L2", 1.5): {"a": 500, "b": 480, "c": 485},
        },
        {"a": 20, "b": 20, "c": 20},
    )
    assert "pgd-l2" not in verdict(results_of(evaluation)).claims[0]


def test_limits_set_by_the_user_are_told_with_the_verdict():
    results = results_of(make_attacked({("pgd", "Linf", 0.1): CLEAN}, CLEAN))
    (told,) = set(verdict(replace(results, settings={"budget": {"steps": 3}})).notes) - set(
        verdict(results).notes
    )
    assert told == "Set for all attacks that have such a limit: 3 steps."
    (of_pgd,) = [text for text in threat_model(results) if text.startswith("pgd (")]
    assert of_pgd.startswith("pgd (Linf, by default ")


def test_a_transfer_from_a_model_of_the_evaluation_is_no_fair_contest_with_it():
    notes = attacked(("transfer:winn", 0.125, 100, 800), ("pgd", 0.125, 500, 500)).notes
    assert any(note.startswith("transfer:winn attacks winn itself") for note in notes)


def test_of_three_the_best_is_named_with_its_distance_to_the_next():
    evaluation = make_attacked(
        {
            ("pgd", "Linf", 0.1): {"a": 900, "b": 405, "c": 400},
            ("pgd", "Linf", 0.3): {"a": 1000, "b": 980, "c": 985},
        },
        {"a": 20, "b": 20, "c": 20},
    )
    first, *pairs = verdict(results_of(evaluation)).claims
    assert first == (
        "Of 3 models c errs least at epsilon 0.1, where they differ most, under pgd, the only"
        " attack tried: 40.0 % [37.0, 43.1]. Next is b with 40.5 % [37.5, 43.6] (no difference"
        " beyond noise, McNemar p = 0.062); a errs most, 90.0 % [88.0, 91.7]."
    )
    assert [pair.split(" under")[0] for pair in pairs[:2]] == [
        "b is more robust than a",
        "c is more robust than a",
    ]


def test_a_broken_best_is_not_praised():
    evaluation = make_attacked(
        {("pgd", "Linf", 0.1): {"a": 900, "b": 405, "c": 100}}, {"a": 20, "b": 20, "c": 20}
    )
    diagnosis = diagnosis_of({"c": {"gradients": "broken"}})
    told = verdict(results_of(evaluation, diagnosis=diagnosis))
    assert "10.0 % [8.3, 12.0], but the diagnosis of c is broken. Next" in told.claims[0]


def test_two_norms_are_told_apart():
    evaluation = make_attacked(
        {
            ("pgd", "Linf", 0.125): {"baseline": 800, "winn": 400},
            ("pgd-l2", "L2", 1.5): {"baseline": 700, "winn": 300},
        },
        CLEAN,
    )
    assert verdict(results_of(evaluation)).claims[0] == (
        "winn is more robust than baseline under every attack tried (pgd, pgd-l2) at epsilon 0.125,"
        " and L2 epsilon 1.5: pgd error 40.0 % [37.0, 43.1] against 80.0 % [77.4, 82.4] at epsilon"
        " 0.125, pgd-l2 error 30.0 % [27.2, 32.9] against 70.0 % [67.1, 72.8] at L2 epsilon 1.5."
    )


def test_one_model_alone_gets_its_errors():
    evaluation = make_attacked(
        {("fgsm", "Linf", 0.1): {"m": 100}, ("pgd", "Linf", 0.1): {"m": 300}}, {"m": 20}
    )
    assert verdict(results_of(evaluation)).claims == [
        "m errs on 30.0 % [27.2, 32.9] of the images at epsilon 0.1 in the worst case over the"
        " attacks tried (fgsm, pgd).",
        "Without an attack m errs on 2.0 % [1.3, 3.1].",
    ]


SEEDS = {f"{method}-{seed}": 20 for method in ("baseline", "winn") for seed in (0, 1, 2)}


def seeds(**errors):
    """method -> the PGD errors of its three seeds."""
    own = {
        f"{method}-{seed}": count
        for method, counts in errors.items()
        for seed, count in enumerate(counts)
    }
    models = [
        describe_model(name, group=name.split("-")[0], method=name.split("-")[0]) for name in SEEDS
    ]
    evaluation = make_attacked({("pgd", "Linf", 0.125): own}, SEEDS)
    return verdict(results_of(evaluation, models))


def test_several_seeds_are_compared_as_methods():
    told = seeds(baseline=(800, 820, 810), winn=(400, 420, 416))
    assert told.claims[0] == (
        "winn is more robust than baseline under pgd, the only attack tried, at epsilon 0.125: pgd"
        " error 41.2 % (mean of 3 seeds, 40.0 to 42.0) against 81.0 % (mean of 3 seeds, 80.0 to"
        " 82.0)."
    )
    assert ONE_SEED not in told.notes


def test_seeds_that_spread_widely_make_a_difference_noise():
    """Every pair of networks differs beyond noise on these images; the methods do not."""
    told = seeds(baseline=(800, 300, 600), winn=(700, 200, 500))
    assert told.claims[0].startswith(
        "There is no difference beyond noise between winn and baseline"
    )
    assert "Welch p = 0." in told.claims[0]


def test_one_training_each_is_said():
    assert ONE_SEED in attacked(("pgd", 0.1, 8, 1)).notes
    foreign = [describe_model(name, seed=None, method=None) for name in CLEAN]
    assert ONE_SEED not in attacked(("pgd", 0.1, 8, 1), models=foreign).notes


def test_part_of_the_images_and_time_that_ran_out_are_said():
    evaluation = make_attacked({("pgd", "Linf", 0.1): {"baseline": 8, "winn": 1}}, CLEAN)
    costs = cost_table({("pgd", "baseline"): (1.0, 0), ("pgd", "winn"): (60.0, 120)})
    notes = verdict(results_of(replace(evaluation, costs=costs), limit=1000)).notes
    assert "Only the first 1000 test images were attacked." in notes
    assert notes[0] == (
        "Time ran out for pgd on winn (120 of 1000 images): those images count as they were, so the"
        " errors are lower bounds."
    )


def without_pairs(evaluation, worst=True):
    """As stored by version 1, which knew no paired counts and no worst cases."""
    columns = list(evaluation.worst.columns)
    return replace(
        evaluation,
        paired=evaluation.paired.iloc[:0],
        worst=evaluation.worst if worst else pd.DataFrame([], columns=columns),
    )


def test_without_paired_counts_intervals_decide():
    told = verdict(results_of(without_pairs(make_evaluation())))
    assert told.claims[0].startswith(
        "winn is more robust than baseline under fgsm, the only attack tried, at epsilon 0.125:"
        " fgsm error 7.99 % [7.47, 8.54] against 32.41 % [31.50, 33.33]."
    )
    assert "(no difference beyond noise, the intervals overlap)" in told.claims[-1]


def test_without_worst_cases_the_strongest_attack_stands_for_them():
    cases = {
        ("fgsm", "Linf", 0.1): {"baseline": 300, "winn": 310},
        ("pgd", "Linf", 0.1): {"baseline": 800, "winn": 400},
    }
    told = verdict(results_of(without_pairs(make_attacked(cases, CLEAN), worst=False)))
    assert told.claims[0] == (
        "winn is more robust than baseline under the strongest of the attacks tried (fgsm, pgd) at"
        " epsilon 0.1: pgd error 40.0 % [37.0, 43.1] against 80.0 % [77.4, 82.4]; but no difference"
        " beyond noise under fgsm at epsilon 0.1."
    )


counts = st.integers(20, 1000)


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_claim_over_every_attack_holds_for_every_attack(errors):
    cases = {
        (f"attack-{index}", "Linf", 0.1): {"baseline": baseline, "winn": winn}
        for index, (baseline, winn) in enumerate(errors)
    }
    results = results_of(make_attacked(cases, CLEAN))
    claim = verdict(results).claims[0]
    attack_rows = results.paired[results.paired.attack.str.startswith("attack")]
    clear = attack_rows.p_value < 0.05
    better = clear & (attack_rows.first_only > attack_rows.second_only)
    worse = clear & (attack_rows.first_only < attack_rows.second_only)
    if "every attack tried" in claim or "the only attack tried" in claim:
        assert claim.startswith("winn is more robust") == better.all()
        assert claim.startswith("winn is less robust") == worse.all()
    if "any attack tried" in claim:
        assert not clear.any()
