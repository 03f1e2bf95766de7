"""An evaluation that goes on from the parts of an interrupted one."""

import importlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.evaluation.test_run import assert_equal
from tests.evaluation.tiny import IMAGES, LABELS, MODELS, Threshold, evaluation
from winnrobust.evaluation import read_outcomes
from winnrobust.evaluation.outcomes import finished, part_path
from winnrobust.runtime.errors import InputError

pytestmark = pytest.mark.usefixtures("tiny_attacks")

SETTINGS = {"attacks": ["fgsm", "bim", "nearest"], "linf": [0.1, 0.2], "l2": [0.2]}


def stop_after(calls: int):
    def progress(done: int, total: int) -> None:
        nonlocal calls
        calls -= 1
        if not calls:
            raise KeyboardInterrupt

    return progress


# 3 attacks on 2 models: 6 calls a batch.
@pytest.mark.parametrize("calls", [1, 6, 7, 13, 18])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_an_interrupted_evaluation_ends_as_an_undisturbed_one(tmp_path, calls, size):
    expected = evaluation(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        evaluation(
            MODELS, IMAGES, LABELS, **SETTINGS,
            batch_size=2, progress=stop_after(calls), folder=tmp_path,
        )  # fmt: skip
    assert len(finished(tmp_path)) == (calls - 1) // 6
    # With another batch size, too.
    again = evaluation(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=size, folder=tmp_path)
    assert_equal(again, expected)


def test_what_is_done_is_not_attacked_again(tmp_path):
    calls = []
    whole = {**SETTINGS, "batch_size": 2, "folder": tmp_path}
    whole["progress"] = lambda *call: calls.append(call)
    evaluation(MODELS, IMAGES, LABELS, **whole)
    calls.clear()
    found = evaluation(MODELS, IMAGES, LABELS, **whole)
    assert calls == []
    assert found.batch_size == 2
    assert (found.summary.costs.seconds > 0).all()  # those of the first call
    part_path(tmp_path, range(2, 4)).unlink()
    evaluation(MODELS, IMAGES, LABELS, **whole)
    # Three of five images were done, and each counts six times.
    assert calls == [(18 + 2 * attacks, 30) for attacks in range(1, 7)]


def test_targets_and_what_ran_out_of_time_are_kept(tmp_path):
    targeted = {"attacks": ["pgd"], "targeted": "random", "batch_size": 2}
    expected = evaluation(MODELS, IMAGES, LABELS, **targeted)
    assert expected.summary.targeted.hits.sum() > 0
    for _ in range(2):
        found = evaluation(MODELS, IMAGES, LABELS, **targeted, folder=tmp_path / "targeted")
        assert_equal(found, expected)
    late = {"seconds": 1e-9, "batch_size": 2, "folder": tmp_path / "late"}
    for _ in range(2):
        costs = evaluation(MODELS, IMAGES, LABELS, **late).summary.costs
        assert costs.out_of_time.tolist() == [5, 3]  # right errs on two images anyway


OTHERS = {
    "models": {"models": {"left": MODELS["left"]}},
    "names": {"models": {"a": MODELS["left"], "b": MODELS["right"]}},
    "weights": {"models": MODELS | {"left": torch.nn.Sequential(torch.nn.Flatten())}},
    "images": {"images": IMAGES / 2},
    "fewer images": {"images": IMAGES[:4], "labels": LABELS[:4]},
    "labels": {"labels": 1 - LABELS},
    "epsilons": {"linf": [0.1]},
    "seed": {"seed": 1},
    "cross": {"cross": False},
    "time": {"seconds": 100},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_parts_of_another_evaluation_are_named(tmp_path, other):
    class Weighted(Threshold):
        """Has weights that tell it from others."""

        def __init__(self, pixel: int) -> None:
            super().__init__(pixel, 0.5)
            self.register_buffer("place", torch.tensor(pixel))

    models = {"left": Weighted(0), "right": Weighted(1)}
    usual = {"models": models, "images": IMAGES, "labels": LABELS, **SETTINGS}
    evaluation(**usual, folder=tmp_path, batch_size=2)
    with pytest.raises(InputError, match=r"0000000-0000002-r0\.parquet is of other .*; remove it"):
        evaluation(**usual | other, folder=tmp_path)


def test_a_damaged_part_is_named_before_any_work(tmp_path):
    evaluation(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2, folder=tmp_path)
    part_path(tmp_path, range(2)).unlink()
    path = part_path(tmp_path, range(2, 4))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"4-r0\.parquet is not a part of .*; remove it"):
        evaluation(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2, folder=tmp_path)
    assert not part_path(tmp_path, range(2)).exists()
    path.unlink()
    assert_equal(
        evaluation(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2, folder=tmp_path),
        evaluation(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2),
    )


def test_the_random_numbers_of_a_random_model_are_the_same_after_an_interruption(tmp_path):
    class Noisy(Threshold):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) + 0.1 * torch.randn(len(images), 2)

    models, settings = {"noisy": Noisy(0, 0.5)}, {"attacks": ["pgd"], "batch_size": 2}
    expected = evaluation(models, IMAGES, LABELS, **settings)
    assert expected.summary.random_models == {"noisy": True}
    with pytest.raises(KeyboardInterrupt):
        evaluation(models, IMAGES, LABELS, **settings, folder=tmp_path, progress=stop_after(2))
    torch.rand(7)
    assert_equal(evaluation(models, IMAGES, LABELS, **settings, folder=tmp_path), expected)


def test_so_they_are_in_batches_whose_size_nobody_gave(tmp_path, monkeypatch):
    class Noisy(Threshold):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) + 0.1 * torch.randn(len(images), 2)

    images, labels = IMAGES.repeat(100, 1, 1, 1), LABELS.repeat(100)
    models = {"noisy": Noisy(0, 0.5)}
    expected = evaluation(models, images, labels)
    with pytest.raises(KeyboardInterrupt):
        evaluation(models, images, labels, folder=tmp_path, progress=stop_after(3))
    monkeypatch.setattr(importlib.import_module("winnrobust.evaluation.run"), "QUICK", 0.0)
    assert_equal(evaluation(models, images, labels, folder=tmp_path), expected)


# --- a process that is killed -------------------------------------------------------------------

DIGITS = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(60) % 3


def network() -> torch.nn.Module:
    layers = torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    generator = torch.Generator().manual_seed(1)
    for layer in layers:
        for parameter in layer.parameters():
            torch.nn.init.uniform_(parameter, -1, 1, generator=generator)
    return torch.nn.Sequential(*layers)


def attack_slowly(folder: Path, slowly: bool = True):
    def wait(done: int, total: int) -> None:
        if slowly:
            time.sleep(0.03)

    return evaluation(
        {"net": network()}, DIGITS, CLASSES, ["pgd", "fgsm"], [0.1, 0.2],
        batch_size=3, folder=folder, progress=wait,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_kill_minus_nine_leaves_whole_parts_and_the_rest_is_made(tmp_path, attempt):
    process = multiprocessing.get_context("spawn").Process(target=attack_slowly, args=(tmp_path,))
    process.start()
    try:
        deadline = time.monotonic() + 60
        while len(finished(tmp_path)) < 1 + 4 * attempt:
            assert process.is_alive() or finished(tmp_path)
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    done = len(finished(tmp_path))
    assert 0 < done < 20
    ages = {path: path.stat().st_mtime_ns for path in (tmp_path / "outcomes").glob("[!.]*")}
    found = attack_slowly(tmp_path, slowly=False)
    assert_equal(found, attack_slowly(tmp_path / "undisturbed", slowly=False))
    assert {path: path.stat().st_mtime_ns for path in ages} == ages
    assert len(finished(tmp_path)) == 20


def test_the_table_of_a_resumed_evaluation_is_that_of_an_undisturbed_one(tmp_path):
    settings = {**SETTINGS, "batch_size": 2}
    evaluation(MODELS, IMAGES, LABELS, **settings, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluation(
            MODELS, IMAGES, LABELS, **settings, folder=tmp_path / "cut", progress=stop_after(8)
        )
    evaluation(MODELS, IMAGES, LABELS, **settings, folder=tmp_path / "cut")
    pd.testing.assert_frame_equal(*(read_outcomes(tmp_path / name) for name in ("whole", "cut")))
