"""Evaluations made from counts by hand, written as results, without any model."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from winnrobust.evaluation.metrics import (
    NO_ATTACK,
    WORST_CASE,
    PairCounts,
    PairedCounts,
    aim_table,
    clean_table,
    cost_table,
    gradient_table,
    paired_table,
    results_table,
    worst_table,
)

from winnrobust.attacks import GradientStatistics
from winnrobust.evaluation import Evaluation, Examples
from winnrobust.reporting import write_results

PAPER_COUNTS = {  # (source, target) -> (source errs, target errs, both err) of 10,000
    ("baseline", "baseline"): (3241, 3241, 3241),
    ("baseline", "winn"): (3241, 400, 3241 - 2917),
    ("winn", "baseline"): (799, 500, 799 - 375),
    ("winn", "winn"): (799, 799, 799),
}
"""The counts behind the paper's Table 3 (vanilla CNN)."""


def make_evaluation(counts=PAPER_COUNTS, clean=None, n=10_000, epsilon=0.125) -> Evaluation:
    """One attack at one epsilon, from the counts of every ordered pair."""
    names = list(dict.fromkeys(source for source, _ in counts))
    clean = clean or {name: (89 - 22 * i) * n // 10_000 for i, name in enumerate(names)}
    pairs = [PairCounts("fgsm", "Linf", epsilon, *pair, *count) for pair, count in counts.items()]
    return evaluation_of(names, clean, pairs, n)


def make_attacked(errors, clean, n=1000, worst=None) -> Evaluation:
    """Several attacks: (attack, norm, epsilon) -> {model: own errors}.

    Others err on half of what a model errs on, the worst case is the largest error unless given,
    and of two models' errors as many as possible are on the same images.
    """
    names = list(clean)
    pairs = [
        PairCounts(*case, source, target, own[source], *_transfer(own, source, target))
        for case, own in errors.items()
        for source, target in itertools.product(names, names)
    ]
    return evaluation_of(names, clean, pairs, n, worst or {})


def _transfer(own, source, target) -> tuple[int, int]:
    if source == target:
        return own[source], own[source]
    return own[source] // 2, own[source] // 4


def evaluation_of(names, clean, pairs, n, worst=None) -> Evaluation:
    own = {
        (pair.attack, pair.norm, pair.epsilon, pair.source): pair.source_errors
        for pair in pairs
        if pair.source == pair.target
    }
    unions: dict = {}
    for (_, norm, epsilon, name), errors in own.items():
        unions[norm, epsilon, name] = max(errors, unions.get((norm, epsilon, name), 0))
    unions |= worst or {}
    errors = own | {(NO_ATTACK, "", 0.0, name): count for name, count in clean.items()}
    errors |= {(WORST_CASE, *key): count for key, count in unions.items()}
    paired = [
        PairedCounts(*case, first, second, *_only(errors[*case, first], errors[*case, second]))
        for case in dict.fromkeys(key[:3] for key in errors)
        for first, second in itertools.combinations(names, 2)
    ]
    cases = list(own)
    picture = np.linspace(0, 1, 2 * 28 * 28, dtype=np.float32).reshape(2, 1, 28, 28)
    examples = Examples(
        models=np.array(names),
        images=picture,
        labels=np.array([3, 5]),
        clean_predictions=np.tile([3, 5], (len(names), 1)),
        case_attacks=np.array([case[0] for case in cases]),
        case_epsilons=np.array([case[2] for case in cases]),
        case_sources=np.array([case[3] for case in cases]),
        adversarials=np.stack([np.clip(picture + min(case[2], 0.3), 0, 1) for case in cases]),
        predictions=np.full((len(cases), len(names), 2), 3),
    )
    statistics = GradientStatistics(n * 784, n * 784 // 4, n, 7, 9, 2)
    made = list(dict.fromkeys((attack, name) for attack, _, _, name in own))
    return Evaluation(
        table=results_table(n, clean, pairs),
        gradients=gradient_table(dict.fromkeys(made, statistics)),
        clean=clean_table(n, clean),
        examples=examples,
        batch_size=500,
        worst=worst_table(n, unions),
        paired=paired_table(n, paired),
        aimed=aim_table(n, {}),
        costs=cost_table(dict.fromkeys(made, (12.5, 0))),
        distances={},
    )


def _only(first: int, second: int) -> tuple[int, int]:
    return max(first - second, 0), max(second - first, 0)


def describe_model(name: str, path: str = "runs/none", arch: str = "vanilla", **more) -> dict:
    return {
        "name": name, "group": name, "method": name, "arch": arch, "path": path,
        "parameters": 312_149, "epoch": 3, "seed": 0, "weights_sha256": "0" * 64,
    } | more  # fmt: skip


def diagnosis_of(verdicts) -> pd.DataFrame:
    """{model: {indicator: verdict}} -> a diagnosis with some evidence."""
    rows = [
        (model, indicator, verdict, f"{indicator} measured on {model}.")
        for model, found in verdicts.items()
        for indicator, verdict in found.items()
    ]
    return pd.DataFrame(rows, columns=["model", "indicator", "verdict", "evidence"])


def make_results(
    folder: Path, evaluation=None, dataset="mnist", limit=None, models=None, diagnosis=None,
    settings=None,
) -> Path:  # fmt: skip
    """Write a results folder and return its path."""
    folder.mkdir(parents=True)
    evaluation = evaluation or make_evaluation()
    models = models or [describe_model(name) for name in evaluation.clean.model]
    manifest = {"winnrobust": "0", "command": "winnrobust attack", "models": {}}
    write_results(
        folder, evaluation, models, manifest, dataset, limit, diagnosis=diagnosis, settings=settings
    )
    return folder


def make_run(folder: Path, method="winn", epochs=3, complete=True) -> Path:
    """Write what a training run leaves for a report."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps({"method": method, "arch": "vanilla", "dataset": "mnist", "epochs": 3})
    )
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
