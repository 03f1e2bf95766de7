"""The outcome table: what every model said of every image, attacked or not; a row for each answer.

It lies in a folder as Parquet files, one part for each finished batch, written as a whole or not at
all. An interrupted evaluation goes on from the parts that are there, several processes write parts
of their own, and every number of a report is a query on the table.
"""

import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

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
"""


class Attempt(NamedTuple):
    """What one attack on one model at one epsilon made of a batch of B images.

    Attributes:
        targets: (B,) classes wanted, or None.
        distance: (B,) in that norm.
        status: (B,) numbers in `STATUSES`.
        gradients, queries: (B,) passes.
    """

    source: str
    attack: str
    norm: str
    epsilon: float
    seed: int
    targets: np.ndarray | None
    distance: np.ndarray
    status: np.ndarray
    gradients: np.ndarray
    queries: np.ndarray


class Answer(NamedTuple):
    """What one model said of a batch of B images.

    Attributes:
        evaluated: the model.
        prediction: (B,) classes.
        correct_draws: (B,) of `draws`.
        attempt: where the images come from; None for clean ones.
    """

    evaluated: str
    prediction: np.ndarray
    correct_draws: np.ndarray
    draws: int = 1
    attempt: Attempt | None = None


def outcome_table(start: int, labels: np.ndarray, answers: Sequence[Answer]) -> pa.Table:
    """Put what models said of a batch into rows, those of an answer together.

    Args:
        start: number of the batch's first image.
        labels: (B,) true classes.
    """
    size = len(labels)
    attempts = [answer.attempt for answer in answers]
    clean = np.repeat([attempt is None for attempt in attempts], size)
    correct = np.concatenate([answer.correct_draws for answer in answers])
    draws = np.repeat([answer.draws for answer in answers], size)

    def constant(name: str) -> pa.Array:
        """Of every attempt."""
        return pa.array(np.repeat([getattr(each, name, 0) for each in attempts], size), mask=clean)

    def per_image(name: str, missing: np.ndarray | None = None) -> pa.Array:
        nothing = np.zeros(size, np.int32)
        parts = [getattr(each, name, None) for each in attempts]
        values = np.concatenate([nothing if part is None else part for part in parts])
        return pa.array(values, mask=missing)

    untargeted = np.repeat([each is None or each.targets is None for each in attempts], size)
    columns = {
        "image": np.tile(np.arange(start, start + size), len(answers)),
        "label": np.tile(labels, len(answers)),
        **{
            name: _names([getattr(each, name, None) for each in attempts], size)
            for name in ("source", "attack", "norm")
        },
        "epsilon": constant("epsilon"),
        "seed": constant("seed"),
        "target": per_image("targets", untargeted),
        "evaluated": _names([answer.evaluated for answer in answers], size),
        "prediction": np.concatenate([answer.prediction for answer in answers]),
        "correct": 2 * correct > draws,
        "draws": draws,
        "correct_draws": correct,
        "distance": per_image("distance", clean),
        "status": pa.DictionaryArray.from_arrays(
            per_image("status", clean).cast(pa.int16()), pa.array(STATUSES)
        ),
        "gradients": per_image("gradients"),
        "queries": per_image("queries"),
    }
    return pa.table(
        [pa.array(columns[field.name]).cast(field.type) for field in SCHEMA], schema=SCHEMA
    )


def _names(values: Sequence[str | None], times: int) -> pa.Array:
    """Repeat every name, or null."""
    known = {name: code for code, name in enumerate(dict.fromkeys(filter(None, values)))}
    codes = np.repeat([known.get(name or "", 0) for name in values], times).astype(np.int16)
    unknown = np.repeat([name is None for name in values], times)
    return pa.DictionaryArray.from_arrays(
        pa.array(codes, mask=unknown), pa.array(list(known), pa.string())
    )


def table_of(frame: pd.DataFrame) -> pa.Table:
    """Turn a DataFrame with the columns of `SCHEMA` into the table that `write_part` takes."""
    return pa.Table.from_pandas(frame, SCHEMA, preserve_index=False)


# --- parts ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A file with the outcomes of images start, ..., stop - 1."""

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
            if table.schema.remove_metadata() != SCHEMA or not len(table):
                raise ValueError("it has other columns than an outcome table")
            images = _numbers(table["image"])
            if images.min() != self.start or images.max() != self.stop - 1:
                raise ValueError("it is about other images than its name says")
            return table, _facts(table.schema)

    def facts(self) -> dict[str, Any]:
        """Read the facts about the batch alone.

        Raises:
            InputError: as `read`.
        """
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
    folder: Path, table: pa.Table, facts: Mapping[str, Any] | None = None, rank: int = 0
) -> Path:
    """Write the outcomes of one batch, all or nothing.

    Args:
        folder: a results folder.
        table: all rows of a range of images; from `outcome_table` or `table_of`.
        facts: what is known of the batch as a whole, as JSON takes it: `seconds` as a list of
            [attack, source, seconds], `gradients` as a list of [attack, source, counts by name].
        rank: of the process.

    Returns:
        The path of the part.
    """
    images = table["image"].to_numpy()
    path = part_path(folder, range(images.min(), images.max() + 1), rank)
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
    """
    found = _some_parts(Path(folder))
    tables = [part.read()[0].replace_schema_metadata() for part in found]
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


class Case(NamedTuple):
    """What a model is up against."""

    attack: str
    norm: str
    epsilon: float


CASE = list(Case._fields)


@dataclass
class PerImage:
    """The outcome table of n images in arrays with a place for each image, of a byte or four.

    Attributes:
        n: number of images.
        draws: model -> how often it was asked about an image.
        clean: model -> (n,) uint8, in how many draws it was wrong on the image itself.
        wrong: (case, source, model) -> (n,) uint8, the same on the example made against the source.
        status: (case, source) -> (n,) uint8, numbers in `STATUSES`.
        hits: (case, source) -> images in which the source saw the class wanted; targeted alone.
        distances: (attack, source) -> (n,) float32, of minimum-norm attacks.
        passes: (attack, source) -> [gradient passes, forward-only passes].
        seconds: (attack, source) -> how long the attack ran, where that is known.
        gradients: (attack, source) -> sums of the gradients' statistics, by name.
    """

    n: int
    draws: dict[str, int]
    clean: dict[str, np.ndarray]
    wrong: dict[tuple[Case, str, str], np.ndarray]
    status: dict[tuple[Case, str], np.ndarray]
    hits: dict[tuple[Case, str], int]
    distances: dict[tuple[str, str], np.ndarray]
    passes: dict[tuple[str, str], np.ndarray]
    seconds: dict[tuple[str, str], float]
    gradients: dict[tuple[str, str], dict[str, int]]

    @property
    def cases(self) -> list[Case]:
        """All that some model was up against, in the order of the evaluation."""
        return list(dict.fromkeys(case for case, _ in self.status))

    @classmethod
    def empty(cls, n: int) -> Self:
        """Begin with nothing, for `n` images in all."""
        return cls(n, {}, {}, {}, {}, {}, {}, {}, {}, {})

    def add(self, table: pa.Table, positions: np.ndarray) -> set[Any]:
        """Take in all rows of some images; return what they are about, the same for all images.

        Args:
            positions: (rows,), of every row's image among the n.

        Raises:
            ValueError: a model did not answer to every image once.
        """
        draws, target = _numbers(table["draws"]), _numbers(table["target"])
        wrong = (draws - _numbers(table["correct_draws"])).astype(np.uint8)
        names, codes = _names_of(table["status"])
        status = np.array([STATUSES.index(name) for name in names] + [ATTACKED], np.uint8)[codes]
        distance = _numbers(table["distance"]).astype(np.float32)
        spent = np.stack([_numbers(table["gradients"]), _numbers(table["queries"])], axis=1)
        hit = _numbers(table["prediction"]) == target
        seen = set()

        def place(store: dict, key: Any, rows: np.ndarray, values: np.ndarray) -> None:
            if key not in store:
                store[key] = np.zeros(self.n, values.dtype)
            store[key][positions[rows]] = values[rows]
            seen.add(key)

        for attack, norm, epsilon, source, evaluated, rows in _answers(table, positions):
            asked = {self.draws.setdefault(evaluated, int(draws[rows[0]])), *draws[rows].tolist()}
            if len(asked) > 1:
                raise ValueError(f"{evaluated} was not asked equally often about all images")
            if attack is None:
                place(self.clean, evaluated, rows, wrong)
            elif epsilon < np.inf:
                key = Case(attack, norm, epsilon), source
                place(self.wrong, (*key, evaluated), rows, wrong)
                if source == evaluated:
                    place(self.status, key, rows, status)
                    self.passes[attack, source] = self.passes.get((attack, source), 0) + spent[
                        rows
                    ].sum(0)
                    if not np.isnan(target[rows]).all():
                        self.hits[key] = self.hits.get(key, 0) + int(hit[rows].sum())
            elif source == evaluated:
                place(self.distances, (attack, source), rows, distance)
        return seen

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Take in what is known of a batch as a whole."""
        for attack, source, seconds in facts.get("seconds", ()):
            self.seconds[attack, source] = self.seconds.get((attack, source), 0.0) + seconds
        for attack, source, counts in facts.get("gradients", ()):
            total = self.gradients.setdefault((attack, source), dict.fromkeys(counts, 0))
            for name, count in counts.items():
                total[name] += count


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers; null is NaN."""
    return column.to_numpy()


def _names_of(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the names in a column, and for every row the number of its own; -1 is null."""
    names = column.combine_chunks()
    codes = names.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return names.dictionary.to_pylist(), codes


def _answers(table: pa.Table, positions: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """Yield (attack, norm, epsilon, source, evaluated), and the rows with the answers to it.

    Raises:
        ValueError: there are not as many as images, or several to one.
    """
    epsilons, epsilon_codes = np.unique(_numbers(table["epsilon"]), return_inverse=True)
    keys = [_names_of(table[name]) for name in ("attack", "norm", "source", "evaluated")]
    keys.insert(2, (epsilons.tolist(), epsilon_codes))
    code = np.zeros(len(table), np.int64)
    for names, codes in keys:
        code = code * (len(names) + 1) + codes + 1
    _, first, codes = np.unique(code, return_index=True, return_inverse=True)
    images = positions - positions.min()
    answered = np.zeros((len(first), images.max() + 1), bool)
    answered[codes, images] = True
    if not answered.all() or answered.size < len(codes):
        raise ValueError("rows of some images are missing, or there are too many")
    rows = np.split(np.argsort(codes, kind="stable"), len(first))
    for group in np.argsort(first):
        row = first[group]
        found = [names[codes[row]] if codes[row] >= 0 else None for names, codes in keys]
        yield *found, rows[group]


def per_image(outcomes: Path | str | pd.DataFrame) -> PerImage:
    """Read a results folder part by part, or take a whole table.

    Raises:
        InputError: there are no outcomes, or some are damaged or of another evaluation.
    """
    if isinstance(outcomes, pd.DataFrame):
        if lacking := set(SCHEMA.names) - set(outcomes):
            raise InputError(f"outcomes must have the columns {', '.join(sorted(lacking))}, too")
        images, positions = np.unique(outcomes.image, return_inverse=True)
        found = PerImage.empty(len(images))
        try:
            found.add(table_of(outcomes), positions)
        except (ValueError, pa.ArrowException) as error:
            raise InputError(f"the outcomes are not whole: {brief(error)}") from None
        return found
    chosen = _some_parts(Path(outcomes))
    found, offset = PerImage.empty(sum(part.stop - part.start for part in chosen)), 0
    known: set | None = None
    for part in chosen:
        table, facts = part.read()
        try:
            keys = found.add(table, _numbers(table["image"]) - part.start + offset)
        except ValueError as error:
            raise part.unusable(f"is not whole ({error})") from None
        found.add_facts(facts)
        if known is not None and keys != known:
            raise part.unusable("is of another evaluation than the parts before it")
        known, offset = keys, offset + part.stop - part.start
    return found
