import errno
import json
import math
import os
from pathlib import Path

import pytest

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import (
    check_free,
    new_folder,
    replacing,
    replacing_folder,
    write_json,
    write_text,
)
from winnrobust.runtime.readers import read_json


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


def make(path: Path) -> None:
    with new_folder(path) as folder:
        (folder / "made").write_text("new")


def test_a_folder_appears_as_a_whole_or_not_at_all(tmp_path):
    with new_folder(tmp_path / "a" / "b") as folder:
        (folder / "first").write_text("1")
        assert not (tmp_path / "a" / "b").exists()
        (folder / "second").write_text("2")
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"first", "second"}

    def interrupted() -> None:
        with new_folder(tmp_path / "c") as folder:
            (folder / "first").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_kill_left_does_not_stand_in_the_way(tmp_path):
    (tmp_path / "out" / ".results-abc.partial").mkdir(parents=True)
    check_free(tmp_path / "out")
    make(tmp_path / "out" / "results")
    with pytest.raises(InputError, match="already exists"):
        check_free(tmp_path / "out")


def test_a_new_folder_is_as_open_as_any_other(tmp_path):
    make(tmp_path / "ours")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_existing_folder_is_refused_an_empty_one_used(tmp_path):
    taken, empty = tmp_path / "taken", tmp_path / "empty"
    taken.mkdir()
    (taken / "result.csv").write_text("precious")
    empty.mkdir()
    with pytest.raises(InputError, match="already exists and is left untouched"):
        make(taken)
    with pytest.raises(InputError, match="already exists"):
        make(taken / "result.csv")
    make(empty)
    assert (empty / "made").read_text() == "new"
    assert (taken / "result.csv").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "taken"]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        make(tmp_path / "file" / "below")


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder"

    def replace_it(name: str) -> None:
        with replacing_folder(path) as new:
            (new / name).write_text(name)
            if name == "half":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def found() -> list[str]:
        return sorted(str(item.relative_to(tmp_path)) for item in tmp_path.rglob("*"))

    replace_it("old")
    with pytest.raises(OSError, match="No space left"):
        replace_it("half")
    assert found() == ["folder", "folder/old"]

    rename = Path.rename

    def fail(self, target):
        if self.name == "new":
            raise OSError(errno.EIO, "input/output error")
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="input/output error"):
            replace_it("new")
    assert found() == ["folder", "folder/old"]
    replace_it("new")
    assert found() == ["folder", "folder/new"]
