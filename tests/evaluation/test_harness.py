"""The evaluation on models so small that the right table is known beforehand."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import winnrobust.evaluation
from tests.evaluation.problems import problems
from tests.evaluation.tiny import IMAGES, LABELS, MODELS, NEAREST, Threshold
from winnrobust.attacks import ATTACKS
from winnrobust.evaluation import evaluate, run
from winnrobust.evaluation.batch_size import fastest_batch_size
from winnrobust.runtime.errors import InputError


def rows(table: pd.DataFrame) -> dict[tuple[float, str, str], pd.Series]:
    return {(row.epsilon, row.source, row.target): row for _, row in table.iterrows()}


def test_counts_by_hand():
    # Clean: left is right on all; right errs on images 2 (0.4 for a 1) and 3 (0.6 for a 0).
    # left attacked by 0.2: pixel 0 becomes 0.7, 0.4, 0.4, 0.3, 0.6: wrong on 1, 2, 4.
    #   right still sees its own pixel: wrong on 2, 3. Both: 2. It corrects 2 of 3.
    # right attacked by 0.2: pixel 1 becomes 0.7, 0.7, 0.2, 0.8, 0.3: wrong on 2, 3.
    #   left is wrong on none, so it corrects both.
    evaluation = run(MODELS, IMAGES, LABELS, epsilons=[0.2])
    found = {
        key: (row.n, row.source_errors, row.target_errors, row.both_errors, row.correction_rate)
        for key, row in rows(evaluation.table).items()
    }
    assert found == {
        (0.2, "left", "left"): (5, 3, 3, 3, 0.0),
        (0.2, "left", "right"): (5, 3, 2, 1, 2 / 3),
        (0.2, "right", "left"): (5, 2, 0, 0, 1.0),
        (0.2, "right", "right"): (5, 2, 2, 2, 0.0),
    }
    assert list(found) == [
        (0.2, source, target) for source in ("left", "right") for target in ("left", "right")
    ]
    assert evaluation.table.adversarial_error.tolist() == [0.6, 0.6, 0.4, 0.4]
    assert evaluation.table.clean_errors_source.tolist() == [0, 0, 2, 2]
    assert evaluation.table.clean_errors_target.tolist() == [0, 2, 0, 2]
    assert evaluation.clean[["model", "n", "errors", "error"]].values.tolist() == [
        ["left", 5, 0, 0.0],
        ["right", 5, 2, 0.4],
    ]
    # Half of the pixels have no gradient: the model does not look at them.
    assert evaluation.gradients.to_dict("list") == {
        "attack": ["fgsm", "fgsm"],
        "source": ["left", "right"],
        "entries": [10, 10],
        "zero_entries": [5, 5],
        "images": [5, 5],
        "zero_images": [0, 0],
        "tiny_images": [0, 0],
        "nonfinite_images": [0, 0],
    }


def test_epsilon_zero_is_the_clean_error_and_undefined_rates_are_nan():
    table = rows(evaluate(MODELS, IMAGES, LABELS, epsilons=[0, 0.2]))
    left = table[0, "left", "right"]
    assert left.source_errors == left.clean_errors_source == 0
    assert np.isnan(
        [left.correction_rate, left.correction_rate_low, left.correction_rate_high]
    ).all()
    assert table[0, "right", "left"].source_errors == 2
    assert table[0.2, "left", "right"].source_errors == 3


def test_a_saturated_model_looks_robust_and_its_zero_gradients_say_so():
    # The same decisions, 10,000 times steeper: float32's softmax is exactly 1 and has no gradient.
    models = {"soft": Threshold(0, 0.5), "hard": Threshold(0, 0.5, steepness=1e4)}
    evaluation = run(models, IMAGES, LABELS, epsilons=[0.2])
    errors = dict(zip(evaluation.table.source, evaluation.table.source_errors, strict=True))
    assert errors == {"soft": 3, "hard": 0}
    gradients = evaluation.gradients.set_index("source")
    assert gradients.zero_images.to_dict() == {"soft": 0, "hard": 5}
    assert gradients.zero_entries.to_dict() == {"soft": 5, "hard": 10}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 500])
def test_batch_size_changes_nothing(batch_size):
    whole = run(MODELS, IMAGES, LABELS, epsilons=[0.1, 0.2], num_examples=4)
    parts = run(MODELS, IMAGES, LABELS, epsilons=[0.1, 0.2], num_examples=4, batch_size=batch_size)
    assert parts.table.equals(whole.table)
    assert parts.gradients.equals(whole.gradients)
    assert parts.clean.equals(whole.clean)
    for name, kept in vars(whole.examples).items():
        np.testing.assert_array_equal(getattr(parts.examples, name), kept)


def test_each_batch_costs_one_attack_per_source_and_one_judgement_per_target():
    calls = {"left": 0, "right": 0}

    def counted(name):
        model = Threshold(0, 0.5)
        model.register_forward_hook(lambda *_: calls.__setitem__(name, calls[name] + 1))
        return model

    run({name: counted(name) for name in calls}, IMAGES, LABELS, epsilons=[0.1, 0.2], batch_size=3)
    # Once for the check; per batch: one pass for clean error and gradient, and 2 sources x 2
    # epsilons.
    assert calls == {"left": 1 + 2 * (1 + 4), "right": 1 + 2 * (1 + 4)}


class SmallMemory(Threshold):
    """A model on a device that holds at most `room` images at once."""

    def __init__(self, room: int) -> None:
        super().__init__(0, 0.5)
        self.room = room
        self.sizes: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.room:
            raise torch.cuda.OutOfMemoryError
        self.sizes.append(len(images))
        return super().forward(images)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "nearest"])
def test_short_memory_halves_the_batch_and_changes_nothing(attack, monkeypatch):
    monkeypatch.setitem(ATTACKS, "nearest", NEAREST)
    models = {"net": SmallMemory(room=2), "other": Threshold(1, 0.5)}
    found = run(models, IMAGES, LABELS, [attack], [0.2], batch_size=5)
    roomy = models | {"net": Threshold(0, 0.5)}
    expected = run(roomy, IMAGES, LABELS, [attack], [0.2], batch_size=5)
    for table in ("table", "gradients", "clean", "worst", "paired", "aimed"):
        assert getattr(found, table).equals(getattr(expected, table))
    assert found.costs.unfinished.equals(expected.costs.unfinished)
    assert set(found.distances) == set(expected.distances)
    for key, distances in expected.distances.items():
        np.testing.assert_array_equal(found.distances[key], distances)
    assert found.batch_size == 2
    assert expected.batch_size == 5


def test_no_memory_for_one_image_is_an_error():
    with pytest.raises(InputError, match="not enough memory for the models and a single image"):
        run({"net": SmallMemory(room=0)}, IMAGES, LABELS, batch_size=5)


class Clock(nn.Module):
    """A model whose passes take as long as `seconds` says for their size, by a false clock."""

    def __init__(self, seconds, monkeypatch) -> None:
        super().__init__()
        self.now = 0.0
        self.seconds = seconds
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 512:
            raise torch.cuda.OutOfMemoryError
        self.now += self.seconds(len(images))
        return images.flatten(1)


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        (lambda size: 100 + size, 512),  # a fixed cost per pass: the larger the better
        (lambda size: size**2, 64),  # a cache that overflows: the smaller the better
        (lambda size: 100 + size + max(0, size - 128) * 9, 128),
    ],
)
def test_batch_size_is_the_fastest_measured(seconds, fastest, monkeypatch):
    images = torch.zeros(20_000, 1, 1, 2)
    assert fastest_batch_size({"net": Clock(seconds, monkeypatch)}, images) == fastest


def test_large_images_on_a_cpu_come_in_small_batches(monkeypatch):
    model = Clock(lambda size: 100 + size, monkeypatch)
    for side, most in ((64, 256), (224, 64)):
        images = torch.zeros(1, 1, side, side).expand(20_000, 1, side, side)
        assert fastest_batch_size({"net": model}, images) == most


def test_measuring_spends_a_tenth_of_the_images_at_most(monkeypatch):
    model = Clock(lambda size: 1, monkeypatch)
    for count in (1, 500, 639, 640, 2000):
        model.now = 0.0
        assert fastest_batch_size({"net": model}, torch.zeros(count, 1, 1, 2)) in (64, 128)
        assert model.now == (0 if count < 640 else 2 if count >= 1920 else 1)


def test_examples_hold_what_was_counted():
    examples = run(MODELS, IMAGES, LABELS, epsilons=[0.1, 0.2], num_examples=3).examples
    assert examples.models.tolist() == ["left", "right"]
    np.testing.assert_array_equal(examples.images, IMAGES[:3].numpy())
    assert examples.labels.tolist() == [1, 1, 1]
    assert examples.clean_predictions.tolist() == [[1, 1, 1], [1, 1, 0]]
    case = examples.case("fgsm", 0.2, "left")
    np.testing.assert_allclose(
        examples.adversarials[case].reshape(3, 2), [[0.7, 0.9], [0.4, 0.9], [0.4, 0.4]]
    )
    assert examples.predictions[case].tolist() == [[1, 0, 0], [1, 1, 0]]
    with pytest.raises(KeyError):
        examples.case("fgsm", 0.3, "left")


@pytest.mark.parametrize(("asked", "kept"), [(0, 0), (5, 5), (100, 5)])
def test_number_of_examples(asked, kept):
    examples = run(MODELS, IMAGES, LABELS, num_examples=asked).examples
    assert examples.images.shape == (kept, 1, 1, 2)
    assert examples.adversarials.shape == (2, kept, 1, 1, 2)
    assert examples.predictions.shape == (2, 2, kept)
    assert not (examples.predictions < 0).any()


def test_examples_survive_a_file(tmp_path):
    examples = run(MODELS, IMAGES, LABELS).examples
    np.savez(tmp_path / "examples.npz", **vars(examples))
    back = winnrobust.evaluation.Examples(**np.load(tmp_path / "examples.npz"))
    for name, kept in vars(examples).items():
        np.testing.assert_array_equal(getattr(back, name), kept)


def test_progress_is_reported_after_every_attack_on_every_model():
    calls = []
    run(MODELS, IMAGES, LABELS, batch_size=2, progress=lambda *call: calls.append(call))
    assert calls == [(2, 10), (4, 10), (6, 10), (8, 10), (9, 10), (10, 10)]
    calls.clear()
    run(MODELS, IMAGES, LABELS, ["fgsm", "pgd"], progress=lambda *call: calls.append(call))
    assert calls == [(5, 20), (10, 20), (15, 20), (20, 20)]


def test_randomly_behaving_layers_are_held_in_eval_mode():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(2, 2))
    first = evaluate({"net": model}, IMAGES, LABELS)
    assert evaluate({"net": model}, IMAGES, LABELS).equals(first)


few = settings(max_examples=60, deadline=None)


@few
@given(problems())
def test_counts_and_rates_keep_their_bounds(problem):
    table = evaluate(*problem, epsilons=[0.0, 0.25])
    assert (table.both_errors >= 0).all()
    assert (table.both_errors <= table[["source_errors", "target_errors"]].min(axis=1)).all()
    assert (table[["source_errors", "target_errors"]] <= len(problem[1])).all(axis=None)
    for name in ("adversarial_error", "correction_rate"):
        rate = table[[f"{name}_low", name, f"{name}_high"]].dropna()
        assert ((rate >= 0) & (rate <= 1)).all(axis=None)
        assert rate.apply(lambda row: row.is_monotonic_increasing, axis=1).all()
    undefined = table.source_errors == 0
    assert table.correction_rate.isna().equals(undefined)
    own = table[table.source == table.target]
    assert (own.both_errors == own.source_errors).all()
    clean = own[own.epsilon == 0]
    assert (clean.source_errors == clean.clean_errors_source).all()


@few
@given(problems(max_classes=2), st.randoms())
def test_the_order_of_the_images_does_not_matter(problem, random):
    models, images, labels = problem
    order = list(range(len(images)))
    random.shuffle(order)
    first = evaluate(models, images, labels, batch_size=4)
    assert evaluate(models, images[order], labels[order], batch_size=4).equals(first)


@few
@given(problems())
def test_the_order_of_the_models_only_reorders_the_rows(problem):
    models, images, labels = problem
    keys = ["source", "target"]
    first = evaluate(models, images, labels)
    second = evaluate(dict(reversed(models.items())), images, labels)
    pd.testing.assert_frame_equal(
        first.sort_values(keys, ignore_index=True), second.sort_values(keys, ignore_index=True)
    )
