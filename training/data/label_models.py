"""Which body and face model the labels of a data set refer to, by the names that its manifest keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch_utils.assets import find_asset
from torch_utils.misc import UserError, file_sha256

EMBEDDED = "embedded"
KINDS = ("body", "face")
MODEL_FOLDER = Path("smpl_models")


def model_name(path: str | Path | None) -> str:
    """A model file's name and the beginning of its checksum; ``embedded`` for None."""
    return f"{Path(path).name} {file_sha256(path)[:12]}" if path else EMBEDDED


def named_models(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Names by kind, of sets that were prepared from tracking; nothing of others."""
    return dict(manifest.get("models", {}))


def find_model(kind: str, named: str, where: str | Path) -> Path | None:
    """The file of a model that a manifest names; None for the embedded one.

    Raises:
        UserError: it is not in smpl_models/, or is another file.
    """
    if named == EMBEDDED:
        return None
    path = MODEL_FOLDER / named.rpartition(" ")[0]
    place = find_asset(path)
    found = model_name(place) if place.is_file() else "none"
    if found != named:
        expected = f"expected the {kind} model of its labels, {named}, as {path} or as --{kind}_model FILE"
        raise UserError(f"{where}: {expected}, found {found}")
    return place


def check_models(manifest: Mapping[str, Any], files: Mapping[str, str | Path | None], where: str | Path) -> None:
    """UserError unless ``files`` by kind (None: embedded) are the models that the manifest names, where it does."""
    for kind, named in named_models(manifest).items():
        if (found := model_name(files[kind])) != named:
            raise UserError(f"{where}: expected --{kind}_model to be that of its labels, {named}, found {found}")
