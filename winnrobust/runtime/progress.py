"""Telling the user how far long work is: a bar on a terminal, plain lines elsewhere.

Of several processes only the first tells anything.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from winnrobust.runtime.errors import printable

OFTEN = 10.0
"""Seconds between lines at the beginning of long work; later a fifth of what it has taken."""
BEAT = 1.0
"""Seconds after which a bar moves its clock, and a line is due that may be due."""


def progress_bar(total: int, description: str, *, initial: int = 0, unit: str = "batch") -> tqdm:
    """Make a progress bar on stderr with the ETA; silent where stderr is no terminal.

    The ETA comes from the mean rate since the start, because work comes in turns of fast and slow.
    """
    return tqdm(
        total=total,
        initial=initial,
        desc=printable(description),
        unit=unit,
        smoothing=0,
        miniters=0,  # else it stands still where work comes in large pieces
        dynamic_ncols=True,
        disable=None if _is_main_process() else True,
        leave=False,
        file=sys.stderr,
    )


@contextmanager
def show_progress(description: str, unit: str, initial: int = 0) -> Iterator[Callable[..., None]]:
    """Show a bar for a `with` block; yields what is to be called with (done, total, a few words).

    The words may be left out. Where stderr is no terminal there are lines instead, now and then.
    Both go on while nothing is reported: the next piece of work may be a long one.

    Args:
        initial: how much was done before.
    """
    with progress_bar(0, description, initial=initial, unit=unit) as status:
        lines = _Lines(description, initial) if status.disable and _is_main_process() else None

        def update(done: int, total: int, text: str = "") -> None:
            status.total = total
            status.set_postfix_str(text, refresh=False)
            status.update(done - status.n)
            if lines is not None:
                lines.update(done, total)

        over = threading.Event()
        beat = threading.Thread(
            target=_beat, args=(over, lines.tell if lines else status.refresh), daemon=True
        )
        beat.start()
        try:
            yield update
        finally:
            over.set()
            beat.join()


def _beat(over: threading.Event, show: Callable[[], object]) -> None:
    while not over.wait(BEAT):
        show()


class _Lines:
    """Says from time to time how much is done, where there is no terminal."""

    def __init__(self, description: str, initial: int) -> None:
        self.description, self.initial = printable(description), initial
        self.done, self.total = initial, 0
        self.began = self.told = time.monotonic()
        self.lock = threading.Lock()

    def update(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        self.tell()

    def tell(self) -> None:
        with self.lock:
            now = time.monotonic()
            spent = now - self.began
            if now - self.told < max(OFTEN, spent / 5) or self.done >= self.total > 0:
                return
            self.told = now
            text = f"still working after {duration(spent)}"
            if self.done > self.initial:
                left = remaining(spent, self.done - self.initial, self.total - self.initial)
                text = f"{self.done / self.total:.0%} done, {left} left"
            print(f"{self.description}: {text}", file=sys.stderr, flush=True)


def remaining(seconds: float, done: int, total: int) -> str:
    """Say how long the rest takes, if what is `done` of a `total` took so many seconds.

    >>> remaining(60, 1, 4), remaining(9, 1, 2), remaining(3600, 1, 3), remaining(1, 0, 5)
    ('about 3 min', 'about 9 s', 'about 2.0 h', 'an unknown time')
    """
    if done <= 0:
        return "an unknown time"
    return f"about {duration(seconds * (total - done) / done)}"


def duration(seconds: float) -> str:
    """Say a time in the unit that suits it.

    >>> duration(9), duration(180), duration(7200)
    ('9 s', '3 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def log(text: str) -> None:
    """Print a line on stdout without tearing a bar."""
    if _is_main_process():
        tqdm.write(printable(text), file=sys.stdout)
        sys.stdout.flush()


def _is_main_process() -> bool:
    """Ask without importing torch, which takes seconds: without it there are no other processes."""
    distributed = sys.modules.get("winnrobust.runtime.distributed")
    return distributed is None or distributed.is_main_process()
