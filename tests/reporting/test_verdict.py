"""The first line of a report: true, and no stronger than the numbers. Golden examples of each."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reporting.conftest import (
    attacked,
    describe_model,
    diagnosis_of,
    outcomes,
    results_of,
)
from winnrobust.evaluation.diagnosis.next_steps import MORE_IMAGES
from winnrobust.evaluation.outcomes import STATUSES
from winnrobust.reporting import load_results
from winnrobust.reporting.tables import caution_tables, headline_table
from winnrobust.reporting.verdict import Verdict
from winnrobust.reporting.words import WORDS

CLEAN = {"baseline": 20, "winn": 20}
OK = {"baseline": {"gradients": "ok"}, "winn": {"gradients": "ok"}}


def verdict(*errors, clean=None, models=None, **given):
    """(attack, epsilon, errors of the baseline, of winn, and others) of 1,000 images."""
    names = ["baseline", "winn", "trades"][: len(errors[0]) - 2]
    cases = {(a, "linf", e): dict(zip(names, counts, strict=True)) for a, e, *counts in errors}
    frame = attacked(cases, dict.fromkeys(names, 20) | (clean or {}))
    return Verdict(results_of(frame, models, **given))


def random_model(**given):
    """Right in 11 of 20 draws on every image, attacked or not; the baseline is never wrong."""
    frame = outcomes(
        1000,
        {"baseline": [], "noisy": []},
        {
            ("pgd", "linf", 0.1, name): {"baseline": [], "noisy": []}
            for name in ("baseline", "noisy")
        },
        draws={"noisy": 20},
    )
    frame.loc[frame.evaluated == "noisy", "correct_draws"] = 11
    models = [describe_model(name, seed=None) for name in ("baseline", "noisy")]
    return Verdict(results_of(frame, models, **given))


HEADLINES = {
    "nothing": (
        verdict(("noise-uniform", 0.1, 800, 100)),
        "Nothing was attacked: only controls ran, or epsilon is 0.",
    ),
    "unfair": (
        verdict(("transfer:baseline", 0.1, 900, 20)),
        "Nothing says who is more robust: no attack had the same access to all models.",
    ),
    "refused": (
        random_model(),
        "No verdict on noisy: its answers are random and attacks saw a single draw; attack again"
        " with --eot 20.",
    ),
    "refuted": (
        Verdict(
            results_of(
                attacked({("fgsm", "linf", 0.1): {"winn": 20}}, {"winn": 20}),
                [describe_model("winn")],
                diagnosis=diagnosis_of({"winn": {"gradients": "ok"}}).assign(
                    wrong=71, of=100, epsilon=0.1
                ),
            )
        ),
        "winn has a robust accuracy of no more than 29.0 % [21.0, 38.5] at Linf 0.1,"
        " according to stronger attacks by the diagnosis on 100 images; the attacks you"
        " asked for show 98.0 % [96.9, 98.7].",
    ),
    "alone": (
        verdict(("fgsm", 0.1, 100), ("pgd", 0.1, 300)),
        "baseline has a robust accuracy of 70.0 % [67.1, 72.8] at Linf 0.1; without an attack 98.0"
        " % [96.9, 98.7].",
    ),
    "more": (
        verdict(("fgsm", 0.125, 400, 100), ("pgd", 0.125, 820, 410)),
        "winn is more robust than baseline at Linf 0.125: robust accuracy 59.0 % [55.9, 62.0]"
        " against 18.0 % [15.7, 20.5] (McNemar p < 0.001).",
    ),
    "more everywhere": (
        verdict(("pgd", 0.1, 300, 100), ("pgd", 0.2, 900, 400)),
        "winn is more robust than baseline at every epsilon tested; at Linf 0.2 robust accuracy"
        " 60.0 % [56.9, 63.0] against 10.0 % [8.3, 12.0] (McNemar p < 0.001).",
    ),
    "even": (
        verdict(("fgsm", 0.125, 105, 100), ("pgd", 0.125, 410, 411)),
        "No difference beyond noise between winn and baseline at Linf 0.125: robust accuracy 58.9 %"
        " [55.8, 61.9] against 59.0 % [55.9, 62.0] (McNemar p = 1.000).",
    ),
    "even everywhere": (
        verdict(("pgd", 0.1, 300, 301), ("pgd", 0.2, 900, 903)),
        "No difference beyond noise between winn and baseline at any epsilon tested; at Linf 0.2"
        " robust accuracy 9.7 % [8.0, 11.7] against 10.0 % [8.3, 12.0] (McNemar p = 0.250).",
    ),
    "depends": (
        verdict(("pgd", 0.1, 400, 100), ("pgd", 0.2, 600, 900)),
        "Who is more robust depends on the threat: winn at Linf 0.1, baseline at Linf 0.2.",
    ),
    "depends in part": (
        verdict(("pgd", 0.1, 400, 100), ("pgd", 0.2, 600, 900), ("pgd", 0.3, 1000, 1000)),
        "Who is more robust depends on the threat: winn at Linf 0.1, baseline at Linf 0.2; no"
        " difference beyond noise, or none that is settled, at Linf 0.3.",
    ),
    "more somewhere": (
        verdict(("pgd", 0.1, 300, 100), ("pgd", 0.2, 600, 200), ("pgd", 0.3, 1000, 1000)),
        "winn is more robust than baseline at Linf 0.1, Linf 0.2; at Linf 0.3 there is no"
        " difference beyond noise, or none that is settled. Robust accuracy at Linf 0.2: 80.0 %"
        " [77.4, 82.4] against 40.0 % [37.0, 43.1] (McNemar p < 0.001).",
    ),
    "leads": (
        verdict(("pgd", 0.1, 900, 700, 400)),
        "Of 3 models trades is the most robust at Linf 0.1: robust accuracy 60.0 % [56.9, 63.0],"
        " next winn with 30.0 % [27.2, 32.9] (McNemar p < 0.001).",
    ),
    "unsettled": (
        verdict(("pgd", 0.1, 300, 410), ("transfer:baseline", 0.1, 900, 20)),
        "Not settled between winn and baseline at Linf 0.1: robust accuracy 59.0 % [55.9, 62.0]"
        " against 70.0 % [67.1, 72.8], but images that were not attacked, attacks without the same"
        " access to all, or those of the diagnosis could reverse it.",
    ),
    "tied": (
        verdict(("pgd", 0.1, 900, 405, 400)),
        "Of 3 models none is the most robust at Linf 0.1 beyond noise: trades has a robust accuracy"
        " of 60.0 % [56.9, 63.0], winn of 59.5 % [56.4, 62.5] (McNemar p = 0.062).",
    ),
}


@pytest.mark.parametrize("key", HEADLINES)
def test_every_situation_has_its_line(key):
    found, line = HEADLINES[key]
    assert found.line == line


def test_no_headline_is_without_an_example():
    """Others: test_legacy.py, evaluation/test_threats.py."""
    assert set(WORDS["headline"]) == {*HEADLINES, "counts only", "corrupted"}


def test_the_one_that_wins_somewhere_is_named_first_whichever_it_is():
    found = verdict(("pgd", 0.1, 100, 300), ("pgd", 0.3, 1000, 1000))
    assert found.line.startswith("baseline is more robust than winn at Linf 0.1; at Linf 0.3 there")
    assert ": 90.0 % [88.0, 91.7] against 70.0 %" in found.line


# --- which attacks count ------------------------------------------------------------------------


def test_only_attacks_with_the_same_access_are_compared():
    """Said once: 'winn is more robust ... 41.1 % against 90.0 %', because of the transfer."""
    found = verdict(
        ("fgsm", 0.1, 300, 300), ("pgd", 0.1, 410, 411), ("transfer:baseline", 0.1, 900, 20)
    )
    assert found.line.startswith("No difference beyond noise between winn and baseline")
    assert "58.9 %" in found.line
    assert "10.0 %" not in found.line


def test_what_is_known_from_an_unfair_attack_is_not_contradicted():
    """The fair attacks favor the baseline, which another one breaks on 900 of 1,000 images."""
    errors = ("pgd", 0.1, 300, 410), ("transfer:baseline", 0.1, 900, 20)
    found = verdict(*errors)
    assert "is more robust" not in found.line
    assert found.line.startswith("Not settled between winn and baseline")
    assert ("baseline", "suspicious") in [caution[:2] for caution in found.cautions]
    assert found.cautions[0].why == (
        "transfer:baseline 0.1 breaks 90.0 %; all attacks with the same access to every model, 30.0"
        " %."
    )
    assert "baseline is more robust" in verdict(errors[0]).line


def test_a_transfer_from_another_model_is_an_attack_like_any_other():
    frame = attacked({("transfer:other", "linf", 0.1): {"baseline": 900, "winn": 20}}, CLEAN)
    assert Verdict(results_of(frame)).line.startswith("winn is more robust")


def test_a_single_attack_that_disagrees_is_said():
    found = verdict(("fgsm", 0.125, 400, 100), ("pgd", 0.125, 500, 800))
    assert found.line.startswith("baseline is more robust than winn")
    assert "Single attacks say otherwise: fgsm 0.125." in found.notes


def test_images_that_were_not_attacked_do_not_make_a_winner():
    case = ("pgd", 0.1, "winn")
    made = {("pgd", "linf", 0.1, name): {"baseline": range(500), "winn": range(300)}
            for name in ("baseline", "winn")}  # fmt: skip
    late = ["attacked"] * 700 + ["out of time"] * 300
    clean = {name: range(20) for name in CLEAN}
    found = Verdict(results_of(outcomes(1000, clean, made, status={case: late})))
    assert found.line.startswith("Not settled between winn and baseline")
    assert "300 not attacked" in found.line
    assert found.cautions[0].why == (
        "pgd 0.1: 300 of 1000 images were not attacked; their clean result counts."
    )
    late = ["attacked"] * 950 + ["out of time"] * 50  # 350 at most against 500
    found = Verdict(results_of(outcomes(1000, clean, made, status={case: late})))
    assert found.line.startswith("winn is more robust")
    assert "70.0 [67.1, 72.8], 50 not attacked" in headline_table(found.results).rows[0]


# --- trust --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "verb"),
    [("ok", "is"), ("not tested", "is"), ("suspicious", "looks"), ("broken", "only seems")],
)
def test_the_diagnosis_decides_the_verb(word, verb):
    diagnosis = diagnosis_of({"baseline": {"gradients": "ok"}, "winn": {"gradients": word}})
    found = verdict(("pgd", 0.125, 800, 100), diagnosis=diagnosis)
    assert found.line.startswith(f"winn {verb} more robust than baseline")
    assert found.trust("winn") == word
    row = next(row for row in headline_table(found.results).rows if row[0] == "winn")
    assert row[-1] == word


def test_the_worst_comes_first_and_a_loser_does_not_make_the_winner_doubtful():
    diagnosis = diagnosis_of(
        {"baseline": {"noise": "suspicious", "a": "broken", "b": "broken", "c": "broken"}}
    )
    found = verdict(("pgd", 0.125, 800, 100), diagnosis=diagnosis)
    assert [tuple(caution) for caution in found.cautions] == [
        ("baseline", "broken", "a: a measured on baseline."),
        ("baseline", "broken", "b: b measured on baseline."),
    ]  # no more are quoted: the table has them all
    assert found.line.startswith("winn is more robust")


def test_an_attack_without_gradients_that_beats_all_with_them_is_a_sign():
    found = verdict(
        ("pgd", 0.125, 800, 100), ("square", 0.125, 700, 300), diagnosis=diagnosis_of(OK)
    )
    assert [tuple(caution) for caution in found.cautions] == [
        (
            "winn",
            "suspicious",
            "square 0.125, without the model's gradients, breaks 30.0 %; the strongest attack with"
            " them breaks 10.0 %.",
        )
    ]
    assert found.line.startswith("winn looks more robust than baseline")


@pytest.mark.parametrize(
    "rival",
    [
        ("square", 0.125, 790, 120),  # within noise
        ("square", 0.25, 790, 300),  # with another budget
        ("apgd-ce", 0.125, 790, 300),  # sees gradients too
        ("noise-uniform", 0.125, 790, 300),  # a control
    ],
)
def test_what_is_not_a_rival_without_gradients(rival):
    assert verdict(("pgd", 0.125, 800, 100), rival, diagnosis=diagnosis_of(OK)).cautions == []


def test_a_random_model_attacked_without_eot_is_not_called_robust():
    found = random_model()
    assert found.trust("noisy") == "random, no --eot"
    assert found.cautions[0].why.endswith("attack again with --eot 20.")
    with_eot = random_model(settings={"eot": 20})
    assert with_eot.trust("noisy") == "not tested"
    assert with_eot.line.startswith("baseline is more robust than noisy")


def probed(wrong: int, epsilon: float = 0.1) -> pd.DataFrame:
    """A diagnosis whose attacks break `wrong` of 100 images of winn, and none of the baseline."""
    table = diagnosis_of(OK)
    return table.assign(wrong=np.where(table.model == "winn", wrong, 0), of=100, epsilon=epsilon)


def test_a_claim_that_the_diagnosis_refutes_is_not_made():
    # FGSM breaks 2 % of winn, PGD of the diagnosis 71 %.
    claimed = verdict(("fgsm", 0.1, 300, 20), diagnosis=probed(2))
    assert claimed.line.startswith("winn is more robust than baseline")
    refuted = verdict(("fgsm", 0.1, 300, 20), diagnosis=probed(71))
    assert "more robust" not in refuted.line
    assert refuted.line.startswith("Not settled")
    (caution,) = [each for each in refuted.cautions if each.model == "winn"]
    assert caution.severity == refuted.trust("winn") == "suspicious"
    assert "29.0 %" in caution.why
    # A larger ball holds what was found in a smaller one, and not the other way round.
    assert "more robust" not in verdict(("fgsm", 0.2, 300, 20), diagnosis=probed(71)).line
    assert "more robust" in verdict(("fgsm", 0.05, 300, 20), diagnosis=probed(71)).line


def test_a_robust_accuracy_of_the_loser_that_the_diagnosis_refutes_is_not_repeated():
    # FGSM leaves baseline 90 % and winn 70 %, the attacks of the diagnosis leave winn 29 %.
    found = verdict(("fgsm", 0.1, 100, 300), diagnosis=probed(71))
    assert found.line.startswith("baseline is more robust than winn at Linf 0.1: ")
    assert "against no more than 29.0 % [21.0, 38.5], by the diagnosis" in found.line
    assert "70.0 %" not in found.line
    of_seeds = seeds(baseline=[100, 110, 120], winn=[300, 310, 320])
    table = probed(71)
    table = pd.concat([table[table.model == "winn"].assign(model="winn-0")])
    line = Verdict(replace(of_seeds.results, diagnosis=table)).line
    assert "no more than 29.0 % [21.0, 38.5] for 1 of 3 seeds, by the diagnosis" in line


def test_of_the_same_images_six_more_are_beyond_noise():
    def line(broken: int, n: int = 100) -> Verdict:
        models = [describe_model("winn")]
        frame = attacked({("fgsm", "linf", 0.1): {"winn": 30}}, {"winn": 2}, n)
        return Verdict(results_of(frame, models, diagnosis=probed(broken)))

    more = line(36)  # the intervals overlap
    assert "no more than 64.0 %" in more.line
    assert "on 100 images" in more.line
    assert more.trust("winn") == "suspicious"
    assert more.next_steps == [("winn", 'type: --adapt, or --attacks "aa-fast"')]
    assert line(35).line.startswith("winn has a robust accuracy of 70.0 %")
    # Of other images they are noise.
    assert line(36, n=110).line.startswith("winn has a robust accuracy of 72.7 %")


def test_where_little_was_tested_more_images_are_asked_for():
    table = probed(0).assign(verdict="not tested")
    found = verdict(("fgsm", 0.1, 100, 300), diagnosis=table).next_steps
    assert found == [("baseline", MORE_IMAGES), ("winn", MORE_IMAGES)]


def test_what_was_too_weak_says_what_to_type_on_every_page():
    def steps(*attacks: str) -> list[tuple[str, str]]:
        cases = [(attack, 0.1, 100, 300) for attack in attacks]
        return verdict(*cases, diagnosis=probed(71)).next_steps

    assert steps("fgsm") == [("winn", 'type: --adapt, or --attacks "aa-fast"')]
    assert steps("fgsm", "aa-fast") == [("winn", 'type: --adapt, or --attacks "autoattack"')]
    assert steps("aa-fast", "autoattack") == []
    assert verdict(("fgsm", 0.1, 100, 300), diagnosis=probed(2)).next_steps == []
    assert verdict(("fgsm", 0.1, 100, 300)).next_steps == []
    _, table = caution_tables(verdict(("fgsm", 0.1, 100, 300), diagnosis=probed(71)).results)
    assert table.title == "What to do next"
    assert table.rows == [["winn", 'type: --adapt, or --attacks "aa-fast"']]


def test_the_headline_of_one_model_is_the_strongest_error_known():
    models = [describe_model("winn")]
    frame = attacked({("fgsm", "linf", 0.1): {"winn": 20}}, {"winn": 20})
    line = Verdict(results_of(frame, models, diagnosis=probed(71))).line
    assert line.startswith("winn has a robust accuracy of no more than 29.0 %")
    assert "98.0 %" in line
    agreed = Verdict(results_of(frame, models, diagnosis=probed(3))).line
    assert agreed.startswith("winn has a robust accuracy of 98.0 %")


def test_the_headline_of_one_model_is_of_the_threat_that_leaves_least():
    errors = {("pgd", "linf", 0.1): 400, ("pgd", "linf", 0.2): 900, ("pgd", "l2", 1.0): 500}
    frame = attacked({case: {"winn": count} for case, count in errors.items()}, {"winn": 20})
    assert "10.0 %" in (line := Verdict(results_of(frame)).line)
    assert "at Linf 0.2" in line
    # What the diagnosis knows counts, too.
    errors = {("fgsm", "linf", 0.1): 100, ("pgd", "l2", 1.0): 500}
    frame = attacked({case: {"winn": count} for case, count in errors.items()}, {"winn": 20})
    line = Verdict(results_of(frame, diagnosis=probed(71))).line
    assert line.startswith("winn has a robust accuracy of no more than 29.0 %")
    assert "at L2 1" in Verdict(results_of(frame, diagnosis=probed(3))).line


def test_only_attacks_that_fit_the_threats_are_next():
    found = diagnosis_of({"winn": {"gradient vs loss": "broken"}})
    for case, suit in ((("pgd", "l2", 1.0), "square"), (("sigma-zero", "l0", 9.0), None)):
        frame = attacked({case: {"winn": 300}}, {"winn": 20})
        steps = Verdict(results_of(frame, diagnosis=found)).next_steps
        told = [("winn", f'type: --adapt, or --attacks "{suit}"')] if suit else []
        assert steps == told


# --- notes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attacks", "note"),
    [
        (["fgsm"], "Only single-step attacks were tried (fgsm)"),
        (["fgsm", "rfgsm"], "Only single-step attacks were tried (fgsm, rfgsm)"),
        (["transfer:other"], "No attack with the models' gradients was tried"),
        (["fgsm", "square"], "The only attacks with the models' gradients are single-step (fgsm)"),
        (["noise-uniform"], None),
        (["fgsm", "pgd"], None),
        (["of-another-version"], None),
    ],
)
def test_weak_attacks_are_called_weak(attacks, note):
    found = verdict(*((attack, 0.125, 800, 100) for attack in attacks)).notes
    about = [line for line in found if "attack" in line and "diagnose" not in line]
    assert [line.startswith(note or "-") for line in about] == [True] * bool(note)


def test_the_fgsm_screen_before_pgd_is_said_in_the_table_and_in_a_note():
    found = verdict(("fgsm", 0.1, 8, 1), ("pgd", 0.1, 9, 2), settings={"fgsm_screen": True})
    texts = [found.results.case_text(case) for case in found.results.cases]
    assert texts == ["fgsm 0.1", "pgd after FGSM 0.1"]
    assert any("--fgsm-screen" in note for note in found.notes)


def test_what_limits_the_evaluation_is_said():
    found = verdict(("pgd", 0.1, 8, 1), limit=1000)
    assert "Only the first 1000 test images were attacked." in found.notes
    drawn = verdict(("pgd", 0.1, 8, 1), limit=5000, population=5000).notes
    assert "Images were drawn from the first 5000 test images only." in drawn
    assert not any("Only the first" in note for note in drawn)
    assert "Each method was trained once; another seed may come out differently." in found.notes
    external = [describe_model(name, seed=None, method=None) for name in CLEAN]
    assert not any("seed" in note for note in verdict(("pgd", 0.1, 8, 1), models=external).notes)
    assert any("diagnosis was skipped" in note for note in found.notes)
    diagnosed = verdict(("pgd", 0.1, 8, 1), diagnosis=diagnosis_of(OK))
    assert not any("diagnosis was skipped" in note for note in diagnosed.notes)


# --- several seeds ------------------------------------------------------------------------------


def seeds(**errors):
    """method -> the PGD errors of its three seeds."""
    own = {f"{method}-{seed}": count for method, counts in errors.items()
           for seed, count in enumerate(counts)}  # fmt: skip
    models = [
        describe_model(name, group=name.split("-")[0], method=name.split("-")[0]) for name in own
    ]
    frame = attacked({("pgd", "linf", 0.125): own}, dict.fromkeys(own, 20))
    return Verdict(results_of(frame, models))


def test_several_seeds_are_compared_as_methods():
    found = seeds(baseline=(800, 820, 810), winn=(400, 420, 416))
    assert found.line == (
        "winn is more robust than baseline at Linf 0.125: robust accuracy 58.8 % (3 seeds, 58.0 to"
        " 60.0) against 19.0 % (3 seeds, 18.0 to 20.0) (Welch p < 0.001)."
    )
    assert not any("seed" in note for note in found.notes)


def test_seeds_that_spread_widely_make_a_difference_noise():
    """Every pair of networks differs beyond noise on these images; the methods do not."""
    found = seeds(baseline=(800, 300, 600), winn=(700, 200, 500))
    assert found.line.startswith("No difference beyond noise between winn and baseline")
    assert "Welch p = 0." in found.line


# --- what holds for every evaluation ------------------------------------------------------------

counts = st.integers(20, 1000)


@given(
    st.lists(st.tuples(counts, counts), min_size=1, max_size=3),
    st.lists(st.integers(0, 400), min_size=2, max_size=2),
)
@settings(max_examples=30, deadline=None)
def test_a_claim_holds_for_the_robust_accuracies(errors, left):
    """Whatever the attacks found, and however many images they left."""
    made = {
        (f"attack-{index}", "linf", 0.1, name): {"baseline": range(a), "winn": range(b)}
        for index, (a, b) in enumerate(errors)
        for name in CLEAN
    }
    late = {
        ("attack-0", 0.1, name): ["attacked"] * (1000 - count) + [STATUSES[2]] * count
        for name, count in zip(CLEAN, left, strict=True)
    }
    frame = outcomes(1000, {name: range(20) for name in CLEAN}, made, status=late)
    results = results_of(frame)
    robust = results.summary.robust.set_index("model")
    (row,) = results.summary.paired[results.summary.paired.attack == "worst case"].itertuples()
    line = Verdict(results).line
    for winner, loser in (("baseline", "winn"), ("winn", "baseline")):
        if f"{winner} is more robust than {loser}" in line:
            assert row.p_value < 0.05
            kept = robust.robust_accuracy[winner] - robust.not_attacked[winner] / 1000
            assert kept > robust.robust_accuracy[loser]


def test_the_lines_of_stored_results_are_those_in_memory(written_results):
    assert Verdict(load_results(written_results)).line.startswith(
        "winn is more robust than baseline at Linf 0.125: robust accuracy 92.01 %"
    )
