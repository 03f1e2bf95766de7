"""`winnrobust.diagnose`, `detect` and `train`, from Python."""

import numpy as np
import pytest
import torch
from torch import nn

import winnrobust
from winnrobust.evaluation import diagnosis
from winnrobust.evaluation.diagnosis.next_steps import MORE_IMAGES, NO_GRADIENTS, REMEDIES
from winnrobust.runtime.errors import InputError


class Brighter(nn.Module):
    """Says which of two pixels is brighter, with logits as steep as asked for."""

    def __init__(self, steepness: float = 1.0, noise: float = 0.0) -> None:
        super().__init__()
        self.steepness, self.noise = steepness, noise

    def forward(self, images):
        noise = self.noise * torch.randn_like(images.flatten(1))
        return self.steepness * (images.flatten(1) + noise)


class Rounded(Brighter):
    """The same in steps, which have no gradient."""

    def forward(self, images):
        return super().forward((images * 8).round() / 8)


def data(n: int = 100):
    images = torch.rand(n, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    return images, images.flatten(1).argmax(1)


def test_an_honest_model_is_ok():
    found = winnrobust.diagnose(Brighter(), *data())
    assert found.overall == "ok"
    assert found.next_steps == [
        "nothing speaks against these attacks; the strongest claim rests on autoattack"
    ]
    assert repr(found) == "<Diagnosis: ok>"
    assert "<table" in found._repr_html_()


def test_a_model_without_gradients_is_broken_and_it_says_what_to_do():
    images, _ = data()
    labels = (images * 8).round().flatten(1).argmax(1)
    found = winnrobust.diagnose({"net": Rounded(), "honest": Brighter()}, images, labels)
    assert found.overall["net"] == "broken"
    assert found.next_steps["net"][0].startswith("gradients: look for rounding")
    assert found.overall["honest"] == "ok"


def test_a_random_model_is_to_be_averaged():
    found = winnrobust.diagnose(Brighter(noise=0.05), *data())
    assert any(step.startswith("random answers: average over its") for step in found.next_steps)
    assert any("--adapt" in step for step in found.next_steps)
    assert any(name.startswith("bpda:auto:") for name in found.attacks)


def test_too_few_images_are_not_tested():
    found = winnrobust.diagnose(Brighter(), *data(10))
    assert found.overall == "not tested"
    assert found.next_steps == [MORE_IMAGES]


def test_a_detached_model_is_for_attacks_without_gradients():
    class Detached(Brighter):
        def forward(self, images):
            return super().forward(images.detach())

    assert NO_GRADIENTS in winnrobust.diagnose(Detached(), *data()).next_steps


def test_every_indicator_has_a_remedy():
    table = winnrobust.diagnose(Brighter(), *data()).table
    assert set(table.indicator) == set(REMEDIES)


def test_it_is_the_diagnosis_of_the_command_line():
    model, (images, labels) = Brighter(), data(300)
    found = winnrobust.diagnose({"net": model}, images, labels, epsilon=0.1)
    expected = diagnosis.diagnose({"net": model}, images[:256], labels[:256], epsilon=0.1)
    assert found.table.equals(expected)
    with pytest.raises(InputError, match="epsilon must be"):
        winnrobust.diagnose(model, images, labels, epsilon=0)


# --- detect ---------------------------------------------------------------------------------------


def test_detect_takes_anyones_model():
    images, labels = data(200)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    nn.init.eye_(model[1].weight)
    others = {"black": torch.zeros(20, 1, 1, 2), "same": images[:50].numpy()}
    found = winnrobust.detect({"net": model}, images, labels, others=others, epsilon=0.1)
    assert set(found.detector) == {"softmax", "energy"}
    assert set(found.against) == {"black", "same", "fgsm", "pgd", "adaptive"}
    by = found.set_index(["detector", "against"]).auroc
    assert by["energy", "black"] > 0.95
    assert 0.3 < by["energy", "same"] < 0.7
    # What was moved over the border is near it.
    assert by["softmax", "fgsm"] > 0.7
    assert found.query("against == 'fgsm'").n_other.iloc[0] < 50


def test_detectors_and_attacks_may_be_the_callers_own():
    images, labels = data(60)
    found = winnrobust.detect(
        Brighter(),
        images,
        labels,
        attacks={"nothing": lambda model, x, y, epsilon: x},
        detectors={"first": lambda logits: logits[:, 0]},
    )
    assert found.detector.unique().tolist() == ["first"]
    row = found.query("against == 'nothing'").iloc[0]
    assert (row.n_other, np.isnan(row.auroc)) == (0, True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"limit": 10}, "at least 20 images"),
        ({"attacks": ["pgd-l2"]}, "must be in the L-infinity"),
        ({"attacks": ["transfer:a"]}, "need no other model"),
        ({"epsilon": 2}, "epsilon must be numbers from 0 to 1"),
        (
            {"others": {"large": torch.rand(3, 1, 4, 4)}},
            r"images of large have the shape \(1, 4, 4",
        ),
    ],
)
def test_what_cannot_be_detected_with_is_one_line(more, message):
    with pytest.raises(InputError, match=message):
        winnrobust.detect(Brighter(), *data(60), **more)


def test_a_winn_of_the_zoo_brings_its_critic(digits):
    few = digits.test.first(40)
    found = winnrobust.detect(
        "zoo:mnist-vanilla-winn", few.images, few.labels, attacks=["fgsm"], steps=1
    )
    assert set(found.detector) == {"critic", "softmax", "energy"}


# --- train and load -------------------------------------------------------------------------------


def test_what_is_trained_is_loaded_attacked_and_resumed(tmp_path, digits):
    settings = {"dataset": "mnist5k", "method": "baseline", "limit_train": 20}
    run = winnrobust.train(tmp_path / "run", epochs=1, device="cpu", **settings)
    assert run == tmp_path / "run"
    few = digits.test.first(20)
    found = winnrobust.evaluate({"mine": str(run)}, few.images, few.labels, ["fgsm"], [0.1])
    assert found.models == ["mine"]
    winnrobust.train(run, resume=True, epochs=2, device="cpu")
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    with pytest.raises(InputError, match="unknown setting epoch"):
        winnrobust.train(tmp_path / "other", epoch=1)
    with pytest.raises(InputError, match="does not use"):
        winnrobust.train(tmp_path / "other", **settings, synthesis_lr=0.1)
    with pytest.raises(InputError, match="name the run to resume with out="):
        winnrobust.train(resume=True)


def test_a_model_is_loaded_with_its_preprocessing(tmp_path):
    exported = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Identity()))
    torch.jit.save(exported, tmp_path / "net.pt")
    images, _ = data(4)
    plain = winnrobust.load(tmp_path / "net.pt")
    wanted = winnrobust.load(tmp_path / "net.pt", mean=0.5, std=[0.25], input_range=(0, 1))
    assert torch.equal(plain(images), images.flatten(1))
    torch.testing.assert_close(wanted(images), (images.flatten(1) - 0.5) / 0.25)
    with pytest.raises(InputError, match="is not a model from elsewhere"):
        winnrobust.load("nonesuch")
