"""Who works on a folder: a second process on the same one is sent away, not let in."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor

from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import is_alive

HELD: set[Path] = set()
"""The locks of this process."""


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keep other processes from working on the folder `path`, there or not, for a `with` block.

    The system itself gives up the lock of a process that ends, however it ends. Of the processes of
    a job the main one holds it for all; one that holds it already may hold it once more.

    Raises:
        InputError: another process holds it; the message says which.
    """
    place = Path(os.path.realpath(path))
    lock = place.parent / f".{place.name}.lock"
    mine = distributed.is_main_process() and lock not in HELD
    handle, refusal = _acquire(lock, path) if mine else (None, None)
    refusal = distributed.broadcast(refusal)
    if refusal is not None:
        raise InputError(refusal)
    if handle is None:
        yield
        return
    HELD.add(lock)
    _remove_abandoned(lock.parent)
    try:
        yield
    finally:
        HELD.remove(lock)
        with suppress(OSError):
            lock.unlink()  # before it is given up, so that nobody can hold what is removed
        os.close(handle)


def _acquire(lock: Path, path: Path) -> tuple[int | None, str | None]:
    """Return an open and locked file, or a sentence that says why there is none."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        while (locked := _lock(handle)) and not _is_same(handle, lock):
            os.close(handle)  # the one who held it has removed it meanwhile
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        return None, f"cannot write to {path}: {error.strerror or error}"
    if not locked:
        os.close(handle)
        return None, (
            f"{path} is in use{_holder(lock)}; wait for it, stop it, or choose another folder"
        )
    holder = {
        "command": provenance.command(),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": provenance.now(),
    }
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps(holder).encode())
    return handle, None


def _lock(handle: int) -> bool:
    try:
        return lock_descriptor(handle, blocking=False)
    except OSError:  # a file system without locks
        return True


def _remove_abandoned(folder: Path) -> None:
    """Remove the locks in `folder` whose processes were of this machine and were killed."""
    for lock in folder.glob(".*.lock"):
        with suppress(OSError, ValueError, LookupError, TypeError):
            holder = json.loads(lock.read_text())
            if holder["host"] == socket.gethostname() and not is_alive(int(holder["pid"])):
                handle = os.open(lock, os.O_RDWR)
                if _lock(handle) and _is_same(handle, lock):
                    lock.unlink()
                os.close(handle)


def _is_same(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(lock))
    except FileNotFoundError:
        return False


def _holder(lock: Path) -> str:
    """Say who holds a lock; nothing where that cannot be read."""
    try:
        holder = json.loads(lock.read_text())
        return (
            f" by '{holder['command']}' (process {holder['pid']} on {holder['host']}, since"
            f" {holder['since']})"
        )
    except (OSError, ValueError, LookupError, TypeError):
        return ""
