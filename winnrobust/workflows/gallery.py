"""`winnrobust gallery`: trained generators in, one report of what they make out."""

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from winnrobust import zoo
from winnrobust.data.datasets import Dataset, ImageSplit
from winnrobust.generation.quality import Quality, check_samples, score_samples
from winnrobust.generation.sampling import Sampler, Samples, draw
from winnrobust.generation.textures import draw_texture
from winnrobust.models import IntrospectiveNetwork
from winnrobust.models.checkpoint import ModelInfo
from winnrobust.reporting import RunRecord, load_run
from winnrobust.reporting.page import Page, Picture, Section, write_page
from winnrobust.reporting.runs import chosen_samples, is_run
from winnrobust.reporting.scores import (
    INN_CASCADES,
    INN_SINGLE,
    WINN_CASCADES,
    WINN_SINGLE,
    order_table,
    scores_frame,
    scores_table,
)
from winnrobust.reporting.table import to_csv
from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import check_free, file_sha256, replacing, write_json, write_text
from winnrobust.runtime.progress import log, show_progress
from winnrobust.runtime.readers import read_json, reading
from winnrobust.training.methods import UNSUPERVISED, method_of
from winnrobust.training.methods.settings import OF_A_METHOD
from winnrobust.workflows.detecting import detection_table
from winnrobust.workflows.quality import load_classifier, neighbors_picture
from winnrobust.workflows.shared import (
    load_data,
    model_file,
    results_folder,
    training_data,
    write_rows,
)
from winnrobust.workflows.synthesizing import load_sampler, table_of, write_picture

SHOWN = 100
"""Samples in a picture."""

WGAN = "wgan-gp"

PAPER_NAMES = {
    ("winn", False): WINN_SINGLE,
    ("winn", True): WINN_CASCADES,
    ("inn", False): INN_SINGLE,
    ("inn", True): INN_CASCADES,
}
"""(method, whether there are several cascades) -> the paper's name; without labels."""


@dataclass(frozen=True, eq=False)
class Generator:
    """A run that makes images, and what tables call it."""

    name: str
    path: Path
    record: RunRecord
    sampler: Sampler

    @property
    def texture(self) -> str | None:
        """The picture that it was trained on, if it was one."""
        return self.sampler.config.data.texture

    @property
    def dataset(self) -> str:
        """What it was trained on."""
        return self.sampler.config.data.dataset

    @property
    def paper_name(self) -> str | None:
        """What the paper's Table 1 calls such a generator, if it has it."""
        config, several = self.sampler.config, self.sampler.info.cascades > 1
        return PAPER_NAMES.get((config.method, several)) if config.unsupervised else None

    @property
    def slug(self) -> str:
        """The name, as files have it."""
        return _slug(self.name)


@dataclass(frozen=True)
class _Drawing:
    """The folder of the report; how many samples of each generator are drawn, by what seed."""

    folder: Path
    count: int
    seed: int
    device: torch.device


@dataclass(frozen=True)
class _Scorer:
    """A classifier that scores samples, and the data set that it knows."""

    path: Path
    info: ModelInfo
    network: IntrospectiveNetwork
    dataset: Dataset


def make_gallery(
    paths: Sequence[Path],
    out: Path,
    *,
    classifiers: Sequence[Path],
    device: torch.device,
    count: int,
    sizes: Sequence[tuple[int, int]],
    detection: Path | None,
    seed: int,
    data_root: Path | None,
) -> None:
    """Draw from every run, score what it made, and write a report of it.

    Args:
        paths: runs of generators, with or without labels, and of textures.
        out: a folder that does not exist yet.
        classifiers: runs or model files that score the samples, one of every data set; none for
            textures and a user's own pictures.
        count: samples that are scored of each run, and of each of its cascades.
        sizes: of textures, (width, height) in pixels.
        detection: what `winnrobust detect --out` wrote, to be shown, too.
        seed: of all drawings.

    Raises:
        InputError: a run or file cannot be used, or `out` exists; before any long work.
    """
    if distributed.is_main_process():
        check_free(out)
    generators = _named(paths)
    drawn = [generator for generator in generators if generator.texture is None]
    scorers = _scorers(classifiers, drawn, count, data_root)
    noticed = None if detection is None else _read_detection(detection)
    with results_folder(out) as folder:
        drawing = _Drawing(folder, count, seed, device)
        sections, found = [], {}
        for each in drawn:
            section, qualities = _image_section(each, scorers, drawing, data_root)
            sections.append(section)
            if qualities:
                found[each] = qualities
        if found:
            sections.insert(0, _scores(found, folder))
        sections += _critics(drawn, folder)
        sections += [
            _texture_section(each, sizes, drawing)
            for each in generators
            if each.texture is not None
        ]
        if noticed is not None:
            sections.append(Section("Does it notice?", tables=[detection_table(noticed[0])]))
        if distributed.is_main_process():
            details = {
                each.name: {"config": each.record.config, "manifest": each.record.manifest}
                for each in generators
            }
            if noticed is not None:
                details["detection"] = noticed[1]
            qualities = {name: q for scores in found.values() for name, q in scores.items()}
            trained = [each.record for each in generators]
            trained += [load_run(path) for path in map(zoo.locate, classifiers) if is_run(path)]
            _write(drawing, sections, details, qualities, list(scorers.values()), trained)


def _write(
    drawing: _Drawing,
    sections: Sequence[Section],
    details: dict[str, Any],
    qualities: Mapping[str, Quality],
    scorers: Sequence[_Scorer],
    trained: Sequence[RunRecord],
) -> None:
    """Write the manifest and the page."""
    about = provenance.describe(drawing.device)
    facts = {
        "runs": details,
        "classifiers": [
            {
                "path": str(scorer.path),
                "header": asdict(scorer.info),
                "sha256": file_sha256(model_file(scorer.path)),
            }
            for scorer in scorers
        ],
        "seed": drawing.seed,
        "samples": drawing.count,
        "quality": {name: asdict(quality) for name, quality in qualities.items()},
    }
    write_json(drawing.folder / "manifest.json", about | facts)
    commands: list[str] = []  # typed to train each run: to start it, and to go on with it
    for manifest in (record.manifest for record in trained):
        typed = [part.get("command", "") for part in (manifest, *manifest.get("resumed", []))]
        commands += dict.fromkeys(typed)
    if "detection" in details:
        commands.append(str(details["detection"].get("command", "")))
    page = Page(
        "What introspective networks generate",
        f"winnrobust {about['winnrobust']}, commit {str(about['commit'])[:10]}"
        f" · {about['time'][:10]} · {about['machine']['processor']}",
        sections,
        [*commands, about["command"]],
        {"This report": about} | details,
    )
    write_page(drawing.folder, page)


def _named(paths: Sequence[Path]) -> list[Generator]:
    """Load runs, each under a name of its own."""
    generators: list[Generator] = []
    for given in paths:
        path = zoo.locate(given)
        if path.resolve() in {each.path.resolve() for each in generators}:
            raise InputError(f"{given} is named twice")
        record, sampler = load_run(path), load_sampler(path)
        method_of(sampler.config).goal(sampler.config, torch.zeros(0).long(), torch.zeros(0))
        name = _free_name(sampler, generators)
        generators.append(Generator(name, path, record, sampler))
    return generators


def _free_name(sampler: Sampler, others: Sequence[Generator]) -> str:
    """A name that no other has, with the data set, the seed or a number where it must be."""
    config, name = sampler.config, _name(sampler)
    taken = {each.slug: each.dataset for each in others}
    dataset = config.data.dataset
    if taken.get(_slug(name), dataset) != dataset:
        name = f"{name}, {dataset}"
    if _slug(name) in taken:
        name = f"{name}, seed {config.seed}"
    plain, number = name, 2
    while _slug(name) in taken:
        name, number = f"{plain} ({number})", number + 1
    return name


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def _name(sampler: Sampler) -> str:
    config, cascades = sampler.config, sampler.info.cascades
    if config.data.texture is not None:
        return f"texture {config.data.dataset}"
    name = {WGAN: "WGAN-GP's critic"}.get(config.method, config.method.upper())
    if not config.unsupervised:
        return f"{name} with labels"
    if config.method == WGAN:
        return name
    return f"{name}-single" if cascades == 1 else f"{name}, {cascades} cascades"


def _scorers(
    classifiers: Sequence[Path], drawn: Sequence[Generator], count: int, data_root: Path | None
) -> dict[str, _Scorer]:
    """Load the classifiers: data set -> what scores its samples.

    Nothing scores those of a user's own pictures, which have no classes.
    """
    scorers: dict[str, _Scorer] = {}
    for path in classifiers:
        network, info = load_classifier(path)
        if info.dataset in scorers:
            raise InputError(f"name one classifier of {info.dataset} with --classifier, not two")
        if zoo.locate(path).resolve() in {each.path.resolve() for each in drawn}:
            raise InputError(f"{path} would score its own samples; name another --classifier")
        scorers[info.dataset] = _Scorer(path, info, network, load_data(info.dataset, data_root))
    for each in drawn:
        if each.sampler.config.data.folder is not None:
            continue
        if each.dataset not in scorers:
            raise InputError(
                f"name a classifier of {each.dataset}, to score the samples of {each.path}, with"
                " --classifier"
            )
        info, dataset = each.sampler.info, scorers[each.dataset].dataset
        shape = (info.in_channels, info.image_size, info.image_size)
        check_samples(count, shape, dataset.train, dataset.test)
    return scorers


def _image_section(
    generator: Generator, scorers: Mapping[str, _Scorer], drawing: _Drawing, data_root: Path | None
) -> tuple[Section, dict[str, Quality]]:
    """Draw, score and show what a run makes, after each of its cascades."""
    info, config = generator.sampler.info, generator.sampler.config
    scorer = None if config.data.folder is not None else scorers[generator.dataset]
    # What scores the samples has the same data set loaded already.
    dataset = training_data(config, data_root) if scorer is None else scorer.dataset
    train = dataset.train.first(config.data.limit_train)
    pictures: list[Picture] = []
    qualities: dict[str, Quality] = {}
    for cascades in range(1, info.cascades + 1):
        after = "" if cascades == info.cascades else f", after {cascades}"
        name = f"{generator.name}{after}"
        samples = _draw(name, generator.sampler, cascades, drawing)
        if scorer is not None:
            with show_progress("score", "image") as progress:
                qualities[name] = score_samples(
                    scorer.network,
                    ImageSplit(samples.images, samples.classes),
                    dataset.train,
                    dataset.test,
                    labeled=info.num_classes > 1,
                    device=drawing.device,
                    progress=progress,
                )
        if distributed.is_main_process():
            slug = generator.slug + after.replace(", ", "-").replace(" ", "-")
            pictures += _show(name, slug, samples, train, drawing.folder)
    pictures += _made_in_training(generator, drawing.folder)
    width = config.model.width
    size = f", width {width:g}" if width != 1 else ""
    trained = (
        f"{config.model.arch}{size} on {config.data.dataset}, {len(generator.record.metrics)}"
        f" epochs of {config.total_epochs}, seed {config.seed}."
    )
    return Section(generator.name, [trained], pictures=pictures), qualities


def _draw(name: str, sampler: Sampler, cascades: int, drawing: _Drawing) -> Samples:
    """Draw from the first cascades of a generator."""
    log(f"drawing {drawing.count} samples: {name}")
    shorter = replace(
        sampler,
        networks=sampler.networks[:cascades],
        info=replace(sampler.info, cascades=cascades),
        thresholds=sampler.thresholds[:cascades],
    )
    classes = torch.arange(drawing.count) % sampler.info.num_classes
    with show_progress(name, "step") as progress:
        return draw(shorter, classes, seed=drawing.seed, device=drawing.device, progress=progress)


def _show(name: str, slug: str, samples: Samples, train: ImageSplit, folder: Path) -> list[Picture]:
    """Write the first samples, what is known of all, and the nearest training images."""
    shown = Samples(*(value[:SHOWN] for value in vars(samples).values()))
    picture = folder / "samples" / f"{slug}.png"
    write_picture(picture, shown)
    write_text(picture.with_suffix(".csv"), to_csv(table_of(samples)))
    neighbors = folder / "neighbors" / f"{slug}.png"
    neighbors_picture(neighbors, samples.images, train)
    return [
        Picture(picture, f"{name}: the first {len(shown.classes)} samples drawn"),
        Picture(neighbors, f"{name}: above samples, below their nearest training images"),
    ]


def _made_in_training(generator: Generator, folder: Path) -> list[Picture]:
    """Copy some of the pictures that the training left."""
    pictures = []
    for epoch, source in chosen_samples(generator.record).items():
        if distributed.is_main_process():
            copy = folder / "iterations" / f"{generator.slug}-{epoch:04d}.png"
            with replacing(copy) as temporary:
                shutil.copyfile(source, temporary)
            pictures.append(Picture(copy, f"{generator.name}: made in epoch {epoch} of training"))
    return pictures


def _scores(found: Mapping[Generator, Mapping[str, Quality]], folder: Path) -> Section:
    """The scores of all, a table for every data set, and whether they stand as in the paper."""
    tables = []
    for dataset in dict.fromkeys(each.dataset for each in found):
        judged = {each: parts for each, parts in found.items() if each.dataset == dataset}
        tables.append(
            scores_table(dataset, {k: v for parts in judged.values() for k, v in parts.items()})
        )
        named: dict[str, tuple[str, Quality]] = {}
        cascades = []
        for each, parts in judged.items():
            if each.paper_name is not None:  # of several, the first stands for its kind
                named.setdefault(each.paper_name, (each.name, parts[each.name]))
            cascades += [(more, less) for less, more in itertools.pairwise(parts.items())]
        order = order_table(dataset, named, cascades)
        tables += [] if order is None else [order]
    if distributed.is_main_process():
        all_of = {(each.dataset, name): q for each, qs in found.items() for name, q in qs.items()}
        write_text(folder / "scores.csv", to_csv(scores_frame(all_of)))
    return Section("Scores", tables=tables)


def _critics(drawn: Sequence[Generator], folder: Path) -> list[Section]:
    """WINN's critic beside WGAN-GP's: the same ascent on both (paper 4.3, Figure 3)."""
    wgan = [each for each in drawn if each.sampler.config.method == WGAN]
    winn = [
        each
        for each in drawn
        if wgan and each.paper_name == WINN_SINGLE and _comparable(each) == _comparable(wgan[0])
    ]
    if not winn:
        return []
    pictures = [
        Picture(folder / "samples" / f"{winn[0].slug}.png", "The ascent on WINN's critic"),
        Picture(folder / "samples" / f"{wgan[0].slug}.png", "The same ascent on WGAN-GP's critic"),
    ]
    made = sorted((folder / "iterations").glob(f"{wgan[0].slug}-*.png"))
    pictures += [Picture(made[-1], "What WGAN-GP's generator makes")] if made else []
    text = (
        "Both critics have the same network, loss, images and number of steps; WGAN-GP's learned"
        " against a generator, WINN's against its own ascents. Both ascents start from the same"
        " images, and each ends where its critic reaches its own threshold."
    )
    return [Section("WINN's critic and WGAN-GP's", [text], pictures=pictures)]


def _comparable(generator: Generator) -> dict[str, Any]:
    """The settings that two critics must share, if only their opponents are to differ."""
    both = UNSUPERVISED["winn"].uses & UNSUPERVISED[WGAN].uses
    own = OF_A_METHOD - both | {"method", "keep_every"}
    settings = generator.sampler.config.flat()
    return {name: value for name, value in settings.items() if name not in own}


def _texture_section(
    generator: Generator, sizes: Sequence[tuple[int, int]], drawing: _Drawing
) -> Section:
    """Draw a texture at every size, beside a crop of its picture."""
    pictures = []
    for width, height in sizes:
        log(f"drawing {width}x{height} pixels: {generator.name}")
        with show_progress(generator.name, "step") as progress:
            made = draw_texture(
                generator.sampler,
                width,
                height,
                seed=drawing.seed,
                device=drawing.device,
                progress=progress,
            )
        if distributed.is_main_process():
            path = drawing.folder / "textures" / f"{generator.slug}-{width}x{height}.png"
            write_rows(path, [made.image[None]], 1)
            text = f"{generator.name}, {width}x{height} pixels, {made.steps} steps"
            pictures.append(Picture(path, text))
    config, side = generator.sampler.config, generator.sampler.config.data.image_size
    text = (
        f"{config.model.arch} of width {config.model.width:g}, trained on {side}x{side} crops of"
        f" {config.data.texture} for {len(generator.record.metrics)} epochs of"
        f" {config.total_epochs}."
    )
    return Section(generator.name, [text], pictures=pictures)


def _read_detection(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read what `winnrobust detect` wrote: its table and its manifest."""
    file = folder / "detection.csv"
    with reading(file, "what 'winnrobust detect --out' writes"):
        table = pd.read_csv(file)
    return table, read_json(folder / "manifest.json")
