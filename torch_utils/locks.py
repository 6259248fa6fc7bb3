"""One process at a time: a folder or a file that is being written is held, and who comes second is told by whom."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from torch_utils.misc import UserError, reason

SUFFIX = ".lock"
_TRIES, _PAUSE = 4, 0.1  # seconds: another process may be looking whether a lock is stale
_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # what systems say of a lock that another process has
_held: set[BinaryIO] = set()

if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(1 << 30)  # there, because nobody else can read what is locked
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _forget() -> None:
        """A forked child has its parent's files, too, and would hold them when the parent is dead."""
        for file in _held:
            file.close()
        _held.clear()

    os.register_at_fork(after_in_child=_forget)


@contextmanager
def hold(path: Path, where: str, doing: str) -> Iterator[None]:
    """Hold the lock file ``path``, which is made and, at the end, removed. Missing folders are made.

    The system lets go of it when this process dies, however it dies. On a file system without locks nothing is held.

    Args:
        where: the place in question, for messages, e.g. ``--outdir runs/s1``.
        doing: what the holder does, e.g. ``training there``.

    Raises:
        UserError: another process holds it, named with its host; or nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _take_soon(path)
    except OSError as error:
        raise UserError(f"{where}: cannot write there: {reason(error)}") from error
    if file is None:
        raise UserError(f"{where}: {_holder(path)} is {doing}; wait for it, or choose another place")
    try:
        _remove_stale(path)
        yield
    finally:
        _let_go(path, file)


def _take_soon(path: Path) -> BinaryIO | None:
    for _ in range(_TRIES):
        if (file := _take(path)) is not None:
            return file
        time.sleep(_PAUSE)
    return None


def _take(path: Path) -> BinaryIO | None:
    """The lock file, held; None where another process holds it."""
    while True:
        file = path.open("a+b")
        try:
            _lock(file)
        except OSError as error:
            if error.errno in _TAKEN:
                file.close()
                return None
        with suppress(FileNotFoundError):  # else its holder has removed it between our opening and locking it
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()
    _held.add(file)
    with suppress(OSError):  # a full disk: the lock serves without a name
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}".encode())
        file.flush()
    return file


def _let_go(path: Path, file: BinaryIO | None) -> None:
    if file is None or file not in _held:  # of the parent, in a forked child
        return
    _held.remove(file)
    with suppress(OSError):
        path.unlink()
    with suppress(OSError):
        file.close()
    if sys.platform == "win32":  # where open files cannot be removed
        with suppress(OSError):
            path.unlink()


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        process, host = path.read_text(encoding="utf-8").split()
        return f"process {process} on {host}"
    return "another process"


def _remove_stale(path: Path) -> None:
    """Remove lock files beside ``path`` that processes left which were killed."""
    for other in path.parent.glob(f".*{SUFFIX}"):
        with suppress(OSError):
            file = _take(other) if other != path else None
            if file is not None:
                _let_go(other, file)
