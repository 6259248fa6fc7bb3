"""Habits of code that runs on a GPU: it does not wait for the host, and it does not round positions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

_lock = (
    threading.Lock()
)  # torch's setting is the process's: the first thread to come saves it, the last one restores it
_inside = 0
_restore: Callable[[], None] | None = None


def constant(numbers: Sequence[float], like: Tensor) -> Tensor:
    """``numbers`` [N], made on the device of ``like`` and of its type: a copy of a list would have to be waited for."""
    return torch.stack([like.new_full((), number) for number in numbers])


@contextmanager
def full_precision() -> Iterator[None]:
    """Within the block (or the function, as a decorator) no autocast, and matrix products in true float32.

    TF32 (``torch.set_float32_matmul_precision("high")`` and its kin) has 11 bits, bfloat16 has 8: they put samples of
    rays pixels away from where they belong. Gradients are computed later, outside of the block: they may round.
    """
    with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
        _enter()
        try:
            yield
        finally:
            _leave()


def _enter() -> None:
    global _inside, _restore
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        try:
            setting = torch.get_float32_matmul_precision()
        except RuntimeError:  # it was set by the newer of torch's two ways, which the older one does not read
            matmul = torch.backends.cuda.matmul
            _restore = partial(setattr, matmul, "fp32_precision", matmul.fp32_precision)
        else:
            _restore = None if setting == "highest" else partial(torch.set_float32_matmul_precision, setting)
        if _restore is not None:
            torch.set_float32_matmul_precision("highest")


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0 and _restore is not None:
            _restore()
