"""What JSON files must look like before a report believes them: pydantic models."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from winnrobust.runtime.errors import InputError, brief

Count = Annotated[int, Field(ge=0, le=2**53)]
Images = Annotated[int, Field(ge=1, le=2**53)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, StringConstraints(min_length=1)]
T = TypeVar("T")


def check(kind: type[T], value: Any, path: Path) -> T:
    """Return a value that was read from `path` as what it must be.

    Raises:
        InputError: it is something else; the message says where and why.
    """
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]]
        where = f" at {''.join(steps).lstrip('.')}" if steps else ""
        raise InputError(f"{path} is damaged{where}: {brief(ValueError(first['msg']))}") from None


class Stored(BaseModel):
    """What was added since, or by hand, is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Best(Stored):
    epoch: Count
    valid_error: Share


class Tested(Stored):
    n: Images
    errors: Count


class Machine(Stored):
    processor: str | None = None


class RunManifest(Stored):
    """manifest.json of a run, as far as reports show it."""

    commit: str | None = None
    command: str = ""
    machine: Machine = Machine()
    best: Best | None = None
    test: Tested | None = None


class Epoch(BaseModel):
    """A line of metrics.jsonl; every other key is a number, or null where it was none."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]
    epoch: Count


class Trained(Stored):
    """What a results folder keeps of a model's training."""

    config: dict[str, Any] = {}
    manifest: RunManifest = RunManifest()
    metrics: list[Epoch] = []


class Manifest(RunManifest):
    """manifest.json of results; doubts are about the way in which models were used."""

    models: dict[str, Trained] = {}
    doubts: list[str] = []


class Model(Stored):
    """A model of an evaluation.

    Attributes:
        name: what tables call it.
        group: what its seeds have in common, such as the method.
        path: the run folder or file that it comes from.
        parameters: how many there are.
        epoch: whose weights these are.
    """

    name: Name
    group: Name
    method: str | None
    arch: str | None
    path: str
    parameters: int | None
    epoch: int | None
    seed: int | None
    weights_sha256: str | None


class Metadata(Stored):
    """results.json, version 3: all but the outcomes.

    Attributes:
        status: whether all images are done and the tables written.
        dataset, split, limit: what was attacked; limit is None for the whole split.
        n: number of images.
        population: of how many they are drawn at random, until enough is known, which then sets
            n; None if they are all.
        settings: those of the evaluation (`evaluation.settings.EvaluationSettings`).
        models: in the order of the tables.
        what: all that decides the results: the same evaluation goes on only with the same.
        sessions: provenance of the processes that worked on it, the first one first.
    """

    version: Literal[3] = Field(default=3, alias="schema")
    status: Literal["running", "complete"]
    dataset: Name
    split: str
    n: Images
    limit: Images | None
    population: Images | None = None
    settings: dict[str, Any]
    models: Annotated[list[Model], Field(min_length=1)]
    what: dict[str, Any] = {}
    sessions: list[dict[str, Any]] = []


class Indicator(Stored):
    """One indicator of false robustness: a row of diagnosis.json."""

    model: Name
    indicator: Name
    verdict: Literal["ok", "suspicious", "broken", "not tested"]
    evidence: str
    wrong: int = 0
    of: int = 0
    epsilon: float = 0.0
