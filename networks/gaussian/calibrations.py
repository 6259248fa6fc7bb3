"""Calibrations of multi-view captures, each as its set has it."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import roma
import torch

from torch_utils.misc import UserError, reason

CSV_COLUMNS = ("name", "w", "h", "rx", "ry", "rz", "tx", "ty", "tz", "fx", "fy", "px", "py")


class Camera(NamedTuple):
    """A pinhole camera; what calibrations say of distortion counts as taken out."""

    name: str
    world_to_camera: np.ndarray  # [4, 4] x right, y down, z forward
    intrinsics: np.ndarray  # [4] fx, fy, cx, cy in pixels
    size: tuple[int, int]  # height, width


def read_cameras(path: Path) -> list[Camera]:
    """Of either kind, by the file's suffix. Raises UserError."""
    return read_csv_cameras(path) if path.suffix.lower() == ".csv" else read_json_cameras(path)


def read_json_cameras(path: Path) -> list[Camera]:
    """AvatarReX's and THuman4.0's: {name: {K [9], R [9], T [3], imgSize [w, h]}}, X_camera = R X + T.

    Raises:
        UserError: naming the file, the camera and the key.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: a calibration cannot be read: {reason(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: expected a calibration as JSON, found {error}") from error
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path}: expected cameras by their names, found {type(data).__name__} of none")
    return [_json_camera(name, entry, f"{path}: camera {name}") for name, entry in data.items()]


def _json_camera(name: str, entry: Any, where: str) -> Camera:
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: expected K, R, T and imgSize, found {type(entry).__name__}")
    k, r, t = (_numbers(entry, key, count, where) for key, count in (("K", 9), ("R", 9), ("T", 3)))
    width, height = _numbers(entry, "imgSize", 2, where)
    extrinsic = np.eye(4)
    extrinsic[:3, :3], extrinsic[:3, 3] = r.reshape(3, 3), t
    if not np.allclose(extrinsic[:3, :3] @ extrinsic[:3, :3].T, np.eye(3), atol=1e-3):
        raise UserError(f"{where}: R: expected a rotation, found another matrix")
    return Camera(name, extrinsic, k[[0, 4, 2, 5]], (int(height), int(width)))


def _numbers(entry: Mapping, key: str, count: int, where: str) -> np.ndarray:
    try:
        values = np.asarray(entry[key], np.float64).reshape(-1)
    except KeyError:
        raise UserError(f"{where}: expected K, R, T and imgSize, found no {key}") from None
    except (TypeError, ValueError):
        raise UserError(f"{where}: {key}: expected {count} numbers, found something else") from None
    if len(values) != count or not np.isfinite(values).all():
        raise UserError(f"{where}: {key}: expected {count} finite numbers, found {len(values)}")
    return values


def read_csv_cameras(path: Path) -> list[Camera]:
    """ActorsHQ's: poses are camera to world, as axis-angle and translation; intrinsics are shares of the size.

    Raises:
        UserError: naming the file, and the line or the column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in CSV_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path}: expected the columns {','.join(CSV_COLUMNS)}, found no {missing[0]}")
            rows = list(reader)
    except OSError as error:
        raise UserError(f"{path}: a calibration cannot be read: {reason(error)}") from error
    if not rows:
        raise UserError(f"{path}: expected a camera a line, found none")
    return [_csv_camera(row, f"{path}:{number}") for number, row in enumerate(rows, 2)]


def _csv_camera(row: dict[str, str], where: str) -> Camera:
    try:
        value = {name: float(row[name]) for name in CSV_COLUMNS[1:]}
    except (TypeError, ValueError):
        raise UserError(f"{where}: expected {len(CSV_COLUMNS) - 1} numbers behind the name, found others") from None
    to_world = np.eye(4)
    turn = torch.tensor([value["rx"], value["ry"], value["rz"]], dtype=torch.float64)
    to_world[:3, :3] = roma.rotvec_to_rotmat(turn).numpy()
    to_world[:3, 3] = value["tx"], value["ty"], value["tz"]
    width, height = value["w"], value["h"]
    shares = np.array([value["fx"], value["fy"], value["px"], value["py"]])
    intrinsics = shares * [width, height, width, height]
    return Camera(row["name"], np.linalg.inv(to_world), intrinsics, (int(height), int(width)))
