"""A small network in every form in which somebody may have it."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

CODE = """
import torch
from torch import nn


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    )


def dense(inputs=784):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 10))


def colour():
    return dense(3 * 32 * 32)


def half_ready():
    raise RuntimeError("no weights\\nyet")


def leaves():
    raise SystemExit(3)


def number():
    return 7


answer = 42
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with `somebodys.py` in it."""
    (tmp_path / "somebodys.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # forgets somebodys of other tests' folders
    monkeypatch.delitem(__import__("sys").modules, "somebodys", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """What `somebodys:cnn` makes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    ).eval()


@pytest.fixture(scope="session")
def images() -> Tensor:
    """Five random images (5, 1, 28, 28)."""
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def files(network, images, tmp_path_factory) -> Path:
    """A folder with `network` as script.pt, any.pt2, fixed.pt2 (3 images) and some.pt2 (2 to 4)."""
    made = tmp_path_factory.mktemp("external")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(made / "script.pt")
    for name, batch in (
        ("any", torch.export.Dim("batch")),
        ("some", torch.export.Dim("batch", min=2, max=4)),
        ("fixed", None),
    ):
        shapes = None if batch is None else ({0: batch},)
        program = torch.export.export(network, (images[:3],), dynamic_shapes=shapes)
        torch.export.save(program, made / f"{name}.pt2")
    return made
