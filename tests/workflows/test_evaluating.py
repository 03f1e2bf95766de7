"""The public Python calls: attack, evaluate, compare, and what an `Evaluation` tells."""

import tempfile
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import winnrobust
from tests.evaluation.tiny import IMAGES, LABELS, MODELS, Threshold
from winnrobust.evaluation import EvaluationSettings, run
from winnrobust.reporting import load_results
from winnrobust.runtime.errors import InputError

LEFT = MODELS["left"]
EPSILONS = [0.05, 0.2]


@pytest.fixture(scope="module")
def both() -> winnrobust.Evaluation:
    """Both threshold models under two attacks at two epsilons."""
    return winnrobust.evaluate(MODELS, IMAGES, LABELS, ["fgsm", "pgd"], EPSILONS)


@pytest.fixture(scope="module")
def alone() -> winnrobust.Evaluation:
    """The left one alone, which is right about all five images and loses three at 0.2."""
    return winnrobust.evaluate(LEFT, IMAGES, LABELS, ["fgsm", "pgd"], EPSILONS)


# --- one attack ---------------------------------------------------------------------------------


def test_attack_by_hand():
    # The first pixel of the images is 0.4, 0.1, 0.1, 0.4, 0.1 away from the threshold.
    made = winnrobust.attack(LEFT, IMAGES, LABELS, "fgsm", epsilon=0.125)
    assert made.is_adversarial.tolist() == [False, True, True, False, True]
    assert made.predictions.tolist() == [1, 0, 0, 0, 1]
    torch.testing.assert_close(made.distance, torch.full((5,), 0.125))
    assert made.gradients.tolist() == [1] * 5
    assert made.queries.tolist() == [0] * 5
    moved = made.images.flatten(1)[:, 0] - IMAGES.flatten(1)[:, 0]
    torch.testing.assert_close(moved, torch.tensor([-1.0, -1, -1, 1, 1]) * 0.125)


def test_attack_judges_as_the_evaluation_does(alone):
    made = winnrobust.attack(LEFT, IMAGES, LABELS, "pgd", epsilon=0.2)
    rows = alone.outcomes.query("attack == 'pgd' and epsilon == 0.2")
    assert made.is_adversarial.tolist() == (~rows.correct).tolist()
    np.testing.assert_allclose(made.distance, rows.distance)
    assert made.gradients.tolist() == rows.gradients.tolist()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_batches_change_nothing_of_an_attack(size):
    one, other = (
        winnrobust.attack(LEFT, IMAGES, LABELS, "pgd", epsilon=0.3, batch_size=each)
        for each in (5, size)
    )
    assert torch.equal(one.images, other.images)


def test_settings_reach_the_attack():
    made = winnrobust.attack(MODELS["right"], IMAGES, LABELS, "pgd", epsilon=0.01, steps=3)
    assert made.attack == "pgd(steps=3)"
    assert made.gradients.tolist() == [3, 3, 0, 0, 3]  # two are wrong already
    with pytest.raises(InputError, match="attack 'pgd' has no setting 'stepps'; it has steps"):
        winnrobust.attack(LEFT, IMAGES, LABELS, "pgd", epsilon=0.1, stepps=3)


def test_the_norm_chooses_between_attacks_of_a_name():
    assert winnrobust.attack(LEFT, IMAGES, LABELS, "pgd", epsilon=0.1, norm="l2").norm == "l2"
    with pytest.raises(InputError, match="attack 'fgsm' bounds the norm linf; those of l2 are"):
        winnrobust.attack(LEFT, IMAGES, LABELS, "fgsm", epsilon=0.1, norm="l2")


def test_a_minimum_norm_attack_needs_no_epsilon_and_others_do():
    made = winnrobust.attack(LEFT, IMAGES, LABELS, "deepfool")
    assert made.is_adversarial.all()
    np.testing.assert_allclose(made.distance, [0.4, 0.1, 0.1, 0.4, 0.1], atol=0.02)
    near = winnrobust.attack(LEFT, IMAGES, LABELS, "deepfool", epsilon=0.2)
    assert near.is_adversarial.tolist() == [False, True, True, False, True]
    assert torch.equal(near.images[0], IMAGES[0])
    with pytest.raises(InputError, match="'pgd' needs an epsilon"):
        winnrobust.attack(LEFT, IMAGES, LABELS, "pgd")


def test_a_targeted_attack_is_adversarial_where_the_target_is_seen():
    made = winnrobust.attack(LEFT, IMAGES, LABELS, "pgd", epsilon=0.2, targets=1 - LABELS)
    assert made.is_adversarial.tolist() == [False, True, True, False, True]
    with pytest.raises(InputError, match="targets must be a wrong class for each image"):
        winnrobust.attack(LEFT, IMAGES, LABELS, "pgd", epsilon=0.2, targets=LABELS)


def test_a_transfer_comes_from_the_surrogate():
    made = winnrobust.attack(
        LEFT, IMAGES, LABELS, "transfer:other", epsilon=0.2, surrogates={"other": MODELS["right"]}
    )
    assert not made.is_adversarial.any()
    assert torch.equal(made.images.flatten(1)[:, 0], IMAGES.flatten(1)[:, 0])


class Fussy(nn.Module):
    """Has everything of a caller's that an attack might leave changed."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 2))
        self.body[1].requires_grad_(False)
        self.body[0].eval()
        self.double()


@pytest.mark.parametrize("call", ["attack", "evaluate", "compare"])
def test_a_model_is_given_back_as_it_was(call):
    model = Fussy().body
    calls = []
    hook = model[1].register_forward_hook(lambda *args: calls.append(1))
    model[3].weight.grad = torch.ones(2, 4, dtype=torch.float64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    if call == "attack":
        winnrobust.attack(model, IMAGES, LABELS, "pgd", epsilon=0.1)
    elif call == "evaluate":
        winnrobust.evaluate(model, IMAGES, LABELS, ["pgd"])
    else:
        winnrobust.compare(model, MODELS["left"], IMAGES, LABELS)
    assert calls  # the hook stayed on
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert torch.equal(model[3].weight.grad, torch.ones(2, 4, dtype=torch.float64))
    assert len(model[1]._forward_hooks) == 1
    hook.remove()


# --- what an evaluation tells -------------------------------------------------------------------


def test_a_model_alone_has_numbers(alone):
    assert alone.clean_accuracy == 1.0
    assert alone.robust_accuracy.to_dict() == pytest.approx({("linf", 0.05): 1, ("linf", 0.2): 0.4})
    one = winnrobust.evaluate(LEFT, IMAGES, LABELS, epsilons=[0.2])
    assert set(one.table.attack) == {"none", "fgsm", "aa-fast", "worst case"}
    assert one.robust_accuracy == pytest.approx(0.4)
    assert isinstance(one.robust_accuracy, float)


def test_several_models_have_them_by_name(both):
    assert both.clean_accuracy.to_dict() == {"left": 1.0, "right": 0.6}
    accuracy = both.robust_accuracy
    assert accuracy.loc["left", ("linf", 0.2)] == pytest.approx(0.4)
    assert list(accuracy.index) == ["left", "right"]


def test_masks_and_outcomes_agree(both, alone):
    for attack in ("none", "fgsm", "pgd"):
        epsilon = None if attack == "none" else 0.2
        masks = both.broken(attack, epsilon)
        for name in MODELS:
            rows = both.outcomes
            own = rows.evaluated == name
            own &= rows.attack.isna() if attack == "none" else (rows.source == name)
            own &= True if attack == "none" else (rows.attack == attack) & (rows.epsilon == 0.2)
            assert masks[name].tolist() == (~rows[own].correct).tolist()
    assert alone.broken("pgd", 0.2).tolist() == [False, True, True, False, True]


def test_the_worst_case_is_any_attack_at_any_smaller_epsilon(both):
    masks = both.broken(epsilon=0.2)
    shares = 1 - both.worst_case.query("epsilon == 0.2").set_index("model").robust_accuracy
    assert {name: mask.mean() for name, mask in masks.items()} == pytest.approx(shares.to_dict())
    wrong = both.broken("none")
    assert all((masks[name] >= wrong[name]).all() for name in MODELS)


def test_what_was_not_done_is_not_told(both):
    with pytest.raises(InputError, match="no attack 'square'; there are worst case at Linf"):
        both.broken("square")
    with pytest.raises(InputError, match="'pgd' was done at several epsilons"):
        both.broken("pgd")
    with pytest.raises(InputError, match=r"no attack 'pgd' at 0\.3"):
        both.broken("pgd", 0.3)
    with pytest.raises(InputError, match="there is no figure 'pie'; there are accuracy, curves"):
        both.plot("pie")


def test_the_table_has_every_accuracy_once(both):
    table = both.table
    assert not table.duplicated(["model", "attack", "norm", "epsilon"]).any()
    assert set(table.attack) == {"none", "fgsm", "pgd", "worst case"}
    row = table.query("model == 'left' and attack == 'pgd' and epsilon == 0.2").iloc[0]
    assert row.accuracy == pytest.approx(0.4)
    assert row.low < 0.4 < row.high


def test_it_is_shown_as_a_verdict_and_a_table(both):
    page = both._repr_html_()
    assert page.startswith("<p>")
    assert "<table>" in page
    assert "robust, Linf 0.2" in page
    assert both.verdict in repr(both)
    hostile = winnrobust.evaluate({"<b>": LEFT}, IMAGES, LABELS)
    assert "<b>" not in hostile._repr_html_()


def test_plots_are_figures(both):
    assert both.plot("accuracy").axes[0].get_xlabel().startswith("accuracy")
    assert "robust error" in both.plot().axes[0].get_ylabel()


def test_what_is_saved_is_a_results_folder(both, tmp_path):
    place = both.save(tmp_path / "results")
    again = winnrobust.read_evaluation(place)
    pd.testing.assert_frame_equal(again.outcomes, both.outcomes)
    pd.testing.assert_frame_equal(again.table, both.table)
    assert again.verdict == both.verdict
    assert (place / "table.md").exists()
    assert load_results(place).models == both.results.models
    with pytest.raises(InputError, match="already exists"):
        both.save(place)


@pytest.mark.parametrize("name", ["page.html", "table.csv", "all.json", "table.tex"])
def test_reports_by_suffix(both, tmp_path, name):
    text = both.report(tmp_path / "new" / name).read_text()
    assert "left" in text
    assert "right" in text
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize("name", ["page.html", "folder"])
def test_a_report_that_cannot_be_written_is_one_line(both, tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"cannot write to .*{name}: "):
        both.report(tmp_path / "file" / name)


def test_a_report_of_another_kind_is_refused_and_a_folder_has_all(both, tmp_path):
    with pytest.raises(InputError, match=r"a report is a file \.html"):
        both.report(tmp_path / "page.docx")
    both.report(tmp_path / "report")
    assert {"index.html", "report.md", "report.json"} <= {
        path.name for path in (tmp_path / "report").iterdir()
    }


def test_a_folder_is_gone_on_with(tmp_path):
    def stop(done: int, total: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    common = {"attacks": ["fgsm"], "batch_size": 2, "folder": tmp_path / "results"}
    with pytest.raises(KeyboardInterrupt):
        winnrobust.evaluate(LEFT, IMAGES, LABELS, progress=stop, **common)
    seen = []
    found = winnrobust.evaluate(
        LEFT, IMAGES, LABELS, progress=lambda done, total: seen.append(done), **common
    )
    assert seen[0] > 2
    whole = winnrobust.evaluate(LEFT, IMAGES, LABELS, ["fgsm"], batch_size=2)
    pd.testing.assert_frame_equal(found.outcomes, whole.outcomes)
    assert (tmp_path / "results" / "table.csv").exists()


def test_a_temporary_folder_goes_with_the_evaluation():
    found = winnrobust.evaluate(LEFT, IMAGES, LABELS)
    place = found.folder
    assert place.exists()
    del found
    assert not place.exists()


def test_it_is_what_the_engine_found(tmp_path, both):
    chosen = EvaluationSettings(attacks=["fgsm", "pgd"], epsilons={"linf": EPSILONS})
    found = run(MODELS, IMAGES, LABELS, chosen, folder=tmp_path)
    pd.testing.assert_frame_equal(found.summary.transfer, both.transfer)


# --- calls of version 0.1 -----------------------------------------------------------------------


def test_programs_that_expect_the_transfer_table_go_on(both):
    with pytest.warns(FutureWarning, match=r"the table that it returned is \.transfer"):
        assert both.adversarial_error.equals(both.transfer.adversarial_error)
    with pytest.warns(FutureWarning):
        assert both[both.transfer.attack == "pgd"].attack.unique().tolist() == ["pgd"]
    with pytest.warns(FutureWarning):
        assert both.iloc[0].attack == "fgsm"
    assert len(both) == len(both.transfer)
    with pytest.raises(AttributeError, match="an Evaluation has no 'nonsense'"):
        both.nonsense  # noqa: B018


# --- compare ------------------------------------------------------------------------------------


def test_compare_tests_both_on_the_same_images():
    torch.manual_seed(0)
    images = torch.rand(200, 1, 1, 2)
    labels = (images.flatten(1)[:, 0] > 0.5).long()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", winnrobust.EvaluationWarning)  # a logit is always 0
        near = {"near": Threshold(0, 0.45)}
        found = winnrobust.compare(near, LEFT, images, labels, epsilons=[0.1])
    assert found.models == ["near", "second"]
    assert "second" in found.verdict
    row = found.paired.query("attack == 'none'").iloc[0]
    between = ((images.flatten(1)[:, 0] > 0.45) & (labels == 0)).sum()  # only the first is wrong
    assert between > 0
    assert (row.first_only, row.second_only) == (between, 0)
    assert row.p_value < 0.05
    with pytest.raises(InputError, match="different names"):
        winnrobust.compare({"a": LEFT}, {"a": LEFT}, images, labels)


# --- warnings -----------------------------------------------------------------------------------


class Sides(nn.Module):
    """The log-odds of a steep threshold at 0.5 of the first pixel, spread over both logits."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        odds = 10 * (images.flatten(1)[:, 0] - 0.5)
        return torch.stack([-odds, odds], 1)


def many() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(100, 1, 1, 2, generator=torch.Generator().manual_seed(1))
    return images, (images.flatten(1)[:, 0] > 0.5).long()


def test_probabilities_are_warned_of():
    with pytest.warns(winnrobust.EvaluationWarning, match="return probabilities"):
        winnrobust.evaluate(nn.Sequential(Sides(), nn.Softmax(1)), *many())


def test_a_few_images_tell_probabilities_but_not_guessing():
    images, labels = (each[:8] for each in many())
    with pytest.warns(winnrobust.EvaluationWarning) as caught:
        winnrobust.evaluate(nn.Sequential(Sides(), nn.Softmax(1)), images, 1 - labels)
    assert ["return probabilities" in str(warning.message) for warning in caught] == [True]


def test_guessing_is_warned_of():
    images, labels = many()
    with pytest.warns(winnrobust.EvaluationWarning, match="no better than guessing"):
        winnrobust.evaluate({"net": Sides()}, images, 1 - labels)


def test_a_model_that_is_used_well_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        winnrobust.evaluate(Sides(), *many())


def test_a_warning_points_to_the_callers_line():
    with pytest.warns(winnrobust.EvaluationWarning) as caught:
        winnrobust.compare(Sides(), {"odd": nn.Sequential(Sides(), nn.Softmax(1))}, *many())
    assert {warning.filename for warning in caught} == {__file__}


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": lambda images: images}, "models must be a torch.nn.Module, or a dict of them"),
        ({"models": [LEFT]}, "models must be a torch.nn.Module, or a dict of them by name, not li"),
        ({"models": {}}, "there are no models"),
        ({"models": "zoo:nonesuch"}, "no model 'nonesuch' comes with winnrobust"),
        ({"labels": None}, "labels are missing"),
        ({"images": iter(IMAGES)}, "the labels of a .* come with its images; leave labels out"),
        ({"attacks": "pgd"}, "attacks must be a list of names"),
        ({"attacks": []}, "there are no attacks"),
        ({"epsilon": 0.1}, "unknown setting 'epsilon'; known are attacks, epsilons, steps"),
        ({"epsilons": [8]}, "epsilons must be numbers from 0 to 1"),
        ({"device": "tpu"}, "tpu cannot be used here"),
        ({"folder": "."}, "choose another"),
    ],
)
def test_mistakes_are_named_in_one_line(given, message):
    arguments = {"models": LEFT, "images": IMAGES, "labels": LABELS} | given
    with pytest.raises(InputError, match=message) as caught:
        winnrobust.evaluate(**arguments)
    assert "\n" not in str(caught.value)


def test_images_and_labels_may_be_a_pair(alone):
    found = winnrobust.evaluate(LEFT, (IMAGES, LABELS), None, ["fgsm", "pgd"], EPSILONS)
    pd.testing.assert_frame_equal(found.table, alone.table)


def test_an_evaluation_that_fails_leaves_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def stop(done: int, total: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        winnrobust.evaluate(LEFT, IMAGES, LABELS, batch_size=2, progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_a_model_of_the_zoo_is_attacked_by_its_name(digits):
    few = digits.test.first(10)
    found = winnrobust.evaluate("zoo:mnist-vanilla-winn", few.images, few.labels, ["fgsm"], [0.1])
    assert found.models == ["model"]
    assert found.clean_accuracy == 1
