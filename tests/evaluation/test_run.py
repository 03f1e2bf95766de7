"""The evaluation on models so small that the right table is known beforehand."""

import importlib
import math
import time

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import winnrobust
from tests.evaluation.problems import problems
from tests.evaluation.tiny import (
    IMAGES,
    LABELS,
    MODELS,
    Threshold,
    attack_called,
    described,
    evaluation,
    pixels,
)
from winnrobust.attacks import ATTACKS, AttackResult
from winnrobust.evaluation import Examples, read_outcomes
from winnrobust.evaluation.outcomes import Case
from winnrobust.runtime.errors import InputError

TABLES = ("clean", "errors", "transfer", "corrections", "robust", "paired", "targeted", "gradients")


def assert_equal(found, expected) -> None:
    """Two evaluations found the same, to the bit, but for the time it took."""
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(found.summary, name), getattr(expected.summary, name))
    costs = [each.summary.costs.drop(columns="seconds") for each in (found, expected)]
    pd.testing.assert_frame_equal(*costs)
    assert found.summary.distances.keys() == expected.summary.distances.keys()
    for key, distances in expected.summary.distances.items():
        np.testing.assert_array_equal(found.summary.distances[key], distances)
    for name, value in vars(expected.examples).items():
        np.testing.assert_array_equal(getattr(found.examples, name), value)


def test_counts_by_hand():
    # Clean: left is right on all; right errs on images 2 (0.4 for a 1) and 3 (0.6 for a 0).
    # left attacked by 0.2: pixel 0 becomes 0.7, 0.4, 0.4, 0.3, 0.6: wrong on 1, 2, 4.
    #   right still sees its own pixel: wrong on 2, 3. Both: 2. It corrects 2 of 3.
    # right attacked by 0.2: pixel 1 becomes 0.7, 0.7, 0.2, 0.8, 0.3: wrong on 2, 3.
    #   left is wrong on none, so it corrects both.
    found = evaluation(MODELS, IMAGES, LABELS, linf=[0.2]).summary
    columns = ["source", "target", "n", "source_errors", "target_errors", "both_errors"]
    assert found.transfer[[*columns, "correction_rate"]].values.tolist() == [
        ["left", "left", 5, 3, 3, 3, 0.0],
        ["left", "right", 5, 3, 2, 1, 2 / 3],
        ["right", "left", 5, 2, 0, 0, 1.0],
        ["right", "right", 5, 2, 2, 2, 0.0],
    ]
    assert found.transfer.adversarial_error.tolist() == [0.6, 0.6, 0.4, 0.4]
    assert found.transfer.clean_errors_source.tolist() == [0, 0, 2, 2]
    assert found.clean[["model", "n", "errors", "error"]].values.tolist() == [
        ["left", 5, 0, 0.0],
        ["right", 5, 2, 0.4],
    ]
    # Half of the pixels have no gradient: the model does not look at them.
    assert found.gradients.values.tolist() == [
        ["fgsm", "linf", "left", 10, 5, 5, 0, 0, 0],
        ["fgsm", "linf", "right", 10, 5, 5, 0, 0, 0],
    ]
    assert found.costs.drop(columns="seconds").values.tolist() == [
        ["fgsm", "linf", "left", 5, 0, 0, 0, ""],
        ["fgsm", "linf", "right", 5, 0, 0, 0, ""],
    ]
    assert (found.costs.seconds > 0).all()


def test_evaluate_has_the_transfer_table():
    table = winnrobust.evaluate(MODELS, IMAGES, LABELS, ["fgsm"], [0.2], batch_size=2).transfer
    expected = evaluation(MODELS, IMAGES, LABELS, linf=[0.2]).summary.transfer
    pd.testing.assert_frame_equal(table, expected)


@pytest.mark.usefixtures("tiny_attacks")
def test_outcomes_by_hand(tmp_path):
    evaluation(
        MODELS, IMAGES, LABELS, ["up", "nearest"], [0.2], l2=[0.05, 0.2], folder=tmp_path, seed=3
    )
    frame = read_outcomes(tmp_path)
    clean = frame[frame.attack.isna()]
    assert clean[clean.evaluated == "right"].correct.tolist() == [1, 1, 0, 0, 1]
    assert clean[clean.evaluated == "right"].prediction.tolist() == [1, 1, 0, 1, 0]
    assert clean.label.tolist() == [1, 1, 1, 0, 0] * 2
    up = frame[(frame.attack == "up") & (frame.source == "right")]
    # Moved by 0.2 but for what the edge holds back: 0.1 where both pixels are 0.9.
    np.testing.assert_allclose(up.distance, [0.1, 0.2, 0.2, 0.2, 0.2] * 2, rtol=1e-6)
    assert up.evaluated.tolist() == ["left"] * 5 + ["right"] * 5
    assert set(up.status) == {"attacked"}
    assert set(up.seed) == {3}
    # left's first pixels 0.9, 0.6, 0.6, 0.1, 0.4 are 0.4, 0.1, 0.1, 0.4, 0.1 from 0.5; `nearest`
    # goes 0.01 further and does not find what is beyond 0.35. right is wrong on images 2 and 3.
    found = frame[(frame.attack == "nearest") & (frame.epsilon == math.inf)]
    assert (found.source.astype(str) == found.evaluated.astype(str)).all()
    left, right = (found[found.source == name] for name in MODELS)
    np.testing.assert_allclose(left.distance, [math.inf, 0.11, 0.11, math.inf, 0.11], rtol=1e-6)
    assert right.distance.tolist() == [math.inf, math.inf, 0, 0, math.inf]
    assert right.status.tolist() == ["attacked"] * 2 + ["wrong already"] * 2 + ["attacked"]
    within = frame[(frame.attack == "nearest") & (frame.source == "left") & (frame.epsilon == 0.2)]
    assert within[within.evaluated == "left"].correct.tolist() == [1, 0, 0, 1, 0]


@pytest.mark.usefixtures("tiny_attacks")
def test_norms_have_epsilons_and_worst_cases_of_their_own():
    # Up by 0.2: left is wrong on 4, right on 3, and on 2 already without. Down by 0.35 / sqrt(2) =
    # 0.2475 in each pixel: left 1, 2; right 2. Down by 0.7 / sqrt(2): left 0, 1, 2; right 0, 1, 2.
    found = evaluation(MODELS, IMAGES, LABELS, ["up", "down-l2"], [0.2], l2=[0.7, 0.35])
    cases = found.summary.errors[["attack", "norm", "epsilon"]].drop_duplicates().values.tolist()
    assert cases == [["up", "linf", 0.2], ["down-l2", "l2", 0.7], ["down-l2", "l2", 0.35]]
    assert found.summary.robust[["norm", "epsilon", "model", "robust_error"]].values.tolist() == [
        ["linf", 0.2, "left", 0.2],
        ["linf", 0.2, "right", 0.4],
        ["l2", 0.7, "left", 0.6],
        ["l2", 0.7, "right", 0.8],
        ["l2", 0.35, "left", 0.4],
        ["l2", 0.35, "right", 0.4],
    ]
    assert found.examples.case_epsilons.tolist() == [0.2, 0.2, 0.7, 0.7, 0.35, 0.35]


class Middle(nn.Module):
    """Says 1 where the first pixel is nearer than 0.25 to 0.5, else 0."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logit = 0.25 - (images.flatten(1)[:, 0] - 0.5).abs()
        return torch.stack([torch.zeros_like(logit), logit], 1)


def test_clean_errors_that_an_attack_happens_to_mend_are_errors():
    # Two of five labels are wrong: clean error 40 %. FGSM by 0.35 carries those two over the middle
    # to the other side, where they are right, and breaks one image: 20 %.
    images = pixels((0.45, 0), (0.45, 0), (0.0, 0), (0.5, 0), (0.5, 0))
    found = evaluation({"net": Middle()}, images, torch.tensor([0, 0, 0, 1, 1]), linf=[0.35])
    assert found.summary.clean.error.tolist() == [0.4]
    assert found.summary.errors.error.tolist() == [0.2]
    assert found.summary.robust.robust_error.tolist() == [0.6]


class Wavy(nn.Module):
    """Says 1 and 0 in turns along the first pixel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logit = (20 * images.flatten(1)[:, 0]).sin()
        return torch.stack([torch.zeros_like(logit), logit], 1)


def test_an_image_broken_at_a_small_epsilon_is_broken_at_a_larger_one():
    # 0.12 is a 1, as all from 0 to 0.157 and from 0.314 to 0.471 are. FGSM by 0.05 goes to 0.17, by
    # 0.25 to 0.37, which is a 1 again.
    images = pixels(*[(0.12, 0.0)] * 4)
    found = evaluation({"net": Wavy()}, images, torch.ones(4).long(), linf=[0.05, 0.25]).summary
    assert found.errors.error.tolist() == [1.0, 0.0]
    assert found.robust.robust_error.tolist() == [1.0, 1.0]


def test_epsilon_zero_is_the_clean_error_and_undefined_rates_are_nan():
    table = evaluation(MODELS, IMAGES, LABELS, linf=[0, 0.2]).summary.transfer
    rows = table.set_index(["epsilon", "source", "target"])
    left = rows.loc[0, "left", "right"]
    assert left.source_errors == left.clean_errors_source == 0
    assert left["correction_rate":"correction_rate_high"].isna().all()
    assert rows.source_errors[0, "right", "left"] == 2
    assert rows.source_errors[0.2, "left", "right"] == 3


@pytest.mark.usefixtures("tiny_attacks")
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 500])
def test_batch_size_changes_nothing(batch_size):
    attacks = ["pgd", "up", "fgsm", "nearest"]
    whole = evaluation(MODELS, IMAGES, LABELS, attacks, [0.1, 0.2], l2=[0.2], num_examples=4)
    parts = evaluation(
        MODELS, IMAGES, LABELS, attacks, [0.1, 0.2],
        l2=[0.2], num_examples=4, batch_size=batch_size,
    )  # fmt: skip
    assert_equal(parts, whole)
    assert list(whole.summary.errors.attack.unique()) == attacks


@pytest.mark.usefixtures("tiny_attacks")
def test_bytes_are_images_too():
    images = (IMAGES * 255).round().byte()
    attacks = ["fgsm", "pgd"]
    expected = evaluation(MODELS, images / 255, LABELS, attacks)
    assert_equal(evaluation(MODELS, images, LABELS, attacks), expected)
    assert_equal(evaluation(MODELS, images.numpy(), LABELS.numpy(), attacks), expected)


def counted(calls: dict[str, int], name: str) -> nn.Module:
    model = Threshold(0, 0.5)
    model.register_forward_hook(lambda *_: calls.__setitem__(name, calls[name] + 1))
    return model


@pytest.mark.parametrize(("cross", "judged"), [(True, 4), (False, 2)])
def test_each_batch_costs_one_attack_and_a_judgement_for_each_judge(cross, judged):
    calls = {"left": 0, "right": 0}
    models = {name: counted(calls, name) for name in calls}
    evaluation(models, IMAGES, LABELS, linf=[0.1, 0.2], batch_size=3, cross=cross)
    # Once for the check, eight times to see whether it answers at random; per batch one pass for
    # clean error and gradient, and a judgement of the examples at 2 epsilons of 2 sources or of 1.
    expected = 1 + 8 + 2 * (1 + judged)
    assert calls == {"left": expected, "right": expected}


def test_without_cross_every_model_looks_at_its_own_examples_alone(tmp_path):
    found = evaluation(MODELS, IMAGES, LABELS, linf=[0.2], cross=False, folder=tmp_path)
    crossed = evaluation(MODELS, IMAGES, LABELS, linf=[0.2])
    pd.testing.assert_frame_equal(found.summary.errors, crossed.summary.errors)
    pd.testing.assert_frame_equal(found.summary.robust, crossed.summary.robust)
    attacked = read_outcomes(tmp_path).dropna(subset="attack")
    assert (attacked.source.astype(str) == attacked.evaluated.astype(str)).all()
    assert found.examples.predictions[0].tolist() == [[1, 0, 0, 0, 1], [-1] * 5]


# --- what goes wrong ----------------------------------------------------------------------------


class SmallMemory(Threshold):
    """A model on a device that holds at most `room` images at once."""

    def __init__(self, room: int, error: type[Exception] = torch.cuda.OutOfMemoryError) -> None:
        super().__init__(0, 0.5)
        self.room = room
        self.error = error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.room:
            raise self.error
        return super().forward(images)


@pytest.mark.usefixtures("tiny_attacks")
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "nearest"])
@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, MemoryError])
def test_short_memory_halves_the_batch_and_changes_nothing(attack, error):
    models = {"net": SmallMemory(5, error), "other": Threshold(1, 0.5)}
    images, labels = IMAGES.repeat(4, 1, 1, 1), LABELS.repeat(4)
    models["net"].room = 16  # enough for the look at the first images
    found = evaluation(models, images, labels, [attack], [0.2], batch_size=20)
    roomy = models | {"net": Threshold(0, 0.5)}
    expected = evaluation(roomy, images, labels, [attack], [0.2], batch_size=20)
    assert_equal(found, expected)
    assert found.batch_size == 10
    assert expected.batch_size == 20


def test_no_memory_for_one_image_is_an_error():
    with pytest.raises(InputError, match="not enough memory for the models and a single image"):
        evaluation({"net": SmallMemory(room=0)}, IMAGES, LABELS, batch_size=5)


def test_a_runtime_error_about_memory_is_not_about_its_size():
    class Illegal(Threshold):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(InputError, match="RuntimeError: CUDA error: an illegal memory access"):
        evaluation({"net": Illegal(0, 0.5)}, IMAGES, LABELS)


@pytest.mark.parametrize(
    ("move", "what"),
    [
        (lambda images, epsilon, run: images * 0, "left the ball"),
        (lambda images, epsilon, run: images + epsilon, r"left \[0, 1\]"),
        (lambda images, epsilon, run: images * math.nan, "not finite"),
    ],
)
def test_whoever_leaves_the_ball_is_named_and_nothing_is_counted(move, what, monkeypatch, tmp_path):
    monkeypatch.setitem(ATTACKS, "cheat", attack_called("cheat", move))
    with pytest.raises(InputError, match=f"attack 'cheat' .*{what}"):
        evaluation(MODELS, IMAGES, LABELS, ["fgsm", "cheat"], [0.2], folder=tmp_path)
    assert not (tmp_path / "outcomes").exists()


def fails_on(first: int):
    """An attack that fails on the batch that begins at image `first`."""

    def function(model, images, labels, *, epsilon, run):
        if run.first == first:
            raise ArithmeticError("no\nroot")
        return AttackResult.untouched((images + epsilon).clamp(0, 1))

    return described("shaky", function)


def test_an_attack_that_fails_at_once_stops_the_evaluation(monkeypatch):
    monkeypatch.setitem(ATTACKS, "shaky", fails_on(0))
    with pytest.raises(InputError, match="'shaky' on model 'left': ArithmeticError: no root"):
        evaluation(MODELS, IMAGES, LABELS, ["shaky"], batch_size=2)


def test_an_attack_that_fails_later_costs_its_images(monkeypatch, tmp_path):
    monkeypatch.setitem(ATTACKS, "shaky", fails_on(2))
    found = evaluation(
        MODELS, IMAGES, LABELS, ["shaky", "fgsm"], [0.2], batch_size=2, folder=tmp_path
    ).summary
    frame = read_outcomes(tmp_path)
    own = frame[(frame.attack == "shaky") & (frame.evaluated == frame.source.astype("str"))]
    assert own[own.source == "left"].status.tolist() == [
        "attacked", "attacked", "error", "error", "attacked",
    ]  # fmt: skip
    assert found.costs.failed.tolist() == [2, 0, 0, 0]  # right errs on images 2 and 3 anyway
    # Beside the worst case of left: of images 2 and 3 FGSM breaks the first.
    assert found.robust.not_attacked.tolist() == [1, 0]
    assert found.errors[found.errors.attack == "shaky"].not_attacked.tolist() == [2, 0]


# --- batch size, examples, progress -------------------------------------------------------------


class Watched(nn.Module):
    """A linear model that notes how many images it sees at once, as long as it has a gradient."""

    def __init__(self, room: int = 10_000, wait: float = 0.0) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.room, self.wait = room, wait

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.room:
            raise torch.cuda.OutOfMemoryError
        if images.requires_grad and len(images) > 2:
            time.sleep(self.wait)
            self.sizes.append(len(images))
        return images.flatten(1)[:, :2]


def sizes_of_batches(n: int = 2000, shape: tuple[int, ...] = (1, 1, 2), **model: float) -> list:
    watched = Watched(**model)
    images = torch.zeros(1, *shape).expand(n, *shape)
    evaluation({"net": watched}, images, np.zeros(n, int), ["fgsm"], [0.1])
    return watched.sizes


def test_quick_batches_grow():
    assert sizes_of_batches(n=4000) == [128, 256, 512, 1024, 1024, 1024, 32]


def test_slow_batches_do_not_grow(monkeypatch):
    module = importlib.import_module("winnrobust.evaluation.run")
    monkeypatch.setattr(module, "QUICK", 0.01)
    assert sizes_of_batches(n=300, wait=0.02) == [128, 128, 44]


def test_a_batch_that_found_no_memory_is_the_largest():
    assert sizes_of_batches(n=500, room=150) == [128, 128, 128, 116]


def test_large_images_on_a_cpu_come_in_small_batches():
    assert sizes_of_batches(n=600, shape=(1, 64, 64)) == [128, 256, 216]
    assert sizes_of_batches(n=11, shape=(1, 512, 512)) == [4, 4, 3]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_examples_hold_what_was_counted(batch_size):
    found = evaluation(
        MODELS, IMAGES, LABELS, linf=[0.1, 0.2], num_examples=3, batch_size=batch_size
    )
    examples = found.examples
    assert examples.models.tolist() == ["left", "right"]
    np.testing.assert_array_equal(examples.images, IMAGES[:3].numpy())
    assert examples.labels.tolist() == [1, 1, 1]
    assert examples.clean_predictions.tolist() == [[1, 1, 1], [1, 1, 0]]
    case = examples.case(Case("fgsm", "linf", 0.2), "left")
    np.testing.assert_allclose(
        examples.adversarials[case].reshape(3, 2), [[0.7, 0.9], [0.4, 0.9], [0.4, 0.4]]
    )
    assert examples.predictions[case].tolist() == [[1, 0, 0], [1, 1, 0]]
    with pytest.raises(ValueError, match="is not in list"):
        examples.case(Case("fgsm", "linf", 0.3), "left")


def test_number_of_examples():
    assert evaluation(MODELS, IMAGES, LABELS, num_examples=0).examples is None
    examples = evaluation(MODELS, IMAGES, LABELS, num_examples=100).examples
    assert examples.images.shape == (5, 1, 1, 2)
    assert examples.adversarials.shape == (2, 5, 1, 1, 2)
    assert examples.predictions.shape == (2, 2, 5)
    assert not (examples.predictions < 0).any()


def test_damaged_examples_are_named(tmp_path):
    evaluation(MODELS, IMAGES, LABELS, batch_size=2, folder=tmp_path)
    (file,) = (tmp_path / "examples").glob("0000002-*.npz")
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"0000002-0000004-r0\.npz is not .*; remove "):
        evaluation(MODELS, IMAGES, LABELS, batch_size=2, folder=tmp_path)
    file.unlink()
    kept = evaluation(MODELS, IMAGES, LABELS, batch_size=2, folder=tmp_path).examples
    assert len(kept.images) == 3


def test_examples_survive_a_file(tmp_path):
    examples = evaluation(MODELS, IMAGES, LABELS).examples
    np.savez(tmp_path / "examples.npz", **vars(examples))
    back = Examples(**np.load(tmp_path / "examples.npz"))
    for name, kept in vars(examples).items():
        np.testing.assert_array_equal(getattr(back, name), kept)


def test_progress_is_reported_after_every_attack_on_every_model():
    calls = []
    evaluation(MODELS, IMAGES, LABELS, batch_size=2, progress=lambda *call: calls.append(call))
    assert calls == [(2, 10), (4, 10), (6, 10), (8, 10), (9, 10), (10, 10)]
    calls.clear()
    evaluation(MODELS, IMAGES, LABELS, ["fgsm", "pgd"], progress=lambda *call: calls.append(call))
    assert calls == [(5, 20), (10, 20), (15, 20), (20, 20)]


# --- properties ---------------------------------------------------------------------------------

few = settings(max_examples=25, deadline=None)


@few
@given(problems())
def test_robust_errors_lie_between_the_worst_attack_and_all_added_up(problem):
    found = evaluation(*problem, ["fgsm", "pgd"], [0.0, 0.25], num_examples=0).summary
    clean = found.clean.set_index("model").error
    errors = found.errors.groupby(["epsilon", "model"]).error
    for row in found.robust.itertuples():
        most = clean[row.model] + errors.sum()[row.epsilon, row.model]
        assert errors.max()[row.epsilon, row.model] <= row.robust_error <= min(most, 1)
    assert (found.robust.robust_error[found.robust.epsilon == 0] == clean.to_numpy()).all()


@few
@given(problems(max_classes=2), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(problem, shuffle):
    models, images, labels = problem
    order = list(range(len(images)))
    shuffle.shuffle(order)
    first = evaluation(models, images, labels, batch_size=4, num_examples=0).summary
    second = evaluation(models, images[order], labels[order], batch_size=4, num_examples=0).summary
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(second, name), getattr(first, name))


@few
@given(problems())
def test_the_order_of_the_models_only_reorders_the_rows(problem):
    models, images, labels = problem
    keys = ["source", "target"]
    first = evaluation(models, images, labels, num_examples=0).summary.transfer
    swapped = dict(reversed(models.items()))
    second = evaluation(swapped, images, labels, num_examples=0).summary.transfer
    pd.testing.assert_frame_equal(
        first.sort_values(keys, ignore_index=True), second.sort_values(keys, ignore_index=True)
    )
