"""Several processes as one job: PyTorch's distributed package, behind the little we need of it.

`torchrun --nproc-per-node N -m winnrobust ...` starts N processes that all run the same command.
Alone (no torchrun) every function here does nothing, so nobody else needs to ask.
"""

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from winnrobust.runtime.errors import InputError

Value = TypeVar("Value")

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process of a job."""

REMEDY = f"start them with torchrun, or alone after: unset {' '.join(VARIABLES)}"

PATIENCE = timedelta(minutes=5)
"""How long the processes of a job may take to start."""


@contextmanager
def job() -> Iterator[None]:
    """Join the other processes that torchrun started, if it did, for a `with` block.

    Raises:
        InputError: the variables of a job are there, but not the job; or another process of it
            ended, so this one cannot go on.
    """
    if not _is_job():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_gpu())
    _join()
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"another process of this job ended ({reason}); fix its cause, then run the same"
            " command with the same --out (train also needs --resume)"
        ) from None
    finally:
        dist.destroy_process_group()


def _is_job() -> bool:
    """Tell whether torchrun, or what sets the same variables, started this process with others;
    an InputError where only some of the variables are there, as schedulers leave them behind."""
    # Some schedulers set WORLD_SIZE, too; only launchers like torchrun set RANK.
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return False
    values = [os.environ.get(name, "") for name in VARIABLES]
    rank, count, address, port = values
    numbers = all(value.isdecimal() for value in (rank, count, port))
    if not numbers or not address or int(rank) >= int(count) or not 0 < int(port) < 2**16:
        found = ", ".join(
            f"{name}={value}" if value else f"no {name}"
            for name, value in zip(VARIABLES, values, strict=True)
        )
        raise InputError(f"{found} is not a job of several processes; {REMEDY}")
    return True


def _join() -> None:
    """Meet the other processes; an InputError if they do not come."""
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    count = int(os.environ["WORLD_SIZE"])
    # Its functions take today's group as a default when they are imported, and optimizers import
    # it: imported later, it would keep the group, and its threads abort a process that ends.
    importlib.import_module("torch.distributed.nn")
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # torchrun's own sign that they are there
        waiting = (
            f"RANK and WORLD_SIZE are set: waiting at {place} for the other of {count} processes"
        )
        print(waiting, file=sys.stderr, flush=True)
    try:
        store, number, count = next(rendezvous("env://", timeout=PATIENCE))
        # gloo for tensors of the CPU, NCCL for those of CUDA
        dist.init_process_group(store=store, rank=number, world_size=count)
    except (dist.DistError, RuntimeError, ValueError):
        raise InputError(
            f"the {count} processes of this job did not meet at {place}; {REMEDY}"
        ) from None


def local_gpu() -> int:
    """Number of the GPU of this machine that belongs to this process."""
    return int(os.environ.get("LOCAL_RANK", "0")) % max(torch.cuda.device_count(), 1)


def rank() -> int:
    """Number of this process in the job, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes in the job."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Tell whether this process is the one that writes and prints: the one of rank 0."""
    return rank() == 0


def shard(count: int) -> slice:
    """This process's shard of `count` things: contiguous, sizes differing by at most one."""
    return slice(rank() * count // world_size(), (rank() + 1) * count // world_size())


def strided_shard(count: int) -> slice:
    """This process's shard of `count` things, every `world_size`-th: of the first ones, too."""
    return slice(rank(), count, world_size())


def all_reduce(tensor: Tensor) -> Tensor:
    """Replace `tensor` by its sum over all processes, in place, and return it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def all_reduce_gradients(parameters: Iterable[Tensor]) -> None:
    """Sum every parameter's gradient over all processes; a missing one counts as zero."""
    if world_size() == 1:
        return
    tensors = list(parameters)
    gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in tensors]
    flat = all_reduce(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for tensor, part in zip(tensors, flat.split([x.numel() for x in tensors]), strict=True):
        tensor.grad = part.view_as(tensor)


def all_gather(value: Value) -> list[Value]:
    """Collect a value of every process, in the order of their ranks; its tensors come on the CPU.

    Args:
        value: dicts, tuples and lists of tensors and plain values.
    """
    if world_size() == 1:
        return [value]
    collected: list[Any] = [None] * world_size()
    dist.all_gather_object(collected, _on_cpu(value))
    return collected


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(item) for item in value)
    return value


def broadcast(value: Value) -> Value:
    """Return the main process's value in all of them."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def barrier() -> None:
    """Hold until every process is here."""
    if world_size() > 1:
        dist.barrier()
