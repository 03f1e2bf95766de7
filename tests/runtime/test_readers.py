"""What others wrote is read, or refused in one line: never a traceback, never an endless wait."""

import contextlib
import io
import json
import os
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import (
    check_file,
    check_tensor,
    opened_image,
    parse_json,
    read_json,
    read_json_lines,
    read_npz,
    read_safetensors,
    read_text,
    read_toml,
)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    return read_npz(path, ("images", "labels"))


def read_image(path: Path) -> np.ndarray:
    with opened_image(path) as image:
        return np.asarray(image.convert("RGB"))


def archive(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def picture(kind: str) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


ARRAYS = {"images": np.arange(32, dtype=np.uint8).reshape(2, 4, 4), "labels": np.array([0, 1])}
VALID: dict[str, tuple[Callable, bytes]] = {
    "text": (read_text, "héllo".encode()),
    "json": (read_json, b'{"a": [1, -2.5e3, null, true, {"b": "\\u00e9"}], "c": "x"}'),
    "jsonl": (read_json_lines, b'{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25}\n'),
    "toml": (read_toml, b'lr = 1e-3\nepochs = 3\nname = "x"\n[table]\nlist = [1, 2]\n'),
    "npz": (read_arrays, archive(**ARRAYS)),
    "safetensors": (read_safetensors, save({"a": torch.ones(2, 3)}, {"winnrobust": "{}"})),
    "png": (read_image, picture("png")),
    "jpeg": (read_image, picture("jpeg")),
    "bmp": (read_image, picture("bmp")),
    "tiff": (read_image, picture("tiff")),
    "webp": (read_image, picture("webp")),
    "gif": (read_image, picture("gif")),
}
KINDS = list(VALID)


def write(folder: Path, kind: str, content: bytes) -> Path:
    path = folder / f"file.{kind}"
    path.write_bytes(content)
    return path


def refused(read: Callable, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read(tmp_path, kind):
    read, content = VALID[kind]
    assert read(write(tmp_path, kind, content)) is not None


def test_what_is_read_is_what_was_written(tmp_path):
    arrays = read_arrays(write(tmp_path, "npz", VALID["npz"][1]))
    assert list(arrays) == ["images", "labels"]
    for name, expected in ARRAYS.items():
        assert np.array_equal(arrays[name], expected)
        assert arrays[name].dtype == expected.dtype
    np.savez(tmp_path / "odd.npz", f=np.asfortranarray(np.eye(3)[:2]), none=np.zeros((0, 3)), s="é")
    odd = read_npz(tmp_path / "odd.npz", ("s", "f", "none"))
    assert np.array_equal(odd["f"], np.eye(3)[:2])
    assert odd["none"].shape == (0, 3)
    assert str(odd["s"]) == "é"
    tensors, texts = read_safetensors(write(tmp_path, "safetensors", VALID["safetensors"][1]))
    assert torch.equal(tensors["a"], torch.ones(2, 3))
    assert texts == {"winnrobust": "{}"}
    assert read_json_lines(write(tmp_path, "jsonl", VALID["jsonl"][1]))[1]["loss"] == 0.25
    assert read_toml(write(tmp_path, "toml", VALID["toml"][1]))["table"] == {"list": [1, 2]}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_file_with_some_bytes_changed_is_read_or_refused(tmp_path, kind, data):
    read, content = VALID[kind]
    damaged = bytearray(content)
    places = st.integers(0, len(content) - 1)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        damaged[place] = byte
    kept = data.draw(st.one_of(st.just(len(content)), places))
    path = write(tmp_path, kind, bytes(damaged[:kept]))
    with contextlib.suppress(InputError):
        read(path)


def place_pipe(path: Path) -> None:
    os.mkfifo(path)


def place_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def place_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


PLACED = {
    Path.mkdir: "is a folder, not a file",
    place_pipe: "is a pipe, a socket or a device, not a file",
    place_socket: "is a pipe, a socket or a device, not a file",
    place_device: "is a pipe, a socket or a device, not a file",
    lambda path: path.symlink_to(path): "cannot read",
    lambda path: None: "does not exist",
}


@pytest.mark.parametrize("place", PLACED)
def test_what_is_no_file_is_not_waited_for(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    path = Path("file")
    place(path)
    for read in (check_file, *(read for read, _ in VALID.values())):
        assert PLACED[place] in refused(read, path)


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(InputError, match=r"'a\\x00b' is not a valid file name"):
        check_file(Path("a\0b"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": ', "Expecting value"),
        ("[" * 200_000 + "]" * 200_000, "recursion"),
        ("[" * 102 + "]" * 102, "nested more than 100 deep"),
        ("1" * 5000, "digits"),
        ('{"n": 18446744073709551616}', "an integer has 65 bits"),
        ("-" + "1" * 4000, "bits"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ('{"\\udfff": 1}', "surrogates not allowed"),
        ('{"rate": NaN}', "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("1e999", "inf is not a finite number"),
        ("", "Expecting value"),
    ],
)
def test_json_that_nothing_could_use_is_refused(tmp_path, text, reason):
    for name, read in (("valid JSON", read_json), ("valid JSON lines", read_json_lines)):
        path = write(tmp_path, "json", text.encode())
        if text or read is read_json:  # no lines are lines, too
            message = refused(read, path)
            assert f"is not {name}" in message
            assert reason in message
    with pytest.raises(InputError, match=r"^the header of x is not valid JSON"):
        parse_json(text, "the header of x")


def test_numbers_of_64_bits_are_read(tmp_path):
    numbers = [2**63 - 1, -(2**63) + 1, 1e308]
    assert read_json(write(tmp_path, "json", json.dumps(numbers).encode())) == numbers


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lr = 1" + "0" * 400, "bits"),
        ("lr = 1" + "0" * 5000, "digits"),
        ("lr = " + "[" * 5000 + "]" * 5000, "is not valid TOML"),
        ("lr = ", "Invalid value"),
        ("lr = inf", "not a finite number"),
        ('lr = "\\ud800"', "is not valid TOML"),
        ("a.a = 1\na.a = 2", "Cannot overwrite"),
    ],
)
def test_toml_that_nothing_could_use_is_refused(tmp_path, text, reason):
    assert reason in refused(read_toml, write(tmp_path, "toml", text.encode()))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    for kind in ("text", "json", "jsonl", "toml"):
        assert "can't decode byte" in refused(VALID[kind][0], write(tmp_path, kind, b"\xff\xfe{}"))


def npy(header: str, values: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + values


def zipped(images: bytes, **settings) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", **settings) as made:
        made.writestr("images.npy", images)
        made.writestr("labels.npy", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (0,)}"))
    return content.getvalue()


def uint8(shape: str) -> str:
    return f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (npy(uint8("(4,)"), bytes(5)), "has not the size that its header claims"),
        (npy(uint8("(4,)"), bytes(3)), "has not the size that its header claims"),
        (npy(uint8("(1000000000000000,)")), "has not the size that its header claims"),
        (npy(uint8("(-4, -1)"), bytes(4)), "is not a whole .npz file"),
        (npy(uint8("4"), bytes(4)), "shape is not valid"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), "holds pickled objects"),
        (npy("__import__('os').mkdir('x')"), "malformed node"),
        (npy("(" * 90), "is not a whole .npz file"),
        (b"\x93NUMPY\x07\x00", "is not a whole .npz file"),
        (b"", "is not a whole .npz file"),
    ],
)
def test_arrays_that_are_not_what_they_claim_are_refused(tmp_path, images, reason):
    assert reason in refused(read_arrays, write(tmp_path, "npz", zipped(images)))
    assert not Path("x").exists()


def test_an_array_larger_than_the_memory_is_not_made_room_for(tmp_path, monkeypatch):
    """A megabyte of zeros deflates to a kilobyte; here a machine has less."""
    bomb = zipped(npy(uint8("(1048576,)"), bytes(2**20)), compression=zipfile.ZIP_DEFLATED)
    path = write(tmp_path, "npz", bomb)
    assert len(bomb) < 2000
    assert read_arrays(path)["images"].sum() == 0
    monkeypatch.setattr(os, "sysconf", lambda name: 2**9)
    assert "has not the size that its header claims" in refused(read_arrays, path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_numpy_never_compresses_with_is_refused(tmp_path, method):
    content = zipped(npy(uint8("(4,)"), bytes(4)), compression=method)
    message = refused(read_arrays, write(tmp_path, "npz", content))
    assert "is compressed in a way that numpy never writes" in message


@pytest.mark.parametrize("flags", [0x1, 0x20, 0x41])  # encrypted, patched, strongly encrypted
def test_forged_flags_of_an_archive_are_refused(tmp_path, flags):
    content = bytearray(zipped(npy(uint8("(4,)"), bytes(4))))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(signature) + place
        content[start : start + 2] = struct.pack("<H", flags)
    refused(read_arrays, write(tmp_path, "npz", bytes(content)))


def test_other_arrays_are_not_read(tmp_path):
    np.savez(tmp_path / "file.npz", **ARRAYS, bad=np.array([{}]))
    assert list(read_arrays(tmp_path / "file.npz")) == ["images", "labels"]
    np.savez(tmp_path / "file.npz", images=ARRAYS["images"], more=ARRAYS["labels"])
    message = refused(read_arrays, tmp_path / "file.npz")
    assert "must have the arrays 'images' and 'labels'; it has images, more" in message


def header(text: str, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        header("{}", 2**63),
        header("{}", 90_000_000),
        header("[" * 20_000),
        header(
            '{"a": {"dtype": "F32", "shape": [4000000000, 4000000000], "data_offsets": [0, 4]}}'
        ),
        header('{"a":{"dtype": "F32", "shape": [18446744073709551616], "data_offsets": [0, 0]}}'),
        header('{"a":{"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}') + bytes(4),
        header('{"a":{"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}') + bytes(4),
        header('{"__metadata__": {"winnrobust": []}}'),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, content):
    message = refused(read_safetensors, write(tmp_path, "safetensors", content))
    assert "is not a whole safetensors file" in message


def test_an_image_that_claims_to_be_gigantic_is_refused(tmp_path):
    content = bytearray(picture("png"))
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    message = refused(read_image, write(tmp_path, "png", bytes(content)))
    assert "is not an image" in message


def test_a_format_that_starts_other_programs_is_refused(tmp_path):
    """PostScript would be drawn by Ghostscript."""
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    assert "is not an image" in refused(read_image, write(tmp_path, "png", content))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1.0], "images must be a tensor, not list"),
        (torch.empty(2, device="meta"), "images is on the meta device"),
        (torch.eye(2).to_sparse(), "must be a dense tensor, not a sparse one"),
        (torch.eye(2).to_sparse_csr(), "must be a dense tensor, not a sparse one"),
        (torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "not a nested one"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8), "not a quantized one"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_without_a_number_for_each_entry_are_refused(value, reason):
    with pytest.raises(InputError, match=reason):
        check_tensor("images", value)


def test_ordinary_tensors_are_taken():
    for value in (torch.ones(2, 3), torch.ones(2, 3).T, torch.tensor(1), torch.ones(0)):
        check_tensor("images", value)
