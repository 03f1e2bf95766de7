"""Results of earlier versions: every folder that was published still loads, and says the same."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnrobust.evaluation.outcomes import Case
from winnrobust.evaluation.paired import mcnemar
from winnrobust.reporting import load_results, terminal_summary, write_report
from winnrobust.reporting.legacy import read_counts
from winnrobust.reporting.verdict import Verdict
from winnrobust.runtime.errors import InputError

REPORTS = Path(__file__).parents[2] / "reports"
FOLDERS = sorted(path.parent for path in REPORTS.rglob("results.json"))
FOLDERS = [
    folder for folder in FOLDERS if json.loads((folder / "results.json").read_text())["schema"] < 3
]
NORMS = {"Linf": "linf", "L2": "l2"}


def test_there_are_folders_of_both_versions():
    versions = {json.loads((folder / "results.json").read_text())["schema"] for folder in FOLDERS}
    assert versions == {1, 2}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(REPORTS)))
def test_errors_and_correction_rates_are_those_stored(folder):
    stored = json.loads((folder / "results.json").read_text())
    results = load_results(folder)
    assert results.names == [model["name"] for model in stored["models"]]
    for model in stored["models"]:
        clean = results.errors[Case("none", "", 0.0), model["name"]]
        assert clean.value == pytest.approx(model["clean_error"], abs=1e-12)
    for row in stored["rows"]:
        case = Case(row["attack"], NORMS[row.get("norm", "Linf")], row["epsilon"])
        found = results.transfer[case, row["source"], row["target"]]
        for name in ("source_errors", "target_errors", "both_errors", "adversarial_error"):
            assert getattr(found, name) == pytest.approx(row[name], abs=1e-12)
        rate = row["correction_rate"]
        assert found.correction_rate == pytest.approx(
            math.nan if rate is None else rate, nan_ok=True
        )
        own = results.errors[case, row["source"]]
        assert own.value == pytest.approx(row["adversarial_error"], abs=1e-12)
    assert len(results.transfer) == len(stored["rows"])
    pairs = [row for row in stored.get("paired", ()) if row["attack"] != "worst case"]
    tests = [mcnemar(row["first_only"], row["second_only"]) for row in pairs]
    assert results.summary.paired.p_value.tolist() == tests
    assert len(results.summary.robust) == 0
    assert Verdict(results).line == (
        "No verdict: these results are of an older version, which kept counts too coarse for robust"
        " accuracy; attack again to get one."
    )


@pytest.mark.slow
def test_a_report_and_a_summary_of_them(tmp_path):
    folder = REPORTS / "mnist-robustness" / "results-1000-images"
    write_report([folder], tmp_path)
    page = (tmp_path / "index.html").read_text()
    for name in ("Adversarial error on mnist", "Smallest perturbations", "Paired tests"):
        assert name in page
    text = terminal_summary(folder)
    assert "noise-uniform, Linf 0.125" in text
    assert max(map(len, text.splitlines())) <= 100


# --- damage -------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path) -> Path:
    """Results of version 2 to damage, of three norms and attacks with distances."""
    return shutil.copytree(REPORTS / "mnist-robustness" / "results-1000-images", tmp_path / "old")


def refused(folder) -> str:
    with pytest.raises(InputError) as error:
        load_results(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(folder, change) -> None:
    stored = json.loads((folder / "results.json").read_text())
    change(stored)
    (folder / "results.json").write_text(json.dumps(stored))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(schema=99), "not results of version 1 to 3"),
        (lambda s: s.update(schema=True), "not results of version 1 to 3"),
        (lambda s: s.pop("rows"), "at rows: Field required"),
        (lambda s: s["rows"][0].pop("n"), "at rows[0].n: Field required"),
        (lambda s: s["rows"][0].pop("norm"), "at rows[0].norm: Field required"),
        (lambda s: s["rows"][0].update(norm="L1"), "at rows[0].norm"),
        (lambda s: s["models"][0].pop("group"), "at models[0].group: Field required"),
        (lambda s: s["models"].pop(), "one row per attack, epsilon, source and target"),
        (lambda s: s["rows"].pop(), "one row per attack, epsilon, source and target"),
        (lambda s: s["rows"].append(s["rows"][0]), "one row per attack"),
        (lambda s: s.update(rows=[]), "one row per attack"),
        (lambda s: s.update(models=None), "at models"),
        (lambda s: s["models"][0].update(method=7), "at models[0].method"),
        (lambda s: s["models"][0].update(clean_errors=1001), "more images than there are"),
        (lambda s: s["models"][0].update(name=s["models"][1]["name"]), "have one name"),
        (lambda s: s["rows"][0].update(source_errors="many"), "at rows[0].source_errors"),
        (lambda s: s["rows"][0].update(source_errors=2**60), "at rows[0].source_errors"),
        (lambda s: s["rows"][0].update(epsilon="0.1"), "at rows[0].epsilon"),
        (lambda s: s["rows"][1].update(both_errors=1001), "contradict others"),
        (lambda s: s["rows"][1].update(source_errors=1), "contradict others"),
        (lambda s: s["rows"][0].update(n=9), "contradict others"),
        (lambda s: s.update(n=0), "at n:"),
        (lambda s: s.update(limit="foo"), "at limit"),
        (lambda s: s["paired"][0].update(first_only=11), "contradict others"),
        (lambda s: s["paired"][1].update(attack="other"), "contradict others"),
        (lambda s: s["paired"].append(s["paired"][0]), "one paired row per attack"),
        (lambda s: s["paired"].pop(0), "one paired row per attack, epsilon and pair of models"),
        (lambda s: s["costs"][0].update(source="c"), "'c' is not a model or attack of it"),
        (lambda s: s["gradients"][0].update(attack="x"), "'x' is not a model or attack of it"),
        (lambda s: s["costs"][0].update(seconds=-1), "at costs[0].seconds"),
    ],
)
def test_counts_that_are_damaged_or_contradict_each_other_are_refused(old, change, message):
    edit(old, change)
    assert message in refused(old)


def test_rates_are_derived_from_the_counts_whatever_was_stored(old):
    before = load_results(old)
    edit(old, lambda s: s["rows"][0].update(adversarial_error=0.0, correction_rate=1))
    edit(old, lambda s: s["models"][0].update(clean_error=0.5))
    after = load_results(old)
    pd.testing.assert_frame_equal(after.summary.transfer, before.summary.transfer)
    pd.testing.assert_frame_equal(after.summary.clean, before.summary.clean)


@pytest.mark.parametrize(
    "change",
    [
        {"distances": np.zeros((1, 999), np.float32)},
        {"distances": np.array(["a"])},
        {"attacks": np.array(["other"])},
        {"sources": np.array([{"a": 1}], dtype=object)},
    ],
)
def test_damaged_distances_are_refused(old, change):
    arrays = dict(np.load(old / "distances.npz")) | change
    np.savez(old / "distances.npz", **arrays)
    assert "distances.npz" in refused(old)


@pytest.mark.parametrize("name", ["results.json", "manifest.json", "examples.npz", "distances.npz"])
def test_a_missing_or_truncated_file_is_named(old, name):
    content = (old / name).read_bytes()
    (old / name).write_bytes(content[: len(content) // 2])
    assert name in refused(old)
    (old / name).unlink()
    assert name in refused(old)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_counts_pass_exactly_if_four_groups_of_images_give_them(first, second, both, n):
    """Both wrong, only the first, only the second, none: none of the four can be negative."""
    groups = (both, first - both, second - both, n - first - second + both)
    about = {"attack": "fgsm", "norm": "Linf", "epsilon": 0.1, "n": n}
    own = {"a": first, "b": first}

    def row(source, target):
        errors = own[source]
        of_target, of_both = (errors, errors) if source == target else (second, both)
        return about | {
            "source": source, "target": target, "source_errors": errors,
            "target_errors": of_target, "both_errors": of_both,
        }  # fmt: skip

    model = dict.fromkeys(("method", "arch", "parameters", "epoch", "seed", "weights_sha256"))
    models = [model | {"name": x, "group": x, "path": "", "n": n, "clean_errors": 0} for x in own]
    stored = {
        "schema": 2, "dataset": "d", "split": "test", "n": n, "limit": None, "settings": {},
        "models": models, "rows": [row(a, b) for a in own for b in own], "gradients": [],
        "paired": [], "aimed": [], "costs": [], "diagnosis": None,
    }  # fmt: skip
    if min(groups) >= 0:
        assert read_counts(stored, Path("r")) == stored
    else:
        with pytest.raises(InputError, match="contradict others"):
            read_counts(stored, Path("r"))
