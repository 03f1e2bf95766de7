"""The store of outcomes: whole parts, named mistakes."""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import winnrobust
from tests.evaluation.frames import outcome_frame
from winnrobust.evaluation.outcomes import (
    finished,
    missing,
    part_path,
    read_outcomes,
    table_of,
    write_part,
)
from winnrobust.evaluation.statistics import Summary, summarize
from winnrobust.runtime.errors import InputError


def frame_of(first: int, size: int, model: str = "a") -> pd.DataFrame:
    return outcome_frame(
        {model: [1] * size}, {("fgsm", 0.1, model): {model: [0] * size}}, first=first
    )


@pytest.fixture
def folder(tmp_path):
    for first in (0, 3, 6):
        write_part(tmp_path, table_of(frame_of(first, 3)), {"seconds": [["fgsm", "a", 1.0]]})
    return tmp_path


def test_the_columns_are_those_promised(folder):
    frame = winnrobust.read_outcomes(folder)
    assert list(frame) == [
        "image", "label", "source", "attack", "norm", "epsilon", "seed", "target", "evaluated",
        "prediction", "correct", "draws", "correct_draws", "distance", "status", "gradients",
        "queries", "correct_unrounded",
    ]  # fmt: skip
    assert len(frame) == 18
    clean = frame[frame.attack.isna()]
    assert clean.correct.all()
    assert clean[["source", "norm", "epsilon", "seed", "distance", "status"]].isna().all(axis=None)
    assert (clean[["gradients", "queries"]] == 0).all(axis=None)
    attacked = frame.dropna(subset="attack")
    assert attacked.image.tolist() == list(range(9))
    assert set(attacked.status) == {"attacked"}
    for name in ("source", "attack", "norm", "evaluated", "status"):
        assert isinstance(frame[name].dtype, pd.CategoricalDtype)


def test_what_is_written_is_what_is_read(tmp_path):
    frame = pd.concat([frame_of(0, 2), frame_of(2, 2)], ignore_index=True)
    write_part(tmp_path, table_of(frame))
    assert table_of(read_outcomes(tmp_path)).equals(table_of(frame))


def test_parts_are_found_by_their_names(folder):
    (folder / "outcomes" / ".0000009-x.partial.parquet").write_bytes(b"half")
    (folder / "outcomes" / "0000009-0000010-r0.parquet.tmp").write_bytes(b"half")
    (folder / "outcomes" / "notes.parquet").write_bytes(b"")
    assert finished(folder) == [range(3), range(3, 6), range(6, 9)]
    assert summarize(folder).n == 9
    assert finished(folder / "nowhere") == []


def test_parts_that_overlap_do_not_count_twice(folder):
    """Two processes with one place for their results may have cut the images differently."""
    write_part(folder, table_of(frame_of(0, 4)), rank=1)
    write_part(folder, table_of(frame_of(3, 3)), rank=1)
    assert finished(folder) == [range(3), range(3, 6), range(6, 9)]
    part_path(folder, range(3)).unlink()
    assert finished(folder) == [range(4), range(6, 9)]


@given(st.integers(1, 40), st.integers(1, 9), st.sets(st.integers(0, 40), max_size=12))
def test_what_is_missing_completes_what_is_done(n, size, cuts):
    edges = sorted(cut for cut in cuts if cut <= n)
    done = [range(*pair) for pair in zip(edges[::2], edges[1::2], strict=False)]
    left = missing(n, size, done)
    assert sorted(image for batch in [*done, *left] for image in batch) == list(range(n))
    assert all(1 <= len(batch) <= size for batch in left)


def test_without_anything_done_the_batches_are_the_usual():
    assert missing(7, 3, []) == [range(3), range(3, 6), range(6, 7)]
    assert missing(7, 3, [range(3)]) == [range(3, 6), range(6, 7)]


def test_a_folder_without_outcomes_is_named(tmp_path):
    for read in (read_outcomes, summarize):
        with pytest.raises(InputError, match="holds no outcomes of images; give a results folder"):
            read(tmp_path)


def rewritten(path, change):
    """Write a part's table again after a change, as somebody else might."""
    table = pq.read_table(path, partitioning=None)
    pq.write_table(change(table), path)


def without_rows(table: pa.Table) -> pa.Table:
    return table.slice(0, len(table) - 1)


DAMAGES = {
    "truncated": (
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        "is not a part of an outcome table",
    ),
    "empty": (lambda path: path.write_bytes(b""), "is not a part of an outcome table"),
    "text": (lambda path: path.write_text("hello"), "is not a part of"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder, not a file"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "is a pipe, .* not a file"),
    "another table": (
        lambda path: pq.write_table(pa.table({"image": [3, 4, 5]}), path),
        "is not a part of an outcome table .*other columns",
    ),
    "without a column": (
        lambda path: rewritten(path, lambda table: table.drop_columns(["queries"])),
        "is not a part of an outcome table .*other columns",
    ),
    "without a row": (lambda path: rewritten(path, without_rows), "is not whole .*are missing"),
    "a row twice": (
        lambda path: rewritten(path, lambda table: pa.concat_tables([table, table.slice(5)])),
        "is not whole .*too many",
    ),
    "renamed": (
        lambda path: part_path(path.parent.parent, range(3)).rename(path),
        "is not a part of an outcome table .*other images",
    ),
    "of another model": (
        lambda path: write_part(path.parent.parent, table_of(frame_of(3, 3, "b"))),
        "is of another evaluation",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_part_that_cannot_be_used_is_named_in_one_line(folder, damage, message):
    damage(part_path(folder, range(3, 6)))
    with pytest.raises(InputError, match=rf"3-0000006-r0\.parquet {message}.*remove it") as caught:
        summarize(folder)
    assert "\n" not in str(caught.value)


def summary_or_complaint(folder: Path) -> Summary | str:
    try:
        return summarize(folder)
    except InputError as error:
        return str(error)


def test_a_flipped_bit_is_noticed_or_harmless(folder):
    path = part_path(folder, range(3, 6))
    whole, expected, noticed = path.read_bytes(), summarize(folder), 0
    for place in range(0, len(whole), 41):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        found = summary_or_complaint(folder)
        if isinstance(found, str):
            assert path.name in found
            noticed += 1
            continue
        for name, table in vars(expected).items():
            if isinstance(table, pd.DataFrame):
                pd.testing.assert_frame_equal(getattr(found, name), table)
    assert noticed


def test_a_table_of_ones_own_must_be_whole():
    frame = frame_of(0, 3)
    with pytest.raises(InputError, match=r"the outcomes lack the columns draws"):
        summarize(frame.drop(columns="draws"))
    with pytest.raises(InputError, match=r"the outcomes are incomplete: rows of .* are missing"):
        summarize(frame.iloc[:-1])
