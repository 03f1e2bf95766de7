"""`winnrobust quality`: samples and a classifier in, scores and nearest neighbors out."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from winnrobust.data.arrays import load_arrays
from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.generation.quality import (
    Quality,
    check_samples,
    inception_scores,
    nearest,
    score_samples,
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


def score_quality(
    samples: Path,
    classifier: Path,
    device: torch.device,
    *,
    out: Path | None = None,
    data_root: Path | None = None,
    inception: bool = False,
) -> tuple[Quality, dict[str, float]]:
    """Score a file of samples and, if asked, write what was found to a folder.

    Args:
        samples: an .npz file, as `winnrobust synthesize` writes it.
        classifier: a run folder or model file, of the data set that the samples are like.
        out: a folder that does not exist yet, for quality.json and neighbors.png.
        inception: whether the Inception score and FID are computed, too.

    Raises:
        InputError: the files cannot be used, or `out` exists.
    """
    if out is not None and distributed.is_main_process():
        check_free(out)
    if samples.suffix != ".npz":
        raise InputError(f"{samples} must be an .npz file, as 'winnrobust synthesize' writes it")
    made, metadata = ImageSplit(*load_arrays(samples)), _provenance(samples)
    network, info = load_classifier(classifier)
    dataset = load_data(info.dataset, data_root)
    count = min(len(made), len(dataset.test))
    check_samples(count, made.images.shape[1:], dataset.train, dataset.test)
    header = metadata.get("header", {})
    _note_what_hardly_compares(header, info)
    if inception and len(made) < USUAL:
        log(f"note: Inception scores are mostly those of {USUAL} samples; here are {len(made)}")
    scores = inception_scores(made.images, dataset.train.images, device) if inception else {}
    rest = f" (the first of {len(made)}, as many as there are test images)"
    first = rest if count < len(made) else ""
    log(f"scoring {count} samples{first} of {samples} by {classifier} ({device})")
    with show_progress("score", "image") as progress:
        quality = score_samples(
            network,
            made.first(count),
            dataset.train,
            dataset.test,
            labeled=header.get("num_classes") != 1,
            device=device,
            progress=progress,
        )
    if out is not None:
        described = provenance.describe(device) | {
            "samples": {"path": str(samples), "made": metadata},
            "classifier": {"path": str(classifier), "header": asdict(info)},
            "quality": asdict(quality) | scores,
        }
        with results_folder(out) as folder:
            if distributed.is_main_process():
                write_json(folder / "quality.json", described)
                neighbors_picture(folder / "neighbors.png", made.images, dataset.train)
    return quality, scores


def _note_what_hardly_compares(header: dict[str, Any], info: ModelInfo) -> None:
    """Say where samples whose model has this header and a classifier do not suit each other."""
    if header.get("dataset", info.dataset) != info.dataset:
        log(
            f"note: the samples are like {header['dataset']}, the classifier and the images beside"
            f" them are of {info.dataset}"
        )
    if header == json.loads(json.dumps(asdict(info))):  # as JSON gives it back
        log("note: the classifier looks like the network that made the samples; name another")


def load_classifier(path: Path) -> tuple[IntrospectiveNetwork, ModelInfo]:
    """Read what scores samples: a run folder, `zoo:NAME` or a model file.

    Raises:
        InputError: it cannot be read, or knows no classes.
    """
    network, info = load_model(model_file(path))
    if info.num_classes == 1:
        raise InputError(f"{path} was trained without labels; it cannot score samples")
    return network, info


def neighbors_picture(path: Path, samples: torch.Tensor, train: ImageSplit) -> None:
    """Draw the first samples in rows, and below each its nearest training image."""
    shown = samples[:SHOWN]
    _, numbers = nearest(shown, train.images)
    wide = min(IN_A_ROW, len(shown))
    above, below = (to_unit(images).split(wide) for images in (shown, train.images[numbers]))
    pairs = zip(above, below, strict=True)
    write_rows(path, [row for pair in pairs for row in pair], wide)


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
        shares = (share_text(*rate, n) for rate in (quality.agreement, quality.real_agreement))
        rows.append(["seen as what it was made as", *shares])
    if scores:
        inception = f"{scores['inception_score']:.2f} ± {scores['inception_score_sd']:.2f}"
        rows += [["Inception score", inception, ""], ["FID", f"{scores['fid']:.2f}", ""]]
    note = (
        "Scores have the formulas of the Inception score and FID, on this classifier instead of an"
        " Inception network: they compare only as many samples scored by the same classifier."
    )
    header = ["", f"{n} samples", f"{n} test images"]
    return to_text([Table("Quality", header, rows, note)])


def _provenance(samples: Path) -> dict[str, Any]:
    """What `winnrobust synthesize` wrote about samples; nothing where others made the file."""
    try:
        (text,) = read_npz(samples, ("provenance",)).values()
        found = parse_json(str(text), f"the provenance in {samples}")
    except InputError:
        return {}
    header = found.get("header") if isinstance(found, dict) else None
    return found if isinstance(header, dict) else {}
