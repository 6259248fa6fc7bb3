"""The journal of a data set in the making: a line of JSON per item, so that a kill loses nothing."""

from __future__ import annotations

import base64
import errno
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from torch_utils.misc import UserError, reason

_USUAL, _DOUBLE = "<f4", "<f8"


class Row(NamedTuple):
    """What a data set knows of an item besides its pictures."""

    files: dict[str, str]  # name -> sha256
    labels: dict[str, np.ndarray]  # float32, some float64


class Journal:
    """Rows by index, appended line by line to a file. The first line is the set's header.

    A last line that a kill cut short is dropped on opening. Only one process may have it open at a time.

    Raises:
        UserError: the file cannot be written or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: dict[str, Any] | None = None  # None: a new journal
        self.rows: dict[int, Row] = {}
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {reason(error)}") from None
        self._file.truncate(self._replay())

    def write_header(self, header: dict[str, Any]) -> None:
        """The first line of a new journal."""
        self._append(header)
        self.header = header

    def add(self, index: int, row: Row) -> None:
        """Appends a row; on disk when this returns. Raises UserError on a full disk, and the journal stays sound."""
        labels = {name: _encode(value) for name, value in row.labels.items()}
        self._append({"index": index, "files": row.files, "labels": labels})
        self.rows[index] = row

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def _replay(self) -> int:
        """Takes up the lines that are there; returns where the last complete one ends."""
        end = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    if number == 1:
                        self.header = dict(entry)
                    else:
                        labels = {name: _decode(*value) for name, value in entry["labels"].items()}
                        self.rows[int(entry["index"])] = Row(dict(entry["files"]), labels)
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise UserError(f"{self.path}: line {number} is damaged; remove the folder") from None
                end += len(line)
        return end

    def _append(self, entry: dict[str, Any]) -> None:
        line, end = json.dumps(entry).encode() + b"\n", os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._file.truncate(end)
            raise UserError(f"{self.path}: cannot be written: {reason(error)}") from None


def _encode(row: np.ndarray) -> list[Any]:
    kind = f"<f{row.dtype.itemsize}"
    return [list(row.shape), base64.b64encode(row.astype(kind).tobytes()).decode(), *([kind] if kind != _USUAL else [])]


def _decode(shape: list[int], text: str, kind: str = _USUAL) -> np.ndarray:
    if kind not in (_USUAL, _DOUBLE):
        raise ValueError(f"expected {_USUAL} or {_DOUBLE}")
    return np.frombuffer(base64.b64decode(text), kind).astype(kind[1:]).reshape(shape)
