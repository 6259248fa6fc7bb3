"""What the page sends and gets: shots, keyframe files and motions, checked as the command line checks them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from inference.keyframes import SHAPES, Kind, check_keyframes, make_motion, read_file, write_expressions
from inference.portable.clips import Clip, make_clip, shipped_clips
from inference.viewer.controls import motion_rows
from networks.cameras import FRONTAL
from networks.person.expressions import carried
from torch_utils.misc import UserError, one_line

Tracks = dict[Kind, np.ndarray]  # keyframes [N, ...] of some of the kinds
MAX_FRAMES = 20_000  # of a motion: 7 MB of rows
MAX_SEED = 2**32 - 1  # what gen_video.py takes
MAX_PSI = 2.0
EXPORTED: dict[Kind, str] = {"expression": "expression.npz", "pose": "pose.npy", "camera": "camera.npy"}


class Shot(NamedTuple):
    """Who is to be drawn, and how."""

    seed: int
    psi: float
    expression: np.ndarray  # [64]
    joint_eulers: np.ndarray  # [6, 3] radians
    camera: np.ndarray  # [2] pitch, yaw in radians


def parse_json(text: str | bytes) -> dict[str, Any]:
    """A JSON object; a UserError for anything else."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"message: expected JSON, found '{one_line(str(text))[:40]}'") from None
    if not isinstance(data, dict):
        raise UserError(f"message: expected a JSON object, found {type(data).__name__}")
    return data


def parse_shot(data: Mapping[str, Any]) -> Shot:
    """A shot from ``seed``, ``psi``, ``expression`` [64], ``pose`` [6,3] and ``camera`` [2].

    Raises:
        UserError: something is missing, misshapen or out of range.
    """
    seed, psi = data.get("seed"), data.get("psi")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise UserError(f"seed: expected a whole number from 0 to {MAX_SEED}, found {_shown(seed)}")
    if not isinstance(psi, (int, float)) or isinstance(psi, bool) or not 0 <= psi <= MAX_PSI:
        raise UserError(f"psi: expected a number from 0 to {MAX_PSI:g}, found {_shown(psi)}")
    parts = [_parse_rows([data.get(kind)], kind, kind)[0] for kind in SHAPES]
    return Shot(seed, float(psi), *parts)


def parse_tracks(data: Any) -> Tracks:
    """Keyframes {kind: rows}; a UserError if there are none or something is wrong with them."""
    if not isinstance(data, dict) or not data or set(data) - set(SHAPES):
        raise UserError(f"tracks: expected some of {', '.join(SHAPES)}, found {_shown(data)}")
    return {kind: _parse_rows(rows, kind, f"tracks: {kind}") for kind, rows in data.items()}


def _parse_rows(rows: Any, kind: Kind, where: str) -> np.ndarray:
    try:
        array = np.asarray(rows, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{where}: expected numbers, found {_shown(rows)}") from None
    return check_keyframes(array, kind, where)


def _shown(value: Any) -> str:
    text = one_line(json.dumps(value))
    return text if len(text) <= 40 else f"{text[:40]}..."


def motion_frames(data: Mapping[str, Any]) -> bytes:
    """The frames of ``tracks`` with ``n_interval``: rows of controls [F,84], float32, little endian.

    Raises:
        UserError: bad tracks, tracks of different lengths, or too many frames.
    """
    tracks, n_interval = _parse_motion(data)
    # Where no camera is given the page's sliders say; a still one keeps the length that of the keyframes.
    camera = tracks.get("camera", np.full((1, 2), FRONTAL))
    motion = make_motion(tracks.get("expression"), tracks.get("pose"), camera, n_interval=n_interval)
    return motion_rows(motion).astype("<f4").tobytes()


def _parse_motion(data: Mapping[str, Any]) -> tuple[Tracks, int]:
    """``tracks`` and ``n_interval``; see :func:`motion_frames`."""
    tracks, n_interval = parse_tracks(data.get("tracks")), data.get("n_interval")
    if not isinstance(n_interval, int) or isinstance(n_interval, bool) or n_interval < 1:
        raise UserError(f"n_interval: expected a whole number of at least 1, found {_shown(n_interval)}")
    longest = max(len(rows) for rows in tracks.values())
    if longest * n_interval > MAX_FRAMES:
        found = f"{longest} keyframes * {n_interval} = {longest * n_interval}"
        raise UserError(f"motion: expected at most {MAX_FRAMES} frames in the viewer, found {found}")
    return tracks, n_interval


def parse_clips(data: Mapping[str, Any], face_model: str | None) -> list[Clip]:
    """The motions of an avatar: that of ``tracks`` with ``n_interval`` and ``fps``, without one those that ship.

    Raises:
        UserError: as :func:`motion_frames`; no frames a second.
    """
    if not data.get("tracks"):
        return shipped_clips(face_model)
    fps = data.get("fps")
    if not isinstance(fps, (int, float)) or isinstance(fps, bool) or not 0.1 <= fps <= 1000:
        raise UserError(f"fps: expected a number from 0.1 to 1000, found {_shown(fps)}")
    tracks, n_interval = _parse_motion(data)
    return [make_clip("Motion", tracks, n_interval=n_interval, fps=fps)]


def read_keyframes(data: bytes, name: str, face_model: str | None) -> tuple[Kind, np.ndarray]:
    """A keyframe file; its shape says of which kind it is.

    Args:
        data: the bytes of a ``.npy`` file, an ``.npz`` archive of one array, [N,64], [N,6,3] or [N,2], or a ``.csv``
            of ARKit's facial actions.
        name: of the file, for messages.
        face_model: of the checkpoint.

    Raises:
        UserError: something else, expressions of another face model, or something is wrong with the numbers.
    """
    array, spoken = read_file(io.BytesIO(data), name)
    for kind, shape in SHAPES.items():
        if array.shape[1:] == shape:
            rows = check_keyframes(array, kind, name)
            return kind, carried(rows, spoken, face_model, name) if kind == "expression" else rows
    expected = " or ".join(f"{kind} [{','.join(map(str, ('N', *shape)))}]" for kind, shape in SHAPES.items())
    raise UserError(f"{name}: expected keyframes of {expected}, found [{','.join(map(str, array.shape))}]")


def pack_keyframes(tracks: Tracks, face_model: str | None) -> bytes:
    """A zip archive of the tracks as gen_video.py reads them: ``expression.npz``, ``pose.npy``, ``camera.npy``."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as files:
        for kind, rows in tracks.items():
            file = io.BytesIO()
            if kind == "expression":
                write_expressions(file, rows, face_model)
            else:
                np.save(file, rows)
            files.writestr(EXPORTED[kind], file.getvalue())
    return archive.getvalue()
