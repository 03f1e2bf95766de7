import errno
import json
import os
import stat

import numpy as np
import pandas as pd
import pytest

from tests.reporting.conftest import make_evaluation, make_results
from winnrobust.errors import InputError
from winnrobust.reporting import load_results


def test_what_is_written_comes_back(results):
    evaluation, loaded = make_evaluation(), load_results(results)
    pd.testing.assert_frame_equal(loaded.table, evaluation.table)
    pd.testing.assert_frame_equal(loaded.gradients, evaluation.gradients)
    for name, array in vars(evaluation.examples).items():
        np.testing.assert_array_equal(getattr(loaded.examples, name), array)
    assert [model["clean_errors"] for model in loaded.models] == [89, 67]
    assert (loaded.dataset, loaded.split, loaded.limit, loaded.n) == ("mnist", "test", None, 10_000)


def refused(folder) -> str:
    with pytest.raises(InputError) as error:
        load_results(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(folder, change) -> None:
    stored = json.loads((folder / "results.json").read_text())
    change(stored)
    (folder / "results.json").write_text(json.dumps(stored))


@pytest.mark.parametrize("name", ["results.json", "manifest.json", "examples.npz"])
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
        (lambda stored: stored.update(schema=99), "not results of version 1"),
        (lambda stored: stored.pop("rows"), "'rows' is a required property"),
        (lambda stored: stored["rows"][0].pop("n"), "rows[0]: 'n' is a required property"),
        (lambda stored: stored["models"].pop(), "one row per attack, epsilon, source and target"),
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


@pytest.mark.parametrize("writes", range(8))
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
