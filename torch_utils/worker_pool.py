"""One function called on many items by several processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeVar

import torch

from torch_utils.misc import UserError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_AHEAD = 8  # items per worker that are under way or wait for their turn
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def worker_pool(
    function: Callable[[_Item], _Result], workers: int
) -> Iterator[Callable[[Iterable[_Item]], Iterator[_Result]]]:
    """Spawned processes of one thread each: there may be as many as cores, and results depend on no thread count.

    Yields a ``map``: items -> ``function(item)`` of each, in their order; what the function raises, it raises. The
    function goes to every process once, so what is large belongs into it (``functools.partial``). It, items and results
    are pickled. Ctrl-C is the caller's to handle: leaving drops what has not begun. No worker outlives its parent.

    Args:
        function: of one item.
        workers: processes; 0 calls the function in this one.

    Raises:
        UserError: a worker was killed.
    """
    if workers == 0:
        yield lambda items: map(function, items)
        return
    with _one_thread_each():
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(pickle.dumps(function),))
        try:
            yield lambda items: _in_order(pool, items, _AHEAD * workers)
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed (out of memory? try fewer --workers); run again") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, items: Iterable[Any], ahead: int) -> Iterator[Any]:
    """Like ``pool.map``, with no more than ``ahead`` results under way or waiting."""
    pending: deque[Future[bytes]] = deque()
    for item in items:
        pending.append(pool.submit(_call, item))
        if len(pending) >= ahead:
            yield pickle.loads(pending.popleft().result())
    while pending:
        yield pickle.loads(pending.popleft().result())


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile find libraries told to use one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# ---- In a worker ----------------------------------------------------------------------------------------------------


def usable_cores() -> int:
    """Cores that this process may use, which a scheduler or a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_function: Callable[[Any], Any]  # of a worker


def _start(function: bytes) -> None:
    global _function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    torch.set_num_threads(1)
    _function = pickle.loads(function)


def _call(item: Any) -> bytes:
    """The result as bytes: left to multiprocessing, every tensor would be a shared file that stays open."""
    return pickle.dumps(_function(item))
