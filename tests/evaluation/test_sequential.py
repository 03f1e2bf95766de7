"""Evaluations that attack images in a random order until it is decided."""

import importlib

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import winnrobust
from tests.evaluation.test_resume import stop_after
from tests.evaluation.test_run import assert_equal
from tests.evaluation.tiny import Threshold, evaluation
from winnrobust.evaluation import read_outcomes
from winnrobust.evaluation.outcomes import finished, parts
from winnrobust.evaluation.sequential import looks
from winnrobust.runtime.errors import InputError

N = 1000
IMAGES = torch.rand(N, 1, 1, 2, generator=torch.Generator().manual_seed(0))
LABELS = (IMAGES[:, 0, 0, 0] > 0.5).long()
MODELS = {"good": Threshold(0, 0.5), "bad": Threshold(0, 0.2), "good again": Threshold(0, 0.5)}
TWO = {name: MODELS[name] for name in ("good", "bad")}
TWINS = {name: MODELS[name] for name in ("good", "good again")}
DECIDED = {"linf": [0.1], "until_decided": True}


def taken(folder) -> int:
    return sum(map(len, finished(folder)))


def test_looks_do_not_stop_before_the_end():
    for n in (1, 64, 65, 10_000):
        found = list(looks(n))
        assert found[-1] == n
        assert sorted(set(found)) == found
    assert len(list(looks(50_000))) < 60


def test_it_stops_when_it_is_decided_and_says_the_truth(tmp_path):
    found = evaluation(TWO, IMAGES, LABELS, **DECIDED, folder=tmp_path).summary
    assert found.population == N
    assert found.n == taken(tmp_path) < 200
    (gap,) = found.gaps.itertuples()
    assert (gap.first, gap.second, gap.n) == ("good", "bad", found.n)
    assert gap.p_value < 0.05
    everything = evaluation(TWO, IMAGES, LABELS, linf=[0.1]).summary.robust.robust_error
    assert gap.low <= everything[0] - everything[1] <= gap.high
    assert gap.difference < 0 > everything[0] - everything[1]
    for row, truth in zip(found.robust.itertuples(), everything, strict=True):
        assert row.low <= 1 - truth <= row.high


def test_twins_are_equal_long_before_the_end(tmp_path):
    settings = {**DECIDED, "precision": 0.03, "folder": tmp_path}
    found = evaluation(TWINS, IMAGES, LABELS, **settings).summary
    (gap,) = found.gaps.itertuples()
    assert found.n == taken(tmp_path) < N
    assert (gap.difference, gap.p_value) == (0, 1)
    assert -0.03 <= gap.low <= 0 <= gap.high <= 0.03


def test_errors_are_known_to_the_precision_asked_for_and_no_better():
    found = evaluation({"bad": TWO["bad"]}, IMAGES, LABELS, linf=[0.1], precision=0.05).summary
    assert 64 < found.n < N

    def widest(summary) -> float:
        return max(
            (summary.clean.error_high - summary.clean.error).max(),
            (summary.errors.error - summary.errors.error_low).max(),
            (summary.errors.error_high - summary.errors.error).max(),
            (summary.robust.robust_accuracy - summary.robust.low).max(),
        )

    assert widest(found) <= 0.05


def test_images_keep_their_numbers_and_their_outcomes(tmp_path):
    """In any order: with random starts, random targets, and batches of any size."""
    settings = {"attacks": ["pgd"], "linf": [0.1, 0.2], "steps": 2, "targeted": "random"}
    whole, some = tmp_path / "whole", tmp_path / "some"
    evaluation(MODELS, IMAGES, LABELS, **settings, folder=whole)
    evaluation(MODELS, IMAGES, LABELS, **settings, precision=0.2, batch_size=17, folder=some)
    keys = ["image", "attack", "epsilon", "source", "evaluated"]
    drawn, every = (read_outcomes(folder).sort_values(keys) for folder in (some, whole))
    assert drawn.image.nunique() < N / 2
    every = every[every.image.isin(drawn.image)]
    assert len(every)
    pd.testing.assert_frame_equal(
        drawn.reset_index(drop=True), every.reset_index(drop=True), check_categorical=False
    )


def test_each_seed_has_an_order_of_its_own_that_is_no_order(tmp_path):
    drawn = {}
    for seed in (0, 1):
        settings = {**DECIDED, "seed": seed, "folder": tmp_path / str(seed)}
        evaluation(TWO, IMAGES, LABELS, **settings)
        drawn[seed] = set(read_outcomes(tmp_path / str(seed)).image)
    assert drawn[0] != drawn[1]
    for images in drawn.values():
        assert abs(np.mean([*images]) - N / 2) < 150
        assert max(images) > 0.9 * N


@pytest.mark.parametrize("calls", [1, 3, 5, 8])
def test_an_interrupted_one_ends_as_an_undisturbed_one(tmp_path, calls):
    settings = {**DECIDED, "precision": 0.04, "attacks": ["fgsm", "pgd"], "steps": 2}
    expected = evaluation(TWINS, IMAGES[:300], LABELS[:300], **settings)
    assert expected.summary.n > 64
    with pytest.raises(KeyboardInterrupt):
        evaluation(
            TWINS, IMAGES[:300], LABELS[:300], **settings,
            batch_size=50, folder=tmp_path, progress=stop_after(calls),
        )  # fmt: skip
    again = evaluation(
        TWINS, IMAGES[:300], LABELS[:300], **settings, batch_size=31, folder=tmp_path
    )
    assert_equal(again, expected)
    pd.testing.assert_frame_equal(again.summary.gaps, expected.summary.gaps)
    assert again.summary.n == expected.summary.n


def test_one_that_was_stopped_after_its_last_look_takes_no_more_images(tmp_path):
    calls = []
    for _ in range(2):
        calls.clear()
        evaluation(
            TWO, IMAGES, LABELS, **DECIDED, folder=tmp_path,
            progress=lambda *call: calls.append(call),
        )  # fmt: skip
    assert calls == []


def test_a_part_with_other_images_than_its_place_has_is_refused(tmp_path):
    evaluation(TWO, IMAGES, LABELS, **DECIDED, folder=tmp_path, batch_size=32)
    first, second, *_ = parts(tmp_path)
    first.path.write_bytes(second.path.read_bytes())
    with pytest.raises(InputError, match="is about other images than its name says"):
        read_outcomes(tmp_path)


def test_it_is_not_gone_on_with_by_another_rule(tmp_path):
    evaluation(TWO, IMAGES, LABELS, **DECIDED, folder=tmp_path)
    for other in ({}, {"precision": 0.02}, {"until_decided": True, "seed": 1}):
        with pytest.raises(InputError, match="is of other models, images or settings"):
            evaluation(TWO, IMAGES, LABELS, linf=[0.1], **other, folder=tmp_path)


def test_every_threat_must_be_decided_and_their_number_is_paid_for():
    one = evaluation(TWO, IMAGES, LABELS, **DECIDED).summary
    many = evaluation(MODELS, IMAGES, LABELS, linf=[0, 0.1, 0.2], until_decided=True).summary
    assert len(many.gaps) == 6  # three pairs, two epsilons above 0
    assert many.n > one.n
    paired = many.paired[many.paired.attack == "worst case"].set_index(
        ["epsilon", "first", "second"]
    )
    for row in many.gaps.itertuples():
        single = paired.p_value[row.epsilon, row.first, row.second]
        assert row.p_value == pytest.approx(min(1, 6 * single))


def test_all_intervals_of_a_sample_are_always_valid(tmp_path):
    from winnrobust.evaluation.always_valid import mcnemar, rate, ratio

    found = evaluation(TWO, IMAGES, LABELS, **DECIDED, folder=tmp_path).summary
    n = found.n
    for row in found.clean.itertuples():
        assert (row.error, row.error_low, row.error_high) == rate(row.errors, n, N)
    for row in found.errors.itertuples():
        assert (row.error, row.error_low, row.error_high) == rate(row.errors, n, N)
    for row in found.robust.itertuples():
        assert (row.robust_accuracy, row.low, row.high) == rate(
            round(n * row.robust_accuracy), n, N
        )
    for row in found.paired.itertuples():
        assert row.p_value == mcnemar(row.first_only, row.second_only)
    crossed = found.transfer[found.transfer.source != found.transfer.target]
    for row in crossed.itertuples():
        ends = ratio(row.source_errors - row.both_errors, row.both_errors, n, N)
        assert (row.correction_rate_low, row.correction_rate_high) == ends[1:]
        assert row.correction_rate == pytest.approx(ends[0])


def test_a_model_that_answers_at_random_is_told_apart_too():
    class Noisy(Threshold):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) + 0.02 * torch.randn(len(images), 2)

    models = {"noisy": Noisy(0, 0.5), "bad": Threshold(0, 0.2)}
    found = evaluation(models, IMAGES, LABELS, **DECIDED, judge_draws=4).summary
    assert found.random_models == {"noisy": True, "bad": False}
    assert found.n < 300
    assert found.gaps.p_value[0] < 0.05


# --- from Python ------------------------------------------------------------------------------


def test_evaluate_and_its_page_say_how_many_it_took(tmp_path):
    found = winnrobust.compare(
        {"good": TWO["good"]}, {"bad": TWO["bad"]}, IMAGES, LABELS, epsilons=[0.1],
        until_decided=True, folder=tmp_path / "results",
    )  # fmt: skip
    n = found.results.n
    assert n < 200
    assert found.verdict.startswith("good is more robust than bad")
    assert "always-valid McNemar" in found.verdict
    found.report(tmp_path / "page")
    page = (tmp_path / "page" / "report.md").read_text()
    assert f"{n} of 1000 images were attacked, drawn at random" in page
    assert "on all images they would have taken about" in page
    assert "always-valid" in page
    assert "a probability of at most 5 %" in page
    stored = winnrobust.read_evaluation(tmp_path / "results")
    assert stored.results.population == N
    assert stored.results.n == n
    broken = stored.broken("fgsm", 0.1)["bad"]
    outcomes = stored.outcomes.query("attack == 'fgsm' and source == 'bad' and evaluated == 'bad'")
    wrong = outcomes.set_index("image").correct.loc[stored.images].to_numpy()
    np.testing.assert_array_equal(broken, ~wrong)


def test_what_was_not_enough_is_said():
    found = winnrobust.evaluate(TWO, IMAGES[:70], LABELS[:70], epsilons=[0.1], precision=1e-6)
    assert found.results.n == 70
    assert (found.results.summary.clean.error_high > found.results.summary.clean.error).all()
    close = {"a": Threshold(0, 0.5), "b": Threshold(0, 0.51)}
    found = winnrobust.evaluate(close, IMAGES[:70], LABELS[:70], epsilons=[0.1], until_decided=True)
    assert found.results.n == 70
    assert "without that being enough to settle every comparison" in " ".join(
        importlib.import_module("winnrobust.reporting.verdict").Verdict(found.results).notes
    )


BAD = {
    "one model": ({"good": MODELS["good"]}, {"until_decided": True}, "give a second one"),
    "no share": (TWO, {"precision": 1.0}, "precision"),
    "none": (TWO, {"precision": 0}, "precision"),
}


@pytest.mark.parametrize(("models", "settings", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_decided_is_one_line(models, settings, message):
    with pytest.raises(InputError, match=message) as caught:
        winnrobust.evaluate(models, IMAGES, LABELS, **settings)
    assert "\n" not in str(caught.value)


def test_what_can_only_be_read_once_cannot_be_drawn_at_random():
    data = TensorDataset(IMAGES, LABELS)
    found = winnrobust.evaluate(TWO, data, epsilons=[0.1], until_decided=True)
    assert found.results.n < 200
    expected = winnrobust.evaluate(TWO, IMAGES, LABELS, epsilons=[0.1], until_decided=True)
    assert found.transfer.equals(expected.transfer)
    for once in (DataLoader(data, batch_size=8), zip(IMAGES, LABELS, strict=True)):
        with pytest.raises(InputError, match="come one by one cannot be drawn at random"):
            winnrobust.evaluate(TWO, once, precision=0.1)


def test_several_processes_are_refused(monkeypatch):
    module = importlib.import_module("winnrobust.evaluation.sequential")
    monkeypatch.setattr(module.distributed, "world_size", lambda: 2)
    with pytest.raises(InputError, match="are for one process"):
        evaluation(TWO, IMAGES, LABELS, **DECIDED)
