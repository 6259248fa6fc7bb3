"""The format of a data set on disk: names, shapes, and how its files are reached in a folder or an uncompressed zip."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from torch_utils.files import is_clutter, list_files
from torch_utils.misc import UserError, reason
from training.data.label_models import KINDS

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
LABELS = "labels.npz"
IMAGES, FACES, MASKS = "images", "faces", "masks"
# Maps of images and of faces (training/data/maps.py).
DEPTH, NORMALS, FACE_DEPTH, FACE_NORMALS = MAPS = ("depth", "normals", "face_depth", "face_normals")
PICTURE_FOLDERS = (IMAGES, FACES, MASKS, *MAPS)
# Shape of one row of every label; float32. Angles are radians, cameras (pitch, yaw).
LABEL_SHAPES = {
    "camera": (2,),
    "joint_eulers": (6, 3),
    "betas": (10,),
    "z_id": (80,),
    "z_exp": (64,),
    "face_camera": (2,),
}
FILLED = "filled"  # share of the image that shows the person beyond the photo's edge, made up (prepare --fill)
# Landmarks: pixels of the image, x right, y down, pixel centres at integers.
# Cameras and rough poses that came in other projects' format (training/data/eg3d.py), to the last bit.
CAMERA25, ROUGH_POSE = "camera25", "rough_pose"
OPTIONAL_LABEL_SHAPES = {"landmarks": (68, 2), FILLED: (), CAMERA25: (25,), ROUGH_POSE: (6,)}
DOUBLE = (CAMERA25, ROUGH_POSE)  # float64; all others are float32


def label_type(name: str) -> type[np.floating]:
    """What numbers of a label are."""
    return np.float64 if name in DOUBLE else np.float32


class Tree(Protocol):
    """Files of a data set by their name in it, such as ``images/000000.png``."""

    names: np.ndarray  # sorted, str
    repeated: tuple[str, ...]  # names that occur more than once

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises UserError naming it where it is missing or cannot be read."""


class FolderTree:
    """A data set in a folder."""

    repeated = ()

    def __init__(self, root: Path) -> None:
        self.root = root
        names = [name for name in (MANIFEST, LABELS) if (root / name).is_file()]
        for folder in PICTURE_FOLDERS:
            if (root / folder).is_dir():
                names += [f"{folder}/{file.name}" for file in list_files(root / folder)]
        self.names = np.array(sorted(names), dtype=str)

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise UserError(f"{self.root / name}: cannot be read: {reason(error)}") from None


class ZipTree:
    """A data set in an uncompressed zip.

    Only arrays of names, offsets and sizes are kept and the file is opened for every read: nothing breaks when worker
    processes inherit or unpickle a tree, and they share its memory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            with zipfile.ZipFile(root) as archive:
                entries = archive.infolist()
            # An archive cut short may still end with the one inside it, labels.npz, which then begins later.
            complete = min((entry.header_offset for entry in entries), default=0) == 0
        except (zipfile.BadZipFile, NotImplementedError, ValueError):  # ValueError: a damaged directory's names
            complete = False
        if not complete:
            raise UserError(f"{root}: not a complete zip file; was it cut short?")
        entries = [entry for entry in entries if not entry.is_dir() and not is_clutter(entry.filename)]
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise UserError(
                    f"{root}: {entry.filename} is compressed or encrypted; expected an uncompressed zip (zip -0 -r)"
                )
        entries.sort(key=lambda entry: entry.filename)
        self.names = np.array([entry.filename for entry in entries], dtype=str)
        self._offsets = np.array([entry.header_offset for entry in entries], dtype=np.int64)
        self._sizes = np.array([entry.file_size for entry in entries], dtype=np.int64)
        unique, counts = np.unique(self.names, return_counts=True)
        self.repeated = tuple(unique[counts > 1].tolist())

    def read(self, name: str) -> bytes:
        index = int(np.searchsorted(self.names, name))
        if index == len(self.names) or self.names[index] != name:
            raise UserError(f"{self.root}: no file {name} inside")
        size = int(self._sizes[index])
        try:
            with self.root.open("rb") as file:
                file.seek(int(self._offsets[index]))
                header = file.read(30)  # the local header: its last two fields are the lengths of name and extra
                skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
                file.seek(skip, os.SEEK_CUR)
                data = file.read(size)
        except OSError as error:
            raise UserError(f"{self.root}: {name} cannot be read: {reason(error)}") from None
        if header[:4] != b"PK\x03\x04" or len(data) != size:
            raise UserError(f"{self.root}: {name} is damaged; was the zip cut short?")
        return data


def open_tree(path: str | Path) -> FolderTree | ZipTree:
    """The files under ``path``. Raises UserError: there is nothing, or it is neither folder nor sound zip."""
    path = Path(path)
    try:
        if path.is_dir():
            return FolderTree(path)
        if path.is_file():
            return ZipTree(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from None
    raise UserError(f"{path}: no such data set (expected a folder or an uncompressed zip)")


_MANIFEST_TYPES = {
    "format": int,
    "name": str,
    "num": int,
    "image_size": int,
    "face_size": int,
    "made_by": str,
    "labels_sha256": str,
    "files": dict,
}


CHECKSUM = "manifest_sha256"  # of the other entries; sets of earlier versions, and people's own, may have none
_OPTIONAL_KEYS = (CHECKSUM, "models", "original_names")


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """sha256 of a manifest without its own one."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def read_manifest(tree: FolderTree | ZipTree) -> dict[str, Any]:
    """The manifest of a finished data set. Raises UserError: there is none, it is damaged or of another format."""
    path = tree.root
    if MANIFEST not in tree.names:
        if any(name.endswith(f"/{MANIFEST}") for name in tree.names):
            raise UserError(f"{path}: {MANIFEST} is not at the top level; zip the folder's contents, not the folder")
        raise UserError(f"{path}: no {MANIFEST}: not a data set, or its making was not finished (run it again)")
    try:
        manifest = json.loads(tree.read(MANIFEST), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {MANIFEST} is not valid JSON: {error}") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: {MANIFEST}: expected a mapping, found {type(manifest).__name__}")
    for key, kind in _MANIFEST_TYPES.items():
        value = manifest.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            found = f"{type(value).__name__}" if key in manifest else "nothing"
            raise UserError(f"{path}: {MANIFEST}: '{key}': expected {kind.__name__}, found {found}")
    models = manifest.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(models.get(kind), str) for kind in KINDS if models):
        raise UserError(f"{path}: {MANIFEST}: 'models': expected names by {' and '.join(KINDS)}, found {models}")
    names = manifest.get("original_names", [])
    if not isinstance(names, list) or (names and len(names) != manifest["num"]):
        raise UserError(f"{path}: {MANIFEST}: 'original_names': expected one of every picture, found {len(names)}")
    known = {*_MANIFEST_TYPES, *_OPTIONAL_KEYS}
    if unknown := [key for key in manifest if key not in known]:
        raise UserError(f"{path}: {MANIFEST}: unknown key '{unknown[0]}'; expected {', '.join(sorted(known))}")
    if manifest.pop(CHECKSUM, None) not in (None, manifest_checksum(manifest)):
        raise UserError(f"{path}: {MANIFEST} is damaged: it is not what its checksum is of")
    if manifest["format"] != FORMAT_VERSION:
        raise UserError(f"{path}: {MANIFEST}: expected format {FORMAT_VERSION}, found {manifest['format']}")
    return manifest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object that says no to a repeated key instead of keeping the last one."""
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"'{repeated}' is listed twice")
    return mapping
