"""Freed memory is used again: counted in page faults, in a process of its own."""

import subprocess
import sys

import pytest

from winnrobust.runtime.allocator import keep_freed_memory

COUNT_FAULTS = """
import resource, sys, torch
from winnrobust.runtime.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):
    torch.ones(16 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, mode], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="this system's allocator has no mallopt")
def test_large_tensors_cost_no_page_faults_once_memory_was_used():
    assert faults("keep") < faults("leave") / 4
