"""A process that joins a job, imports late what knows of process groups, and leaves the job.

It fails if anything keeps the group then.
"""

import importlib
import sys
import weakref

import torch.distributed as dist

from winnrobust.runtime import distributed

if __name__ == "__main__":
    with distributed.job():
        importlib.import_module("torch.distributed.nn")
        distributed.barrier()
        group = weakref.ref(dist.group.WORLD)
    sys.exit("something keeps the group" if group() else 0)
