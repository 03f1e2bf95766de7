"""Models by name from other libraries, without a network: their own files, or folders made here."""

import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.external.nets import write_huggingface
from winnrobust.data.geometry import Geometry
from winnrobust.external import load_external
from winnrobust.external.preprocessing import Preprocessing
from winnrobust.runtime.errors import InputError

IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture
def offline(monkeypatch):
    """No test waits for a hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_torchvision_models_bring_their_transforms_and_the_names_of_their_classes(tmp_path):
    from torchvision import models

    torch.manual_seed(0)
    own = models.squeezenet1_1().eval()
    torch.save(own.state_dict(), tmp_path / "w.pth")
    loaded = load_external("torchvision:squeezenet1_1:IMAGENET1K_V1", tmp_path / "w.pth")
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded.module(images), own(images))
    assert loaded.preprocessing == IMAGENET
    assert loaded.geometry == Geometry(256, (224, 224), "bilinear")
    assert (loaded.classes[0], len(loaded.classes)) == ("tench", 1000)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet180", "no model 'resnet180'; did you mean resnet18"),
        ("torchvision:resnet18:V9", "no weights 'V9' of resnet18; there are IMAGENET1K_V1"),
        ("robustbench:a/b", "must be written robustbench:ID or robustbench:DATASET/THREAT/ID"),
    ],
)
def test_what_no_hub_has_ends_in_one_line(monkeypatch, spec, message):
    fake_robustbench(monkeypatch, lambda **_: nn.Identity())
    with pytest.raises(InputError) as caught:
        load_external(spec)
    assert message in str(caught.value)


def test_without_internet_one_line_says_what_to_do(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(InputError, match=r"Name or service not known; .* --weights NAME=FILE"):
        load_external("torchvision:squeezenet1_1")


def test_timm_models_bring_their_transforms(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    own = timm.create_model("mobilenetv3_small_050").eval()
    save_file(own.state_dict(), tmp_path / "w.safetensors")
    loaded = load_external("timm:mobilenetv3_small_050", tmp_path / "w.safetensors")
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded.module(images), own(images))
    config = timm.data.resolve_model_data_config(own)
    assert loaded.preprocessing == Preprocessing(mean=config["mean"], std=config["std"])
    assert loaded.geometry == Geometry(256, (224, 224), config["interpolation"])
    assert loaded.classes[0] == "n01440764, tench, Tinca tinca"
    with pytest.raises(InputError, match="timm has no model 'mobilenetv9'; did you mean mobile"):
        load_external("timm:mobilenetv9")


def test_a_timm_model_that_was_never_fetched_is_named_in_one_line(offline):
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=r"timm:resnet18 cannot be loaded: .* --weights NAME=FILE"):
        load_external("timm:resnet18")


@pytest.fixture
def huggingface(tmp_path):
    """A folder with a tiny classifier of transformers."""
    model = write_huggingface(tmp_path / "net", ["cat", "dog", "emu"], (40, 40))
    return model, tmp_path / "net"


def test_a_folder_of_transformers_brings_its_processor_and_classes(huggingface, offline):
    model, folder = huggingface
    loaded = load_external(f"hf:{folder}")
    images = torch.rand(2, 3, 40, 40)
    assert torch.equal(loaded.module(images).logits, model(images).logits)
    assert loaded.preprocessing == Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert loaded.geometry == Geometry((40, 40), None, "bilinear")
    assert list(loaded.classes) == ["cat", "dog", "emu"]


def test_a_timm_model_that_transformers_keeps_brings_its_transforms(tmp_path, offline):
    transformers = pytest.importorskip("transformers")
    name = "mobilenetv3_small_050"
    config = transformers.TimmWrapperConfig(architecture=name, num_labels=5)
    config.pretrained_cfg = {
        "input_size": [3, 48, 48], "crop_pct": 0.75, "interpolation": "bicubic",
        "mean": [0.5] * 3, "std": [0.25] * 3, "architecture": name,
    }  # fmt: skip
    torch.manual_seed(0)
    model = transformers.TimmWrapperForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "net")
    loaded = load_external(f"hf:{tmp_path / 'net'}")
    images = torch.rand(2, 3, 48, 48)
    expected = model(images).logits
    torch.testing.assert_close(loaded.module(images).logits, expected, rtol=1e-3, atol=0)
    assert loaded.preprocessing == Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    assert loaded.geometry == Geometry(64, (48, 48), "bicubic")


def test_pickled_weights_of_transformers_are_not_loaded(huggingface, offline):
    model, folder = huggingface
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"cannot be loaded: .*safetensors"):
        load_external(f"hf:{folder}")


def fake_robustbench(monkeypatch, load_model) -> None:
    """Put a package of that name in place of the real one, which needs a network."""
    package, utils = ModuleType("robustbench"), ModuleType("robustbench.utils")
    utils.load_model = load_model
    monkeypatch.setitem(sys.modules, "robustbench", package)
    monkeypatch.setitem(sys.modules, "robustbench.utils", utils)


def test_robustbench_models_are_asked_for_by_data_set_threat_and_name(monkeypatch):
    asked = []

    def load_model(**arguments):
        asked.append(arguments)
        return nn.Flatten()

    fake_robustbench(monkeypatch, load_model)
    for spec in ("robustbench:Standard", "robustbench:cifar100/L2/Other"):
        assert isinstance(load_external(spec).module, nn.Flatten)
    assert [(a["dataset"], a["threat_model"], a["model_name"]) for a in asked] == [
        ("cifar10", "Linf", "Standard"), ("cifar100", "L2", "Other"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "package", "command"),
    [
        ("timm:resnet18", "timm", "pip install 'timm'"),
        ("hf:somebody/net", "transformers", "pip install 'transformers'"),
        ("robustbench:Standard", "robustbench.utils", "pip install 'git+https://github.com/Rob"),
    ],
)
def test_a_library_that_is_missing_is_named_with_the_command(monkeypatch, spec, package, command):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as caught:
        load_external(spec)
    assert command in str(caught.value)
    assert "\n" not in str(caught.value)
