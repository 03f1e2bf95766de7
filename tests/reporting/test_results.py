"""The results folder: what is written comes back, and what is damaged is named."""

import errno
import json
import os
import stat

import numpy as np
import pandas as pd
import pytest

from tests.reporting.conftest import (
    describe_model,
    diagnosis_of,
    make_results,
    paper_outcomes,
)
from winnrobust.evaluation.outcomes import parts
from winnrobust.evaluation.statistics import summarize
from winnrobust.reporting import load_results, read_diagnosis, read_metadata, write_diagnosis
from winnrobust.runtime.errors import InputError


def test_what_is_written_comes_back(results):
    loaded, summary = load_results(results), summarize(paper_outcomes())
    for name, frame in vars(summary).items():
        if isinstance(frame, pd.DataFrame) and name not in ("gradients", "costs"):
            pd.testing.assert_frame_equal(getattr(loaded.summary, name), frame)
    assert (loaded.dataset, loaded.split, loaded.limit, loaded.n) == ("mnist", "test", None, 10_000)
    assert loaded.examples.images.shape == (2, 1, 28, 28)
    assert loaded.diagnosis is None
    assert loaded.models[0] == describe_model("baseline")
    stored = json.loads((results / "results.json").read_text())
    assert (stored["schema"], stored["status"]) == (3, "complete")
    assert read_metadata(results).sessions == [{"command": "winnrobust attack --out results"}]


def test_the_diagnosis_and_the_settings_come_back(tmp_path):
    diagnosis = diagnosis_of({"winn": {"gradients": "ok", "noise": "not tested"}})
    settings = {"eot": 20, "fgsm_screen": True, "epsilons": {"linf": [0.125]}}
    folder = make_results(tmp_path / "r", diagnosis=diagnosis, settings=settings)
    loaded = load_results(folder)
    pd.testing.assert_frame_equal(loaded.diagnosis, diagnosis)
    assert loaded.settings == settings


def test_an_unfinished_folder_says_how_far_it_is_and_what_goes_on(tmp_path):
    folder = make_results(tmp_path / "mine", finish=False)
    assert refused(folder) == (
        f"{folder} is not finished: 300 of 10000 images are done;"
        " 'winnrobust attack --out mine' goes on"
    )


def test_outcomes_of_fewer_images_than_the_metadata_says_are_refused(tmp_path):
    folder = make_results(tmp_path / "mine", finish=False)
    edit(folder, lambda stored: stored.update(status="complete"))
    assert "outcomes of 300 images, not of 10000" in refused(folder)


def test_a_model_without_outcomes_is_named(results):
    edit(results, lambda stored: stored["models"][0].update(name="other"))
    assert "other" in refused(results)


def test_the_baseline_comes_first_whatever_the_order(tmp_path):
    models = [describe_model(name) for name in ("winn", "baseline")]
    assert load_results(make_results(tmp_path / "r", models=models)).names == ["baseline", "winn"]


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
        (lambda s: s.update(schema=4), "not results of version 1 to 3"),
        (lambda s: s.update(status="ready"), "at status"),
        (lambda s: s.pop("models"), "at models: Field required"),
        (lambda s: s.update(models=[]), "at models"),
        (lambda s: s["models"][0].pop("group"), "at models[0].group: Field required"),
        (lambda s: s["models"][0].update(seed="0"), "at models[0].seed"),
        (lambda s: s["models"][0].update(parameters=10**400), "is not valid JSON"),
        (lambda s: s.update(n=0), "at n"),
        (lambda s: s.update(settings=[]), "at settings"),
        (lambda s: s.update(sessions=3), "at sessions"),
    ],
)
def test_damaged_metadata_is_named(results, change, message):
    edit(results, change)
    assert message in refused(results)


@pytest.mark.parametrize("name", ["results.json", "manifest.json"])
def test_a_missing_or_truncated_file_is_named(results, name):
    content = (results / name).read_bytes()
    (results / name).write_bytes(content[: len(content) // 2])
    assert name in refused(results)
    (results / name).unlink()
    assert name in refused(results)


def test_damaged_outcomes_are_named(results):
    (part,) = parts(results)
    part.path.write_bytes(part.path.read_bytes()[:-50])
    assert part.path.name in refused(results)
    part.path.unlink()
    assert "holds no outcomes" in refused(results)


@pytest.mark.parametrize(
    "value", [[], {"models": None}, {"machine": 3}, {"models": {"winn": {"metrics": [1]}}}]
)
def test_a_damaged_manifest_is_named(results, value):
    (results / "manifest.json").write_text(json.dumps(value))
    assert "manifest.json is damaged" in refused(results)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "diagnosis.json"),
        ('[{"model": "winn"}]', "damaged at [0].indicator"),
        ('[{"model": "a", "indicator": "b", "verdict": "fine", "evidence": ""}]', "[0].verdict"),
    ],
)
def test_a_damaged_diagnosis_is_named(results, text, message):
    (results / "diagnosis.json").write_text(text)
    assert message in refused(results)


def test_a_diagnosis_alone_can_be_kept(tmp_path):
    assert read_diagnosis(tmp_path) is None
    diagnosis = diagnosis_of({"winn": {"gradients": "ok"}})
    write_diagnosis(tmp_path, diagnosis)
    pd.testing.assert_frame_equal(read_diagnosis(tmp_path), diagnosis)


def test_examples_that_do_not_fit_together_are_refused(results):
    (path,) = (results / "examples").glob("*.npz")
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"labels": arrays["labels"][:1]})
    assert path.name in refused(results)


@pytest.mark.parametrize("writes", range(3, 9))
def test_a_full_disk_leaves_an_unfinished_folder(tmp_path, monkeypatch, writes):
    """The metadata says that it is complete only after all else is written, all or nothing."""
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
    assert "is not finished" in refused(tmp_path / "results")
    assert not [path for path in (tmp_path / "results").rglob("*") if path.name.startswith(".")]
