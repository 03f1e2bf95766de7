"""What `winnrobust attack` finds of networks whose every answer is known beforehand."""

import ast
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import winnrobust
from tests.cli.nets import FIRST, NOISY, SECOND, WAVES, write_images
from winnrobust import read_outcomes

PAGE = Path(__file__).parents[2] / "docs" / "report.md"

ROWS = [
    (0.9, 0.9, 1),
    (0.55, 0.9, 1),
    (0.9, 0.6, 1),
    (0.45, 0.4, 0),
    (0.9, 0.1, 0),
    (0.1, 0.55, 0),
]
"""An eighth breaks the first network on images 1 and 3, the second on 2 and 3; each is wrong on
one, 4 and 5."""
BROKEN = {"first": {1, 3, 4}, "second": {2, 3, 5}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with images.npz in it."""
    write_images(tmp_path / "images.npz", ROWS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def attack(*arguments, data="images.npz", out="out"):
    """As typed; returns what was said."""
    typed = ["--data", data, "--no-diagnose", "--device", "cpu", "--out", out]
    typed += ["--attacks", "fgsm", "--eps", "0.125"]
    result = winnrobust("attack", *typed, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def row_of(said, title, name):
    """Read the row `name` of the table `title`."""
    table = said[said.index(title) :].split("\n\n")[0]
    return re.search(rf"^{re.escape(name)}  .*$", table, re.MULTILINE)[0]


def in_one_line(text):
    return " ".join(text.split())


def own(outcomes):
    return outcomes[outcomes.source == outcomes.evaluated]


def test_every_answer_is_in_the_table(folder):
    attack(*FIRST, *SECOND, "--batch-size", 4)
    assert len(list((folder / "out" / "outcomes").iterdir())) == 2
    outcomes = read_outcomes("out")
    assert len(outcomes) == len(ROWS) * (2 + 2 * 2)
    assert not outcomes.duplicated(["image", "source", "evaluated"]).any()
    assert (outcomes.label == outcomes.image.map(dict(enumerate(row[2] for row in ROWS)))).all()
    clean = outcomes[outcomes.source.isna()]
    assert set(clean[~clean.correct].image[clean.evaluated == "first"]) == {4}
    for name, broken in BROKEN.items():
        rows = own(outcomes)
        assert set(rows[(rows.evaluated == name) & ~rows.correct].image) == broken
    others = outcomes[outcomes.source.notna() & (outcomes.source != outcomes.evaluated)]
    assert set(others[~others.correct].image) == {4, 5}, "neither sees what the other does"


def test_the_page_about_reports_answers_its_three_questions(folder):
    """The old WINN is the first network, the new one the second; the baseline stays the first."""
    for out, winn in (("results/old", FIRST), ("results/new", SECOND)):
        models = [text.replace(old, new) for old, new, texts in (
            ("first=", "baseline=", FIRST), (winn[1].split(":")[0], "winn=tests.cli.nets", winn),
        ) for text in texts]  # fmt: skip
        attack(*models, "--attacks", "fgsm,pgd", "--steps", 2, out=out)
    names, (by_class,) = run_block(PAGE, "from winnrobust import read_outcomes")
    assert set(names["only_b"]) == BROKEN["second"] - BROKEN["first"] == {2, 5}
    assert by_class.to_dict() == pytest.approx({
        (model, attack, 0.125, label): error
        for model in ("baseline", "winn") for attack in ("fgsm", "pgd")
        for label, error in ((0, 2 / 3), (1, 1 / 3))
    })  # fmt: skip
    changed = names["changed"].fillna({"epsilon": 0})
    changed = changed[changed.attack != "pgd"]  # whose random starts move both pixels
    assert set(zip(changed.epsilon, changed.evaluated, changed.image, strict=True)) == {
        *((0, "winn", image) for image in (4, 5)),
        *((0.125, "winn", image) for image in (1, 2, 3, 4, 5)),
        *((0.125, "baseline", image) for image in (1, 3)),  # under the attacks on the WINN
    }


def run_block(page, beginning):
    """Run the Python block of a page; returns its names, and what its bare expressions are."""
    block = re.search(rf"```python\n({re.escape(beginning)}\n.*?)```", page.read_text(), re.DOTALL)
    names, values = {}, []
    for line in ast.parse(block[1]).body:
        if isinstance(line, ast.Expr):
            values.append(eval(compile(ast.Expression(line.value), page.name, "eval"), names))
        else:
            exec(compile(ast.Module([line], []), page.name, "exec"), names)
    return names, values


def test_robust_accuracy_is_never_above_clean_accuracy(folder):
    """Half the labels are wrong, and the attack turns every answer round: none is right in both."""
    places = (0.0625, 0.1875, 0.8125, 0.9375)  # where the waves are highest and lowest
    rows = [(place, 0, label) for place in places for label in (0, 1)]
    write_images(folder / "halves.npz", rows)
    said = attack(*WAVES, "--eps", "0.0625,0.125", data="halves.npz")
    cells = re.findall(r"(\d+\.\d) \[", row_of(said, "Clean and robust accuracy", "waves"))
    assert [float(cell) for cell in cells] == [50, 0, 0]
    assert "50.0 [" in row_of(said, "Adversarial error", "fgsm 0.125"), "as the paper counts"
    assert "100.0 [" in row_of(said, "Adversarial error", "worst case, Linf 0.125")


def test_by_default_the_papers_attack_stands_beside_one_to_trust_which_decides(folder):
    """A quarter is a whole wave: FGSM lands where it was, and only steps in between find others."""
    places = [0.135 + 0.005 * number for number in range(20)]
    rows = [(place, 0.5, 0) for place in places] + [(1 - place, 0.5, 1) for place in places]
    write_images(folder / "waves.npz", rows)
    typed = ("--data", "waves.npz", "--eps", "0.25", "--no-diagnose", "--device", "cpu")
    result = winnrobust("attack", *FIRST, *WAVES, *typed, "--out", "out")
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "out" / "results.json").read_text())["settings"]["attacks"] == [
        "fgsm", "aa-fast"
    ]  # fmt: skip
    fgsm, trusted, worst = (
        re.findall(r"(\d+\.\d) \[", row_of(result.stdout, "Adversarial error", name))
        for name in ("fgsm 0.25", "aa-fast 0.25", "worst case, Linf 0.25")
    )
    assert fgsm == ["0.0", "0.0"]
    assert trusted[0] == "0.0"
    assert float(trusted[1]) > 25
    assert worst == trusted
    assert "first is more robust than waves" in in_one_line(result.stdout)


def test_without_cross_checking_nobody_sees_examples_made_against_others(folder):
    said = attack(*FIRST, *SECOND, "--no-cross")
    outcomes = read_outcomes("out")
    attacked = outcomes[outcomes.source.notna()]
    assert (attacked.source == attacked.evaluated).all()
    assert len(outcomes) == len(ROWS) * (2 + 2)
    assert "Correction" not in said
    assert "Correction" in attack(*FIRST, *SECOND, out="crossed")
    alone, crossed = (
        own(read_outcomes(out)).reset_index(drop=True).drop(columns="evaluated")
        for out in ("out", "crossed")
    )
    pd.testing.assert_frame_equal(alone, crossed)


def test_a_screen_by_fgsm_is_named_wherever_pgd_is(folder):
    typed = (*FIRST, "--attacks", "fgsm,pgd,mifgsm", "--steps", 2)
    said = attack(*typed, "--fgsm-screen")
    assert "pgd after FGSM 0.125" in said
    assert "mifgsm 0.125" in said
    assert "PGD attacked only those images that FGSM did not break (--fgsm-screen)" in (
        in_one_line(said)
    )
    for name in ("table.md", "table.tex"):
        assert "pgd after FGSM 0.125" in (folder / "out" / name).read_text()
    assert json.loads((folder / "out" / "results.json").read_text())["settings"]["fgsm_screen"]
    plain = attack(*typed, out="plain")
    assert "pgd 0.125" in plain
    assert "FGSM did not break" not in in_one_line(plain)
    screened = read_outcomes("out").set_index(["attack", "image"])
    for image in (1, 3):  # those that FGSM breaks
        assert screened.gradients["pgd", image] == 1
        assert screened.distance["pgd", image] == screened.distance["fgsm", image]


def test_a_network_that_answers_at_random_is_not_called_robust(folder):
    said = in_one_line(attack(*NOISY, *FIRST, "--eot", 1))
    assert "--eot 20" in said
    assert not re.search(r"noisy is (the most|more) robust", said)
    alone = attack(*NOISY, "--eot", 1, out="alone")
    assert "random, no --eot" in row_of(alone, "Clean and robust", "noisy")
    outcomes = read_outcomes("out")
    assert set(outcomes[outcomes.evaluated == "noisy"].draws) == {20}
    assert set(outcomes[outcomes.evaluated == "first"].draws) == {1}
    for name, how in {"averaged": ["--eot", 5], "by-itself": []}.items():
        averaged = attack(*NOISY, *how, out=name)
        assert "--eot 20" not in averaged
        assert "random" not in row_of(averaged, "Clean and robust accuracy", "noisy")


def test_what_time_ran_out_for_is_no_robustness(folder):
    said = attack(*FIRST, *SECOND, "--attacks", "pgd", "--time-budget", "0.000001")
    rows = own(read_outcomes("out"))
    for name, wrong in (("first", 4), ("second", 5)):
        status = rows[rows.evaluated == name].set_index("image").status
        assert status[wrong] == "wrong already"
        assert set(status.drop(wrong)) == {"out of time"}
        row = row_of(said, "Clean and robust accuracy", name)
        assert "83.3 [" in row
        assert "5 not attacked" in row
    assert "pgd 0.125: 5 of 6 images were not attacked" in in_one_line(said)
    assert json.loads((folder / "out" / "results.json").read_text())["settings"]["seconds"] == 1e-6
