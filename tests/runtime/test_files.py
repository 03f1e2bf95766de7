import errno
import json
import math
import os
import signal
import subprocess
import sys
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


def test_text_that_has_no_utf8_is_written_as_an_escape(tmp_path):
    name = os.fsdecode(b"run-\xff")
    write_text(tmp_path / "page.md", f"# {name}")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == "# run-\\udcff"
    write_json(tmp_path / "value.json", {"path": name, name: 1})
    assert read_json(tmp_path / "value.json") == {"path": "run-\\udcff", "run-\\udcff": 1}


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
    (tmp_path / "out" / ".results~host~1~abc.partial").mkdir(parents=True)
    (tmp_path / "out" / ".results~host~1~abc.partial.json").write_text("{")
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


DIES_WRITING = """
import os, signal, sys
from pathlib import Path
from winnrobust.runtime.files import new_folder, replacing, replacing_folder
write, path, then = sys.argv[1:]
how = {"replacing": replacing, "new": new_folder, "folder": replacing_folder}[write]
with how(Path(path)) as temporary:
    (temporary if write == "replacing" else temporary / "half").write_text("half")
    if then == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.read()
"""


def start(write: str, path: Path, then: str) -> subprocess.Popen:
    command = [sys.executable, "-c", DIES_WRITING, write, str(path), then]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


@pytest.mark.parametrize("write", ["replacing", "new", "folder"])
def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_there(tmp_path, write):
    assert start(write, tmp_path / "value.txt", "kill").wait() == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.startswith(".value")
    write_text(tmp_path / "other.txt", "new")
    assert names(tmp_path) == ["other.txt"]


def test_what_a_killed_process_left_does_not_fill_an_empty_folder(tmp_path):
    out = tmp_path / "out"
    assert start("new", out / "results", "kill").wait() == -signal.SIGKILL
    assert len(names(out)) == 1
    make(out)
    assert names(out) == ["made"]


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    with start("replacing", tmp_path / "value.txt", "wait") as other:
        assert other.stdout.readline() == "writing\n"
        assert len(names(tmp_path)) == 1
        write_text(tmp_path / "value.txt", "ours")
        assert len(names(tmp_path)) == 2
        other.communicate("")
        assert other.returncode == 0
    assert names(tmp_path) == ["value.txt"]
    assert (tmp_path / "value.txt").read_text() == "half"


def test_what_another_machine_left_is_left_alone(tmp_path):
    """Whether its process still runs, nobody here can tell."""
    assert start("replacing", tmp_path / "value.txt", "kill").wait() == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    left.rename(tmp_path / left.name.replace("~", "~far-away.", 1))
    write_text(tmp_path / "other.txt", "new")
    assert len(names(tmp_path)) == 2


DIES_BETWEEN = """
import os, pathlib, signal, sys
from winnrobust.runtime.files import replacing_folder
rename = pathlib.Path.rename
def dying(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.rename = dying
with replacing_folder(pathlib.Path(sys.argv[1])) as new:
    (new / "new").write_text("")
"""


def test_a_folder_that_was_moved_away_and_never_replaced_comes_back(tmp_path):
    make(tmp_path / "folder")
    command = [sys.executable, "-c", DIES_BETWEEN, str(tmp_path / "folder")]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert not (tmp_path / "folder").exists()
    write_text(tmp_path / "other.txt", "new")
    assert names(tmp_path) == ["folder", "other.txt"]
    assert names(tmp_path / "folder") == ["made"]
