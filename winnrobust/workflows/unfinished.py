"""What an interrupted evaluation leaves beside the place of its results, to go on from."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from winnrobust.evaluation import journal
from winnrobust.evaluation.diagnosis import DIAGNOSIS_COLUMNS
from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import write_json
from winnrobust.runtime.progress import log
from winnrobust.runtime.readers import read_json


@dataclass(frozen=True)
class Unfinished:
    """A folder for what is done of an evaluation.

    Attributes:
        folder: holds the judged batches (see `evaluation.journal`) and the files below.
        sessions: provenance of the processes that worked on it, this one last.
    """

    folder: Path
    sessions: list[dict[str, Any]]

    def save_diagnosis(self, diagnosis: pd.DataFrame) -> None:
        """Keep a finished diagnosis; only the first of several processes writes."""
        if distributed.is_main_process():
            write_json(_diagnosis(self.folder), diagnosis.to_dict("records"))

    def load_diagnosis(self) -> pd.DataFrame | None:
        """Return the diagnosis that an earlier session finished, if one did."""
        file = _diagnosis(self.folder)
        if not distributed.broadcast(file.exists()):
            return None
        try:
            rows = [[row[name] for name in DIAGNOSIS_COLUMNS] for row in read_json(file)]
        except (InputError, LookupError, TypeError):
            raise InputError(
                f"{file} is damaged; remove it, and the diagnosis is made again"
            ) from None
        return pd.DataFrame(rows, columns=list(DIAGNOSIS_COLUMNS))

    def images(self) -> int:
        """Return how many images are done."""
        return sum(map(len, journal.finished(self.folder)))


@contextmanager
def resumable(
    out: Path, what: dict[str, Any], device: torch.device, again: str | None = None
) -> Iterator[Unfinished]:
    """Yield a place for what is done of an evaluation whose results shall be in `out`.

    It holds what an interrupted evaluation of the same has left, and is removed at the end of the
    block, but for what is done if that is interrupted.

    Args:
        out: the same in all processes of a job.
        what: is evaluated, and how: all that decides the results.
        again: the words for what goes on with it; None where `out` is what a user gives as --out.

    Raises:
        InputError: an evaluation of something else was interrupted there.
    """
    unfinished = _open(out, what, device)
    try:
        yield unfinished
    except BaseException as error:
        images = unfinished.images()
        if images or _diagnosis(unfinished.folder).exists():
            done = f"{images} images are done" if images else "the diagnosis is done"
            log(f"{done}: {again or f'the same command with --out {out}'} goes on from there")
        else:
            if isinstance(error, KeyboardInterrupt):
                log(f"stopped; nothing was written to {out}")
            if distributed.is_main_process():
                shutil.rmtree(unfinished.folder)
        raise
    if distributed.is_main_process():
        shutil.rmtree(unfinished.folder)


def _open(out: Path, what: dict[str, Any], device: torch.device) -> Unfinished:
    folder = out.with_name(f".{out.name}.unfinished")
    file = folder / "evaluation.json"
    if not distributed.is_main_process():
        distributed.barrier()
        return Unfinished(folder, read_json(file)["sessions"])
    what = json.loads(json.dumps(what))
    sessions: list[dict[str, Any]] = []
    if file.exists():
        stored, sessions, command = _read(file)
        # As text, because the order of the models counts.
        differing = [
            name for name in what if json.dumps(stored.get(name)) != json.dumps(what[name])
        ]
        if differing:
            raise InputError(
                f"{folder} holds an interrupted evaluation with other {' and '.join(differing)}, of"
                f" '{command}'; finish it with that command, remove the folder, or choose another"
                " --out"
            )
    elif folder.exists():
        shutil.rmtree(folder)  # nobody knows what its batches are of
    session = provenance.describe(device)
    begun = sessions[0].get("commit") if sessions else session["commit"]
    if begun != session["commit"]:
        log(f"note: this was begun by another version of winnrobust (commit {begun})")
    sessions.append(session)
    write_json(file, {"what": what, "sessions": sessions})
    distributed.barrier()
    return Unfinished(folder, sessions)


def _read(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Return what is evaluated, the sessions, and the command of the first."""
    try:
        stored = read_json(file)
        return dict(stored["what"]), list(stored["sessions"]), stored["sessions"][0]["command"]
    except (InputError, LookupError, TypeError, ValueError):
        raise InputError(
            f"{file} is damaged, so nobody knows what was evaluated there; remove the folder, or"
            " choose another --out"
        ) from None


def _diagnosis(folder: Path) -> Path:
    return folder / "diagnosis.json"
