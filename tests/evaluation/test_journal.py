"""An evaluation that goes on from the batches of an interrupted one."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.tiny import IMAGES, LABELS, MODELS, NEAREST
from winnrobust.attacks import ATTACKS
from winnrobust.evaluation import journal, run
from winnrobust.runtime.errors import InputError

SETTINGS = {"attacks": ["fgsm", "pgd", "nearest"], "epsilons": [0.1, 0.2], "epsilons_l2": [0.2]}
TABLES = ("table", "gradients", "clean", "worst", "paired", "aimed")


@pytest.fixture(autouse=True)
def a_minimum_norm_attack(monkeypatch):
    monkeypatch.setitem(ATTACKS, "nearest", NEAREST)


def stop_after(calls):
    def progress(done: int, total: int) -> None:
        nonlocal calls
        calls -= 1
        if not calls:
            raise KeyboardInterrupt

    return progress


def assert_equal(found, expected):
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name))
    for key, distances in expected.distances.items():
        np.testing.assert_array_equal(found.distances[key], distances)
    for name, value in vars(expected.examples).items():
        np.testing.assert_array_equal(getattr(found.examples, name), value)


# 3 attacks on 2 models: 6 calls a batch.
@pytest.mark.parametrize("calls", [1, 6, 7, 13, 18])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_an_interrupted_evaluation_ends_as_an_undisturbed_one(tmp_path, calls, size):
    expected = run(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        run(
            MODELS, IMAGES, LABELS, **SETTINGS,
            batch_size=2, progress=stop_after(calls), unfinished=tmp_path,
        )  # fmt: skip
    assert len(list(tmp_path.iterdir())) == (calls - 1) // 6
    # With another batch size, too.
    again = run(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=size, unfinished=tmp_path)
    assert_equal(again, expected)


def test_what_is_done_is_not_attacked_again(tmp_path):
    run(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2, unfinished=tmp_path)
    calls = []
    seconds = run(
        MODELS, IMAGES, LABELS, **SETTINGS,
        batch_size=2, unfinished=tmp_path, progress=lambda *call: calls.append(call),
    ).costs.seconds  # fmt: skip
    assert calls == []
    assert (seconds > 0).all()  # those of the first call
    for file in tmp_path.glob("0000002-*"):
        file.unlink()
    run(
        MODELS, IMAGES, LABELS, **SETTINGS,
        batch_size=2, unfinished=tmp_path, progress=lambda *call: calls.append(call),
    )  # fmt: skip
    # Three of five images were done, and each counts six times.
    assert calls == [(18 + 2 * attacks, 30) for attacks in range(1, 7)]


def test_aims_and_what_ran_out_of_time_are_kept(tmp_path):
    aimed = {"attacks": ["pgd"], "aim": "random", "batch_size": 2}
    expected = run(MODELS, IMAGES, LABELS, **aimed)
    assert expected.aimed.hits.sum() > 0
    run(MODELS, IMAGES, LABELS, **aimed, unfinished=tmp_path / "aimed")
    assert_equal(run(MODELS, IMAGES, LABELS, **aimed, unfinished=tmp_path / "aimed"), expected)
    late = {"seconds": 1e-9, "batch_size": 2, "unfinished": tmp_path / "late"}
    for _ in range(2):
        assert run(MODELS, IMAGES, LABELS, **late).costs.unfinished.tolist() == [5, 5]


@pytest.mark.parametrize("damage", ["truncated", "empty", "of another evaluation"])
def test_a_damaged_batch_is_named(tmp_path, damage):
    run(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2, unfinished=tmp_path)
    file = tmp_path / "0000002-0000004.npz"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        run(MODELS, IMAGES, LABELS, batch_size=5, unfinished=tmp_path / "other")
        (tmp_path / "other" / "0000000-0000005.npz").rename(file)
    with pytest.raises(InputError, match=r"0000002-0000004\.npz is damaged .*; remove it"):
        run(MODELS, IMAGES, LABELS, **SETTINGS, unfinished=tmp_path)


@given(st.integers(1, 40), st.integers(1, 9), st.sets(st.integers(0, 40), max_size=12))
def test_what_is_missing_completes_what_is_done(n, size, cuts):
    edges = sorted(cut for cut in cuts if cut <= n)
    done = [range(*pair) for pair in zip(edges[::2], edges[1::2], strict=False)]
    missing = journal.missing(n, size, done)
    assert sorted(image for batch in [*done, *missing] for image in batch) == list(range(n))
    assert all(1 <= len(batch) <= size for batch in missing)


def test_without_anything_done_the_batches_are_the_usual():
    assert journal.missing(7, 3, []) == [range(3), range(3, 6), range(6, 7)]
    assert journal.missing(7, 3, [range(3)]) == [range(3, 6), range(6, 7)]


def test_batches_that_overlap_do_not_count_twice(tmp_path):
    """Two processes with one place for their results may have cut the images differently."""
    expected = run(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2)
    run(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=2, unfinished=tmp_path)
    run(MODELS, IMAGES, LABELS, **SETTINGS, batch_size=3, unfinished=tmp_path / "other")
    for file in (tmp_path / "other").iterdir():
        file.rename(tmp_path / file.name)
    (tmp_path / "0000000-0000002 (copy).npz").write_bytes(b"")
    assert journal.finished(tmp_path) == [range(2), range(2, 4), range(4, 5)]
    (tmp_path / "0000000-0000002.npz").unlink()
    assert journal.finished(tmp_path) == [range(3), range(3, 5)]
    assert_equal(run(MODELS, IMAGES, LABELS, **SETTINGS, unfinished=tmp_path), expected)
