import errno
import json
import math
import os
from pathlib import Path

import pytest

from winnrobust.errors import InputError
from winnrobust.files import new_folder, read_json, replacing, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "value.txt"
    write_text(path, "old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        write_half()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["value.txt"]


def test_a_failed_rename_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "value.txt"
    write_text(path, "old")

    def fail(self, target):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="input/output error"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["value.txt"]


def test_a_new_file_is_as_readable_as_any_other(tmp_path):
    write_text(tmp_path / "ours.txt", "x")
    (tmp_path / "plain.txt").write_text("x")
    assert (tmp_path / "ours.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"rate": math.nan, "list": [math.inf, 1.5], "pair": (1, 2)})
    assert json.loads(path.read_text()) == {"rate": None, "list": [None, 1.5], "pair": [1, 2]}


def test_broken_json_is_named(tmp_path):
    path = tmp_path / "value.json"
    path.write_text('{"a": ')
    with pytest.raises(InputError, match="is not valid JSON"):
        read_json(path)
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "none.json")


def test_an_existing_folder_is_refused_an_empty_one_used(tmp_path):
    taken, empty = tmp_path / "taken", tmp_path / "empty"
    taken.mkdir()
    (taken / "result.csv").write_text("precious")
    empty.mkdir()
    with pytest.raises(InputError, match="already exists and is left untouched"):
        new_folder(taken)
    with pytest.raises(InputError, match="already exists"):
        new_folder(taken / "result.csv")
    assert new_folder(empty) == empty
    assert (taken / "result.csv").read_text() == "precious"


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        new_folder(tmp_path / "file" / "below")
