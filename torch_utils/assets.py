"""Files that have their place in the repository, found from any working directory."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ckpts", "smpl_models")
SMPL_FILES = ("smpl_models/SMPL_NEUTRAL.pkl", "smpl_models/SMPL_NEUTRAL.npz")
FACE_FILES = ("smpl_models/BFM_model_front.mat",)


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


def _first(names: tuple[str, ...]) -> Path | None:
    return next((path for path in map(find_asset, names) if path.is_file()), None)
