"""Where a figure comes from: commit, versions, machine, time, command."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from winnrobust.runtime import distributed

CPU = torch.device("cpu")
LIBRARIES = ("torch", "torchvision", "numpy", "pandas", "scipy", "safetensors", "matplotlib")


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe(device: torch.device = CPU) -> dict[str, Any]:
    """Describe the code, the libraries and the machine of this process."""
    return {
        "time": now(),
        "command": command(),
        "winnrobust": metadata.version("winnrobust"),
        **_commit(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in LIBRARIES},
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "processes": distributed.world_size(),
            "device": str(device),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        },
    }


def command() -> str:
    """The command of this process, quoted so that a shell takes it as it was."""
    program, *arguments = sys.argv
    name = Path(program).name
    called = ["python", "-m", "winnrobust"] if name == "__main__.py" else [name]
    return shlex.join([*called, *arguments])


def _commit() -> dict[str, Any]:
    """The commit of the checkout this package runs from; nulls for an installed one."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {
            "commit": git("rev-parse", "HEAD"),
            "uncommitted_changes": bool(git("status", "--porcelain", "--", ".")),
        }
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "uncommitted_changes": None}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
