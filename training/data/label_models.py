"""Which body and face model the labels of a data set refer to, by the names that its manifest keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from networks.person.open_body.storage import NAME as OPEN
from torch_utils.assets import find_asset
from torch_utils.misc import UserError, file_sha256

EARLIER = "embedded"  # body and face of earlier versions; sets that name no models may be of them
KINDS = ("body", "face")
DEFAULT_MODELS = dict.fromkeys(KINDS, OPEN)
MODEL_FOLDER = Path("smpl_models")


def model_name(path: str | Path | None) -> str:
    """A model file's name and the beginning of its checksum; that of the open body for None."""
    return f"{Path(path).name} {file_sha256(path)[:12]}" if path else OPEN


def named_models(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Names by kind; nothing of sets of earlier versions that keep none."""
    return dict(manifest.get("models", {}))


def find_model(kind: str, named: str | None, where: str | Path) -> Path | None:
    """The file of a model that a manifest names; None for the open one.

    Raises:
        UserError: it is not in smpl_models/, or is another file, or belonged to an earlier version.
    """
    _check_age(kind, named, where)
    if named == OPEN:
        return None
    path = MODEL_FOLDER / str(named).rpartition(" ")[0]
    place = find_asset(path)
    found = model_name(place) if place.is_file() else "none"
    if found != named:
        expected = f"expected the {kind} model of its labels, {named}, as {path} or as --{kind}_model FILE"
        raise UserError(f"{where}: {expected}, found {found}")
    return place


def check_models(manifest: Mapping[str, Any], files: Mapping[str, str | Path | None], where: str | Path) -> None:
    """UserError unless ``files`` by kind (None: the open one) are the models that the manifest names."""
    for kind, path in files.items():
        named = named_models(manifest).get(kind)
        if named is None and path is not None:
            continue  # a set of an earlier version, which kept no names of files
        _check_age(kind, named, where)
        if (found := model_name(path)) != named:
            raise UserError(f"{where}: expected --{kind}_model to be that of its labels, {named}, found {found}")


def _check_age(kind: str, named: str | None, where: str | Path) -> None:
    if named in (None, EARLIER):
        raise UserError(
            f"{where}: its labels refer to the {kind} model of an earlier version; expected {OPEN}: make the set again"
        )
