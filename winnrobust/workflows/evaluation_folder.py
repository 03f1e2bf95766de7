"""The results folder while its evaluation runs: a new one, or one that was interrupted."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from winnrobust.evaluation import outcomes
from winnrobust.reporting import Metadata, read_diagnosis, read_metadata, write_metadata
from winnrobust.reporting.folder import NEWEST, version_of
from winnrobust.runtime import distributed, provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import check_free
from winnrobust.runtime.locks import hold
from winnrobust.runtime.progress import log


def images_done(out: Path) -> int:
    """How many images were attacked and judged."""
    return sum(map(len, outcomes.finished(out)))


@contextmanager
def evaluation_folder(
    out: Path, metadata: Metadata, device: torch.device, resume_with: str | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Hold `out` while an evaluation writes to it; go on where an interrupted one stopped.

    Whatever ends the block, finished batches stay; a folder without any is removed again.

    Args:
        out: the results folder.
        metadata: of this evaluation; its `what` is all that decides the results.
        resume_with: the command that goes on with it; None for the same one with --out. Empty where
            nobody will: nothing of it stays.

    Yields:
        The provenance of the processes that worked on it, this one last.

    Raises:
        InputError: `out` holds something else, or another process is at work on it.
    """
    with hold(out):
        if distributed.is_main_process():
            check_unfinished(out, metadata)
            _begin(out, metadata, device)
        distributed.barrier()
        try:
            yield read_metadata(out).sessions
        except BaseException as error:
            if distributed.is_main_process():
                command = (
                    f"the same command with --out {out}" if resume_with is None else resume_with
                )
                _stopped(out, error, command)
            raise


def check_place(out: Path) -> None:
    """Check, before models are loaded, that `out` is free or holds an unfinished evaluation.

    Raises:
        InputError: there is something else, which is left untouched.
    """
    if not (out / "results.json").exists() or is_complete(out):
        check_free(out)


def check_unfinished(out: Path, metadata: Metadata) -> None:
    """Check that an evaluation may write to `out`: nothing is there, or its own beginning.

    Raises:
        InputError: there is something else, which is left untouched.
    """
    check_place(out)
    if not (out / "results.json").exists():
        return
    stored = read_metadata(out)
    # As text, because the order of the models counts.
    before, now = (json.loads(each.model_dump_json())["what"] for each in (stored, metadata))
    differing = [name for name in now if json.dumps(before.get(name)) != json.dumps(now[name])]
    if differing:
        command = stored.sessions[0].get("command", "?") if stored.sessions else "?"
        raise InputError(
            f"{out} holds an interrupted evaluation with other {' and '.join(differing)}, of"
            f" '{command}'; finish it with that command, remove the folder, or choose another one"
            " (--out, in Python folder=)"
        )


def _begin(out: Path, metadata: Metadata, device: torch.device) -> None:
    """Write down what is evaluated, and that this process works on it."""
    sessions = read_metadata(out).sessions if (out / "results.json").exists() else []
    session = provenance.describe(device)
    begun = sessions[0].get("commit") if sessions else session["commit"]
    if begun != session["commit"]:
        log(f"note: this was begun by another version of winnrobust (commit {begun})")
    running = metadata.model_copy(update={"status": "running", "sessions": [*sessions, session]})
    write_metadata(out, running)


def _stopped(out: Path, error: BaseException, command: str) -> None:
    """Say how to go on with what is there; leave nothing where nothing was done."""
    images = images_done(out)
    if command and (images or read_diagnosis(out) is not None):
        done = f"{images} images are done" if images else "the diagnosis is done"
        log(f"{done}: {command} goes on from there")
        return
    if command and isinstance(error, KeyboardInterrupt):
        log(f"stopped; nothing was written to {out}")
    shutil.rmtree(out, ignore_errors=True)


def is_complete(out: Path) -> bool:
    """Tell whether `out` holds an evaluation that was brought to its end, and all its outcomes.

    Raises:
        InputError: its results are damaged.
    """
    if not (out / "results.json").exists():
        return False
    if version_of(out) < NEWEST:
        return True
    metadata = read_metadata(out)
    return metadata.status == "complete" and images_done(out) == metadata.n
