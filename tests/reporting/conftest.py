"""Outcomes written by hand, images that a model errs on by their numbers; no model is needed."""

import itertools
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.evaluation.frames import outcome_frame
from winnrobust.evaluation.examples import Examples, write_examples
from winnrobust.evaluation.outcomes import table_of, write_part
from winnrobust.evaluation.statistics import summarize
from winnrobust.reporting import Metadata, write_diagnosis, write_metadata, write_results
from winnrobust.reporting.results import Results

Errors = Mapping[str, Iterable[int]]
"""model -> the images that it gets wrong."""

PAPER = {  # source -> model -> images of 10,000 that it gets wrong
    "baseline": {"baseline": range(3241), "winn": range(2917, 3317)},
    "winn": {"winn": range(799), "baseline": range(375, 875)},
}
"""The counts behind the paper's Table 3 (vanilla CNN)."""
PAPER_CLEAN = {"baseline": range(89), "winn": range(67)}


def outcomes(
    n: int, clean: Errors, made: Mapping[tuple[str, str, float, str], Errors], **given
) -> pd.DataFrame:
    """(attack, norm, epsilon, source) -> who errs on the examples; see `outcome_frame`."""

    def right(errors: Errors) -> dict[str, np.ndarray]:
        return {name: ~np.isin(np.arange(n), [*wrong]) for name, wrong in errors.items()}

    frames = []
    for norm in dict.fromkeys(norm for _, norm, _, _ in made):
        of_norm = {(a, e, s): right(x) for (a, m, e, s), x in made.items() if m == norm}
        frame = outcome_frame(right(clean), of_norm, norm=norm, **given)
        frames.append(frame[frame.attack.notna()] if frames else frame)
    return pd.concat(frames, ignore_index=True)


def paper_outcomes(epsilon=0.125, made=PAPER, n=10_000, clean=None, attack="fgsm") -> pd.DataFrame:
    """FGSM with the paper's own counts."""
    cases = {(attack, "linf", epsilon, source): errors for source, errors in made.items()}
    return outcomes(n, clean or {name: PAPER_CLEAN.get(name, range(9)) for name in made}, cases)


def attacked(errors, clean, n=1000, **given) -> pd.DataFrame:
    """(attack, norm, epsilon) -> {model: how many images it errs on, the first ones}.

    Others err on half of what a model errs on.
    """
    made = {
        (*case, source): {
            target: range(count if source == target else count // 2) for target in own
        }
        for case, own in errors.items()
        for source, count in own.items()
    }
    return outcomes(n, {name: range(count) for name, count in clean.items()}, made, **given)


def describe_model(name: str, path: str = "runs/none", arch: str = "vanilla", **more) -> dict:
    return {
        "name": name, "group": name, "method": name, "arch": arch, "path": path,
        "parameters": 312_149, "epoch": 3, "seed": 0, "weights_sha256": "0" * 64,
    } | more  # fmt: skip


def diagnosis_of(verdicts) -> pd.DataFrame:
    """{model: {indicator: verdict}} -> a diagnosis with some evidence."""
    rows = [
        (model, indicator, verdict, f"{indicator} measured on {model}.", 0, 0, 0.125)
        for model, found in verdicts.items()
        for indicator, verdict in found.items()
    ]
    columns = ["model", "indicator", "verdict", "evidence", "wrong", "of", "epsilon"]
    return pd.DataFrame(rows, columns=columns)


def results_of(frame: pd.DataFrame, models=None, *, dataset="mnist", **given) -> Results:
    """Results in memory, without a folder."""
    described = models or [describe_model(name) for name in dict.fromkeys(frame.evaluated)]
    summary = summarize(frame, [model["name"] for model in described])
    more = {"settings": {}, "limit": None, "manifest": {}} | given
    return Results(
        dataset=dataset, split="test", n=summary.n, models=described, summary=summary, **more
    )


def examples_of(frame: pd.DataFrame, count=2, channels=1) -> Examples:
    """The first images, all of label 1, brightened."""
    models = list(dict.fromkeys(frame.evaluated))
    keys = (frame.attack, frame.norm, frame.epsilon, frame.source)
    cases = list(dict.fromkeys(zip(*keys, strict=True)))
    cases = [case for case in cases if isinstance(case[0], str) and np.isfinite(case[2])]
    picture = np.linspace(0, 1, count * channels * 784, dtype=np.float32)
    picture = picture.reshape(count, channels, 28, 28)
    return Examples(
        models=np.array(models),
        images=picture,
        labels=np.ones(count, int),
        clean_predictions=np.ones((len(models), count), int),
        case_attacks=np.array([case[0] for case in cases]),
        case_norms=np.array([case[1] for case in cases]),
        case_epsilons=np.array([case[2] for case in cases]),
        case_sources=np.array([case[3] for case in cases]),
        adversarials=np.stack([np.clip(picture + min(case[2], 0.3), 0, 1) for case in cases]),
        predictions=np.full((len(cases), len(models), count), 3),
    )


def make_results(
    folder: Path, frame=None, dataset="mnist", limit=None, models=None, diagnosis=None,
    settings=None, examples=None, finish=True,
) -> Path:  # fmt: skip
    """Write a results folder as the workflows do, and return its path."""
    folder.mkdir(parents=True)
    frame = paper_outcomes() if frame is None else frame
    models = models or [describe_model(name) for name in dict.fromkeys(frame.evaluated)]
    write_metadata(
        folder,
        Metadata(
            status="running", dataset=dataset, split="test", n=frame.image.nunique(), limit=limit,
            settings=settings or {}, models=models,
            sessions=[{"command": f"winnrobust attack --out {folder.name}"}],
        ),
    )  # fmt: skip
    if not finish:
        frame = frame[frame.image < 300]
    gradients = {
        "entries": 784_000, "zero_entries": 196_000, "images": 1000, "zero_images": 7,
        "tiny_images": 9, "nonfinite_images": 2,
    }  # fmt: skip
    made = frame[frame.attack.notna()]
    pairs = list(dict.fromkeys(zip(made.attack, made.norm, made.source, strict=True)))
    facts = {
        "seconds": [[*pair, 12.5] for pair in pairs],
        "gradients": [[*pair, gradients] for pair in pairs],
    }
    part = write_part(folder, table_of(frame), facts)
    write_examples(part, examples or examples_of(frame))
    if diagnosis is not None:
        write_diagnosis(folder, diagnosis)
    if finish:
        manifest = {"winnrobust": "0", "command": "winnrobust attack", "models": {}}
        write_results(folder, manifest)
    return folder


def make_run(folder: Path, method="winn", epochs=3, complete=True, grouped=False) -> Path:
    """Write what a training run leaves for a report."""
    folder.mkdir(parents=True)
    config = {"method": method, "arch": "vanilla", "dataset": "mnist", "epochs": 3}
    if grouped:
        config = {
            "model": {"arch": "vanilla", "method": method},
            "data": {"dataset": "mnist"},
            "optimization": {"epochs": 3},
        }
    (folder / "config.json").write_text(json.dumps(config))
    test = {"n": 10_000, "errors": 67, "epoch": 2}
    manifest = {"status": "training", "command": f"winnrobust train --method {method}"}
    if complete:
        manifest |= {"best": {"epoch": 2, "valid_error": 0.011}, "test": test}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rows = [
        {"epoch": epoch, "valid_error": 0.05 / epoch, "cross_entropy": 1 / epoch, "loss": 0.1}
        for epoch in range(1, epochs + 1)
    ]
    if method == "winn":
        for row in rows:
            row |= {"wasserstein": 3.0, "gradient_norm": 1.1, "synthesis_steps": 200.0}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if method == "winn":
        from PIL import Image

        (folder / "samples").mkdir()
        for epoch in range(1, epochs + 1):
            Image.new("L", (30, 30), 20 * epoch).save(folder / f"samples/epoch-{epoch:04d}.png")
    return folder


@pytest.fixture(scope="session")
def written_results(tmp_path_factory) -> Path:
    return make_results(tmp_path_factory.mktemp("written") / "results")


@pytest.fixture
def results(written_results, tmp_path) -> Path:
    """Results of a test's own, to read or to damage."""
    return shutil.copytree(written_results, tmp_path / "results")


def pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    return list(itertools.combinations(names, 2))
