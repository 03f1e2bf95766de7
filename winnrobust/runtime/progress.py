"""Telling the user how far long work is: a bar on a terminal, plain lines elsewhere.

Of several processes only the first tells anything.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from winnrobust.runtime.errors import printable


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

    The words may be left out.

    Args:
        initial: how much was done before.
    """
    with progress_bar(0, description, initial=initial, unit=unit) as status:

        def update(done: int, total: int, text: str = "") -> None:
            status.total = total
            status.set_postfix_str(text, refresh=False)
            status.update(done - status.n)

        yield update


def log(text: str) -> None:
    """Print a line on stdout without tearing a bar."""
    if _is_main_process():
        tqdm.write(printable(text), file=sys.stdout)
        sys.stdout.flush()


def _is_main_process() -> bool:
    """Ask without importing torch, which takes seconds: without it there are no other processes."""
    distributed = sys.modules.get("winnrobust.runtime.distributed")
    return distributed is None or distributed.is_main_process()
