"""MATLAB files, as the face models and trackers of other people write them; reading one runs no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scipy.io import loadmat

from torch_utils.misc import UserError


def load_mat(path: str | Path, what: str) -> dict[str, Any]:
    """The arrays of a MATLAB file by their names.

    Args:
        path: of the file.
        what: the file should be, for the message where there is none.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file: expected {what}")
    try:
        data = loadmat(path)
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise UserError(f"{path}: not a readable MATLAB file ({type(error).__name__}: {error})") from None
    return {name: array for name, array in data.items() if not name.startswith("__")}


def mat_array(data: dict[str, Any], name: str, path: str | Path) -> Any:
    """The array ``name`` of :func:`load_mat`'s. Raises UserError that tells which arrays there are instead."""
    if name not in data:
        raise UserError(f"{path}: no array '{name}' (it has: {', '.join(sorted(data)) or 'nothing'})")
    return data[name]
