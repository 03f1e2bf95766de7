import errno
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from winnrobust.evaluation.metrics import NO_ATTACK, aim_table

from tests.reporting.conftest import (
    describe_model,
    diagnosis_of,
    make_attacked,
    make_evaluation,
    make_results,
)
from winnrobust.reporting import load_results
from winnrobust.reporting.stored import paired_of
from winnrobust.runtime.errors import InputError

REPORTS = Path(__file__).parents[2] / "reports"


def test_what_is_written_comes_back(results):
    evaluation, loaded = make_evaluation(), load_results(results)
    pd.testing.assert_frame_equal(loaded.table, evaluation.table)
    pd.testing.assert_frame_equal(loaded.gradients, evaluation.gradients)
    for name, array in vars(evaluation.examples).items():
        np.testing.assert_array_equal(getattr(loaded.examples, name), array)
    assert [model["clean_errors"] for model in loaded.models] == [89, 67]
    assert (loaded.dataset, loaded.split, loaded.limit, loaded.n) == ("mnist", "test", None, 10_000)


def rich_evaluation():
    cases = {
        ("pgd", "Linf", 0.1): {"a": 500, "b": 200},
        ("fgsm", "Linf", 0.1): {"a": 300, "b": 250},
        ("ddn", "L2", 1.5): {"a": 900, "b": 100},
    }
    evaluation = make_attacked(cases, {"a": 20, "b": 10}, worst={("Linf", 0.1, "a"): 600})
    return replace(
        evaluation,
        aimed=aim_table(1000, {("pgd", "Linf", 0.1, "a"): 250}),
        distances={("ddn", "a"): np.r_[np.inf, np.linspace(0, 2, 999)].astype(np.float32)},
    )


@pytest.fixture(scope="module")
def written_rich(tmp_path_factory):
    return make_results(
        tmp_path_factory.mktemp("written") / "rich",
        rich_evaluation(),
        models=[describe_model("a", group="x"), describe_model("b", group="y")],
        diagnosis=diagnosis_of({"a": {"gradients": "ok", "noise": "not tested"}}),
        settings={"epsilons": [0.1], "budget": {"steps": None, "eot": 1}, "aim": "random"},
    )


@pytest.fixture
def rich(written_rich, tmp_path):
    """Results with all that version 2 holds."""
    return shutil.copytree(written_rich, tmp_path / "rich")


def test_all_of_version_2_comes_back(rich):
    evaluation, loaded = rich_evaluation(), load_results(rich)
    for name in ("table", "worst", "paired", "aimed", "costs", "gradients"):
        pd.testing.assert_frame_equal(
            getattr(loaded, name), getattr(evaluation, name), check_dtype=False
        )
    assert list(loaded.distances) == [("ddn", "a")]
    np.testing.assert_array_equal(loaded.distances["ddn", "a"], evaluation.distances["ddn", "a"])
    assert loaded.diagnosis.verdict.tolist() == ["ok", "not tested"]
    assert loaded.settings["aim"] == "random"
    assert loaded.groups == {"x": ["a"], "y": ["b"]}


def test_a_model_without_a_group_is_its_own(tmp_path):
    models = [describe_model(name) for name in ("baseline", "winn")]
    for model in models:
        del model["group"]
    assert load_results(make_results(tmp_path / "r", models=models)).groups == {
        "baseline": ["baseline"], "winn": ["winn"]
    }  # fmt: skip


@pytest.mark.parametrize("name", ["mnist-vanilla", "quickstart/seed-0"])
def test_results_of_version_1_still_load(name):
    folder = REPORTS / name / "results"
    assert json.loads((folder / "results.json").read_text())["schema"] == 1
    loaded = load_results(folder)
    stored = pd.read_csv(folder / "results.csv")
    pd.testing.assert_frame_equal(
        loaded.table.drop(columns="norm"), stored, check_dtype=False, check_exact=False
    )
    assert set(loaded.table.norm) == {"Linf"}
    assert loaded.groups == {"baseline": ["baseline"], "winn": ["winn"]}
    assert len(loaded.paired) == len(loaded.costs) == 0
    assert loaded.diagnosis is None
    # one attack alone is its own worst case
    own = loaded.table[loaded.table.source == loaded.table.target]
    assert loaded.worst.errors.tolist() == own.source_errors.tolist()


def test_version_1_with_two_attacks_has_no_worst_case(tmp_path):
    shutil.copytree(REPORTS / "quickstart/seed-0/results", tmp_path / "r")
    edit(
        tmp_path / "r",
        lambda stored: stored["rows"].extend([row | {"attack": "pgd"} for row in stored["rows"]]),
    )
    arrays = dict(np.load(tmp_path / "r" / "examples.npz"))
    for key in ("case_attacks", "case_epsilons", "case_sources", "adversarials", "predictions"):
        more = np.full(2, "pgd") if key == "case_attacks" else arrays[key]
        arrays[key] = np.concatenate([arrays[key], more])
    np.savez(tmp_path / "r" / "examples.npz", **arrays)
    assert len(load_results(tmp_path / "r").worst) == 0


def refused(folder) -> str:
    with pytest.raises(InputError) as error:
        load_results(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(folder, change) -> None:
    stored = json.loads((folder / "results.json").read_text())
    change(stored)
    (folder / "results.json").write_text(json.dumps(stored))


@pytest.mark.parametrize("name", ["results.json", "manifest.json", "examples.npz", "distances.npz"])
def test_a_missing_or_truncated_file_is_named(results, name):
    path = results / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert name in refused(results)
    path.unlink()
    assert name in refused(results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stored: stored.update(schema=99), "not results of version 1 to 2"),
        (lambda stored: stored.update(schema=True), "not results of version 1 to 2"),
        (lambda stored: stored.pop("rows"), "'rows' is a required property"),
        (lambda stored: stored["rows"][0].pop("n"), "rows[0]: 'n' is a required property"),
        (lambda stored: stored["models"].pop(), "one row per attack, epsilon, source and target"),
        (lambda stored: stored["rows"][0].update(both_errors=3240), "contradict others"),
        (lambda stored: stored["rows"][0].pop("norm"), "rows[0]: 'norm' is a required property"),
        (lambda stored: stored["rows"][0].update(norm="L1"), "rows[0].norm: 'L1' is not one of"),
        (lambda stored: stored["models"][0].pop("group"), "'group' is a required property"),
        (lambda stored: stored.pop("worst"), "'worst' is a required property"),
        (lambda stored: stored["rows"].pop(), "one row per attack, epsilon, source and target"),
        (lambda stored: stored["rows"].append(stored["rows"][0]), "one row per attack"),
        (lambda stored: stored["models"][0].pop("clean_errors"), "models[0]: 'clean_errors' is"),
        (lambda stored: stored.update(models=None), "models: None is not of type 'array'"),
        (lambda stored: stored["models"][0].update(method=7), "models[0].method: 7 is not of type"),
        (lambda stored: stored["rows"][0].update(source_errors="many"), "rows[0].source_errors"),
        (lambda stored: stored["rows"][0].update(epsilon="0.1"), "rows[0].epsilon"),
        (lambda stored: stored["rows"][1].update(both_errors=3242), "contradict others"),
        (lambda stored: stored["rows"][1].update(source_errors=3240), "contradict others"),
        (lambda stored: stored["rows"][0].update(n=9), "contradict others"),
        (lambda stored: stored.update(n=0), "at n: 0 is less than the minimum"),
        (lambda stored: stored.update(limit="foo"), "limit: 'foo' is not of type"),
        (lambda stored: stored["models"][0].update(clean_errors=10_001), "than there are"),
    ],
)
def test_damaged_fields_are_named(results, change, message):
    edit(results, change)
    assert message in refused(results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["worst"][0].update(errors=499), "worst case, Linf, 0.1, a contradict others"),
        (lambda s: s["worst"][0].update(errors=801), "worst case, Linf, 0.1, a contradict others"),
        (lambda s: s["worst"][0].update(epsilon=0.2), "worst case, Linf, 0.2, a contradict"),
        (lambda s: s["worst"].append(s["worst"][0]), "contradict others"),
        (lambda s: s["worst"].pop(), "a worst case of every model or of none"),
        (lambda s: s["paired"][0].update(first_only=11), "a, b, 11, 0 contradict others"),
        (lambda s: s["paired"][1].update(first_only=301, second_only=1, n=9), "contradict others"),
        (lambda s: s["paired"][1].update(first_only=801, second_only=501), "contradict others"),
        (lambda s: s["paired"][1].update(attack="other"), "contradict others"),
        (lambda s: s["paired"].append(s["paired"][0]), "one paired row per attack"),
        (lambda s: s["paired"].pop(), "one paired row per attack, epsilon and pair of models"),
        (lambda s: s["aimed"][0].update(hits=501), "pgd, Linf, 0.1, a contradict others"),
        (lambda s: s["aimed"][0].update(attack="cw"), "cw, Linf, 0.1, a contradict others"),
        (lambda s: s["costs"][0].update(source="c"), "'c', which is no model or attack of it"),
        (lambda s: s["gradients"][0].update(attack="x"), "'x', which is no model or attack of it"),
        (lambda s: s["diagnosis"][0].update(model="c"), "'c', which is no model or attack of it"),
        (lambda s: s["diagnosis"][0].update(verdict="fine"), "diagnosis[0].verdict: 'fine' is not"),
        (lambda s: s["costs"][0].update(seconds=-1), "costs[0].seconds: -1 is less than"),
        (lambda s: s["settings"].update(budget={"steps": 0}), "settings.budget.steps: 0 is less"),
        (lambda s: [row.update(norm="L2") for row in s["rows"][:4]], "contradict others"),
        (
            lambda s: s["rows"][0].update(norm="L2"),
            "one row per attack, epsilon, source and target",
        ),
    ],
)
def test_what_version_2_adds_is_checked_too(rich, change, message):
    edit(rich, change)
    assert message in refused(rich)


@pytest.mark.parametrize(
    "change",
    [
        {"distances": np.zeros((1, 999), np.float32)},
        {"distances": np.full((1, 1000), np.nan, np.float32)},
        {"distances": np.full((1, 1000), -1, np.float32)},
        {"distances": np.zeros((1, 1000))},
        {"distances": np.array(["a"])},
        {"attacks": np.array(["pgd", "ddn"])},
        {"attacks": np.array(["other"])},
        {"sources": np.array([{"a": 1}], dtype=object)},
        {"more": np.zeros(1)},
    ],
)
def test_damaged_distances_are_refused(rich, change):
    arrays = dict(np.load(rich / "distances.npz")) | change
    np.savez(rich / "distances.npz", **arrays)
    assert "distances.npz" in refused(rich)


def test_examples_of_another_evaluation_are_refused(results):
    arrays = dict(np.load(results / "examples.npz"))
    np.savez(results / "examples.npz", **arrays | {"case_attacks": np.array(["pgd", "pgd"])})
    assert "examples.npz is damaged (its attacks" in refused(results)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 60))
@settings(deadline=None)
def test_paired_counts_pass_exactly_if_four_groups_of_images_give_them(first, second, only, n):
    """Both wrong, only the first, only the second, none: none of the four can be negative."""
    second_only = only - (first - second)
    possible = (
        max(first, second) <= n
        and second_only >= 0
        and first - only >= 0
        and n - first - second_only >= 0
    )
    stored = {
        "n": n,
        "models": [
            {"name": "a", "clean_errors": first}, {"name": "b", "clean_errors": second}
        ],
        "rows": [],
        "worst": [],
        "paired": [
            {
                "attack": NO_ATTACK, "norm": "", "epsilon": 0, "first": "a", "second": "b", "n": n,
                "first_only": only, "second_only": max(second_only, 0),
            }
        ],
    }  # fmt: skip
    if possible:
        assert len(paired_of(stored, Path("r"))) == 1
    elif max(first, second) <= n:
        with pytest.raises(InputError, match="contradict others"):
            paired_of(stored, Path("r"))


def test_rates_are_derived_from_the_counts_whatever_was_stored(results):
    before = load_results(results)
    edit(results, lambda stored: stored["rows"][0].update(adversarial_error=0.0, correction_rate=1))
    edit(results, lambda stored: stored["models"][0].update(clean_error=0.5))
    after = load_results(results)
    pd.testing.assert_frame_equal(after.table, before.table)
    assert after.models[0]["clean_error"] == before.models[0]["clean_error"] == 0.0089


@pytest.mark.parametrize(
    "value", [[], {"models": None}, {"machine": 3}, {"models": {"winn": {"metrics": [1]}}}]
)
def test_a_damaged_manifest_is_named(results, value):
    (results / "manifest.json").write_text(json.dumps(value))
    assert "manifest.json is damaged" in refused(results)


@pytest.mark.parametrize("name", ["labels", "predictions", "adversarials", "images"])
def test_examples_that_do_not_fit_together_are_refused(results, name):
    arrays = dict(np.load(results / "examples.npz"))
    arrays[name] = arrays[name][..., :1]
    np.savez(results / "examples.npz", **arrays)
    assert "examples.npz" in refused(results)


def test_a_pickled_array_is_refused(results):
    arrays = dict(np.load(results / "examples.npz"))
    arrays["images"] = np.array([{"code": "run me"}], dtype=object)
    np.savez(results / "examples.npz", **arrays)
    assert "examples.npz" in refused(results)


@pytest.mark.parametrize("writes", range(9))
def test_a_full_disk_leaves_no_half_written_results(tmp_path, monkeypatch, writes):
    """results.json, which makes a folder results, is written last and all or nothing."""

    sync, left = os.fsync, [writes]

    def full_after_some(handle):
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full_after_some)
    with pytest.raises(OSError, match="No space left"):
        make_results(tmp_path / "results")
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert len(names) == writes
    assert not any(name.startswith(".") for name in names)
    assert "results.json" not in names
