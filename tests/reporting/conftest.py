"""An evaluation with the counts behind the paper's Table 3 (vanilla CNN), without any model."""

import json
from pathlib import Path

import numpy as np
import pytest

from winnrobust.attacks import GradientStatistics
from winnrobust.evaluation import Evaluation, Examples
from winnrobust.evaluation.metrics import (
    PairCounts,
    aim_table,
    clean_table,
    cost_table,
    gradient_table,
    paired_table,
    results_table,
    worst_table,
)
from winnrobust.reporting import write_results

PAPER_COUNTS = {  # (source, target) -> (source errs, target errs, both err) of 10,000
    ("baseline", "baseline"): (3241, 3241, 3241),
    ("baseline", "winn"): (3241, 400, 3241 - 2917),
    ("winn", "baseline"): (799, 500, 799 - 375),
    ("winn", "winn"): (799, 799, 799),
}


def make_evaluation(counts=PAPER_COUNTS, clean=None, n=10_000, epsilon=0.125) -> Evaluation:
    names = list(dict.fromkeys(source for source, _ in counts))
    clean = clean or {name: (89 - 22 * i) * n // 10_000 for i, name in enumerate(names)}
    pairs = [PairCounts("fgsm", "Linf", epsilon, *pair, *count) for pair, count in counts.items()]
    picture = np.linspace(0, 1, 2 * 28 * 28, dtype=np.float32).reshape(2, 1, 28, 28)
    examples = Examples(
        models=np.array(names),
        images=picture,
        labels=np.array([3, 5]),
        clean_predictions=np.tile([3, 5], (len(names), 1)),
        case_attacks=np.array(["fgsm"] * len(names)),
        case_epsilons=np.full(len(names), epsilon),
        case_sources=np.array(names),
        adversarials=np.stack([np.clip(picture + epsilon, 0, 1)] * len(names)),
        predictions=np.full((len(names), len(names), 2), 3),
    )
    statistics = GradientStatistics(n * 784, n * 784 // 4, n, 7)
    return Evaluation(
        table=results_table(n, clean, pairs),
        gradients=gradient_table({("fgsm", name): statistics for name in names}),
        clean=clean_table(n, clean),
        worst=worst_table(n, {("Linf", epsilon, name): counts[name, name][0] for name in names}),
        paired=paired_table(n, []),
        costs=cost_table({("fgsm", name): (1.5, 0) for name in names}),
        aimed=aim_table(n, {}),
        distances={},
        examples=examples,
        batch_size=500,
    )


def describe_model(name: str, path: str = "runs/none", arch: str = "vanilla") -> dict:
    return {
        "name": name, "method": name, "arch": arch, "path": path, "parameters": 312_149,
        "epoch": 3, "seed": 0, "weights_sha256": "0" * 64,
    }  # fmt: skip


def make_results(folder: Path, evaluation=None, dataset="mnist", limit=None, models=None):
    """Write a results folder and return its path."""
    folder.mkdir(parents=True)
    evaluation = evaluation or make_evaluation()
    models = models or [describe_model(name) for name in evaluation.clean.model]
    manifest = {"winnrobust": "0", "command": "winnrobust attack", "models": {}}
    write_results(folder, evaluation, models, manifest, dataset, limit)
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


@pytest.fixture
def results(tmp_path) -> Path:
    return make_results(tmp_path / "results")
