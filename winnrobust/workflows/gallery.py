"""`winnrobust gallery`: trained generators in, one report of what they make out."""

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torchvision

from winnrobust import zoo
from winnrobust.data.datasets import ImageSplit
from winnrobust.generation.quality import Quality, check_samples, judge_samples
from winnrobust.generation.sampling import Sampler, Samples, draw
from winnrobust.generation.textures import draw_texture
from winnrobust.models import IntrospectiveNetwork
from winnrobust.models.checkpoint import ModelInfo
from winnrobust.reporting import RunRecord, load_run
from winnrobust.reporting.page import Picture, Section, write_gallery
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
from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import (
    check_free,
    file_sha256,
    read_json,
    replacing,
    write_json,
    write_text,
)
from winnrobust.runtime.progress import log, show_progress
from winnrobust.training.methods import method_of
from winnrobust.training.methods.settings import OF_A_METHOD, WITHOUT_LABELS
from winnrobust.workflows.detecting import detection_table
from winnrobust.workflows.quality import load_classifier, neighbours_picture
from winnrobust.workflows.shared import (
    load_data,
    model_file,
    results_folder,
    training_data,
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
    def dataset(self) -> str:
        """What it was trained on."""
        return self.sampler.config.dataset

    @property
    def paper_name(self) -> str | None:
        """What the paper's Table 1 calls such a generator, if it has it."""
        config = self.sampler.config
        if not config.unsupervised:
            return None
        return PAPER_NAMES.get((config.method, self.sampler.info.cascades > 1))

    @property
    def slug(self) -> str:
        """The name, as files have it."""
        return _slug(self.name)


def make_gallery(
    paths: Sequence[Path],
    classifiers: Sequence[Path],
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
        classifiers: runs or model files that judge the samples, one of every data set; none for
            textures and a user's own pictures.
        out: a folder that does not exist yet.
        count: samples that are judged of each run, and of each of its cascades.
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
    loaded = _load_judges(classifiers, drawn, data_root)
    judges = _judges_of(drawn, loaded, count)
    noticed = None if detection is None else _read_detection(detection)
    with results_folder(out) as folder:
        sections: list[Section] = []
        found: dict[Generator, dict[str, Quality]] = {}
        for generator in drawn:
            config, judge = generator.sampler.config, judges.get(generator)
            # Whoever judges has the same data set loaded already.
            train = training_data(config, data_root).train if judge is None else judge.train
            train = train.first(config.limit_train)
            section, qualities = _image_section(
                generator, judge, train, count, seed, device, folder
            )
            sections.append(section)
            if qualities:
                found[generator] = qualities
        if found:
            sections.insert(0, _scores(found, folder))
        sections += _critics(drawn, folder)
        sections += [
            _texture_section(each, sizes, seed, device, folder)
            for each in generators
            if each.texture is not None
        ]
        if noticed is not None:
            sections.append(Section("Does it notice?", tables=[detection_table(noticed[0])]))
        if distributed.is_main_process():
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
                    "classifiers": [judge.told() for judge in loaded.values()],
                    "seed": seed,
                    "samples": count,
                    "quality": {
                        name: asdict(quality)
                        for parts in found.values()
                        for name, quality in parts.items()
                    },
                },
            )
            trained = [each.record for each in generators]
            trained += [load_run(path) for path in map(zoo.locate, classifiers) if is_run(path)]
            commands = [command for record in trained for command in _commands(record)]
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


def _commands(record: RunRecord) -> list[str]:
    """What was typed to train a run: to start it, and to go on with it."""
    manifest = record.manifest
    typed = [part.get("command", "") for part in (manifest, *manifest.get("resumed", []))]
    return list(dict.fromkeys(typed))


def _named(paths: Sequence[Path]) -> list[Generator]:
    """Load runs, each under a name of its own."""
    generators: list[Generator] = []
    for given in paths:
        path = zoo.locate(given)
        if path.resolve() in {each.path.resolve() for each in generators}:
            raise InputError(f"{given} is named twice")
        record, sampler = load_run(path), load_sampler(path)
        method_of(sampler.config).goal(sampler.config, torch.zeros(0).long(), torch.zeros(0))
        name, taken = _name(sampler), {each.slug: each.dataset for each in generators}
        config = sampler.config
        if taken.get(_slug(name), config.dataset) != config.dataset:
            name = f"{name}, {config.dataset}"
        if _slug(name) in taken:
            name = f"{name}, seed {config.seed}"
        plain, number = name, 2
        while _slug(name) in taken:
            name, number = f"{plain} ({number})", number + 1
        generators.append(Generator(name, path, record, sampler))
    return generators


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def _name(sampler: Sampler) -> str:
    config, cascades = sampler.config, sampler.info.cascades
    if config.texture is not None:
        return f"texture {config.dataset}"
    name = {WGAN: "WGAN-GP's critic"}.get(config.method, config.method.upper())
    if not config.unsupervised:
        return f"{name} with labels"
    if config.method == WGAN:
        return name
    return f"{name}-single" if cascades == 1 else f"{name}, {cascades} cascades"


@dataclass(frozen=True)
class _Judge:
    """A classifier and the data that it judges by."""

    path: Path
    info: ModelInfo
    network: IntrospectiveNetwork
    train: ImageSplit
    test: ImageSplit

    def told(self) -> dict[str, Any]:
        """What is to be known of the classifier."""
        return {
            "path": str(self.path),
            "header": asdict(self.info),
            "sha256": file_sha256(model_file(self.path)),
        }

    def judge(self, samples: Samples, labelled: bool, device: torch.device) -> Quality:
        with show_progress("judge", "image") as progress:
            return judge_samples(
                self.network,
                ImageSplit(samples.images, samples.classes),
                labelled,
                self.train,
                self.test,
                device,
                progress,
            )


def _load_judges(
    classifiers: Sequence[Path], drawn: Sequence[Generator], data_root: Path | None
) -> dict[str, _Judge]:
    """Load the classifiers: data set -> judge."""
    judges: dict[str, _Judge] = {}
    for path in classifiers:
        network, info = load_classifier(path)
        if info.dataset in judges:
            raise InputError(f"name one classifier of {info.dataset} with --classifier, not two")
        if zoo.locate(path).resolve() in {each.path.resolve() for each in drawn}:
            raise InputError(f"{path} would judge its own samples; name another --classifier")
        dataset = load_data(info.dataset, data_root)
        judges[info.dataset] = _Judge(path, info, network, dataset.train, dataset.test)
    return judges


def _judges_of(
    drawn: Sequence[Generator], judges: Mapping[str, _Judge], count: int
) -> dict[Generator, _Judge]:
    """Who judges whose samples: the classifier of the same data set.

    Nobody judges those of a user's own pictures, which have no classes.
    """
    chosen = {}
    for each in drawn:
        if each.sampler.config.data is not None:
            continue
        if each.dataset not in judges:
            raise InputError(
                f"name a classifier of {each.dataset}, to judge the samples of {each.path}, with"
                " --classifier"
            )
        info, judge = each.sampler.info, judges[each.dataset]
        shape = (info.in_channels, info.image_size, info.image_size)
        check_samples(count, shape, judge.train, judge.test)
        chosen[each] = judge
    return chosen


def _image_section(
    generator: Generator,
    judge: _Judge | None,
    train: ImageSplit,
    count: int,
    seed: int,
    device: torch.device,
    folder: Path,
) -> tuple[Section, dict[str, Quality]]:
    """Draw, judge and show what a run makes, after each of its cascades."""
    sampler, info = generator.sampler, generator.sampler.info
    classes = torch.arange(count) % info.num_classes
    pictures: list[Picture] = []
    qualities: dict[str, Quality] = {}
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
        log(f"drawing {count} samples: {name}")
        with show_progress(name, "step") as progress:
            samples = draw(part, classes, seed=seed, device=device, progress=progress)
        if judge is not None:
            qualities[name] = judge.judge(samples, info.num_classes > 1, device)
        if distributed.is_main_process():
            shown = Samples(*(value[:SHOWN] for value in vars(samples).values()))
            picture = folder / "samples" / f"{slug}.png"
            write_picture(picture, shown)
            write_text(picture.with_suffix(".csv"), table_of(samples).to_csv(index=False))
            neighbours = folder / "neighbours" / f"{slug}.png"
            neighbours_picture(neighbours, samples.images, train)
            pictures += [
                Picture(picture, f"{name}: the first {len(shown.classes)} samples drawn"),
                Picture(neighbours, f"{name}: above samples, below their nearest training images"),
            ]
    for epoch, source in chosen_samples(generator.record).items():
        if distributed.is_main_process():
            copy = folder / "iterations" / f"{generator.slug}-{epoch:04d}.png"
            with replacing(copy) as temporary:
                shutil.copyfile(source, temporary)
            pictures.append(Picture(copy, f"{generator.name}: made in epoch {epoch} of training"))
    config = sampler.config
    size = f", width {config.width:g}" if config.width != 1 else ""
    trained = (
        f"{config.arch}{size} on {config.dataset}, {len(generator.record.metrics)} epochs of"
        f" {config.total_epochs}, seed {config.seed}."
    )
    return Section(generator.name, [trained], pictures=pictures), qualities


def _scores(found: Mapping[Generator, Mapping[str, Quality]], folder: Path) -> Section:
    """The scores of all, a table for every data set, and whether they stand as in the paper."""
    tables = []
    for dataset in dict.fromkeys(each.dataset for each in found):
        judged = {each: parts for each, parts in found.items() if each.dataset == dataset}
        tables.append(
            scores_table(
                dataset, {name: part for parts in judged.values() for name, part in parts.items()}
            )
        )
        named: dict[str, tuple[str, Quality]] = {}
        cascades = []
        for each, parts in judged.items():
            if each.paper_name is not None:  # of several, the first stands for its kind
                named.setdefault(each.paper_name, (each.name, parts[each.name]))
            in_order = list(parts.items())
            cascades += [(more, less) for less, more in itertools.pairwise(in_order)]
        order = order_table(dataset, named, cascades)
        tables += [] if order is None else [order]
    if distributed.is_main_process():
        frame = scores_frame(
            {
                (each.dataset, name): part
                for each, parts in found.items()
                for name, part in parts.items()
            }
        )
        write_text(folder / "scores.csv", frame.to_csv(index=False))
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
    own = OF_A_METHOD - (WITHOUT_LABELS["winn"] & WITHOUT_LABELS[WGAN]) | {"method", "keep_every"}
    settings = asdict(generator.sampler.config)
    return {name: value for name, value in settings.items() if name not in own}


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
        log(f"drawing {width}x{height} pixels: {generator.name}")
        with show_progress(generator.name, "step") as progress:
            made = draw_texture(
                generator.sampler, width, height, seed=seed, device=device, progress=progress
            )
        if distributed.is_main_process():
            path = folder / "textures" / f"{generator.slug}-{width}x{height}.png"
            with replacing(path) as temporary:
                torchvision.utils.save_image(made.image, temporary)
            pictures.append(
                Picture(path, f"{generator.name}, {width}x{height} pixels, {made.steps} steps")
            )
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
