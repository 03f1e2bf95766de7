"""The outcome table: what every model said of every image, attacked or not; a row for each answer.

It lies in a folder as Parquet files, one part for each finished batch, written as a whole or not at
all. An interrupted evaluation goes on from the parts that are there, several processes write parts
of their own, and every number of a report is a query on the table.
"""

import json
import os
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from winnrobust.attacks.norms import NORMS, epsilon_text
from winnrobust.data.streams import random_order
from winnrobust.runtime.errors import InputError, brief
from winnrobust.runtime.files import replacing
from winnrobust.runtime.readers import reading

FOLDER = "outcomes"
"""Of a results folder, the one that holds the parts."""

NAME = re.compile(r"(\d{7,})-(\d{7,})-r(\d+)\.parquet")
"""Of a part: the number of its first image, of the first that is not in it, and the process."""

STATUSES = ("attacked", "wrong already", "out of time", "error")
"""What became of an image under an attack: it ran its course; the model was wrong without it and
the image was left as it is; time ran out; the attack failed."""
ATTACKED, WRONG_ALREADY, OUT_OF_TIME, FAILED = range(len(STATUSES))

MOST_DRAWS = 255
"""Draws of a random model; their numbers are kept in a byte."""

NAMES = pa.dictionary(pa.int16(), pa.string())

UNROUNDED = "correct_unrounded"

SCHEMA = pa.schema(
    [
        ("image", pa.int32()),
        ("label", pa.int32()),
        ("source", NAMES),
        ("attack", NAMES),
        ("norm", NAMES),
        ("epsilon", pa.float64()),
        ("seed", pa.int64()),
        ("target", pa.int32()),
        ("evaluated", NAMES),
        ("prediction", pa.int32()),
        ("correct", pa.bool_()),
        ("draws", pa.int16()),
        ("correct_draws", pa.int16()),
        ("distance", pa.float32()),
        ("status", NAMES),
        ("gradients", pa.int32()),
        ("queries", pa.int32()),
        (UNROUNDED, pa.bool_()),
    ]
)
"""A row says what the model `evaluated` answered to one image:

image: number in the split, from 0.
label: true class.
source, attack, norm, epsilon, seed: how the example was made, and against which model; null for the
    clean image. Epsilon is infinite for the nearest example that a minimum-norm attack found.
target: the class that a targeted attack wanted, else null.
evaluated: model that looked at it.
prediction: the class that it saw; of a random model the most frequent one.
correct: whether that is the label in more than half of the draws.
draws, correct_draws: how often the model was asked, and was right; 1 unless it answers at random.
distance: measured size of the perturbation in that norm; null for the clean image. At an infinite
    epsilon the smallest that was found to break the model: 0 where it is wrong already, infinite
    where none was found.
status: one of `STATUSES`; null for the clean image.
gradients, queries: gradient and forward-only passes spent on making the example, the same in the
    rows of all models that look at it.
correct_unrounded: whether the model under attack is right about the example as it was before
    rounding; null where nothing was rounded. Parts of before November 2026 lack it.
"""


def outcome_table(
    numbers: np.ndarray, labels: np.ndarray, answers: Sequence[Mapping[str, Any]]
) -> pa.Table:
    """Put what models said of a batch of B images into rows, those of an answer together.

    Args:
        numbers: (B,) of the images.
        labels: (B,) true classes.
        answers: of each the other columns of `SCHEMA` but `correct`, as an array (B,) or one value
            for all images; null where it is None, or missing as it is for clean images. `status` is
            in numbers; the passes are 0 for clean images.
    """
    size = len(labels)

    def column(value: Any, kind: pa.DataType) -> pa.Array:
        return (
            pa.array(value).cast(kind)
            if isinstance(value, np.ndarray)
            else pa.array([value] * size, kind)
        )

    tables = []
    for answer in answers:
        known = {"gradients": 0, "queries": 0} | dict(answer)
        known |= {"image": numbers, "label": labels}
        known["correct"] = 2 * known["correct_draws"] > known["draws"]
        if known.get("status") is not None:
            known["status"] = np.array(STATUSES, object)[known["status"]]
        columns = [column(known.get(field.name), field.type) for field in SCHEMA]
        tables.append(pa.table(columns, schema=SCHEMA))
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def table_of(frame: pd.DataFrame) -> pa.Table:
    """Turn a DataFrame with the columns of `SCHEMA` into the table that `write_part` takes."""
    return pa.Table.from_pandas(frame, SCHEMA, preserve_index=False)


# --- parts ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A file with the outcomes of the images at the places start, ..., stop - 1 of the order.

    Those are their numbers, unless images are drawn at random.
    """

    path: Path
    start: int
    stop: int

    def read(self) -> tuple[pa.Table, dict[str, Any]]:
        """Read the rows, and the facts about the batch.

        Raises:
            InputError: it is damaged, or is something else.
        """
        with self._reading(), pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
            table.validate(full=True)
            if UNROUNDED not in table.schema.names:
                nothing = pa.nulls(len(table), pa.bool_())
                table = table.append_column(SCHEMA.field(UNROUNDED), nothing)
            if table.schema.remove_metadata() != SCHEMA or not len(table):
                raise ValueError("it has other columns than an outcome table")
            facts = _facts(table.schema)
            images = np.unique(table["image"].to_numpy())
            if not np.array_equal(images, self._numbers(facts)):
                raise ValueError("it is about other images than its name says")
            return table.replace_schema_metadata(), facts

    def _numbers(self, facts: Mapping[str, Any]) -> np.ndarray:
        """Return the sorted numbers of the images at these places."""
        if "sampled" not in facts:
            return np.arange(self.start, self.stop)
        return np.sort(random_order(*facts["sampled"])[self.start : self.stop].numpy())

    def facts(self) -> dict[str, Any]:
        """Read the facts about the batch alone; raises as `read`."""
        with self._reading():
            return _facts(pq.read_schema(self.path))

    def unusable(self, why: str) -> InputError:
        """Return the error to raise where this file cannot be used."""
        return InputError(f"{self.path} {why}; remove it, and its images are attacked again")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with reading(self.path, "a part of an outcome table"):
                yield
        except InputError as error:
            raise InputError(f"{error}; remove it, and its images are attacked again") from None


def _facts(schema: pa.Schema) -> dict[str, Any]:
    text = schema.metadata[b"winnrobust"]
    if int(schema.metadata[b"crc32"]) != zlib.crc32(text):
        raise ValueError("its checksum is another one")
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError("it holds no facts")
    return facts


def write_part(
    folder: Path,
    table: pa.Table,
    facts: Mapping[str, Any] | None = None,
    rank: int = 0,
    places: range | None = None,
) -> Path:
    """Write the outcomes of one batch, all or nothing.

    Args:
        folder: a results folder.
        table: all rows of a range of images; from `outcome_table` or `table_of`.
        facts: what is known of the batch as a whole, as JSON takes it: `seconds` as a list of
            [attack, norm, source, seconds], `gradients` as one of [attack, norm, source, counts by
            name]; `sampled` as [N, seed], where the images are the first of a `random_order` of N.
        rank: of the process.
        places: of the images in that order; None: they are their numbers.

    Returns:
        The path of the part.
    """
    if places is None:
        images = table["image"].to_numpy()
        places = range(images.min(), images.max() + 1)
    path = part_path(folder, places, rank)
    text = json.dumps(dict(facts or {})).encode()
    metadata = {b"winnrobust": text, b"crc32": str(zlib.crc32(text)).encode()}
    with replacing(path) as temporary:
        pq.write_table(
            table.replace_schema_metadata(metadata),
            temporary,
            compression="zstd",
            write_page_checksum=True,
            write_statistics=False,
        )
    return path


def part_path(folder: Path, images: range, rank: int = 0) -> Path:
    """Return where a part with these images is, or will be."""
    return folder / FOLDER / f"{images.start:07d}-{images.stop:07d}-r{rank}.parquet"


def parts(folder: Path) -> list[Part]:
    """Return the parts in a results folder, in the order of their images.

    No image is in two of them: where two processes cut the images at other places at the same
    time, some are passed over. Files with other names, temporary ones among them, are none.
    """
    place = folder / FOLDER
    matches = map(NAME.fullmatch, os.listdir(place) if place.is_dir() else ())
    found = sorted((int(match[1]), int(match[2]), match[0]) for match in matches if match)
    chosen: list[Part] = []
    for start, stop, name in found:
        if start < stop and start >= (chosen[-1].stop if chosen else 0):
            chosen.append(Part(place / name, start, stop))
    return chosen


def finished(folder: Path) -> list[range]:
    """Return the numbers of the images whose outcomes are in a results folder, in their order."""
    return [range(part.start, part.stop) for part in parts(folder)]


def missing(n: int, size: int, done: Iterable[range]) -> list[range]:
    """Cut what of `n` images is in no batch of `done` into batches of at most `size`.

    Args:
        done: batches that do not overlap, in their order.
    """
    batches, start = [], 0
    for batch in [*done, range(n, n)]:
        batches += [
            range(first, min(first + size, batch.start))
            for first in range(start, batch.start, size)
        ]
        start = batch.stop
    return batches


def read_outcomes(folder: Path | str) -> pd.DataFrame:
    """Read the outcome table of a results folder; columns are those of `SCHEMA`.

    Names are categoricals; what is not known of a row is NaN.

    Args:
        folder: one that `winnrobust attack` or `winnrobust.evaluation.run` wrote.

    Raises:
        InputError: there are no outcomes, or a part of them is damaged.

    >>> from tempfile import TemporaryDirectory
    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))
    >>> images, labels = torch.rand(4, 1, 1, 2), torch.tensor([0, 1, 0, 1])
    >>> with TemporaryDirectory() as folder:
    ...     _ = winnrobust.evaluate(model, images, labels, ["fgsm"], folder=f"{folder}/results")
    ...     outcomes = winnrobust.read_outcomes(f"{folder}/results")
    >>> len(outcomes), outcomes.evaluated.unique().tolist()
    (8, ['model'])
    """
    found = _some_parts(Path(folder))
    tables = [part.read()[0] for part in found]
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks().to_pandas()


def _some_parts(folder: Path) -> list[Part]:
    found = parts(folder)
    if not found:
        raise InputError(
            f"{folder} holds no outcomes of images; give a results folder that"
            " 'winnrobust attack' wrote (until version 2 they hold counts alone)"
        )
    return found


# --- all parts, a few bytes for each image ------------------------------------------------------


CORRUPTIONS = "corruptions"
"""Stands for a norm where images are corrupted, not attacked; epsilon is the severity then."""

UNITS = {"spatial": "°", "patch": " px"}
"""Of an epsilon that is not in the units of the images."""


def norm_text(norm: str) -> str:
    """Return what reports call a norm, or another kind of threat.

    >>> norm_text("linf"), norm_text("corruptions"), norm_text("spatial")
    ('Linf', 'severity', 'spatial')
    """
    return norm.capitalize() if norm in NORMS else {CORRUPTIONS: "severity"}.get(norm, norm)


class Level(NamedTuple):
    """A threat model: what an attacker may do to an image."""

    norm: str
    epsilon: float

    def __str__(self) -> str:
        return f"{norm_text(self.norm)} {epsilon_text(self.epsilon)}{UNITS.get(self.norm, '')}"


class Case(NamedTuple):
    """An attack at an epsilon, which is in its norm."""

    attack: str
    norm: str
    epsilon: float

    @property
    def level(self) -> Level:
        """Its threat model."""
        return Level(self.norm, self.epsilon)


CASE = list(Case._fields)

Made = tuple[str, str, str]
"""An attack, its norm, and the model that it was made against."""

NO_ATTACK = "none"
"""Stands for the clean images where a table has a row per attack; their epsilon is 0."""
CLEAN = Case(NO_ATTACK, "", 0.0)
"""No attack at all."""


@dataclass
class PerImage:
    """The outcome table of n images in arrays with a place for each image, of a byte or four.

    Attributes:
        n: number of images.
        population: of how many they are drawn at random; None if they are all.
        images: (n,) their numbers.
        draws: model -> how often it was asked about an image.
        wrong: (case, source, model) -> (n,) uint8, in how many draws the model was wrong on the
            example made against the source; `CLEAN`, with itself for the source, is the image.
        status: (case, source) -> (n,) uint8, numbers in `STATUSES`.
        unrounded: (case, source) -> (n,) uint8, 1 where the source was wrong before rounding.
        hits: (case, source) -> images in which the source saw the class wanted; targeted alone.
        distances: (attack, norm, source) -> (n,) float32, of minimum-norm attacks.
        passes: (attack, norm, source) -> [gradient passes, forward-only passes].
        seconds: (attack, norm, source) -> how long the attack ran, where that is known.
        gradients: (attack, norm, source) -> sums of the gradients' statistics, by name.
        failures: (attack, norm, source) -> what went wrong in the first batch on which it failed.
    """

    n: int
    population: int | None = None
    images: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    draws: dict[str, int] = field(default_factory=dict)
    wrong: dict[tuple[Case, str, str], np.ndarray] = field(default_factory=dict)
    status: dict[tuple[Case, str], np.ndarray] = field(default_factory=dict)
    unrounded: dict[tuple[Case, str], np.ndarray] = field(default_factory=dict)
    hits: Counter[tuple[Case, str]] = field(default_factory=Counter)
    distances: dict[Made, np.ndarray] = field(default_factory=dict)
    passes: dict[Made, Any] = field(default_factory=lambda: defaultdict(int))
    seconds: dict[Made, float] = field(default_factory=lambda: defaultdict(float))
    gradients: dict[Made, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    failures: dict[Made, str] = field(default_factory=dict)

    @property
    def cases(self) -> list[Case]:
        """All attacks that some model was up against, in the order of the evaluation."""
        return list(dict.fromkeys(case for case, _ in self.status))

    def answers(self, case: Case, source: str, model: str) -> tuple[np.ndarray, int]:
        """Return in how many draws a model was wrong (n,), and of how many."""
        return self.wrong[case, source, model], self.draws[model]

    def errors(self, case: Case, source: str, model: str) -> float:
        """Return how many images are wrong; of a random model the expected number."""
        return expected(*self.answers(case, source, model))

    def add(self, table: pa.Table, positions: np.ndarray) -> set[Any]:
        """Take in all rows of some images; return what they are about, the same for all images.

        Args:
            positions: (rows,), of every row's image among the n.

        Raises:
            ValueError: a model did not answer to every image once.
        """
        draws, target = table["draws"].to_numpy(), table["target"].to_numpy()
        wrong = draws - table["correct_draws"].to_numpy()
        hit = table["prediction"].to_numpy() == target
        codes, names = _encoded(table["status"])
        status = np.array([STATUSES.index(name or STATUSES[ATTACKED]) for name in names])[codes]
        distance = table["distance"].to_numpy()
        was_rounded = table[UNROUNDED].is_valid().to_numpy()
        unrounded = ~table[UNROUNDED].fill_null(True).to_numpy()
        spent = np.stack([table["gradients"].to_numpy(), table["queries"].to_numpy()], axis=1)
        seen: set[Any] = set()

        def place(store: dict, key: Any, values: np.ndarray, kind: Any = np.uint8) -> None:
            store.setdefault(key, np.zeros(self.n, kind))[positions[rows]] = values[rows]
            seen.add(key)

        for attack, norm, epsilon, source, model, rows in _answers(table, positions):
            if (draws[rows] != self.draws.setdefault(model, int(draws[rows[0]]))).any():
                raise ValueError(f"{model} was not asked equally often about all images")
            if attack is None:
                place(self.wrong, (CLEAN, model, model), wrong)
            elif epsilon < np.inf:
                key = Case(attack, norm, epsilon), source
                place(self.wrong, (*key, model), wrong)
                if source == model:
                    place(self.status, key, status)
                    self.passes[attack, norm, source] += spent[rows].sum(0)
                    if was_rounded[rows].any():
                        place(self.unrounded, key, unrounded)
                    if not np.isnan(target[rows]).all():
                        self.hits[key] += int(hit[rows].sum())
            elif source == model:
                place(self.distances, (attack, norm, source), distance, np.float32)
        return seen

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Take in what is known of a batch as a whole."""
        norms = {case.attack: case.norm for case in self.cases}

        def told(name: str) -> Iterator[tuple[Made, Any]]:
            for attack, *norm, source, fact in facts.get(name, ()):
                # Until November 2026 an attack had one norm, and parts did not name it here.
                yield (attack, *(norm or [norms.get(attack, "")]), source), fact

        for made, seconds in told("seconds"):
            self.seconds[made] += seconds
        for made, counts in told("gradients"):
            self.gradients[made].update(counts)
        for made, failure in told("failures"):
            self.failures.setdefault(made, failure)


def _answers(table: pa.Table, positions: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """Yield (attack, norm, epsilon, source, evaluated) and the rows (B,) that answer to it.

    Raises:
        ValueError: there are not as many as images, or several to one.
    """
    keys = [_encoded(table[key]) for key in (*CASE, "source", "evaluated")]
    number = np.ravel_multi_index([codes for codes, _ in keys], [len(names) for _, names in keys])
    _, first, answer = np.unique(number, return_index=True, return_inverse=True)
    images = np.arange(positions.min(), positions.max() + 1)
    rows = np.lexsort((positions, answer))
    if not np.array_equal(positions[rows], np.tile(images, len(first))):
        raise ValueError("rows of some images are missing, or there are too many")
    groups = rows.reshape(len(first), len(images))
    for group in np.argsort(first):
        row = first[group]
        yield *(names[codes[row]] for codes, names in keys), groups[group]


def _encoded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[Any]]:
    """Return for every row the number of its value, and the values; null is the last of them."""
    encoded = column.combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    return encoded.indices.fill_null(len(values)).to_numpy(), [*values, None]


def expected(wrong: np.ndarray, draws: int) -> float:
    """Return how many images are wrong, by the numbers of wrong draws (n,)."""
    total = int(wrong.sum(dtype=np.int64))
    return total if draws == 1 else total / draws


def per_image(outcomes: Path | str | pd.DataFrame) -> PerImage:
    """Read a results folder part by part, or take a whole table.

    Raises:
        InputError: there are no outcomes, or some are damaged or of another evaluation.
    """
    if isinstance(outcomes, pd.DataFrame):
        if UNROUNDED not in outcomes:
            outcomes = outcomes.assign(**{UNROUNDED: None})
        if lacking := set(SCHEMA.names) - set(outcomes):
            raise InputError(f"the outcomes lack the columns {', '.join(sorted(lacking))}")
        images, positions = np.unique(outcomes.image, return_inverse=True)
        found = PerImage(len(images), images=images)
        try:
            found.add(table_of(outcomes), positions)
        except (ValueError, pa.ArrowException) as error:
            raise InputError(f"the outcomes are incomplete: {brief(error)}") from None
        return found
    chosen = _some_parts(Path(outcomes))
    found, offset = PerImage(sum(part.stop - part.start for part in chosen)), 0
    found.images = np.zeros(found.n, int)
    known: set | None = None
    for part in chosen:
        table, facts = part.read()
        images, places = np.unique(table["image"].to_numpy(), return_inverse=True)
        found.images[offset : offset + len(images)] = images
        found.population = facts.get("sampled", [None])[0]
        try:
            keys = found.add(table, places + offset)
        except ValueError as error:
            raise part.unusable(f"is not whole ({error})") from None
        found.add_facts(facts)
        if known is not None and keys != known:
            raise part.unusable("is of another evaluation than the parts before it")
        known, offset = keys, offset + part.stop - part.start
    return found
