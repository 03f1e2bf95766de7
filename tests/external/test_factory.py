"""`package.module:factory` and its weights."""

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
        ("somebodys:answer", "is no function, but int"),
        (
            "somebodys:number",
            "must return a torch.nn.Module when called without arg",
        ),
        ("somebodys:half_ready", "called without arguments, fails: RuntimeError: no weights yet"),
        ("somebodys:leaves", "fails: SystemExit: 3"),
        ("somebodys:", "must be written package.module:factory"),
        (":cnn", "must be written package.module:factory"),
        ("somebodys", "is no model from elsewhere; it must be package.module:factory"),
        ("model.h5", "is no model from elsewhere"),
        ("model.safetensors", "holds weights alone; name what they belong to"),
        ("model.pkl", "is a pickle"),
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


def test_weights_that_do_not_fit_are_named(folder, network):
    tensors = {f"module.{name}": value for name, value in network.state_dict().items()}
    save_file(tensors, "prefixed.safetensors")
    save_file({"1.weight": torch.zeros(10, 100), "1.bias": torch.zeros(10)}, "narrow.safetensors")
    with pytest.raises(InputError) as caught:
        load_module("somebodys:cnn", folder / "prefixed.safetensors")
    assert str(caught.value).endswith(
        "does not fit the model: 4 tensors missing (0.bias, 0.weight, 3.bias, ...); 4 tensors"
        " unexpected (module.0.bias, module.0.weight, module.3.bias, ...)"
    )
    with pytest.raises(InputError, match=r"1 tensors in another shape \(1.weight is 10x100, not 1"):
        load_module("somebodys:dense", folder / "narrow.safetensors")


def test_weights_that_are_no_safetensors_are_refused(folder, network):
    torch.save(network.state_dict(), "weights.pth")
    (folder / "cut.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    with pytest.raises(InputError, match=r"weights.pth is a pickle, .*weights.safetensors"):
        load_module("somebodys:cnn", folder / "weights.pth")
    with pytest.raises(InputError, match="is not a whole safetensors file"):
        load_module("somebodys:cnn", folder / "cut.safetensors")
    with pytest.raises(InputError, match=r"none.safetensors does not exist"):
        load_module("somebodys:cnn", folder / "none.safetensors")


def test_the_conversion_that_is_proposed_works(folder, network, images):
    torch.save(network.state_dict(), "weights.pth")
    with pytest.raises(InputError) as caught:
        load_module("somebodys:cnn", folder / "weights.pth")
    _, _, rest = str(caught.value).partition('python -c "')
    exec(rest.partition('"')[0], {})
    module = load_module("somebodys:cnn", folder / "weights.safetensors")
    assert torch.equal(module(images), network(images))
