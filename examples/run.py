"""Executes the notebooks and scripts of this folder, each in an empty folder of its own.

    python examples/run.py                 # all of them; ends with 1 if one fails
    python examples/run.py --write         # and keep what the notebooks show
    python examples/run.py 02-two-checkpoints.ipynb own_attack.py

Needs: pip install -e '.[examples]'
"""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
SECONDS = 600
"""A cell, or a script, that takes longer fails."""


def run_notebook(path: Path, folder: str, write: bool) -> None:
    """Execute a notebook, and keep its outputs where asked."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}).execute()
    if write:
        for cell in notebook.cells:  # neither when a cell ran, nor what its libraries complained of
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":
                cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        nbformat.write(notebook, path)


def run_script(path: Path, folder: str, write: bool) -> None:
    """Execute a script without arguments."""
    subprocess.run([sys.executable, str(path)], cwd=folder, check=True, timeout=SECONDS)


def main(arguments: list[str]) -> int:
    """Run what is named, or everything; return how many failed."""
    write, names = "--write" in arguments, [name for name in arguments if name[0] != "-"]
    everything = sorted(HERE.glob("*.ipynb")) + sorted(
        {*HERE.glob("*.py")} - {Path(__file__).resolve()}
    )
    failed = 0
    for path in [HERE / Path(name).name for name in names] or everything:
        began = time.monotonic()
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                (run_notebook if path.suffix == ".ipynb" else run_script)(path, folder, write)
            except Exception as error:
                failed += 1
                print(f"{path.name} failed: {error}", flush=True)
            else:
                print(f"{path.name}: {time.monotonic() - began:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
