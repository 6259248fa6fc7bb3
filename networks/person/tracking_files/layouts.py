"""How programs lay out their files of SMPL fits: a file's data -> who was found in which photo.

| program | data |
|---|---|
| SPIN, training sets | table: arrays with a row a person, ``imgname`` among them |
| SPIN, ``eval.py``; ``*_fits.npy`` | table without names; [N, 82] pose and shape |
| EFT | list of records, or ``{"data": [records]}``, each with ``imageName``; its fitter a record a file |
| Bodymocap, FrankMocap | a file a photo: list of records; ``{"image_path": ..., "pred_output_list": [records]}`` |
| VIBE, PARE, PyMAF and their kin | ``{person: table}`` with ``frame_ids``; PARE on a folder: a table a photo |
| PHALP, 4D-Humans | ``{frame: {"tid": [...], "smpl": [...], "camera_bbox": [...], ...}}`` |
| ROMP | ``results``: a table, or ``{photo: table}`` |
| SMPLify-X | ``NAME/000.pkl``: a record a person |

Rows of some are counted and not named; their names are numbers then, from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from networks.person.tracking_files.record import BETAS, POSES, USED, first_key, has_pose
from torch_utils.misc import UserError

NAME_KEYS = ("imgname", "imageName", "image_name", "image_path", "img_path")
ONE_POSE = ((72,), (24, 3), (24, 3, 3), (69,), (63,), (32,), (23, 3), (21, 3), (23, 3, 3), (21, 3, 3))  # shapes
MAX_BETAS = 10


class Detection(NamedTuple):
    """A person in a photo."""

    name: str | int  # of the photo, without folders and suffix; or which frame it is
    person: str | None  # whatever the program calls them, if anything
    record: Any  # see record.py


def photo_stem(name: str) -> str:
    """A photo's name without folders and suffix, by any system's rules: ``C:\\photos\\anna.jpg`` -> ``anna``."""
    return PureWindowsPath(name).stem


def detections(data: Any, where: str, photo: str | None = None) -> list[Detection]:
    """Everybody in a file.

    Args:
        data: what the file holds.
        where: it is, for messages.
        photo: name of the photo that the file belongs to; None for a file of many photos.

    Raises:
        UserError: there is no telling what the file is.
    """
    if isinstance(data, np.ndarray) and data.ndim == 2 and data.shape[1] == 82:
        return [Detection(row, None, {"pose": fit[:72], "betas": fit[72:]}) for row, fit in enumerate(data)]
    if isinstance(data, np.ndarray):
        raise UserError(f"{where}: expected SPIN's fits [N, 82], found an array {list(data.shape)}")
    if isinstance(data, Mapping):
        found = _in_mapping(data, where, photo)
    elif isinstance(data, list | tuple):
        found = _in_list(data, where, photo)
    else:
        raise UserError(f"{where}: expected a table, list or mapping of SMPL fits, found {type(data).__name__}")
    return list(found)


def _in_mapping(data: Mapping, where: str, photo: str | None) -> Iterable[Detection]:
    names = first_key(data, NAME_KEYS)
    some = next((value for value in data.values() if isinstance(value, Mapping)), {}) if names is None else {}
    if "results" in data:
        return _romp(data["results"], photo, where)
    if "pred_output_list" in data:
        people = [one for one in data["pred_output_list"] if one]
        return _in_list(people, where, photo if names is None else _stem(data[names]))
    if names is not None and np.ndim(data[names]) == 1 and (photo is None or len(data[names]) > 1):
        return _named_rows(data, names, where)
    if has_pose(data):
        return _rows(data, where, photo if names is None else _stem(data[names]))
    if isinstance(data.get("data"), list):
        return _in_list(data["data"], where, photo)
    if "frame_ids" in some:
        return _tracks(data, where)
    if "smpl" in some and "tid" in some:
        return _phalp(data)
    if photo is not None:
        return [Detection(photo, None, data)]
    if not some:
        raise UserError(
            f"{where}: expected SMPL fits, found a file of: {', '.join(sorted(map(str, data))) or 'nothing'}"
        )
    return (Detection(_stem(name), None, record) for name, record in data.items())


def _in_list(records: Iterable, where: str, photo: str | None) -> Iterator[Detection]:
    """Records that have names, or all belong to ``photo``."""
    for number, record in enumerate(records):
        key = first_key(record, NAME_KEYS) if isinstance(record, Mapping) else None
        if key is None and photo is None:
            raise UserError(f"{where}: record {number}: expected a photo's name in '{NAME_KEYS[0]}', found none")
        name = photo or "" if key is None else _stem(record[key])
        yield Detection(name, None, _trimmed(record))


def _named_rows(table: Mapping, names_key: str, where: str) -> Iterator[Detection]:
    """A table with a column of names."""
    names = [_stem(name) for name in np.asarray(table[names_key]).tolist()]
    columns = {key: np.asarray(table[key]) for key in table if key in USED or key == "has_smpl"}
    for key, column in columns.items():
        if column.shape[:1] != (len(names),):
            raise UserError(
                f"{where}: '{key}': expected {len(names)} rows as '{names_key}', found shape {list(column.shape)}"
            )
    there = columns.pop("has_smpl", np.ones(len(names)))  # SPIN's training sets: rows of zeros where there is no fit
    for row in np.flatnonzero(there):
        yield Detection(names[row], None, {key: column[row] for key, column in columns.items()})


def _rows(table: Mapping, where: str, photo: str | None) -> Iterator[Detection]:
    """A record, or a table without names: people of ``photo``, or (None) one person in each of many photos."""
    columns = _trimmed(table)
    key = first_key(columns, POSES) or "body_pose"
    shape = np.shape(columns[key])
    if shape in ONE_POSE:
        if photo is None:
            raise UserError(f"{where}: expected fits of named photos, found one of none; give the folder it is in")
        yield Detection(photo, None, columns)
        return
    count = shape[0] if shape else 0
    for row in range(count):
        record = {k: np.asarray(column)[row] for k, column in columns.items() if np.shape(column)[:1] == (count,)}
        yield Detection(row if photo is None else photo, None, record)


def _tracks(people: Mapping, where: str) -> Iterator[Detection]:
    """VIBE and its kin: a table for each person."""
    for person, table in people.items():
        frames = np.asarray(table["frame_ids"]).ravel()
        for frame, detection in zip(frames, _rows(table, f"{where}: person {person}", None), strict=False):
            yield Detection(int(frame), str(person), detection.record)


def _phalp(frames: Mapping) -> Iterator[Detection]:
    """PHALP; people it has lost for a moment keep their last fit with a ``tracked_time``, and are left out."""
    for key, frame in frames.items():
        name = _stem(key) if isinstance(key, str) else int(frame["time"])
        lost = frame.get("tracked_time") or [0] * len(frame["tid"])
        for i, person in enumerate(frame["tid"]):
            if lost[i]:
                continue
            record = dict(frame["smpl"][i])
            if frame.get("camera_bbox"):
                side = float(np.max(frame["scale"][i])) / 200
                record |= {"camera_bbox": frame["camera_bbox"][i], "center": frame["center"][i], "scale": side}
            yield Detection(name, str(person), record)


def _romp(results: Any, photo: str | None, where: str) -> Iterator[Detection]:
    """ROMP: the camera sees the square around the photo. BEV's, which has 11 numbers of shape, is another."""
    if isinstance(results, Mapping) and not has_pose(results):
        for name, frame in results.items():
            yield from _romp(frame, _stem(name), where)
        return
    if photo is None:
        raise UserError(f"{where}: expected results of named photos, found those of one; give the folder it is in")
    if isinstance(results, Mapping):
        count = len(results[first_key(results, POSES) or "body_pose"])
        keys = [key for key in (*POSES, *BETAS, "cam", "track_ids") if key in results]
        people = [{key: results[key][i] for key in keys} for i in range(count)]
    else:
        people = [dict(one) for one in results]
    for one in people:
        record = _trimmed(one)
        camera, betas = record.pop("cam", None), first_key(record, BETAS)
        if camera is not None and (betas is None or np.size(record[betas]) == MAX_BETAS):
            record |= {"scaled_cam": camera, "whole_photo": True}
        yield Detection(photo, str(one["track_ids"]) if "track_ids" in one else None, record)


def _trimmed(record: Any) -> Any:
    """What is read of a record: files may hold all its vertices besides."""
    if not isinstance(record, Mapping):
        return record
    return {key: record[key] for key in record if key in USED and record[key] is not None}


def _stem(name: Any) -> str:
    """:func:`photo_stem` of what a file has for a name."""
    if isinstance(name, np.ndarray | list | tuple):
        name = name[0]
    name = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return photo_stem(name)
