"""``.npz`` archives of other people, arrays of objects included; reading one runs no code."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from torch_utils.misc import UserError, reason
from torch_utils.safe_pickle import read_pickle


class SafeArchive(Mapping[str, Any]):
    """The arrays of an ``.npz`` file by their names, each read when it is asked for.

    An array of objects is a pickle and goes through :mod:`torch_utils.safe_pickle`; one without dimensions, as
    ``np.savez(results=dictionary)`` makes it, comes back as what it holds. What nobody asks for is not looked at.

    Raises:
        UserError: there is no such file, it is no archive, or (when asked) an array is damaged or wants to run code.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                self._members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        except FileNotFoundError:
            raise UserError(f"{self.path}: no such file") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read: {reason(error)}") from None
        except Exception as error:  # a damaged archive raises many kinds
            raise UserError(f"{self.path}: not a readable .npz archive ({error})") from error

    def __getitem__(self, name: str) -> Any:
        member = self._members[name]
        where = f"{self.path}: '{name}'"
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(member) as file:
                if not _holds_objects(file):
                    file.seek(0)
                    return np.lib.format.read_array(file, allow_pickle=False)
                value = read_pickle(file, where)
        except UserError:
            raise
        except Exception as error:  # zipfile and numpy raise many kinds
            raise UserError(f"{where}: damaged or cut short ({type(error).__name__}: {error})") from error
        return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _holds_objects(file: IO[bytes]) -> bool:
    """Reads the header of an ``.npy`` file; the data comes next."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)[2].hasobject
