"""`package.module:factory` and its weights."""

import os

import pytest
import torch
from safetensors.torch import save_file

from winnrobust.external import files_of, load_module
from winnrobust.runtime.errors import InputError


def test_a_factory_in_the_current_folder_is_called(folder, network, images):
    module = load_module("somebodys:cnn")
    assert not module.training
    assert torch.equal(module(images), network(images))
    assert files_of("somebodys:cnn") == [folder / "somebodys.py"]


def test_a_factory_of_an_installed_package_is_called():
    module = load_module("torchvision.models:squeezenet1_1")
    assert module(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_weights_replace_those_that_the_factory_drew(folder, images):
    torch.manual_seed(3)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    save_file(other.state_dict(), "dense.safetensors")
    module = load_module("somebodys:dense", folder / "dense.safetensors")
    assert torch.equal(module(images), other(images))
    assert files_of("somebodys:dense", folder / "dense.safetensors")[0].name == "dense.safetensors"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nobodys:cnn", "there is no module 'nobodys', neither installed nor in "),
        ("somebodys.deeper:cnn", "there is no module 'somebodys.deeper'"),
        ("somebodys:rnn", "the module 'somebodys' has no 'rnn'"),
        ("somebodys:answer", "is not a function or a class, but int"),
        (
            "somebodys:number",
            "called without arguments, must return a torch.nn.Module, not int",
        ),
        ("somebodys:half_ready", "called without arguments, fails: RuntimeError: no weights yet"),
        ("somebodys:leaves", "fails: SystemExit: 3"),
        ("somebodys:", "must be written package.module:factory"),
        (":cnn", "must be written package.module:factory"),
        ("somebodys", "is not a model from elsewhere; it must be package.module:factory"),
        ("model.h5", "is not a model from elsewhere"),
        ("model.safetensors", "holds weights alone, if it is a state dict"),
        ("model.pkl", "--model NAME=model.pkl --arch NAME=package.module:factory"),
        ("somebodys:dense(inputs=print())", "its arguments numbers, texts, lists"),
        ("somebodys:dense(**{'inputs': 7})", "must be written package.module:factory or"),
        ("somebodys:dense(inputs=7", "must be written package.module:factory or"),
        (
            "somebodys:dense(width=7)",
            "fails: TypeError: dense() got an unexpected",
        ),
        ("model.pt2", "does not exist"),
    ],
)
def test_what_is_no_model_ends_in_one_line(folder, spec, message):
    with pytest.raises(InputError) as caught:
        load_module(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere_installed", "'broken' cannot be imported: No module named 'nowhere_inst"),
        ("1 +", "'broken' cannot be imported: SyntaxError"),
        ("raise SystemExit", "'broken' cannot be imported: SystemExit"),
    ],
)
def test_a_module_that_cannot_be_imported_ends_in_one_line(folder, monkeypatch, code, message):
    (folder / "broken.py").write_text(code)
    with pytest.raises(InputError, match=message):
        load_module("broken:cnn")


def test_a_factory_gets_the_arguments_that_are_written(folder):
    for spec in ("somebodys:dense(9)", "somebodys:dense(inputs=9)"):
        assert load_module(spec)(torch.zeros(2, 1, 3, 3)).shape == (2, 10)
    assert files_of("somebodys:dense(9)") == [folder / "somebodys.py"]


def test_weights_that_do_not_fit_are_named(folder, network):
    tensors = {f"net.{name}": value for name, value in network.state_dict().items()}
    save_file(tensors, "prefixed.safetensors")
    save_file({"1.weight": torch.zeros(10, 100), "1.bias": torch.zeros(10)}, "narrow.safetensors")
    with pytest.raises(InputError) as caught:
        load_module("somebodys:cnn", folder / "prefixed.safetensors")
    assert str(caught.value).endswith(
        "does not fit the model: 4 tensors missing (0.bias, 0.weight, 3.bias, ...); 4 tensors"
        " unexpected (net.0.bias, net.0.weight, net.3.bias, ...)"
    )
    with pytest.raises(InputError, match=r"1 tensors in another shape \(1.weight is 10x100, not 1"):
        load_module("somebodys:dense", folder / "narrow.safetensors")


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    ],
    ids=["plain", "in a checkpoint", "of DataParallel", "of torch.compile"],
)
def test_a_state_dict_that_torch_saved_needs_the_name_of_its_factory(
    folder, network, images, wrapped
):
    torch.save(wrapped(network.state_dict()), "weights.pth")
    module = load_module("weights.pth", arch="somebodys:cnn")
    assert torch.equal(module(images), network(images))
    same = load_module("somebodys:cnn", folder / "weights.pth")
    assert torch.equal(same(images), network(images))
    assert [str(file) for file in files_of("weights.pth", arch="somebodys:cnn")] == [
        "weights.pth", str(folder / "somebodys.py"),
    ]  # fmt: skip


def test_without_it_one_line_says_so(folder, network):
    torch.save(network.state_dict(), "weights.pth")
    with pytest.raises(InputError, match="if it is a state dict, name what it belongs to as well"):
        load_module("weights.pth")
    with pytest.raises(InputError, match="arch is for a state dict, not for"):
        load_module("somebodys:cnn", arch="somebodys:cnn")


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_weights_that_are_none_are_refused_and_never_unpickled(folder, network):
    (folder / "cut.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    torch.save({"state_dict": {"0.weight": Bomb()}}, "bomb.pth")
    torch.save(network, "whole.pth")
    torch.save({"lr": 0.1, "0.weight": torch.zeros(2)}, "mixed.pth")
    torch.save([1, 2], "list.pth")
    for name, message in (
        ("cut.safetensors", "is not a whole safetensors file"),
        ("none.safetensors", "none.safetensors does not exist"),
        ("none.pth", "none.pth does not exist"),
        ("bomb.pth", "a pickle of more than tensors, which can run any code"),
        ("whole.pth", r"save the weights alone, torch.save\(model.state_dict\(\)"),
        ("mixed.pth", "is not a state dict: lr are not tensors"),
        ("list.pth", "holds list, not a state dict"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load_module("somebodys:cnn", folder / name)
        assert "\n" not in str(caught.value)
    assert not (folder / "exploded").exists()


def test_models_that_are_spread_over_gpus_are_taken_off_them(folder, images):
    (folder / "spread.py").write_text(
        "from torch import nn\nfrom somebodys import cnn\n"
        "def net():\n    return nn.DataParallel(cnn())\n"
    )
    assert torch.equal(load_module("spread:net")(images), load_module("somebodys:cnn")(images))
