"""Reading what others wrote: whatever is wrong with a file ends in one line that names it.

A file may be missing, a pipe, cut off, damaged, of another kind, or made to harm. Nothing is ever
unpickled, no claim of a header is believed before it is checked, and no number or text gets in that
the rest of the package could not handle: then every function here raises `InputError`.
"""

import json
import logging
import math
import os
import stat
import tomllib
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from winnrobust.runtime.errors import InputError, brief

if TYPE_CHECKING:  # JSON and TOML need none of them, and they take seconds
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor


class DamagedError(InputError):
    """A file is not what it should be, or not whole."""


DEEPEST = 100
"""How deep lists and tables may be nested."""

BITS = 63
"""Of an integer: what files, tables and libraries have room for."""

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow reads more, some of them by starting other programs."""


def check_file(path: Path) -> None:
    """Check that `path` can be opened and read to an end: it is a file, not a pipe or a folder."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise InputError(f"'{path}' is not a valid file name") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InputError(f"{path} is {kind}, not a file")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries' warnings and log messages from the terminal for a `with` block."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Read the file `path` in a `with` block: whatever goes wrong there becomes an `InputError`.

    Args:
        kind: what it should be: "valid JSON", "a whole .npz file".
    """
    check_file(path)
    try:
        with quiet():
            yield
    except (InputError, MemoryError):
        raise
    except OSError as error:
        raise DamagedError(f"{path} is not {kind} ({error.strerror or brief(error)})") from None
    except Exception as error:  # of a damaged file nearly any may come out of a library
        raise DamagedError(
            f"{path} is not {kind} ({brief(error)}); it may be truncated or corrupt"
        ) from None


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text."""
    with reading(path, "UTF-8 text"):
        return path.read_text(encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file: no NaN, no infinity, no integer of more than 64 bits."""
    with reading(path, "valid JSON"):
        return _parse_json(path.read_text(encoding="utf-8"))


def read_json_lines(path: Path) -> list[Any]:
    """Read a file with a JSON value on each line, as `read_json`."""
    with reading(path, "valid JSON lines"):
        return [_parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def parse_json(text: str, place: str) -> Any:
    """Parse JSON, as `read_json`, that was found elsewhere than in a file of its own.

    Args:
        place: where, for messages: "the header of model.safetensors".
    """
    try:
        return _parse_json(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is not valid JSON ({brief(error)}); it is damaged") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file."""
    with reading(path, "valid TOML"):
        return _checked(tomllib.loads(path.read_text(encoding="utf-8")))


def read_npz(
    path: Path, names: Sequence[str], if_there: Sequence[str] = ()
) -> "dict[str, np.ndarray]":
    """Read the arrays called `names` of an `.npz` file, as numpy writes it, and no others.

    None of them may hold pickled objects, or have another size than its header claims.

    Args:
        if_there: other arrays, which older files may lack.
    """
    with reading(path, "a whole .npz file"), zipfile.ZipFile(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        if not members.keys() >= set(names):
            wanted, found = " and ".join(map(repr, names)), ", ".join(sorted(members)) or "none"
            raise InputError(f"{path} must have the arrays {wanted}; it has {found}")
        chosen = [*names, *(name for name in if_there if name in members)]
        return {name: _read_array(archive, members[name]) for name in chosen}


def check_safetensors(path: Path) -> None:
    """Check by its header that a safetensors file is whole."""
    from safetensors import safe_open

    with reading(path, "a whole safetensors file"), safe_open(path, framework="pt"):
        pass


def read_safetensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Read the tensors of a safetensors file and the texts in its header."""
    from safetensors import safe_open

    with reading(path, "a whole safetensors file"), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


@contextmanager
def opened_image(path: Path) -> "Iterator[Image]":
    """Open an image with Pillow for a `with` block, in which its pixels must be read.

    It must have a usual format, not be damaged, and not claim to be gigantic.
    """
    from PIL import Image

    with reading(path, "an image"), Image.open(path, formats=IMAGE_FORMATS) as image:
        yield image


def check_tensor(name: str, value: Any) -> None:
    """Check that a caller's `value` is a tensor that holds numbers, one for each entry.

    Raises:
        InputError: it is not; `name` says in the message what it should have been.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        raise InputError(f"{name} must be a tensor, not {type(value).__name__}")
    if value.is_meta:
        raise InputError(f"{name} is on the meta device: it has a shape, but no values")
    if value.is_nested or value.layout != torch.strided or value.is_quantized:
        kind = "nested" if value.is_nested else "quantized" if value.is_quantized else "sparse"
        raise InputError(f"{name} must be a dense tensor, not a {kind} one; make it dense first")


def _parse_json(text: str) -> Any:
    return _checked(json.loads(text, parse_constant=_refuse))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _checked(value: Any) -> Any:
    """Return a value that was parsed; a ValueError if the rest of the package cannot handle it."""
    waiting = [(value, 0)]  # a list, because recursion could itself be too deep
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, dict):
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            waiting += [(part, depth + 1) for part in item]
        elif isinstance(item, str):
            item.encode()  # fails for a lone surrogate
        elif isinstance(item, int) and item.bit_length() > BITS:
            raise ValueError(f"an integer has {item.bit_length()} bits; {BITS} are the most")
        elif isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"{item} is not a finite number")
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
    return value


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> "np.ndarray":
    """Read a member that is an array in numpy's format, and nothing else."""
    from numpy.lib import format as npy

    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"'{member.filename}' is compressed in a way that numpy never writes")
    headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with archive.open(member) as file:
        shape, _, dtype = headers[npy.read_magic(file)](file)
        if dtype.hasobject:
            raise ValueError(f"'{member.filename}' holds pickled objects, which are never loaded")
        size = math.prod(shape) * dtype.itemsize
        if file.tell() + size != member.file_size or size > _memory():
            raise ValueError(f"'{member.filename}' has not the size that its header claims")
    with archive.open(member) as file:
        return npy.read_array(file, allow_pickle=False)


def _memory() -> int:
    """How many bytes of memory this machine has; without end where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 2**BITS
