"""Within a process that runs on the fake GPU: what it starts, waits for and is refused, by line of our code."""

from __future__ import annotations

import ctypes
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("networks", "inference", "training", "torch_utils", "gen_video.py", "train.py")
PARTS = (*PROGRAMS, "tests/fake_cuda/frames.py", "tests/fake_cuda/scenes.py")
OURS = tuple(f"{ROOT}/{part}" for part in PARTS)

_library = ctypes.CDLL(os.environ["FAKE_CUDA"])
_library.fake_count.restype = ctypes.c_long
_callback_type = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_seen: Counter[tuple[str, str]] = Counter()


def _place() -> str:
    """The innermost line of ours on this thread's stack; none in the threads that compute gradients."""
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    if frame is None:
        return "gradients"
    return f"{os.path.relpath(frame.f_code.co_filename, ROOT)}:{frame.f_lineno} {frame.f_code.co_name}"


@_callback_type
def _hear(name: bytes) -> None:
    _seen[name.decode(), _place()] += 1


@dataclass
class Counts:
    """Of a stretch of work."""

    launches: int = 0  # of kernels, torch's and ours
    products: int = 0  # calls of cuBLAS, cuDNN and cuFFT, which launch kernels of their own
    waits: int = 0  # of the host for the device
    recorded: int = 0  # launches in recordings
    places: Counter[tuple[str, str]] = field(default_factory=Counter, repr=False)

    def of(self, event: str) -> dict[str, int]:
        """How often an event (its beginning) happened, by place."""
        found: Counter[str] = Counter()
        for (name, place), count in self.places.items():
            if name.startswith(event):
                found[place] += count
        return dict(found.most_common())


def count(name: str) -> int:
    """Calls so far of something that the runtime counts by name."""
    return _library.fake_count(name.encode())


@contextmanager
def watching(*, launches: bool = False) -> Iterator[Counts]:
    """Counts what happens within the block; with ``launches`` also where each kernel is launched, which takes time."""
    counts = Counts()
    _seen.clear()
    _library.fake_reset()
    _library.fake_listen(_hear, ctypes.c_bool(launches))
    try:
        yield counts
    finally:
        _library.fake_listen(_callback_type(), ctypes.c_bool(False))
        counts.launches, counts.products = count("launches"), count("products")
        counts.recorded = count("recorded launches")
        counts.places = Counter(_seen)
        counts.waits = sum(counts.of("WAIT").values())
