"""`winnrobust gallery`: trained generators in, one report of what they make out."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torchvision

from winnrobust import distributed, provenance
from winnrobust.data import ImageSplit
from winnrobust.errors import InputError
from winnrobust.files import check_free, read_json, replacing, write_json, write_text
from winnrobust.methods import method_of
from winnrobust.models import IntrospectiveNetwork
from winnrobust.progress import counted, say, told
from winnrobust.quality import Quality, check_count, judge_samples
from winnrobust.reporting import RunRecord, load_run
from winnrobust.reporting.gallery import Picture, Section, write_gallery
from winnrobust.reporting.report import chosen_samples
from winnrobust.reporting.table import MISSING, Table, share_with_interval
from winnrobust.sampling import Sampler, Samples, draw
from winnrobust.textures import draw_texture
from winnrobust.workflows.detecting import detection_table
from winnrobust.workflows.quality import load_classifier, neighbours_picture
from winnrobust.workflows.shared import load_data, results_folder
from winnrobust.workflows.synthesizing import load_sampler, table_of, write_picture

SHOWN = 100
"""Samples in a picture."""

WGAN = "wgan-gp"


@dataclass(frozen=True)
class Generator:
    """A run that makes images.

    Attributes:
        name: what tables call it.
        path, record, sampler: the run.
    """

    name: str
    path: Path
    record: RunRecord
    sampler: Sampler

    @property
    def texture(self) -> str | None:
        """The picture that it was trained on, if it was one."""
        return self.sampler.config.texture

    @property
    def slug(self) -> str:
        """The name, as files have it."""
        return "".join(c if c.isalnum() else "-" for c in self.name.lower())


def make_gallery(
    paths: Sequence[Path],
    classifier: Path | None,
    out: Path,
    device: torch.device,
    *,
    count: int = 1000,
    sizes: Sequence[tuple[int, int]] = ((192, 192), (384, 256)),
    detection: Path | None = None,
    seed: int = 0,
    data_root: Path | None = None,
) -> None:
    """Draw from every run, judge what it made, and write a report of it.

    Args:
        paths: runs of generators, with or without labels, and of textures.
        classifier: a run or model file that judges the samples; None if all are textures.
        out: a folder that does not exist yet.
        count: samples that are judged of each run, and of each of its cascades.
        sizes: of textures, (width, height) in pixels.
        detection: what `winnrobust detect --out` wrote, to be shown, too.
        seed: of all drawings.

    Raises:
        InputError: a run or file cannot be used, or `out` exists; before any long work.
    """
    if distributed.is_first():
        check_free(out)
    generators = _named(paths)
    drawn = [generator for generator in generators if generator.texture is None]
    if drawn and classifier is None:
        raise InputError("name a classifier that judges the samples with --classifier")
    noticed = None if detection is None else _read_detection(detection)
    with results_folder(out) as folder:
        sections: list[Section] = []
        qualities: list[tuple[str, Quality]] = []
        if drawn and classifier is not None:
            judge = _load_judge(classifier, data_root)
            check_count(count, judge.test)
            for generator in drawn:
                section, found = _image_section(generator, judge, count, seed, device, folder)
                sections.append(section)
                qualities += found
            sections.insert(0, _scores(qualities, count, folder))
            sections += _critics(drawn, folder)
        sections += [
            _texture_section(each, sizes, seed, device, folder)
            for each in generators
            if each.texture is not None
        ]
        if noticed is not None:
            sections.append(Section("Does it notice?", tables=[detection_table(noticed[0])]))
        if distributed.is_first():
            about = provenance.describe(device)
            details: dict[str, Any] = {
                each.name: {"config": each.record.config, "manifest": each.record.manifest}
                for each in generators
            }
            if noticed is not None:
                details["detection"] = noticed[1]
            write_json(
                folder / "manifest.json",
                about
                | {
                    "runs": details,
                    "classifier": None if classifier is None else str(classifier),
                    "seed": seed,
                    "samples": count,
                    "quality": {name: asdict(quality) for name, quality in qualities},
                },
            )
            commands = [str(each.record.manifest.get("command", "")) for each in generators]
            if noticed is not None:
                commands.append(str(noticed[1].get("command", "")))
            write_gallery(
                folder,
                "What introspective networks generate",
                f"winnrobust {about['winnrobust']}, commit {str(about['commit'])[:10]}"
                f" · {about['time'][:10]} · {about['machine']['processor']}",
                sections,
                [*commands, about["command"]],
                {"This report": about} | details,
            )


def _named(paths: Sequence[Path]) -> list[Generator]:
    """Load runs, each under a name of its own."""
    generators: list[Generator] = []
    for path in paths:
        record, sampler = load_run(path), load_sampler(path)
        method_of(sampler.config).goal(sampler.config, torch.zeros(0).long(), torch.zeros(0))
        name = _name(sampler)
        if name in {each.name for each in generators}:
            name = f"{name} ({path.resolve().name})"
        generators.append(Generator(name, path, record, sampler))
    return generators


def _name(sampler: Sampler) -> str:
    config, cascades = sampler.config, sampler.info.cascades
    if config.texture is not None:
        return f"texture {config.dataset}"
    name = {WGAN: "WGAN-GP's critic"}.get(config.method, config.method.upper())
    if not config.unsupervised:
        return f"{name} with labels"
    if config.method == WGAN:
        return name
    return f"{name}-single" if cascades == 1 else f"{name}, cascade {cascades}"


@dataclass(frozen=True)
class _Judge:
    """A classifier and the data that it judges by."""

    network: IntrospectiveNetwork
    train: ImageSplit
    test: ImageSplit

    def judge(self, samples: Samples, labelled: bool, device: torch.device) -> Quality:
        with counted("judge", "image") as progress:
            return judge_samples(
                self.network,
                ImageSplit(samples.images, samples.classes),
                labelled,
                self.train,
                self.test,
                device,
                progress,
            )


def _load_judge(classifier: Path, data_root: Path | None) -> _Judge:
    network, info = load_classifier(classifier)
    dataset = load_data(info.dataset, data_root)
    return _Judge(network, dataset.train, dataset.test)


def _image_section(
    generator: Generator, judge: _Judge, count: int, seed: int, device: torch.device, folder: Path
) -> tuple[Section, list[tuple[str, Quality]]]:
    """Draw, judge and show what a run makes, after each of its cascades."""
    sampler, info = generator.sampler, generator.sampler.info
    classes = torch.arange(count) % info.num_classes
    pictures, qualities = [], []
    for cascades in range(1, info.cascades + 1):
        part = replace(
            sampler,
            networks=sampler.networks[:cascades],
            info=replace(info, cascades=cascades),
            thresholds=sampler.thresholds[:cascades],
        )
        name, slug = generator.name, generator.slug
        if cascades < info.cascades:
            name, slug = f"{name}, after {cascades}", f"{slug}-after-{cascades}"
        say(f"drawing {count} samples: {name}")
        with told(count, name, unit="sample") as progress:
            samples = draw(part, classes, seed=seed, device=device, progress=progress)
        qualities.append((name, judge.judge(samples, info.num_classes > 1, device)))
        if distributed.is_first():
            shown = Samples(*(value[:SHOWN] for value in vars(samples).values()))
            picture = folder / "samples" / f"{slug}.png"
            write_picture(picture, shown)
            write_text(picture.with_suffix(".csv"), table_of(samples).to_csv(index=False))
            neighbours = folder / "neighbours" / f"{slug}.png"
            neighbours_picture(neighbours, samples.images, judge.train)
            pictures += [
                Picture(picture, f"{name}: the first {len(shown.classes)} samples drawn"),
                Picture(neighbours, f"{name}: above samples, below their nearest training images"),
            ]
    for epoch, source in chosen_samples(generator.record).items():
        if distributed.is_first():
            copy = folder / "iterations" / f"{generator.slug}-{epoch:04d}.png"
            with replacing(copy) as temporary:
                shutil.copyfile(source, temporary)
            pictures.append(Picture(copy, f"{generator.name}: made in epoch {epoch} of training"))
    config = sampler.config
    trained = (
        f"{config.arch} on {config.dataset}, {len(generator.record.metrics)} epochs of"
        f" {config.total_epochs}, seed {config.seed}."
    )
    return Section(generator.name, [trained], pictures=pictures), qualities


def _scores(qualities: Sequence[tuple[str, Quality]], count: int, folder: Path) -> Section:
    """The scores of all, and of test images."""
    rows = []
    for name, quality in qualities:
        agreement = share_with_interval(*quality.agreement, count) if quality.agreement else MISSING
        rows.append(
            [
                name,
                f"{quality.score:.2f} ± {quality.score_sd:.2f}",
                f"{quality.distance:.2f}",
                f"{quality.nearest:.2f}",
                agreement,
            ]
        )
    real = qualities[0][1]
    rows.append(
        [
            "test images",
            f"{real.real_score:.2f} ± {real.real_score_sd:.2f}",
            f"{real.real_distance:.2f}",
            f"{real.real_nearest:.2f}",
            MISSING,
        ]
    )
    if distributed.is_first():
        table = pd.DataFrame([{"generator": name} | asdict(found) for name, found in qualities])
        write_text(folder / "scores.csv", table.to_csv(index=False))
    note = (
        f"{count} samples each, and as many test images. Classifier score and Fréchet distance have"
        " the formulas of the Inception score and of FID, on our own classifier of this data set"
        " instead of an Inception network: they compare with nothing outside this table. Nearest:"
        " median L2 distance to the nearest training image. Seen as asked: how often the classifier"
        " sees the class that a sample was made as."
    )
    header = ["", "classifier score", "Fréchet distance", "nearest", "seen as asked %"]
    return Section("Scores", tables=[Table("How good are samples?", header, rows, note)])


def _critics(drawn: Sequence[Generator], folder: Path) -> list[Section]:
    """WINN's critic beside WGAN-GP's: the same ascent on both (paper 4.3, Figure 3)."""
    wgan = [each for each in drawn if each.sampler.config.method == WGAN]
    winn = [each for each in drawn if each.name == "WINN-single"]
    if not wgan or not winn:
        return []
    pictures = [
        Picture(folder / "samples" / f"{winn[0].slug}.png", "The ascent on WINN's critic"),
        Picture(folder / "samples" / f"{wgan[0].slug}.png", "The same ascent on WGAN-GP's critic"),
    ]
    made = sorted((folder / "iterations").glob(f"{wgan[0].slug}-*.png"))
    pictures += [Picture(made[-1], "What WGAN-GP's generator makes")] if made else []
    text = (
        "Both critics have the same network, loss and number of steps; WGAN-GP's learned against a"
        " generator, WINN's against its own ascents. Both ascents start from the same images."
    )
    return [Section("WINN's critic and WGAN-GP's", [text], pictures=pictures)]


def _texture_section(
    generator: Generator,
    sizes: Sequence[tuple[int, int]],
    seed: int,
    device: torch.device,
    folder: Path,
) -> Section:
    """Draw a texture at every size, beside a crop of its picture."""
    pictures = []
    for width, height in sizes:
        say(f"drawing {width}x{height} pixels: {generator.name}")
        made = draw_texture(generator.sampler, width, height, seed=seed, device=device)
        if distributed.is_first():
            path = folder / "textures" / f"{generator.slug}-{width}x{height}.png"
            with replacing(path) as temporary:
                torchvision.utils.save_image(made, temporary)
            pictures.append(Picture(path, f"{generator.name}, {width}x{height} pixels"))
    config = generator.sampler.config
    text = (
        f"{config.arch} of width {config.width:g}, trained on {config.image_size}x"
        f"{config.image_size} crops of {config.texture} for {len(generator.record.metrics)} epochs"
        f" of {config.total_epochs}."
    )
    return Section(generator.name, [text], pictures=pictures)


def _read_detection(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read what `winnrobust detect` wrote."""
    try:
        table = pd.read_csv(folder / "detection.csv")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is not what 'winnrobust detect --out' writes ({error})"
        ) from None
    return table, read_json(folder / "manifest.json")
