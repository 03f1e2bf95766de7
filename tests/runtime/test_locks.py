"""Two processes on one folder: the second is sent away, and told by whom."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.processes import Started
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.locks import hold


def hold_until_told(path: Path) -> None:
    sys.argv = ["winnrobust", "train", "--out", "my run"]
    with hold(path):
        print("held")
        signal.pause()


@pytest.fixture
def other(tmp_path, tmp_path_factory):
    """A process that holds the folder `run`."""
    output = tmp_path_factory.mktemp("other") / "output.txt"
    process = Started(partial(hold_until_told, tmp_path / "run"), output)
    process.wait_for("held")
    yield process
    process.send(signal.SIGKILL)
    process.wait()


def test_the_second_process_is_told_who_holds_a_folder(tmp_path, other):
    with pytest.raises(InputError) as caught, hold(tmp_path / "run"):
        pass
    message = str(caught.value)
    assert f"{tmp_path / 'run'} is in use by 'winnrobust train --out 'my run''" in message
    assert f"(process {other.process.pid} on {os.uname().nodename}, since 2" in message
    with hold(tmp_path / "another"):
        pass


def test_a_folder_has_one_lock_by_whatever_name(tmp_path, other, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    for name in ("run", "./run", "link", "run/../run"):
        with pytest.raises(InputError, match="is in use by"), hold(Path(name)):
            pass
    monkeypatch.chdir(tmp_path / "run")
    with pytest.raises(InputError, match="is in use by"), hold(Path()):
        pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_lock_of_a_process_that_is_no_more_is_no_obstacle(tmp_path, other, end):
    other.send(end)
    other.wait()
    with hold(tmp_path / "run"):
        assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_goes_away_with_the_next_lock_beside_it(tmp_path, other):
    other.send(signal.SIGKILL)
    other.wait()
    (tmp_path / ".mine.lock").write_text("of another program")
    assert (tmp_path / ".run.lock").exists()
    with hold(tmp_path / "another"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".mine.lock"]


def test_the_lock_of_a_process_that_runs_stays(tmp_path, other):
    with hold(tmp_path / "another"):
        pass
    assert (tmp_path / ".run.lock").exists()


def test_a_damaged_lock_file_is_no_obstacle(tmp_path):
    (tmp_path / ".run.lock").write_text("{")
    with hold(tmp_path / "run"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_process_may_hold_what_it_holds(tmp_path):
    with hold(tmp_path / "run"):
        with hold(tmp_path / "run"):
            pass
        assert (tmp_path / ".run.lock").exists()
    assert not (tmp_path / ".run.lock").exists()


def test_a_lock_ends_with_an_error(tmp_path):
    with pytest.raises(KeyError), hold(tmp_path / "run"):
        raise KeyError
    assert not list(tmp_path.iterdir())
    with hold(tmp_path / "run"):
        assert (tmp_path / ".run.lock").exists()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"), hold(tmp_path / "file" / "run"):
        pass
