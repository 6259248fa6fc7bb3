"""What scenes count, and what they refuse."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tests.fake_cuda.watch import Counts, watching
from torch_utils import custom_ops

Found = dict[str, dict[str, float]]


def numbers(counts: Counts) -> dict[str, float]:
    return {name: getattr(counts, name) for name in ("launches", "products", "waits")}


@contextmanager
def counting() -> Iterator[Counts]:
    """:func:`watching`, of work that nothing may be refused to; with ``--lines`` it also says where things happen."""
    lines = "--lines" in sys.argv
    with watching(launches=lines) as counts:
        yield counts
    assert not counts.of("REFUSED"), counts.of("REFUSED")
    for event in ("WAIT", "LAUNCH") if lines else ():
        for place, times in list(counts.of(event).items())[:40]:
            print(f"{times:7d} {event} {place}", file=sys.stderr)


@contextmanager
def no_waits() -> Iterator[None]:
    """Where torch itself raises if the host is to wait for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def without_compiled_ops() -> None:
    """As where NVRTC is missing."""
    load = custom_ops._load
    custom_ops._load = lambda key: load(key) if str(key) == "cpu" else "CUDA ops: left out"
    warnings.filterwarnings("ignore", message="CUDA ops: left out")


def no_tf32_for_positions(counts: Counts) -> None:
    """Gradients and what is no position may round."""
    may = (
        "gradients",
        "networks/manifold/radiance",
        "networks/manifold/superresolution",
        "networks/layers.py",
        "networks/discriminators",
    )
    wrong = [place for place in counts.of("TF32") if not place.startswith(may)]
    assert not wrong, f"TF32 products in {wrong}"
