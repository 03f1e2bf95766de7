"""Models in files: TorchScript and torch.export; what is refused."""

import contextlib
import io
import os
import pickle
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnrobust.attacks import loss_gradient
from winnrobust.external import load_module
from winnrobust.runtime.errors import InputError


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("name", ["script.pt", "any.pt2", "fixed.pt2", "some.pt2"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_file_gives_the_logits_and_gradients_of_the_network(files, network, images, name, count):
    module = load_module(str(files / name))
    some, labels = images[:count], torch.arange(count)
    expected, found = (loss_gradient(each, some, labels) for each in (network, module))
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.gradient, expected.gradient)


def test_an_exported_program_says_which_images_it_takes(files):
    module = load_module(str(files / "any.pt2"))
    with pytest.raises(InputError, match="it takes images of 1x28x28; these are 3x32x32"):
        module(torch.zeros(2, 3, 32, 32))


def test_an_exported_program_can_be_called_to_eval_mode(files):
    module = load_module(str(files / "any.pt2")).train().eval()
    assert not any(each.training for each in module.modules())


def test_a_program_of_two_inputs_is_refused(tmp_path):
    class Both(torch.nn.Module):
        def forward(self, first, second):
            return first + second

    program = torch.export.export(Both(), (torch.zeros(2), torch.zeros(2)))
    torch.export.save(program, tmp_path / "both.pt2")
    with pytest.raises(InputError, match="the program has 2 inputs; it must take images alone"):
        load_module(str(tmp_path / "both.pt2"))


@pytest.mark.parametrize("suffix", ["pt", "pth"])
def test_pickles_are_refused_and_not_opened(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Bomb()}, f"zipped.{suffix}")
    torch.save({"weight": Bomb()}, f"old.{suffix}", _use_new_zipfile_serialization=False)
    (tmp_path / f"plain.{suffix}").write_bytes(pickle.dumps(Bomb()))
    for name in ("zipped", "old", "plain"):
        with pytest.raises(InputError, match="not a whole TorchScript archive; if it is a state"):
            load_module(f"{name}.{suffix}")
    assert not (tmp_path / "exploded").exists()


def with_member(source, target, member, content):
    """Copy a zip archive, with other content in the member whose name ends like that."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            if not name.endswith(member):
                new.writestr(name, old.read(name))
        new.writestr(f"{root}/{member}", content)


def test_pickles_inside_an_exported_program_are_not_opened(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bomb = io.BytesIO()
    torch.save((Bomb(),), bomb)
    with_member(files / "any.pt2", "inputs.pt2", "data/sample_inputs/model.pt", bomb.getvalue())
    with pytest.raises(InputError, match=r"cannot be loaded as a torch.export program"):
        load_module("inputs.pt2")
    with_member(files / "any.pt2", "legacy.pt2", "data/constants/model.pt", bomb.getvalue())
    with pytest.raises(InputError, match=r"cannot be loaded as a torch.export program"):
        load_module("legacy.pt2")
    with_member(files / "any.pt2", "opaque.pt2", "data/constants/opaque_obj_0", b"")
    with pytest.raises(InputError, match="has pickled objects or compiled code inside"):
        load_module("opaque.pt2")
    assert not (tmp_path / "exploded").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_damaged_files_end_in_one_line(files, tmp_path, capfd):
    for name, message in (
        ("script.pt", "is not a whole TorchScript archive"),
        ("any.pt2", "is not a whole torch.export archive"),
    ):
        whole = (files / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=message):
            load_module(str(tmp_path / name))
    with_member(files / "any.pt2", tmp_path / "empty.pt2", "models/model.json", b"{}")
    with pytest.raises(InputError, match="export it again with this version"):
        load_module(str(tmp_path / "empty.pt2"))
    assert capfd.readouterr().err == ""


FUZZED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", ["script.pt", "fixed.pt2"])
@given(data=st.data())
@FUZZED
def test_a_file_with_some_bytes_changed_is_loaded_or_refused(files, tmp_path, name, data):
    content = bytearray((files / name).read_bytes())
    places = st.integers(0, len(content) - 1)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1)):
        content[place] = byte
    (tmp_path / name).write_bytes(bytes(content))
    with contextlib.suppress(InputError):
        load_module(str(tmp_path / name))


def test_names_in_an_archive_that_are_no_text_are_refused(files, tmp_path):
    """Each of these bytes once came out as another error than the one for damaged files."""
    for name, member in (("script.pt", b"data.pkl"), ("any.pt2", b"archive_format")):
        content = (files / name).read_bytes()
        place = content.rindex(member)
        (tmp_path / name).write_bytes(content[:place] + b"\xff" + content[place + 1 :])
        with pytest.raises(InputError, match=r"is not a whole|cannot be loaded"):
            load_module(str(tmp_path / name))


@pytest.mark.parametrize("suffix", ["pt", "pth", "pt2", "onnx"])
def test_what_is_no_file_is_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"folder.{suffix}").mkdir()
    for name, reason in (("pipe", "not a file"), ("folder", "not a file"), ("none", "not exist")):
        with pytest.raises(InputError, match=reason):
            load_module(str(tmp_path / f"{name}.{suffix}"))


def test_weights_for_a_file_that_has_its_own_are_refused(files, tmp_path):
    with pytest.raises(InputError, match="has its weights inside; leave out the weights"):
        load_module(str(files / "script.pt"), tmp_path / "weights.safetensors")
