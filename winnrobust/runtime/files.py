"""Writing files so that a kill at any moment leaves the old file or the new one, never half.

What is being written has a name that tells whose it is, so that what a killed process leaves is
removed by the next one that writes beside it.
"""

import hashlib
import json
import math
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from winnrobust.runtime.errors import InputError

PARTIAL = ".partial"
"""Ending of the names of what is still being written."""

OWNED = re.compile(
    r"\.(?P<name>.+)~(?P<host>[^~]+)~(?P<pid>\d{1,9})~[^~]*\.partial(\..*)?", re.DOTALL
)
"""The whole of such a name: of which file or folder, on what machine, by which process."""

MAIN_NAMESPACE = 0xEFFFFFFC
"""Linux's number of the process numbers outside all containers; it never changes."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    If the block raises (a full disk, say) the temporary file is removed and `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_litter(path.parent)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=_owned(path.stem), suffix=PARTIAL + path.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files private; a result should be as readable as any other file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, all or nothing; what has no UTF-8 is written as an escape."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as strict JSON (NaN and infinity become null), all or nothing."""
    write_text(path, json.dumps(_storable(value), indent=2, allow_nan=False) + "\n")


def file_sha256(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_free(path: Path) -> None:
    """Check that `path` does not exist yet or is an empty folder: nothing is ever overwritten.

    Raises:
        InputError: there is something; what an interrupted `new_folder` left does not count. Or
            it has no name that something beside it could be renamed to, as `.`.
    """
    if path.name in ("", ".."):
        raise InputError(f"'{path}' is not a name for a new file or folder; choose another --out")
    if path.is_dir() and all(_is_partial(entry) for entry in path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise InputError(
            f"{path} already exists and is left untouched; choose another --out, in Python"
            " another folder, or remove it"
        )


def check_free_file(path: Path) -> None:
    """Check that the file `path` does not exist yet and can be made; as `check_free`.

    Raises:
        InputError: there is something, if only an empty folder, or its folder cannot be one.
    """
    check_free(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; choose another --out")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"{path} cannot be made: {folder} is not a folder; choose another --out")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to be filled; on success it becomes `path`.

    So the folder is there as a whole or not at all, whatever happens meanwhile.

    Raises:
        InputError: `path` exists with something in it, or cannot be created.
    """
    check_free(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (path.parent, path):
            remove_litter(folder)
        temporary = Path(
            tempfile.mkdtemp(dir=path.parent, prefix=_owned(path.name), suffix=PARTIAL)
        )
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror or error}") from None
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to be filled; on success it becomes `path`.

    Unlike with `new_folder` there may be one, which stays until the new one is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_litter(path.parent)
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=_owned(path.name), suffix=PARTIAL
    ) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
    _sync_folder(path.parent)


def remove_litter(folder: Path) -> None:
    """Remove what processes of this machine that are no more left half written in `folder`.

    A folder that `replacing_folder` had moved away, but not yet replaced, is put back.
    """
    with suppress(OSError):
        for entry in folder.iterdir():
            owner = OWNED.fullmatch(entry.name)
            if owner and owner["host"] == _host() and not is_alive(int(owner["pid"])):
                _discard(entry, folder / owner["name"])


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine still runs; where there is no telling, it does."""
    if os.name == "posix":
        try:
            os.kill(pid, 0)  # sends nothing
        except OSError as error:
            return not isinstance(error, ProcessLookupError)
    return True


def _discard(entry: Path, path: Path) -> None:
    if not entry.is_dir() or entry.is_symlink():
        entry.unlink(missing_ok=True)
        return
    if (entry / "old").exists() and not path.exists():
        (entry / "old").rename(path)
    shutil.rmtree(entry, ignore_errors=True)


def _owned(name: str) -> str:
    """What the name of a temporary file or folder begins with: it tells of what, where and whose.

    >>> bool(OWNED.fullmatch(_owned("results") + "x1y2" + PARTIAL + ".json"))
    True
    """
    return f".{name}~{_host()}~{os.getpid()}~"


def _host() -> str:
    """This machine or, in a container, that: processes of others have the same numbers."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        space = 0
    name = re.sub(r"[^\w.-]", "_", socket.gethostname())
    return name if space in (0, MAIN_NAMESPACE) else f"{name}.{space}"


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") and PARTIAL in path.suffixes


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):  # a path may have bytes that are not UTF-8
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _sync_folder(folder: Path) -> None:
    """Make a rename durable (a no-op where folders cannot be opened, as on Windows)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
