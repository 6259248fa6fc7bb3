"""One process per device, as `torchrun` starts them: who we are, and sums over all of us.

Everything works alone, too: without `torchrun` there is one process, and nothing is sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn

from torch_utils.host_memory import keep_freed_memory
from torch_utils.misc import UserError, resolve_device

# Rank 0 draws snapshots and writes checkpoints while the others wait.
TIMEOUT = timedelta(minutes=30)


class World(NamedTuple):
    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextmanager
def world(device: str = "auto"):
    """Join the processes that `torchrun` started (or be alone); yields a :class:`World`.

    On a CPU memory that is freed stays with the process, see :func:`torch_utils.host_memory.keep_freed_memory`.

    Args:
        device: auto, cpu, cuda or cuda:N; with several processes on CUDA each takes that of its local rank.

    Raises:
        UserError: no such device, or fewer CUDA devices than processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    own = resolve_device(device)
    if own.type == "cpu":
        keep_freed_memory()
    if size == 1:
        yield World(0, 1, own)
        return
    if own.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            found = f"{torch.cuda.device_count()} on this machine"
            raise UserError(f"--device: expected a CUDA device for each process of this machine, found {found}")
        own = torch.device("cuda", local)
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), own)
    finally:
        distributed.destroy_process_group()


def is_alone() -> bool:
    """Whether there is one process only."""
    return not distributed.is_initialized() or distributed.get_world_size() == 1


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of ``values`` (any shape, the same on every process) over all processes."""
    if is_alone():
        return values
    values = values.clone()
    distributed.all_reduce(values)
    return values / distributed.get_world_size()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes; a missing one counts as 0.

    One flat message after the whole step's gradients have been accumulated: the mean over processes of means over
    equally large parts of a batch is the batch's mean, whatever the number of processes.
    """
    if is_alone():
        return
    parameters = [p for p in parameters if p.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    flat = mean_over_processes(flat)
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)


@torch.no_grad()
def copy_from_main(module: nn.Module) -> None:
    """Overwrite parameters and buffers of ``module`` by those of rank 0."""
    if is_alone():
        return
    for tensor in module.state_dict().values():
        told = tensor.contiguous()  # NCCL takes nothing else, and weights of convolutions may lie channels last
        distributed.broadcast(told, 0)
        if told.data_ptr() != tensor.data_ptr():
            tensor.copy_(told)


def wait_for_all() -> None:
    """Return once every process is here."""
    if not is_alone():
        distributed.barrier()
