"""Everything a caller can get wrong ends in one line that says so."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from winnrobust.data.checks import checked_images
from winnrobust.evaluation import EvaluationSettings, evaluate
from winnrobust.runtime.errors import InputError

IMAGES = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2])


class Answer(nn.Module):
    """A module that answers with whatever it is told to."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer(images)


def linear(classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, classes))


def broken() -> nn.Module:
    model = linear()
    with torch.no_grad():
        model[1].weight[0, 0] = float("nan")
    return model


def with_pixel(value: float) -> torch.Tensor:
    images = IMAGES.clone()
    images[1, 0, 1, 1] = value
    return images


def no_gradient(images: torch.Tensor) -> torch.Tensor:
    return images.detach().flatten(1)


class OneWay(torch.autograd.Function):
    """Cannot be differentiated, and says so when it is too late."""

    @staticmethod
    def forward(ctx, images):
        return images * 1

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("one way")


MISTAKES = {
    "no models": ({"models": {}}, "no models"),
    "one bare model": ({"models": linear()}, "dict from name"),
    "models in a list": ({"models": [linear()]}, "dict from name"),
    "no module": ({"models": {"net": lambda images: images}}, "'net' must be a torch.nn.Module"),
    "a class": ({"models": {"net": nn.Linear}}, "'net' must be a torch.nn.Module"),
    "nameless model": ({"models": {"": linear()}}, "name must be a non-empty string"),
    "number as name": ({"models": {7: linear()}}, "name must be a non-empty string"),
    "no images": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no images"),
    "no pixels": ({"images": IMAGES[..., :0]}, "no images"),
    "two dimensions": ({"images": IMAGES[0, 0]}, r"\(N, C, H, W\), .* not \(2, 2\)"),
    "int64": ({"images": IMAGES.long() - 1}, "of integers must lie in 0 .. 255; .* from -1"),
    "complex": ({"images": IMAGES + 0j}, "uint8, or floating point"),
    "sparse": ({"images": IMAGES.to_sparse()}, "images must be a dense tensor, not a sparse one"),
    "on meta": ({"images": IMAGES.to("meta")}, "images is on the meta device"),
    "objects": ({"images": np.full((3, 1, 2, 2), None)}, "plain numbers, not object"),
    "images as text": ({"images": "folder"}, "tensor or a numpy array, not str"),
    "above 1": ({"images": with_pixel(1.5)}, r"in \[0, 1\]; these range from .* to 1.5"),
    "below 0": ({"images": with_pixel(-1)}, r"in \[0, 1\]; these range from -1 to"),
    "infinite pixel": ({"images": with_pixel(float("inf"))}, "to inf"),
    "NaN pixel": ({"images": with_pixel(float("nan"))}, "images contain NaN"),
    "too few labels": ({"labels": LABELS[:2]}, r"must be 3 integers .* of shape \(2,\)"),
    "scores as labels": ({"labels": torch.rand(3, 3)}, r"labels\.argmax\(1\)"),
    "half labels": ({"labels": LABELS + 0.5}, "must be 3 integers .* such as 0.5"),
    "sparse labels": ({"labels": LABELS.to_sparse()}, "labels must be a dense tensor"),
    "negative label": ({"labels": LABELS - 1}, "labels must be 0 or more; the lowest is -1"),
    "label too high": ({"labels": LABELS + 1}, "labels go up to 3, .* only the classes 0 to 2"),
    "unknown attack": (
        {"attacks": ["fgsm", "magic"]},
        "unknown attack 'magic'; known are noise-uniform",
    ),
    "transfer from nowhere": (
        {"attacks": ["fgsm", "transfer:neat"]},
        "'transfer:neat' transfers from a model that is not there; the models are net",
    ),
    "attack as string": ({"attacks": "fgsm"}, "list of names"),
    "attack no name": ({"attacks": [3]}, "unknown attack '3'"),
    "no attacks": ({"attacks": []}, "no attacks to run; known are noise-uniform"),
    "negative epsilon": ({"epsilons": [0.1, -0.1]}, "epsilons must be .* not -0.1"),
    "NaN epsilon": ({"epsilons": [float("nan")]}, "epsilons must be .* not nan"),
    "infinite epsilon": ({"epsilons": [float("inf")]}, "epsilons must be .* not inf"),
    "epsilon above 1": ({"epsilons": [8]}, "epsilons must be .* from 0 to 1, .* not 8"),
    "epsilon as string": ({"epsilons": ["0.1"]}, "epsilons must be numbers .* not '0.1'"),
    "epsilon None": ({"epsilons": [None]}, "epsilons must be numbers"),
    "epsilon True": ({"epsilons": [True]}, "epsilons must be numbers .* not True"),
    "bare epsilon": ({"epsilons": 0.1}, "epsilons must be a list of numbers.* not 0.1"),
    "string of epsilons": ({"epsilons": "0.1"}, "epsilons must be a list of numbers"),
    "no epsilons": ({"epsilons": []}, "epsilons must be a list of numbers"),
    "batch size 0": ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
    "half a batch": ({"batch_size": 0.5}, "batch_size must be of type int, not 0.5"),
    "no steps": ({"steps": 0}, "steps must be at least 1, not 0"),
    "half a query": ({"queries": 0.5}, "queries must be of type int, not 0.5"),
    "no eot": ({"eot": 0}, "eot must be at least 1, not 0"),
    "one draw": ({"judge_draws": 1}, "judge_draws must be at least 2, not 1"),
    "too many draws": ({"judge_draws": 1000}, "judge_draws must be at most 255, not 1000"),
    "seed below 0": ({"seed": -1}, "seed must be at least 0, not -1"),
    "seed of 2**64": ({"seed": 2**64}, f"seed must be at most {2**31 - 1}, not {2**64}"),
    "a huge seed": ({"seed": 10**5000}, "seed must be at most .*, not such an integer"),
    "no time": ({"seconds": 0}, "seconds must be above 0, not 0"),
    "NaN time": ({"seconds": float("nan")}, "seconds must be .* not nan"),
    "time as string": ({"seconds": "10"}, "seconds must be .* not '10'"),
    "time True": ({"seconds": True}, "seconds must be .* not True"),
    "negative L2": ({"epsilons_l2": [-1]}, "epsilons_l2 must be numbers of at least 0, .* not -1"),
    "infinite L2": ({"epsilons_l2": [float("inf")]}, "epsilons_l2 must be numbers .* not inf"),
    "no L2": ({"epsilons_l2": []}, "epsilons_l2 must be a list of numbers"),
    "huge L2": ({"epsilons_l2": [10**400]}, "epsilons_l2 must be numbers .* not 1000"),
    "unknown setting": ({"epsilon": 0.1}, "unknown setting 'epsilon'; known are attacks"),
    "cross": ({"cross": "perhaps"}, "cross must be of type bool, not 'perhaps'"),
    "no such device": ({"device": "abacus"}, "abacus cannot be used here"),
    "NaN weights": ({"models": {"good": linear(), "bad": broken()}}, "'bad' .* NaN or infinite"),
    "wrong image shape": (
        {"images": torch.rand(3, 3, 8, 8)},
        r"'net' cannot classify images of shape \(3, 8, 8\): RuntimeError: .*shapes",
    ),
    "different classes": (
        {"models": {"a": linear(3), "b": linear(4)}},
        "same number of classes, but have: 'a' 3, 'b' 4",
    ),
    "feature maps": ({"models": {"net": Answer(lambda x: x)}}, r"logits of shape \(2, 1, 2, 2\)"),
    "too few rows": (
        {"models": {"net": Answer(lambda x: x.flatten(1)[:1])}},
        r"logits of shape \(1, 4\) for 2 images",
    ),
    "one logit": ({"models": {"net": linear(1)}}, "labels go up to 2, .* only the classes 0 to 1"),
    "no logits": ({"models": {"net": Answer(lambda x: None)}}, "'net': .* returns NoneType"),
    "tuple of logits": (
        {"models": {"net": Answer(lambda x: (x, x))}},
        "'net': .* returns a tuple of 0, 1",
    ),
    "lazy layers": ({"models": {"net": nn.LazyLinear(3)}}, "'net' has lazy layers"),
    "no weights": ({"models": {"net": nn.Linear(4, 3, device="meta")}}, "meta device"),
    "failing backward": (
        {"models": {"net": Answer(lambda x: OneWay.apply(x).flatten(1))}},
        "attack 'fgsm' on model 'net': RuntimeError: one way",
    ),
    "no gradient": (
        {"models": {"net": Answer(no_gradient)}},
        "attack 'fgsm' on model 'net': .* no gradient to follow",
    ),
}


@pytest.mark.parametrize(
    "labels",
    [LABELS.tolist(), LABELS[:, None], LABELS.float(), torch.eye(3)[LABELS]],
    ids=["list", "(N, 1)", "floats", "one-hot"],
)
def test_labels_may_come_in_every_form_that_is_clear(labels):
    usual = evaluate({"net": linear()}, IMAGES, LABELS)
    same = evaluate({"net": linear()}, IMAGES[:, 0], labels)
    assert list(same.columns) == list(usual.columns)


def test_numpy_integers_are_integers():
    table = evaluate({"net": linear()}, IMAGES, LABELS, batch_size=np.int64(2))
    assert len(table) == 1


@pytest.mark.parametrize(("mistake", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_named_in_one_line(mistake, message):
    arguments = {"models": {"net": linear()}, "images": IMAGES, "labels": LABELS} | mistake
    with pytest.raises(InputError, match=message) as caught:
        evaluate(**arguments)
    assert "\n" not in str(caught.value)


def test_nan_logits_that_appear_only_under_attack_are_named():
    # Finite on the clean images, NaN as soon as a pixel reaches 1.
    def explode(images):
        return torch.where(images.flatten(1) == 1, torch.nan, images.flatten(1))

    with pytest.raises(InputError, match="'net' returns logits that are NaN"):
        evaluate({"net": Answer(explode)}, IMAGES * 0.9, LABELS, epsilons=[1.0])


def test_a_repeated_epsilon_or_attack_is_done_once():
    table = evaluate({"net": linear()}, IMAGES, LABELS, ["fgsm", "fgsm"], [0.2, 0.1, 0.2])
    assert table.epsilon.tolist() == [0.2, 0.1]


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES.double(), LABELS.int()),
        (IMAGES.numpy(), LABELS.numpy()),
        (IMAGES.double().numpy(), LABELS.numpy().astype(np.uint8)),
        (read_only(IMAGES.numpy().copy()), read_only(LABELS.numpy().copy())),
        (IMAGES.numpy()[::-1].copy()[::-1], LABELS.numpy()[::-1].copy()[::-1]),
        (IMAGES.transpose(2, 3).contiguous().transpose(2, 3), LABELS),
    ],
    ids=["float64", "arrays", "other dtypes", "read-only", "backwards", "strided"],
)
def test_all_usable_inputs_give_the_same_table(images, labels):
    models = {"net": linear()}
    expected = evaluate(models, IMAGES, LABELS)
    assert evaluate(models, images, labels).equals(expected)


def test_outputs_with_logits_are_read():
    inner = linear()
    wrapped = Answer(lambda images: SimpleNamespace(logits=inner(images), other="x"))
    assert evaluate({"net": wrapped}, IMAGES, LABELS).equals(
        evaluate({"net": inner}, IMAGES, LABELS)
    )


def test_the_device_can_be_named():
    models = {"net": linear()}
    table = evaluate(models, IMAGES, LABELS, device="cpu")
    assert evaluate(models, IMAGES, LABELS, device=torch.device("cpu")).equals(table)


def test_settings_are_checked_when_they_are_made():
    with pytest.raises(InputError, match=r"'pgd-l2' fits none of .* \(linf:0.1\); add .* l2:0.5"):
        EvaluationSettings(attacks=["pgd-l2"], epsilons={"linf": [0.1]})
    with pytest.raises(InputError, match="epsilons must be lists of numbers by norm"):
        EvaluationSettings(epsilons=[0.1])
    with pytest.raises(InputError, match="epsilons must be lists of numbers by norm"):
        EvaluationSettings(epsilons={"l3": [0.1]})
    settings = EvaluationSettings(attacks=["pgd", "fgsm", "pgd"], epsilons={"linf": [0.2, 0.2]})
    assert settings.attacks == ("pgd", "fgsm")
    assert settings.epsilons == {"linf": (0.2,)}
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3


def test_steps_restarts_and_queries_reach_the_attacks_that_have_them():
    settings = EvaluationSettings(
        attacks=["pgd", "fgsm", "square"], epsilons={"linf": [0.1]}, steps=7, queries=99
    )
    pgd, fgsm, square = settings.chosen_attacks()
    assert pgd.parameters["steps"] == 7
    assert square.parameters["queries"] == 99
    assert "steps" not in fgsm.parameters


def test_what_results_depend_on_leaves_out_the_batch_size():
    first, second = (EvaluationSettings(batch_size=size, num_examples=size) for size in (3, 4))
    assert first.decisive() == second.decisive()
    assert first.decisive() != EvaluationSettings(seed=1).decisive()


def test_images_are_not_copied():
    images = np.zeros((100, 1, 4, 4), np.uint8)
    assert np.shares_memory(checked_images(images).numpy(), images)
