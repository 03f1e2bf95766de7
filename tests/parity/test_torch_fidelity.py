"""torch-fidelity itself, with a small network where it would download one."""

import numpy as np
import pytest
import torch

torch_fidelity = pytest.importorskip("torch_fidelity")
registry = pytest.importorskip("torch_fidelity.registry")

from winnrobust.generation.quality import classifier_score, frechet_distance, inception_scores  # noqa: E402


class Small(torch_fidelity.feature_extractor_base.FeatureExtractorBase):
    """Mean colours of the quarters of an image, and some answers that go by them."""

    FEATURES = ("2048", "logits_unbiased")

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list():
        return Small.FEATURES

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return {"isc": "logits_unbiased", "fid": "2048"}[metric]

    @staticmethod
    def can_be_compiled():
        return False

    def forward(self, images):
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (3, 8, 8)
        colours = torch.nn.functional.avg_pool2d(images.float() / 255, 4).flatten(1)
        found = {"2048": colours, "logits_unbiased": 20 * colours[:, :4]}
        return tuple(found[name] for name in self.features_list)


def test_its_scores_are_our_formulas_on_its_networks_answers(monkeypatch):
    monkeypatch.setitem(registry.FEATURE_EXTRACTORS_REGISTRY, "inception-v3-compat", Small)
    generator = torch.Generator().manual_seed(0)
    samples, real = (torch.rand(n, 1, 8, 8, generator=generator) for n in (40, 60))
    found = inception_scores(samples, real, torch.device("cpu"))

    network = Small("small", Small.FEATURES)
    (colours, logits), (others, _) = (
        network((images * 255).round().to(torch.uint8).expand(-1, 3, -1, -1))
        for images in (samples, real)
    )
    score, sd = classifier_score(logits.double().softmax(1).numpy())
    assert score > 1.05
    assert found["inception_score"] == pytest.approx(score, rel=1e-6)
    assert found["inception_score_sd"] == pytest.approx(sd, rel=1e-5)
    distance = frechet_distance(*(np.asarray(part, np.float64) for part in (colours, others)))
    assert found["fid"] == pytest.approx(distance, rel=1e-3, abs=1e-6)
