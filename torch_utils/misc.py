"""Errors a user can act on, the shell of every command line, and files that are either whole or absent."""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import os
import re
import shutil
import signal
import socket
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import torch


class UserError(Exception):
    """Bad input. The message is one clear line: what, where (file, flag or key), what was expected, what was found."""


class CliParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` whose complaints are a `UserError` (one line) instead of a page of usage.

    Options must be written out, and descriptions keep their line breaks.
    """

    def __init__(self, **settings: Any) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"formatter_class": layout, "allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def run_cli(main: Callable[[], None]) -> None:
    """Runs `main`; a `UserError` becomes one `error: ...` line on stderr and exit code 2, Ctrl-C one line and 130."""
    # A polite kill cleans up just as Ctrl-C does; and shells start background jobs with Ctrl-C switched off.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be no text, or none that a terminal knows
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main()
    except UserError as error:
        print(f"error: {shortened(one_line(str(error)))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; files written so far are complete", file=sys.stderr)
        sys.exit(130)


def one_line(text: str) -> str:
    """`text` with every run of white space, line breaks included, as a single space; see `printable`."""
    return printable(" ".join(text.split()))


def printable(name: str) -> str:
    """A file's name as text that every program can write: bytes that are not UTF-8 as ``\\xd5``."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\\udc", "\\x")


def shortened(text: str, most: int = 1000) -> str:
    """`text` if it has at most `most` characters; else its beginning and its end."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} ... {text[-most // 4 :]}"


def check_file(path: str | Path, what: str, *, most: int = 2**36) -> None:
    """Look at a file before it is opened: devices and pipes never end, and a file of another size is another file.

    Args:
        what: the kind of file, for the message: "no such ... file".
        most: bytes.

    Raises:
        UserError: there is no such file, it is no regular file, is empty, or has more than `most` bytes.
    """
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what} file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"{path}: cannot be read: {reason(error) if isinstance(error, OSError) else error}") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or pipe"
        raise UserError(f"{path}: {what}: expected a regular file, found {kind}")
    if not 0 < found.st_size <= most:
        raise UserError(f"{path}: {what}: expected a file of 1 to {most:,} bytes, found {found.st_size:,}")


def reason(error: OSError) -> str:
    """The words of an `OSError` without its number and path, e.g. `Permission denied`."""
    return error.strerror or type(error).__name__


def file_sha256(path: str | Path) -> str:
    """The checksum of a file of any size, in hex."""
    total = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def resolve_device(name: str) -> torch.device:
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N` as a device that is there.

    Raises:
        UserError: another name, or no such CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (kind == "cpu" and index) or (":" in name and not index.isdecimal()):
        raise UserError(f"--device: expected auto, cpu, cuda or cuda:N, found '{name}'")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= count:
        raise UserError(f"--device {name}: expected a CUDA device, found {count or 'none'} on this machine")
    return torch.device(name)


_PARTIAL = re.compile(r"\..+\.(?:([0-9a-f]{8})-)?(\d+)\.partial(?:\.[^.]*)?")
STALE_AFTER = 24 * 3600  # seconds in which nothing was written


@functools.cache
def _machine() -> str:
    """Eight digits for where process ids mean something: this computer, or a container on it."""
    try:
        ids = os.readlink("/proc/self/ns/pid")
    except OSError:
        ids = ""
    return f"{zlib.crc32(f'{socket.gethostname()} {ids}'.encode()):08x}"


def partial_path(path: Path) -> Path:
    """A temporary name beside `path`, with the same suffix, that says which process it belongs to."""
    return path.with_name(f".{path.stem}.{_machine()}-{os.getpid()}.partial{path.suffix}")


@functools.cache  # once a process and folder: there may be many files
def remove_stale(folder: Path) -> None:
    """Remove partial files whose process is dead, or, where that cannot be known, that were left for a day."""
    for path in folder.glob(".*.partial*"):
        match = _PARTIAL.fullmatch(path.name)
        if match is None:
            continue
        with suppress(OSError):  # another process removes it, too
            dead = match[1] == _machine() and not _is_alive(int(match[2]))
            if dead or path.stat().st_mtime < time.time() - STALE_AFTER:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        return True  # asking would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name beside `path` (same suffix): renamed on success, removed on failure.

    Missing folders are made. Readers never see a partial file under `path`, and a file that was there stays until the
    new one is whole. What killed processes left in the folder goes.

    Raises:
        UserError: the folder cannot be made or written to, or the body raised an `OSError`: the disk is full.
    """
    path = Path(path)
    temporary = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent)
        temporary.touch()
    except OSError as error:
        raise UserError(f"{path}: cannot write there: {reason(error)}") from error
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        kept = "; the one before it is still there" if path.exists() else ""
        raise UserError(f"{path}: cannot be written: {reason(error)}{kept}") from error
    finally:
        # After a successful rename the temporary name is gone already; anything else must not stay behind.
        with suppress(FileNotFoundError):
            temporary.unlink()
