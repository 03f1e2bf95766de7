"""What the page of evaluations claims follows from the numbers that it is given."""

import re

import pandas as pd
import pytest

from benchmarks import components, contest
from benchmarks.evaluation import PAGE, as_html, best_of_each, goal, libraries

CASE = {
    "model": "mnist-winn", "norm": "linf", "epsilon": 8 / 255, "n": 20, "reference_broken": 10,
    "broken": 10, "only_reference": 0, "only_ours": 0, "reference_passes": 100.0, "passes": 10.0,
    "reference_cpu": 10.0, "cpu": 1.0, "error_less": 0.0, "passes_share": 0.1, "cpu_share": 0.1,
}  # fmt: skip


def cases(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([CASE | each for each in changes])


def test_a_goal_at_its_bounds_is_reached():
    assert goal(cases({}, {"error_less": -0.05, "broken": 11}))["reached"]


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        ({"error_less": 0.05, "broken": 9}, "weaker", "mnist-winn Linf 8/255 (1 of 20)"),
        ({"passes_share": 0.101}, "passes", "mnist-winn Linf 8/255 (0.101)"),
        ({"cpu_share": 0.2}, "cpu", "mnist-winn Linf 8/255 (0.200)"),
    ],
)
def test_every_case_that_misses_it_is_named(change, where, said):
    found = goal(cases({}, change))
    assert not found["reached"]
    named = {"weaker": [], "passes": [], "cpu": []} | {where: [said]}
    assert {key: found[key] for key in named} == named


def measured(library: str, attack: str, broken: int, passes: float) -> dict:
    return {
        "model": "mnist-vanilla-winn", "norm": "l2", "epsilon": 1.5, "n": 20, "library": library,
        "attack": attack, "broken": broken, "error": broken / 20, "only_reference": 0,
        "only_this": 0, "gradients": passes, "queries": 0.0, "passes": passes, "seconds": passes,
    }  # fmt: skip


def test_of_a_library_the_strongest_is_shown_and_of_equals_the_cheapest():
    found = pd.DataFrame([
        measured("pyautoattack", contest.REFERENCE, 10, 100.0),
        measured("winnrobust", contest.OURS, 10, 10.0),
        measured("winnrobust", contest.AUTOATTACK, 9, 90.0),
        measured("foolbox", "weak", 8, 1.0),
        measured("foolbox", "dear", 9, 30.0),
        measured("foolbox", "cheap", 9, 20.0),
    ])  # fmt: skip
    shown = best_of_each(found).attack.tolist()
    assert shown == [contest.REFERENCE, contest.OURS, contest.AUTOATTACK, "cheap"]
    shares = libraries(found).set_index("attack")["of AutoAttack's passes"]
    assert shares[[contest.OURS, "dear"]].tolist() == ["0.100", "0.300"]


def test_a_curve_bends_at_the_cheapest_that_breaks_as_many():
    rows = [
        {"model": "a", "norm": "linf", "component": "steps", "value": value, "n": 30,
         "broken": broken, "passes": passes}
        for value, broken, passes in ((3, 9, 100.0), (7, 12, 200.0), (14, 12, 400.0))
    ]  # fmt: skip
    (bend,) = components.bends(pd.DataFrame(rows)).to_dict("records")
    assert bend["bends at"] == 7
    assert bend["more images with the most"] == "+0"
    assert bend["for times the passes"] == "2.00"


WORTH = {"level": "L2 1.5", "n": 150, "baseline": "80 %", "winn": "40 %", "only_baseline": 60,
         "only_winn": 0, "points": "40.0", "p": "p < 0.001"}  # fmt: skip
CORRUPTED = {"n": 300, "kinds": 15, "won": 1, "worst": "fog", "best": "contrast", "baseline": "2 %",
             "winn": "9 %", "points": "7.0", "low": "-9.0", "high": "-5.0"}  # fmt: skip


def page(norm: str, corruptions: str) -> str:
    given = dict.fromkeys(
        ("goal_table", "libraries", "best", "bends", "figures", "corruptions", "defenses",
         "sequential"), "",
    )  # fmt: skip
    about = {"command": "c", "commit": "0", "time": "t", "machine": {"processor": "p"},
             "versions": {"torch": "2"}}  # fmt: skip
    text = PAGE.render(
        **given, about=about, gradient_pass=2.5, contest=contest, component=components,
        goal=goal(cases({})), images={"vanilla": 1, "resnet32": 1},
        worths=[WORTH | {"verdict": norm}], worth=CORRUPTED | {"verdict": corruptions},
    )  # fmt: skip
    return " ".join(text.split())


def test_what_a_winn_is_worth_is_said_only_where_it_was_shown():
    said = page("better", "worse")
    assert "L2 1.5, 150 images: **the WINN errs less often**, by 40.0 points" in said
    assert "worth something at L2 1.5; **under corruptions it costs**" in said
    assert "the most is lost under fog" in said
    said = page("not told apart", "not told apart")
    assert "**they cannot be told apart**: 40 % (WINN) and 80 % (baseline)" in said
    assert "worth something in none of these norms, and is not shown" not in said
    assert "under corruptions neither is shown to be better" in said


def test_the_page_for_a_browser_has_what_its_contents_point_to():
    text = as_html(PAGE.environment.loader.get_source(PAGE.environment, PAGE.name)[0])
    targets = set(re.findall(r'href="#([^"]+)"', text))
    assert len(targets) == 8
    # The last two come from pages of their own.
    assert targets - set(re.findall(r'id="([^"]+)"', text)) == {
        "false-defenses", "stop-when-it-is-decided",
    }  # fmt: skip
    assert '<div class="scroll"><table>' in as_html("| a |\n|---|\n| 1 |\n")
