"""Data sets on disk: reading one back (:func:`open_dataset`); :class:`DatasetWriter` makes them.

::

    manifest.json      format, name, num, image_size, face_size, made_by, checksums
    images/000000.png  8-bit RGB, image_size^2, white background, in the portrait camera's framing
    faces/000000.png   8-bit RGB, face_size^2, the same person in the face camera's framing
    masks/000000.png   optional, 8-bit grey, foreground
    depth/000000.png   optional, with normals/, face_depth/, face_normals/: maps of image and face (training.data.maps)
    labels.npz         float32, a row per image in the order of the sorted names (shapes: layout.LABEL_SHAPES); what
                       came in another format (layout.DOUBLE) float64

in a folder, or in an uncompressed zip of the same tree.
"""

from __future__ import annotations

import hashlib
import io
import json
from functools import cached_property
from pathlib import Path

import numpy as np

from torch_utils.misc import UserError
from training.data.layout import (
    DEPTH,
    FACE_DEPTH,
    FACE_NORMALS,
    FACES,
    IMAGES,
    LABELS,
    MASKS,
    NORMALS,
    FolderTree,
    ZipTree,
    open_tree,
    read_manifest,
)
from training.data.writer import DatasetWriter

__all__ = ["Dataset", "DatasetWriter", "Pictures", "open_dataset"]


class Pictures:
    """The PNG files of a data set by index: all that a worker process needs, small to pickle and to inherit."""

    def __init__(self, tree: FolderTree | ZipTree) -> None:
        self.tree = tree
        prefix = f"{IMAGES}/"
        names = tree.names[np.char.startswith(tree.names, prefix)] if len(tree.names) else tree.names
        self.names = np.array([name[len(prefix) :] for name in names.tolist()], dtype=str)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, folder: str, index: int) -> bytes:
        """Bytes of the PNG of row ``index`` in ``images``, ``faces``, ``masks`` ...; UserError where it is missing."""
        return self.tree.read(f"{folder}/{self.names[index]}")


class Dataset:
    """An opened data set.

    Only the manifest and the labels are in memory. :func:`training.data.checks.check_dataset` says whether it is sound.
    """

    def __init__(self, path: Path, tree: FolderTree | ZipTree) -> None:
        self.path = path
        self.manifest = read_manifest(tree)
        self.labels = _read_labels(path, tree)
        self.pictures = Pictures(tree)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def image_size(self) -> int:
        return self.manifest["image_size"]

    @property
    def face_size(self) -> int:
        return self.manifest["face_size"]

    @cached_property
    def checksum(self) -> str:
        """sha256 over the manifest's checksums: the same for a folder and for the zip of it."""
        parts = {"files": self.manifest["files"], "labels": self.manifest["labels_sha256"]}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def summary(self) -> str:
        """What it is and where it comes from, in a line."""
        size, made_by = f"{self.image_size}^2, faces {self.face_size}^2", self.manifest["made_by"]
        return f"{len(self)} portraits of {size}, made by {made_by}, checksum {self.checksum}"

    def read_image(self, index: int) -> bytes:
        """PNG bytes of an image. Raises UserError naming the file where it is missing."""
        return self.pictures.read(IMAGES, index)

    def read_face(self, index: int) -> bytes:
        """PNG bytes of a face crop. Raises UserError naming the file where it is missing."""
        return self.pictures.read(FACES, index)

    def read_mask(self, index: int) -> bytes:
        """PNG bytes of a mask. Raises UserError naming the file where it is missing."""
        return self.pictures.read(MASKS, index)

    @property
    def has_masks(self) -> bool:
        """Whether images come with masks."""
        return any(name.startswith(f"{MASKS}/") for name in self.manifest["files"])

    @property
    def has_maps(self) -> bool:
        """Whether images and faces come with depth and normals."""
        return any(name.startswith(f"{DEPTH}/") for name in self.manifest["files"])

    def read_depth(self, index: int, *, face: bool = False) -> bytes:
        """PNG bytes of an image's depth, or a face's (training.data.maps). Raises UserError where it is missing."""
        return self.pictures.read(FACE_DEPTH if face else DEPTH, index)

    def read_normals(self, index: int, *, face: bool = False) -> bytes:
        """PNG bytes of an image's normals, or a face's (training.data.maps); UserError where they are missing."""
        return self.pictures.read(FACE_NORMALS if face else NORMALS, index)


def open_dataset(path: str | Path) -> Dataset:
    """Opens a folder or an uncompressed zip.

    Raises:
        UserError: there is no data set, the zip is cut short or compressed, or manifest or labels cannot be read.
    """
    return Dataset(Path(path), open_tree(path))


def _read_labels(path: Path, tree: FolderTree | ZipTree) -> dict[str, np.ndarray]:
    data = tree.read(LABELS)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and numpy raise many kinds for a damaged archive
        raise UserError(f"{path}: {LABELS} is not a readable archive of plain arrays ({error})") from None
