"""Small tables that were measured on the open body, each a file of its own: written and read in one way."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from networks.person.open_body.storage import NAME
from torch_utils.misc import UserError, atomic_path
from torch_utils.tensor_file import read_tensor_file, write_tensor_file


def write_table(path: Path, kind: str, version: int, arrays: Mapping[str, Tensor], metadata: dict[str, Any]) -> None:
    """Writes a table of a ``kind``; the same arrays give the same bytes."""
    with atomic_path(path) as temporary:
        write_tensor_file(temporary, {kind: version, "body": NAME, "metadata": metadata, **arrays})


def read_table(path: Path, kind: str, version: int, what: str, program: str) -> dict[str, Any]:
    """Reads a table: its arrays and ``metadata``.

    Args:
        path: of the file.
        kind: of the table, with its ``version``.
        what: it holds, for messages.
        program: the module that makes it.

    Raises:
        UserError: missing, damaged, or of another body than the open one that is here.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; expected {what} (python -m {program})")
    data = read_tensor_file(path)
    if data.get(kind) != version or data.get("body") != NAME:
        raise UserError(f"{path}: expected {what} on {NAME}, found {data.get('body', 'another file')}")
    return data
