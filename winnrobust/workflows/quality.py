"""`winnrobust quality`: samples and a classifier in, scores and nearest neighbours out."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.data.folders import load_user_data
from winnrobust.generation.quality import (
    Quality,
    check_samples,
    inception_scores,
    judge_samples,
    nearest,
)
from winnrobust.models import IntrospectiveNetwork
from winnrobust.models.checkpoint import ModelInfo, load_model
from winnrobust.reporting.table import Table, share_text, to_text
from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import check_free, write_json
from winnrobust.runtime.progress import log, show_progress
from winnrobust.runtime.readers import parse_json, read_npz
from winnrobust.workflows.shared import load_data, model_file, results_folder, write_rows

SHOWN = 100
"""Samples that are shown, and their nearest training images."""

IN_A_ROW = 20

USUAL = 50_000
"""Samples of an Inception score (Salimans et al. 2016)."""


def judge_quality(
    samples: Path,
    classifier: Path,
    device: torch.device,
    *,
    out: Path | None = None,
    data_root: Path | None = None,
    inception: bool = False,
) -> tuple[Quality, dict[str, float]]:
    """Judge a file of samples and, if asked, write what was found to a folder.

    Args:
        samples: an .npz file, as `winnrobust synthesize` writes it.
        classifier: a run folder or model file, of the data set that the samples are like.
        out: a folder that does not exist yet, for quality.json and neighbours.png.
        inception: whether the Inception score and FID are computed, too.

    Raises:
        InputError: the files cannot be used, or `out` exists.
    """
    if out is not None and distributed.is_main_process():
        check_free(out)
    if samples.suffix != ".npz":
        raise InputError(f"{samples} must be an .npz file, as 'winnrobust synthesize' writes it")
    made = load_user_data(samples).images
    told = _provenance(samples)
    network, info = load_classifier(classifier)
    dataset = load_data(info.dataset, data_root)
    check_samples(
        min(len(made), len(dataset.test)), made.images.shape[1:], dataset.train, dataset.test
    )
    # Of what others made nothing is known.
    if "dataset" in told.get("header", {}) and told["header"]["dataset"] != info.dataset:
        log(
            f"note: the samples are like {told['header']['dataset']}, the classifier and the images"
            f" beside them are of {info.dataset}"
        )
    if told.get("header") == _as_stored(info):
        log("note: the classifier looks like the very network that made the samples; name another")
    if inception and len(made) < USUAL:
        log(f"note: Inception scores are mostly those of {USUAL} samples; here are {len(made)}")
    scores = inception_scores(made.images, dataset.train.images, device) if inception else {}
    labelled = told.get("header", {}).get("num_classes") != 1
    judged = made.first(len(dataset.test))
    log(f"judging {len(judged)} samples of {samples} by {classifier} ({device})")
    if len(judged) < len(made):
        log(
            f"these are the first of {len(made)}, as many as there are test images to compare them"
            " with"
        )
    with show_progress("judge", "image") as progress:
        quality = judge_samples(
            network, judged, labelled, dataset.train, dataset.test, device, progress
        )
    if out is not None:
        with results_folder(out) as folder:
            if distributed.is_main_process():
                described = provenance.describe(device) | {
                    "samples": {"path": str(samples), "made": told},
                    "classifier": {"path": str(classifier), "header": asdict(info)},
                    "quality": asdict(quality) | scores,
                }
                write_json(folder / "quality.json", described)
                neighbours_picture(folder / "neighbours.png", made.images, dataset.train)
    return quality, scores


def load_classifier(path: Path) -> tuple[IntrospectiveNetwork, ModelInfo]:
    """Read what judges samples: a run folder, `zoo:NAME` or a model file.

    Raises:
        InputError: it cannot be read, or knows no classes.
    """
    network, info = load_model(model_file(path))
    if info.num_classes == 1:
        raise InputError(f"{path} was trained without labels; it judges no samples")
    return network, info


def neighbours_picture(path: Path, samples: torch.Tensor, train: ImageSplit) -> None:
    """Draw the first samples in rows, and below each its nearest training image."""
    shown = samples[:SHOWN]
    _, numbers = nearest(shown, train.images)
    wide = min(IN_A_ROW, len(shown))
    above, below = (to_unit(images).split(wide) for images in (shown, train.images[numbers]))
    pairs = zip(above, below, strict=True)
    write_rows(path, [row for pair in pairs for row in pair], wide)


def _as_stored(info: ModelInfo) -> Any:
    """A header as JSON gives it back."""
    return json.loads(json.dumps(asdict(info)))


def quality_text(quality: Quality, scores: dict[str, float]) -> str:
    """What was found, for a terminal."""
    n = quality.n
    rows = [
        ["classifier score", f"{quality.score:.2f} ± {quality.score_sd:.2f}",
         f"{quality.real_score:.2f} ± {quality.real_score_sd:.2f}"],
        ["Fréchet distance of its features", f"{quality.distance:.2f}",
         f"{quality.real_distance:.2f}"],
        ["nearest training image: median (lowest 5 %)",
         f"{quality.nearest:.2f} ({quality.nearest_low:.2f})",
         f"{quality.real_nearest:.2f} ({quality.real_nearest_low:.2f})"],
    ]  # fmt: skip
    if quality.agreement is not None:
        rows.append(
            [
                "seen as what it was made as",
                share_text(*quality.agreement, n),
                share_text(*quality.real_agreement, n),
            ]
        )
    if scores:
        told = f"{scores['inception_score']:.2f} ± {scores['inception_score_sd']:.2f}"
        rows += [["Inception score", told, ""], ["FID", f"{scores['fid']:.2f}", ""]]
    note = (
        "Scores have the formulas of the Inception score and FID, on this classifier instead of an"
        " Inception network: they compare nothing but samples judged by it, as many of them."
    )
    header = ["", f"{n} samples", f"{n} test images"]
    return to_text([Table("Quality", header, rows, note)])


def _provenance(samples: Path) -> dict[str, Any]:
    """What `winnrobust synthesize` wrote about samples; nothing where others made the file."""
    try:
        (told,) = read_npz(samples, ("provenance",)).values()
        found = parse_json(str(told), f"the provenance in {samples}")
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}
