"""`--attack NAME=...`: attacks of the user's own, as typed, and the same from Python."""

import numpy as np
import pandas as pd
import pytest
import torch

import winnrobust as package
from tests.cli.conftest import assert_one_line, winnrobust
from tests.cli.nets import FIRST, OfAPixel, write_images

ROWS = [(0.9, 0.9, 1), (0.55, 0.9, 1), (0.9, 0.6, 1), (0.45, 0.4, 0), (0.9, 0.1, 0)]

CODE = """
import winnrobust


def down(model, images, labels, epsilon):
    return (images - epsilon * (2 * labels - 1).view(-1, 1, 1, 1)).clamp(0, 1)


def outside(model, images, labels, epsilon):
    return images + 2 * epsilon


def short(model, images, labels, epsilon):
    return down(model, images, labels, epsilon / 2)


LONG = winnrobust.as_attack(short, norm="l2")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with images.npz and my_attacks.py in it."""
    write_images(tmp_path / "images.npz", ROWS)
    (tmp_path / "my_attacks.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def attack(*arguments):
    typed = ("--data", "images.npz", "--no-diagnose", "--device", "cpu", "--out", "out")
    return winnrobust("attack", *FIRST, *typed, *arguments)


def test_the_command_line_and_python_find_the_same(folder):
    typed = ["--attacks", "fgsm,bim(steps=3, step_size=0.1)", "--attack", "mine=my_attacks:down"]
    result = attack(*typed, "--attack", "quick=bim(steps=1)")
    assert result.exit_code == 0, result.output
    stored = package.read_evaluation(folder / "out")
    from my_attacks import down

    images, labels = (np.load("images.npz")[name] for name in ("images", "labels"))
    attacks = {"fgsm": "fgsm", "bim(steps=3, step_size=0.1)": "bim(steps=3, step_size=0.1)"}
    found = package.evaluate(
        {"first": OfAPixel(0)},
        torch.from_numpy(images).float(),
        labels,
        attacks | {"mine": down, "quick": "bim(steps=1)"},
    )
    pd.testing.assert_frame_equal(stored.table, found.table)
    assert set(found.table.attack) == {"none", "worst case", *attacks, "mine", "quick"}
    for part in ("mine", "bim(steps=3, step_size=0.1)", "quick"):
        assert part in (folder / "out" / "table.md").read_text().replace("\\_", "_")


def test_an_attack_object_brings_its_norm(folder):
    result = attack("--attack", "long=my_attacks:LONG", "--eps-l2", "0.2")
    assert result.exit_code == 0, result.output
    rows = package.read_outcomes(folder / "out")
    assert rows[rows.attack == "long"].norm.unique().tolist() == ["l2"]


def test_it_stands_beside_the_usual_attacks_that_fit(folder):
    result = attack("--attack", "long=my_attacks:LONG", "--threat", "l2:0.2")
    assert result.exit_code == 0, result.output
    rows = package.read_outcomes(folder / "out")
    assert set(rows.attack.dropna()) == {"aa-fast", "long"}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("my_attacks:down", "must be written NAME=..."),
        ("mine=my_attacks:gone", "attack 'mine': the module 'my_attacks' has no 'gone'"),
        ("mine=nowhere:down", "attack 'mine': there is no module 'nowhere'"),
        ("mine=my_attacks:winnrobust", "attack 'mine': winnrobust is a module, not an attack"),
        ("mine=pgd(steps=0)", "attack 'mine': steps of attack 'pgd' must be a whole number"),
        ("fgsm=my_attacks:down", "two attacks are called 'fgsm'"),
        ("mine=my_attacks:outside", "attack 'mine' left "),
    ],
)
def test_what_cannot_be_used_is_one_line(folder, typed, message):
    assert_one_line(attack("--attack", typed), message)
    assert not (folder / "out").exists()
