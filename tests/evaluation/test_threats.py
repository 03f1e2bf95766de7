"""Threat models: their spelling, what is attacked by default, and one attack in several norms."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import winnrobust
from winnrobust.attacks import ATTACKS, Attack, AttackResult
from winnrobust.evaluation import EvaluationSettings
from winnrobust.evaluation.outcomes import Case, Level, part_path, parts, write_part
from winnrobust.evaluation.settings import attacks_in
from winnrobust.evaluation.threats import defaults_for, gathered, listed, parse_threats, spelled
from winnrobust.reporting import tables
from winnrobust.reporting.figures import figures_of
from winnrobust.runtime.errors import InputError
from winnrobust.workflows import gates

# --- the spelling -------------------------------------------------------------------------------


def test_one_spelling_for_all_kinds():
    given = [
        "linf:8/255",
        "l2:0.5, 1",
        "l1:12",
        "l0:10",
        "corruptions:1-5",
        "spatial:30",
        "patch:5",
    ]
    assert parse_threats(given) == {
        "linf": (8 / 255,), "l2": (0.5, 1), "l1": (12,), "l0": (10,),
        "corruptions": (1, 2, 3, 4, 5), "spatial": (30,), "patch": (5,),
    }  # fmt: skip
    assert parse_threats("LINF:0.1,l2:1,linf:0.2,0.1") == {"linf": (0.1, 0.2), "l2": (1,)}
    assert parse_threats(["corruptions:3", "corruptions:1,3"]) == {"corruptions": (3, 1)}
    assert spelled(Level("linf", 0.125)) == "linf:0.125"
    assert listed(parse_threats(given[:2])) == "linf:8/255 l2:0.5 l2:1"


ALL = "linf:8/255, l2:0.5, l1:12, l0:10, spatial:30, patch:5, corruptions:1-5"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0.1", f"threat '0.1' must be written like {ALL}"),
        ("linf", f"threat 'linf' must be written like {ALL}"),
        ("linf:", f"threat 'linf:' must be written like {ALL}"),
        ("l3:1", f"threat 'l3:1': 'l3' is unknown; write one of {ALL}"),
        ("linf:x", "threat 'linf:x': 'x' is not a bound; write it like linf:8/255"),
        ("linf:1/0", "threat 'linf:1/0': '1/0' is not a bound; write it like linf:8/255"),
        ("l2:1-3", "threat 'l2:1-3': '1-3' is not a bound; write it like l2:0.5"),
        ("linf:8", "threat 'linf:8': bounds must be numbers from 0 to 1, in the units of [0, 1]"
                   " images, not 8"),
        ("l2:-1", "threat 'l2:-1': bounds must be numbers of at least 0, in the units of [0, 1]"
                  " images, not -1"),
        ("l2:nan", "threat 'l2:nan': bounds must be numbers of at least 0, in the units of [0, 1]"
                   " images, not nan"),
        ("patch:0", "threat 'patch:0': bounds must be whole numbers of at least 1, in pixels,"
                    " not 0"),
        ("corruptions:0-5", "threat 'corruptions:0-5': bounds must be whole numbers from 1 to 5,"
                            " which are severities, not 0-5"),
        ("corruptions:5-1", "threat 'corruptions:5-1': '5-1' is not a bound; write it like"
                            " corruptions:1-5"),
        ([], f"no threats are given; give some, such as {ALL}"),
        ([1], "threats must be a list such as ['linf:8/255'], not [1]"),
    ],
)  # fmt: skip
def test_mistakes_are_named_in_one_line(given, message):
    with pytest.raises(InputError) as error:
        parse_threats(given)
    assert str(error.value) == message


def test_the_old_options_are_threats_in_two_norms():
    assert gathered(None) == {}
    assert gathered(["l1:12"], [0.1, 0.2]) == {"l1": (12,), "linf": (0.1, 0.2)}
    assert gathered(["linf:0.1"], [0.1, 0.2], [1]) == {"linf": (0.1, 0.2), "l2": (1,)}
    assert gathered(None, [0.1]) == {"linf": (0.1,), "l2": None}


# --- by default ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "shape", "threats"),
    [
        ("mnist", (1, 28, 28), "linf:0.125 linf:0.3 l2:1.5"),
        ("mnist5k", (1, 28, 28), "linf:0.125 linf:0.3 l2:1.5"),
        ("fashion-mnist", (1, 28, 28), "linf:0.125 linf:0.3 l2:1.5"),
        ("cifar10", (3, 32, 32), "linf:8/255 l2:0.5 l1:12"),
        ("cifar10-20k", (3, 32, 32), "linf:8/255 l2:0.5 l1:12"),
        ("svhn", (3, 32, 32), "linf:0.005 linf:8/255"),
        (None, (1, 28, 28), "linf:8/255 l2:0.5"),
        ("my-pictures", (3, 64, 96), "linf:8/255 l2:0.5"),
        (None, (3, 224, 224), "linf:4/255"),
    ],
)
def test_the_data_set_decides_or_the_size(dataset, shape, threats):
    assert listed(defaults_for(dataset, shape).epsilons) == threats


def completed(attacks=None, **given):
    named = {} if attacks is None else {"attacks": attacks}
    chosen = EvaluationSettings(**named, **given)
    return chosen.completed(defaults_for("mnist", (1, 28, 28)))


def test_defaults_are_of_the_norms_that_attacks_have():
    settings, filled = completed()
    assert settings.epsilons == filled == {"linf": (0.125, 0.3), "l2": (1.5,)}
    settings, filled = completed(["fgsm"])
    assert settings.epsilons == filled == {"linf": (0.125, 0.3)}
    settings, filled = completed(epsilons={"linf": [0.1], "l2": None})
    assert (settings.epsilons, filled) == ({"linf": (0.1,)}, {})
    settings, filled = completed(["fgsm", "cw-l2"])
    assert settings.epsilons == filled == {"linf": (0.125, 0.3), "l2": (1.5,)}
    # --eps 0.1: what is given counts, and an attack in the other norm has its default.
    settings, filled = completed(["pgd"], epsilons={"linf": [0.1], "l2": None})
    assert (settings.epsilons, filled) == ({"linf": (0.1,)}, {})
    settings, filled = completed(["fgsm", "cw-l2"], epsilons={"linf": [0.1], "l2": None})
    assert (settings.epsilons, filled) == ({"linf": (0.1,), "l2": (1.5,)}, {"l2": (1.5,)})
    with pytest.raises(InputError, match=r"'sigma-zero' fits none of the threats \(linf:0\.125"):
        completed(["fgsm", "sigma-zero"])


def test_what_is_by_default_is_explained_in_a_line():
    usual = defaults_for("mnist", (1, 28, 28))
    assert usual.explained({"linf": (0.125, 0.3)}, "--threat") == (
        "by default for the data set mnist: linf:0.125 (the WINN paper's), linf:0.3 (the field's);"
        " --threat chooses others"
    )
    assert usual.explained({}, "--threat") == ""


def test_from_python_the_size_decides_and_stderr_says_so(capsys):
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    images, labels = torch.rand(4, 1, 1, 2), torch.tensor([0, 1, 0, 1])
    found = winnrobust.evaluate(model, images, labels)
    assert listed(found.results.settings["epsilons"]) == "linf:8/255 l2:0.5"
    assert capsys.readouterr().err == (
        "by default for small images (1x2): linf:8/255 (as CIFAR-10), l2:0.5 (as CIFAR-10);"
        " threats=['linf:0.1', ...] chooses others\n"
    )
    winnrobust.evaluate(model, images, labels, threats="linf:0.1")
    winnrobust.evaluate(model, images, labels, epsilons=[0.1])
    assert capsys.readouterr().err == ""


# --- which attacks ------------------------------------------------------------------------------


def made_in(attacks, threats):
    named = {} if attacks is None else {"attacks": attacks}
    chosen = EvaluationSettings(epsilons=parse_threats(threats), **named).chosen_attacks()
    return [f"{attack.name} {attack.norm}" for attack in chosen]


def test_each_attack_is_made_in_every_norm_that_it_knows():
    assert made_in(None, "linf:0.1") == ["fgsm linf", "aa-fast linf"]
    assert made_in(None, "l2:1,l1:12") == ["aa-fast l2", "aa-fast l1"]
    assert made_in(["fgsm", "pgd"], "linf:0.1,l2:1") == ["fgsm linf", "pgd linf", "pgd l2"]
    assert made_in(["pgd", "pgd-l2"], "l2:1") == ["pgd l2"]  # the same
    assert made_in(["pgd-l2", "pgd"], "linf:0.1,l2:1") == ["pgd-l2 l2", "pgd linf"]
    assert made_in([ATTACKS["pgd"].in_norm("l2")], "linf:0.1,l2:1") == ["pgd l2"]
    assert made_in(["pgd(steps=3)"], "l2:1") == ["pgd(steps=3) l2"]


def test_other_kinds_bring_their_attacks():
    assert made_in(None, "spatial:30,patch:5") == ["spatial spatial", "patch patch"]
    assert len(made_in(None, "corruptions:1-5")) == 15
    assert made_in(["fgsm"], "linf:0.1,patch:5") == ["fgsm linf", "patch patch"]


@pytest.mark.parametrize(
    ("attacks", "threats", "message"),
    [
        (["fgsm"], "l2:1", "attack 'fgsm' fits none of the threats (l2:1); add the threat"
                           " linf:8/255,"
                           " or leave the attack out"),
        (["fgsm"], "patch:5", "attack 'fgsm' fits none of the threats (patch:5); add the threat"
                              " linf:8/255, or leave the attack out"),
        (None, "l0:9", "no attack fits the threats (l0:9); name one that does; 'winnrobust attacks'"
                       " lists them"),
    ],
)  # fmt: skip
def test_an_attack_that_fits_no_threat_is_named(attacks, threats, message):
    with pytest.raises(InputError) as error:
        made_in(attacks, threats)
    assert str(error.value) == message


def test_corruptions_cannot_be_targeted():
    with pytest.raises(InputError, match="corruptions cannot be targeted; leave out the targets"):
        EvaluationSettings(epsilons=parse_threats("corruptions:1"), targeted="random")


# --- one attack in several norms ----------------------------------------------------------------


class Sum(nn.Module):
    """Says 1 where two pixels add up to more than 1."""

    def forward(self, images):
        total = images.flatten(1).sum(1) - 1
        return torch.stack([torch.zeros_like(total), total], 1)


# Sums are 1.4, 1.8 and 1.1: the nearest 1 is 0.2, 0.4, 0.05 away in Linf, by the root of 2 more in
# L2.
IMAGES = torch.tensor([[0.7, 0.7], [0.9, 0.9], [0.55, 0.55]]).reshape(3, 1, 1, 2)
LABELS = torch.tensor([1, 1, 1])
LINF, L2 = Case("pgd", "linf", 0.25), Case("pgd", "l2", 0.25)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("norms") / "results"
    return winnrobust.evaluate(
        {"sum": Sum(), "same": Sum()}, IMAGES, LABELS, ["pgd", "fmn"],
        threats=["linf:0.25", "l2:0.25"], folder=folder, steps=20,
    )  # fmt: skip


def test_errors_and_worst_cases_are_of_their_norm(found):
    errors = found.results.errors
    # In Linf 0.25 the first and the third fall, in L2 0.25 the third alone: 0.28 are needed.
    assert [round(errors[case, "sum"].value * 3) for case in (LINF, L2)] == [2, 1]
    robust = found.robust_accuracy.loc["sum"]
    assert (3 * robust["linf", 0.25], 3 * robust["l2", 0.25]) == (1, 2)
    assert found.broken("pgd", norm="linf")["sum"].tolist() == [True, False, True]
    assert found.broken("pgd", norm="l2")["sum"].tolist() == [False, False, True]
    with pytest.raises(InputError, match=r"'pgd' at 0\.25 was done at several epsilons or norms"):
        found.broken("pgd", 0.25)
    with pytest.raises(InputError, match="there is no attack 'pgd' in l1"):
        found.broken("pgd", norm="l1")


def test_costs_gradients_and_distances_are_of_their_norm(found):
    summary = found.results.summary
    keys = ["attack", "norm", "source"]
    both = [("pgd", "linf"), ("pgd", "l2"), ("fmn", "linf"), ("fmn", "l2")]
    made = [(*case, name) for name in ("sum", "same") for case in both]
    for frame in (summary.costs, summary.gradients):
        assert sorted(map(tuple, frame[keys].values)) == sorted(made)
    costs = summary.costs.set_index(keys)
    # In L2 the two that stand cost all steps.
    assert costs.gradients["pgd", "l2", "sum"] > costs.gradients["pgd", "linf", "sum"] > 0
    assert (costs.seconds > 0).all()
    assert set(summary.distances) == {key for key in made if key[0] == "fmn"}
    for norm, factor in (("linf", 1), ("l2", 2**0.5)):
        far = summary.distances["fmn", norm, "sum"]
        np.testing.assert_allclose(far, factor * np.array([0.2, 0.4, 0.05]), rtol=0.3)


def test_tables_name_the_norm(found):
    results = found.results
    (errors,) = tables.error_tables(results)
    assert [row[0] for row in errors.rows][:3] == ["no attack", "pgd, Linf 0.25", "pgd, L2 0.25"]
    details = {table.title: table for table in tables.detail_tables(results)}
    took = details["What the attacks cost"]
    assert [row[:2] for row in took.rows[::2]] == [
        ["pgd", "Linf"], ["pgd", "L2"], ["fmn", "Linf"], ["fmn", "L2"]
    ]  # fmt: skip
    smallest = details["Smallest perturbations found by minimum-norm attacks"]
    assert [row[:2] for row in smallest.rows[::2]] == [["fmn", "Linf"], ["fmn", "L2"]]
    attacks = tables.threat_tables(results)[-1]
    assert [row[:2] for row in attacks.rows] == [["pgd", "Linf, L2"], ["fmn", "Linf, L2"]]
    frame = tables.comparison_frame(results)
    assert not frame.duplicated(["attack", "norm", "epsilon", "model"]).any()


def test_figures_have_a_panel_for_each_norm(found):
    figures = figures_of(found.results)
    titles = [axes.get_title() for axes in figures["distances"].axes]
    assert titles == ["fmn, Linf", "fmn, L2"]
    assert "Linf 0.25" in figures["examples"].get_suptitle()


def test_examples_are_found_by_their_norm(found):
    examples = found.results.examples
    for case, right in ((LINF, [0, 1, 0]), (L2, [1, 1, 0])):
        place = examples.case(case, "sum")
        assert examples.predictions[place, 0].tolist() == right
        moved = (examples.adversarials[place] - examples.images).reshape(3, 2)
        size = np.abs(moved).max(1) if case.norm == "linf" else np.linalg.norm(moved, axis=1)
        assert (size <= 0.25 + 1e-6).all()


def test_gates_tell_norms_apart(found):
    settings = EvaluationSettings(
        attacks=["pgd"], epsilons={"linf": [0.25], "l2": [0.25], "corruptions": [1]}
    )
    texts = [f"robust_accuracy < 0.5 at {norm}:1/4 of sum" for norm in ("linf", "l2")]
    conditions = list(map(gates.parse_gate, texts))
    for condition in conditions:
        gates.check_attacked(condition, settings, ["sum"])
    failed, passed = gates.judged_gates(conditions, found.folder)
    assert failed == ["robust_accuracy of sum at linf:0.25 is 0.3333 < 0.5"]
    (other,) = passed
    assert other.startswith("robust_accuracy of sum at l2:0.25 is ")
    for level in ("l1:0.25", "corruptions:1"):
        nowhere = gates.parse_gate(f"robust_accuracy < 0.5 at {level}")
        with pytest.raises(InputError, match=r"attacked there, only at linf:0\.25, l2:0\.25"):
            gates.check_attacked(nowhere, settings, ["sum"])


def test_changes_are_counted_in_each_norm(found):
    changes = gates.changes_since(found.folder, found.folder).summary
    now = changes[changes.model == "sum"].set_index(["attack", "norm", "epsilon"]).errors_now
    assert (now["pgd", "linf", 0.25], now["pgd", "l2", 0.25]) == (2, 1)
    text = gates.write_changes(gates.changes_since(found.folder, found.folder), found.folder)
    assert "pgd, Linf 0.25" in text
    assert "pgd, L2 0.25" in text


def test_an_attack_that_fails_in_one_norm_alone(monkeypatch):
    pgd = ATTACKS["pgd"]

    def failing(model, images, labels, *, epsilon, norm="linf", run) -> AttackResult:
        if norm == "l2":
            raise RuntimeError("not in this one")
        return pgd.function(model, images, labels, epsilon=epsilon, norm=norm, run=run)

    attack = Attack("mine", "linf", "white-box", "much", "Fails.", "-", failing,
                    norms=("linf", "l2"))  # fmt: skip
    monkeypatch.setitem(ATTACKS, "mine", attack)
    with pytest.raises(InputError, match="attack 'mine' on model 'model': RuntimeError: not in"):
        winnrobust.evaluate(Sum(), IMAGES, LABELS, ["mine"], threats="linf:0.25,l2:0.25")


def test_parts_of_before_are_read_with_the_norm_that_an_attack_had(found, tmp_path):
    (part,) = parts(found.folder)
    table, _ = part.read()
    keep = table.to_pandas()
    keep = keep[keep.attack.isna() | ((keep.attack == "pgd") & (keep.norm == "l2"))]
    from winnrobust.evaluation.outcomes import UNROUNDED, table_of
    from winnrobust.evaluation.statistics import summarize

    facts = {"seconds": [["pgd", "sum", 2.5]], "failures": [["pgd", "same", "no"]]}
    old = table_of(keep).drop_columns([UNROUNDED])
    path = write_part(tmp_path, old, facts)
    assert path == part_path(tmp_path, range(3))
    costs = summarize(tmp_path).costs.set_index(["attack", "norm", "source"])
    assert costs.seconds["pgd", "l2", "sum"] == 2.5
    assert costs.failure["pgd", "l2", "same"] == "no"
    assert pd.isna(winnrobust.read_outcomes(tmp_path).correct_unrounded).all()


# --- corruptions --------------------------------------------------------------------------------


class Bright(nn.Module):
    """Says 1 where an image is brighter than a bound, in the mean."""

    def __init__(self, bound):
        super().__init__()
        self.bound = bound

    def forward(self, images):
        mean = images.mean((1, 2, 3)) - self.bound
        return torch.stack([torch.zeros_like(mean), mean], 1)


@pytest.fixture(scope="module")
def corrupted():
    # 0.12, 0.22, 0.32, 0.42, 0.52 of black images; a bound of 0.5 is passed by the brightest alone.
    images = torch.tensor([0.0, 0.12, 0.32]).reshape(3, 1, 1, 1).expand(3, 1, 8, 8).clone()
    models = {"low": Bright(0.33), "high": Bright(0.43)}
    labels = torch.tensor([0, 0, 0])
    return winnrobust.evaluate(models, images, labels, threats=["corruptions:1-5", "linf:0"])


def test_errors_by_corruption_and_severity(corrupted):
    # Brightness adds 0.05, 0.1, 0.15, 0.2, 0.3: "low" errs on the third image from the first
    # severity on and on the second (0.42) at the last, "high" on the third from 0.15 on.
    errors = corrupted.results.summary.errors
    brightness = errors[errors.attack == "brightness"].pivot(
        index="model", columns="epsilon", values="errors"
    )
    assert brightness.loc["low"].tolist() == [1, 1, 1, 1, 2]
    assert brightness.loc["high"].tolist() == [0, 0, 1, 1, 1]
    contrast = errors[errors.attack == "contrast"]
    assert contrast.errors.tolist() == [0] * 10  # even images stay as they are
    assert set(errors[errors.norm == "corruptions"].epsilon) == {1, 2, 3, 4, 5}


def test_mean_corruption_error_is_the_mean_of_all(corrupted):
    errors = corrupted.results.summary.errors
    errors = errors[errors.norm == "corruptions"]
    assert len(errors) == 2 * 15 * 5
    means = errors.groupby("model").error.mean()
    for name in ("low", "high"):
        assert corrupted.mean_corruption_error[name] == pytest.approx(means[name])
    frame = corrupted.results.summary.corruption.set_index(["model", "reference"])
    totals = errors.groupby(["model", "attack"]).error.sum()
    # Where the reference makes no error there is nothing to divide by.
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (totals["low"] / totals["high"]).to_numpy().mean()
    found = frame.relative["low", "high"]
    assert found == ratio or np.isnan(found) == np.isnan(ratio)


def test_corruptions_are_no_part_of_robust_accuracy(corrupted):
    results = corrupted.results
    assert set(results.summary.robust.norm) == {"linf"}
    assert "corruptions" not in set(results.summary.paired[results.summary.paired.attack
                                                           == "worst case"].norm)  # fmt: skip
    assert len(results.corruptions) == 75
    assert all(case.norm == "linf" for case in results.cases)
    (errors,) = tables.error_tables(results)
    assert [row[0] for row in errors.rows] == ["no attack", "fgsm 0", "aa-fast 0"]
    assert tables.both_matrices(results, results.cases[0])
    assert corrupted.broken("brightness", 5)["low"].tolist() == [False, True, True]


def test_the_report_has_a_heat_map_and_the_mean(corrupted):
    (table,) = tables.corruption_tables(corrupted.results)
    assert table.header == ["corruption", "low", "high"]
    assert [row[0] for row in table.rows][:2] == ["no corruption", "gaussian_noise"]
    brightness = next(row for row in table.rows if row[0] == "brightness")
    assert brightness[1:] == ["40.0", "20.0"]
    assert [row[0] for row in table.rows][-2:] == ["mean corruption error", "relative to low"]
    assert len(table.styles) == 30
    by_severity = tables.severity_tables(corrupted.results)
    assert [t.title for t in by_severity] == [
        f"Error of {name} by corruption and severity, %" for name in ("low", "high")
    ]
    assert by_severity[0].rows[10] == ["brightness", "33.3", "33.3", "33.3", "33.3", "66.7"]
    figure = figures_of(corrupted.results)["corruptions"]
    assert [axes.get_title() for axes in figure.axes] == ["low", "high"]


def test_corruptions_alone_have_a_headline_and_a_report(tmp_path):
    images = torch.full((2, 1, 8, 8), 0.5)
    found = winnrobust.evaluate(
        Bright(0.2), images, torch.tensor([1, 1]), threats="corruptions:1", folder=tmp_path / "r"
    )
    assert (
        found.verdict == "Nothing was attacked, only corrupted: mean corruption error model 0.0 %."
    )
    assert found.mean_corruption_error == 0
    found.report(tmp_path / "report")
    assert (tmp_path / "report" / "figures" / "corruptions.png").exists()
    nothing = winnrobust.evaluate(Bright(0.2), images, torch.tensor([1, 1]), threats="linf:0")
    with pytest.raises(InputError, match="nothing was corrupted; add the threat corruptions:1-5"):
        _ = nothing.mean_corruption_error


# --- targets and rounding -----------------------------------------------------------------------


def test_targets_are_those_given():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 0], [0, 1.0], [-1.0, 1.0]]))
    images = torch.tensor([[0.9, 0.8], [0.9, 0.8]]).reshape(2, 1, 1, 2)
    labels = torch.tensor([0, 0])
    for targets in ([1, 2], np.array([1, 2]), torch.tensor([1, 2])):
        found = winnrobust.evaluate(
            model, images, labels, ["fgsm"], threats="linf:0.125", targeted=targets
        )
        outcomes = found.outcomes.query("attack == 'fgsm'")
        assert outcomes.target.tolist() == [1, 2]
        # 0.9 and 0.8 become 0.775 and 0.925: the second class; the third would be 0.15.
        assert outcomes.prediction.tolist() == [1, 1]
        assert found.results.summary.targeted.hits.tolist() == [1]
        assert found.results.settings["targeted"].startswith("as given, sha256 ")
    # With a limit those of the first images count.
    winnrobust.evaluate(
        model, images, labels, ["fgsm"], threats="linf:0.1", targeted=[1, 2], limit=1
    )


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1, 1, 1], "there are 3 targets for 2 images; give one for each"),
        ([1, 2], "targets go up to 2, but the models have only the classes 0 to 1"),
        ([1, 0], "the target of image 1 is its true class; give a wrong class"),
        ([0.5, 1], "targets must be a wrong class for each image: whole numbers from 0 on"),
        ([-1, 1], "targets must be a wrong class for each image: whole numbers from 0 on"),
        ("nearest", "targeted must be random, least-likely or an array of classes, not 'nearest'"),
    ],
)
def test_targets_that_cannot_be_are_named(targets, message):
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(InputError) as error:
        winnrobust.evaluate(
            model, torch.rand(2, 1, 1, 2), torch.tensor([0, 0]), threats="linf:0.1",
            targeted=targets,
        )  # fmt: skip
    assert str(error.value) == message


def test_successes_that_rounding_undoes_are_counted():
    # Right above 100.7 gray levels.
    level = 1 / 255
    model = Bright(100.7 * level)
    starts = torch.tensor([101.0, 101.4, 103.0]) * level
    images = starts.reshape(3, 1, 1, 1)
    labels = torch.tensor([1, 1, 1])
    # By 0.75 levels: 100.25 is wrong and rounds to 100, wrong; 100.65 is wrong and rounds to 101,
    # right; 102.25 is right.
    found = winnrobust.evaluate(
        model, images, labels, ["fgsm"], epsilons=[0.75 * level], round=8, num_examples=3
    )
    rows = found.outcomes.query("attack == 'fgsm'")
    assert rows.correct_unrounded.tolist() == [False, False, True]
    assert rows.correct.tolist() == [False, True, True]
    made = found.results.examples.adversarials[0].flatten() * 255
    np.testing.assert_allclose(made, [100, 101, 102], atol=1e-4)
    assert found.results.summary.rounded.values.tolist() == [
        ["fgsm", "linf", 0.75 * level, "model", 3, 2, 1]
    ]
    details = {table.title: table.rows for table in tables.detail_tables(found.results)}
    (row,) = details["Successes that survive rounding to 8 bits"]
    assert row[-2:] == ["2", "1"]
    assert found.results.settings["round"] == 8
    plain = winnrobust.evaluate(model, images, labels, ["fgsm"], epsilons=[0.75 * level])
    assert plain.outcomes.correct_unrounded.isna().all()
    assert not len(plain.results.summary.rounded)


@pytest.mark.parametrize("kind", ["spatial", "patch", "corruptions"])
def test_the_attack_of_a_threat_that_is_named_too_is_made_once(kind):
    name = attacks_in(["fgsm"], {kind: (1.0,)})[0].name
    made = [attack.name for attack in attacks_in([name], {kind: (1.0,)})]
    assert made.count(name) == 1
