"""Writing a data set so that a kill, a full disk or Ctrl-C loses nothing that was written."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from torch_utils.files import is_clutter
from torch_utils.locks import hold
from torch_utils.misc import UserError, atomic_path, reason
from training.data.journal import Journal, Row
from training.data.label_models import DEFAULT_MODELS
from training.data.layout import (
    CHECKSUM,
    FACES,
    FORMAT_VERSION,
    IMAGES,
    LABEL_SHAPES,
    LABELS,
    MANIFEST,
    MAPS,
    MASKS,
    OPTIONAL_LABEL_SHAPES,
    PICTURE_FOLDERS,
    label_type,
    manifest_checksum,
    open_tree,
    read_manifest,
)

_JOURNAL, _LOCK = "journal.jsonl", ".lock"
_MAX_INDEX = 999_999  # six digits: names sort like numbers


class DatasetWriter:
    """Makes a data set, by one process (others may produce what it writes).

    ::

        with DatasetWriter("datasets/synth", image_size=128, face_size=64, name="synth", made_by="...") as writer:
            for index in set(range(num)) - writer.done:
                writer.add(index, image_png, face_png, labels)
            writer.finish()

    Items are complete on disk when ``add`` returns; the same call resumes after a kill. Indices may have gaps and come
    in any order. Until ``finish``, labels and checksums live in a journal beside the pictures (for a zip: in the
    folder ``NAME.zip.partial``).

    Args:
        path: of a folder, or of a zip where it ends in ``.zip``.
        image_size, face_size: pixels a side.
        name: of the data set.
        made_by: what makes it, with every setting that an item's content follows from; resuming with others is refused.
        models: the body and face model that its labels refer to, see training.data.label_models.
        original_names: of all its pictures, in order, in the archive that they were taken from.

    Raises:
        UserError: the place cannot be written to, holds something else or a set with other settings, or another
            process is writing it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_size: int,
        face_size: int,
        name: str,
        made_by: str,
        models: Mapping[str, str] = DEFAULT_MODELS,
        original_names: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._zip = self.path.suffix.lower() == ".zip"
        self._root = self.path.with_name(self.path.name + ".partial") if self._zip else self.path
        self.settings = {
            "format": FORMAT_VERSION,
            "name": name,
            "image_size": image_size,
            "face_size": face_size,
            "made_by": made_by,
            "models": dict(models),
        }
        if original_names is not None:
            self.settings["original_names"] = list(original_names)
        self._open = ExitStack()
        self._finished = self._find_finished()
        self._begun = self._open_journal() if self._finished is None else None

    @property
    def _journal(self) -> Journal:
        """Of a set that is not finished."""
        assert self._begun is not None
        return self._begun

    @property
    def done(self) -> frozenset[int]:
        """Indices that are complete on disk."""
        return frozenset(self._journal.rows) if self._finished is None else self._finished

    @property
    def finished(self) -> bool:
        """Whether the data set is whole; nothing can be added then."""
        return self._finished is not None

    def add(
        self,
        index: int,
        image_png: bytes,
        face_png: bytes,
        labels: Mapping[str, Any],
        mask_png: bytes | None = None,
        maps: Mapping[str, bytes] | None = None,
    ) -> None:
        """Writes one item; one that is there already is replaced.

        Args:
            index: 0..999999; names and the order of the rows follow from it.
            image_png, face_png, mask_png: PNG files; either all items have a mask or none.
            labels: a row of every array of ``labels.npz``; extra arrays are kept, the same in all items.
            maps: PNG files of depth and normals by layout.MAPS; either all items have all of them or none.

        Raises:
            UserError: a label is missing, misshapen or not finite, or the disk is full. Earlier items stay.
        """
        if self._finished is not None:
            raise UserError(
                f"{self.path}: the data set is finished; nothing can be added: choose another place or remove it first"
            )
        if not 0 <= index <= _MAX_INDEX:
            raise UserError(f"{self.path}: expected an index in 0..{_MAX_INDEX}, found {index}")
        row_labels = _checked_labels(labels, f"{self.path}: item {index}")
        pictures = {IMAGES: image_png, FACES: face_png} | ({} if mask_png is None else {MASKS: mask_png})
        pictures |= {folder: maps[folder] for folder in MAPS} if maps else {}
        files = {f"{folder}/{index:06d}.png": data for folder, data in pictures.items()}
        row = Row({name: hashlib.sha256(data).hexdigest() for name, data in files.items()}, row_labels)
        self._check_alike(index, row)
        for name, data in files.items():
            _write(self._root / name, data)
        self._journal.add(index, row)

    def finish(self) -> None:
        """Writes labels and manifest, and packs a zip; the data set is whole when this returns. Again does nothing.

        Raises:
            UserError: there are no items, or the disk is full (what was added stays; run again to finish).
        """
        if self._finished is not None:
            return
        rows = [row for _, row in sorted(self._journal.rows.items())]
        if not rows:
            raise UserError(f"{self.path}: nothing to write: no items were added")
        files = {name: digest for row in rows for name, digest in row.files.items()}
        self._remove_strays(files)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {key: np.stack([row.labels[key] for row in rows]) for key in rows[0].labels}
        np.savez(buffer, **arrays)
        _write(self._root / LABELS, buffer.getvalue())
        manifest = self.settings | {
            "num": len(rows),
            "labels_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
            "files": dict(sorted(files.items())),
        }
        manifest_json = json.dumps(manifest | {CHECKSUM: manifest_checksum(manifest)}, indent=1).encode()
        if self._zip:
            self._pack(manifest_json, sorted(files))
        else:
            _write(self._root / MANIFEST, manifest_json)
        self._finished = self.done
        self.close()
        self._remove_remains()

    def close(self) -> None:
        """Lets go of the files; everything added stays and can be resumed."""
        self._open.close()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find_finished(self) -> frozenset[int] | None:
        """Indices of the finished set at ``path``; None where there is none."""
        if not (self.path.exists() if self._zip else (self.path / MANIFEST).exists()):
            return None
        manifest = read_manifest(open_tree(self.path))
        self._check_settings(manifest)
        self._remove_remains()  # of a kill just before the end
        return frozenset(int(Path(name).stem) for name in manifest["files"] if name.startswith(f"{IMAGES}/"))

    def _check_settings(self, found: Mapping[str, Any]) -> None:
        for key, value in self.settings.items():
            if found.get(key) != value:
                raise UserError(
                    f"{self.path}: holds a data set made with other settings: '{key}' is {found.get(key)!r}, "
                    f"now {value!r}; choose another place or remove it"
                )

    def _open_journal(self) -> Journal:
        path = self._root / _JOURNAL
        with ExitStack() as stack:
            try:
                if self._root.exists() and not path.exists() and self._holds_something():
                    raise UserError(f"{self._root}: not empty and not a data set begun here; choose another place")
            except OSError as error:
                raise UserError(f"{self._root}: cannot write there: {reason(error)}") from None
            stack.enter_context(hold(self._root / _LOCK, str(self.path), "writing this data set"))
            journal = Journal(path)
            stack.callback(journal.close)
            if journal.header is None:
                journal.write_header(self.settings)
            self._check_settings(journal.header or {})
            self._open = stack.pop_all()
        return journal

    def _holds_something(self) -> bool:
        """Anything that a person may miss: systems leave files of their own in folders that were opened once."""
        return any(not is_clutter(path.name) for path in self._root.iterdir())

    def _check_alike(self, index: int, row: Row) -> None:
        """Every item has the arrays, their shapes and the kinds of pictures of the first one."""
        first = next(iter(self._journal.rows.values()), row)
        for what, have, want in (
            ("labels", _shapes(row.labels), _shapes(first.labels)),
            ("pictures", [name.split("/")[0] for name in row.files], [name.split("/")[0] for name in first.files]),
        ):
            if have != want:
                raise UserError(f"{self.path}: item {index}: expected the {what} {want} of earlier items, found {have}")

    def _remove_strays(self, files: Mapping[str, str]) -> None:
        """Pictures that an interrupted run left and this one did not make again."""
        for folder in PICTURE_FOLDERS:
            for path in (self._root / folder).glob("*"):
                if path.is_file() and f"{folder}/{path.name}" not in files:
                    path.unlink()

    def _pack(self, manifest_json: bytes, names: list[str]) -> None:
        """The zip, the same bytes on every machine: fixed order, dates and permissions."""
        with atomic_path(self.path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in (*names, LABELS, MANIFEST):
                data = manifest_json if name == MANIFEST else (self._root / name).read_bytes()
                entry = zipfile.ZipInfo(name)
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                archive.writestr(entry, data)

    def _remove_remains(self) -> None:
        if self._zip:
            shutil.rmtree(self._root, ignore_errors=True)
        else:
            (self._root / _JOURNAL).unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _checked_labels(labels: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    """Rows as their own type, the standard ones of their standard shapes, all finite; else UserError."""
    missing = sorted(LABEL_SHAPES.keys() - labels.keys())
    if missing:
        raise UserError(f"{where}: missing label '{missing[0]}'")
    shapes: dict[str, tuple[int, ...]] = {**LABEL_SHAPES, **OPTIONAL_LABEL_SHAPES}
    rows = {}
    for name in sorted(labels):
        row: np.ndarray = np.asarray(labels[name], dtype=label_type(name))
        shape = shapes.get(name, row.shape)
        if row.shape != shape:
            raise UserError(f"{where}: label '{name}': expected shape {list(shape)}, found {list(row.shape)}")
        if not np.isfinite(row).all():
            raise UserError(f"{where}: label '{name}' holds NaN or infinity")
        rows[name] = row
    return rows


def _shapes(labels: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: list(row.shape) for name, row in labels.items()}
