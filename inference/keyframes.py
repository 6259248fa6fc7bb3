"""Keyframes of expression, pose and camera: reading them, checking them, and the frames between them.

A sequence is a closed loop: after the last keyframe it returns to the first, so N keyframes with `n_interval` frames
from each to the next make exactly N * n_interval frames, and a video can be played in a loop without a jump.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import roma
import torch

from inference.arkit import read_take
from inference.tracks import fill
from networks.cameras import FRONTAL
from networks.gaussian.body_motion import AMASS_STEP, BodyMotion, is_body_motion, read_body_motion
from networks.person.controls import MAX_EULER, MAX_YAW
from networks.person.expressions import ARKIT, FACE_MODELS, carried
from networks.person.tracking import chest_pose
from torch_utils.misc import (
    CliParser,
    UserError,
    atomic_path,
    check_file,
    one_line,
    reason,
    run_cli,
    shortened,
)

Kind = Literal["expression", "pose", "camera"]

# Shape of one keyframe, and what to call it in messages.
ALL_ROUND = 360.0  # in place of a swing in radians: once round
SHAPES: dict[Kind, tuple[int, ...]] = {"expression": (64,), "pose": (6, 3), "camera": (2,)}
MEANING: dict[Kind, str] = {
    "expression": "facial actions, or coefficients of the checkpoint's face model",
    "pose": "Euler angles of SMPL joints 12..17 in radians",
    "camera": "pitch and yaw in radians, pitch first",
}
MAX_BYTES = 2**32  # of a keyframe file
# No coefficient or angle in radians is as large; such a file holds something else.
LIMITS: dict[Kind, float] = {"expression": 1000.0, "pose": MAX_EULER, "camera": MAX_YAW}
_FACE_MODEL = "face_model"  # beside the array in an .npz
LABELS: dict[Kind, str] = {"expression": "z_exp", "pose": "joint_eulers", "camera": "camera"}  # in labels.npz


class Motion(NamedTuple):
    """What drives a video: one row for each of its F frames, float64."""

    expression: np.ndarray  # [F, 64]
    joint_eulers: np.ndarray  # [F, 6, 3] radians; rotation = Rz(e0) Ry(e1) Rx(e2)
    camera: np.ndarray  # [F, 2] pitch, yaw in radians

    @property
    def n_frames(self) -> int:
        return len(self.expression)


class KeyframeFile(NamedTuple):
    """What is in a keyframe file."""

    rows: np.ndarray
    face_model: str | None  # whose expressions they are, if it says so (networks/person/expressions.py)


def load_keyframes(path: str | Path, kind: Kind) -> np.ndarray:
    """Reads one keyframe file.

    Args:
        path: a `.npy` file of numbers, or an `.npz` archive of one array: [N,64] (expression), [N,6,3] (pose) or
            [N,2] (camera), integers, too; a data set's `labels.npz`, whose rows are played in their order; for
            expressions also a `.csv` of ARKit's facial actions (inference/arkit.py), for poses also a whole body's
            motion, AMASS's `.npz` or AIST++'s `.pkl` (networks/gaussian/body_motion.py).
        kind: which of the three it should be.

    Returns:
        float64 array of the file's values, N >= 1.

    Raises:
        UserError: the file is missing, is no such file, is empty, or has a wrong shape, dtype or value.
    """
    return load_file(path, kind).rows


def load_expressions(path: str | Path, face_model: str | None) -> np.ndarray:
    """Expression keyframes [N,64] for a checkpoint of ``face_model`` (None: not known).

    Raises:
        UserError: as :func:`load_keyframes`; or the file says that it is for another face model.
    """
    file = load_file(path, "expression")
    return carried(file.rows, file.face_model, face_model, str(path))


def load_file(path: str | Path, kind: Kind) -> KeyframeFile:
    """:func:`load_keyframes` with what else the file says."""
    check_file(path, f"{kind} keyframe", most=MAX_BYTES)
    if kind == "pose" and is_body_motion(path):
        return KeyframeFile(portrait_poses(read_body_motion(path)), None)
    file = read_file(path, str(path), kind)
    return file._replace(rows=check_keyframes(file.rows, kind, str(path)))


def read_file(file: str | Path | BinaryIO, where: str, kind: Kind | None = None) -> KeyframeFile:
    """The array of a `.npy` file, of an `.npz` archive that holds one and at most says `face_model`, or of a `.csv`;
    of a data set's labels those of ``kind``, if that is given.

    A moment of a recording without a face is filled from its neighbours. A UserError names `where`.
    """
    if where.lower().endswith(".csv"):
        take = read_take(file, where)
        return KeyframeFile(fill(take.expression, take.known), ARKIT)
    arrays, found = _arrays(file, where, None if kind is None else LABELS[kind])
    face_model = arrays.pop(_FACE_MODEL, None)
    if len(arrays) != 1:
        raise UserError(f"{where}: expected an .npz archive of one array, found {shortened(found, 200) or 'none'}")
    name = None if face_model is None else str(face_model)
    if name is not None and name not in FACE_MODELS:
        known = ", ".join(FACE_MODELS)
        raise UserError(f"{where}: face_model: expected one of {known}, found '{shortened(one_line(name), 40)}'")
    return KeyframeFile(next(iter(arrays.values())), name)


def portrait_poses(motion: BodyMotion) -> np.ndarray:
    """Of a whole body's motion what portraits do: keyframes [N,6,3]; of AMASS one frame in four, as published."""
    motion = motion.every(AMASS_STEP) if motion.kind == "amass" else motion
    rotations = roma.rotvec_to_rotmat(torch.from_numpy(motion.rotations[:, :24]).double())
    return chest_pose(rotations).joint_eulers.numpy()


def save_expressions(path: str | Path, rows: np.ndarray, face_model: str | None) -> None:
    """Writes expressions [N,64] as an `.npz` archive that says whose they are, if that is known."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        write_expressions(file, rows, face_model)


def write_expressions(file: BinaryIO, rows: np.ndarray, face_model: str | None) -> None:
    """:func:`save_expressions` to an open file."""
    if face_model is None:
        np.savez(file, expression=rows)
    else:
        np.savez(file, expression=rows, face_model=np.array(face_model))


def save_keyframes(path: str | Path, rows: np.ndarray) -> None:
    """Writes poses or cameras as a `.npy` file."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(rows, np.float32))


def video_command(options: Mapping[str, object], fps: float) -> str:
    """The call of gen_video.py, as a shell takes it, that plays keyframes frame by frame."""
    words = [str(word) for option in options.items() for word in option]
    return shlex.join(["python", "gen_video.py", *words, "--n_interval", "1", "--fps", f"{fps:g}"])


def _arrays(file: str | Path | BinaryIO, where: str, label: str | None) -> tuple[dict[str, np.ndarray], str]:
    """The array ``label`` of a file, or else some, and the names of all."""
    try:
        array = np.load(file, allow_pickle=False)
        if isinstance(array, np.ndarray):
            return {"": array}, ""
        with array:
            chosen = [label] if label is not None and label in array.files else array.files[:3]
            return {name: array[name] for name in chosen}, ", ".join(array.files)
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {reason(error)}") from error
    except Exception as error:  # a damaged header may raise anything
        objects = "Object arrays" in str(error)
        what = "an object array, which is not loaded" if objects else "something else, or half of one"
        raise UserError(f"{where}: expected a .npy file of numbers, found {what}") from error


def check_keyframes(array: np.ndarray, kind: Kind, where: str) -> np.ndarray:
    """`array` as float64 if it is a valid sequence of `kind`; otherwise a UserError that names `where`."""
    shape = SHAPES[kind]
    expected = "[N," + ",".join(map(str, shape)) + "]"
    found = "[" + ",".join(map(str, array.shape)) + "]"
    if array.shape[1:] != shape or array.ndim != len(shape) + 1:
        raise UserError(f"{where}: {kind} keyframes: expected shape {expected} ({MEANING[kind]}), found {found}")
    if array.dtype.kind not in "fiu":
        raise UserError(f"{where}: {kind} keyframes: expected numbers, found dtype {array.dtype}")
    if len(array) == 0:
        raise UserError(f"{where}: {kind} keyframes: expected at least one keyframe, found none (shape {found})")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise UserError(f"{where}: {kind} keyframes: expected finite numbers, found {array[tuple(index)]} at {index}")
    if np.abs(array).max() > (limit := LIMITS[kind]):
        index = [int(i) for i in np.argwhere(np.abs(array) > limit)[0]]
        found = f"{array[tuple(index)]:g} at {index}" + ("" if kind == "expression" else " (degrees?)")
        raise UserError(f"{where}: {kind} keyframes: expected {MEANING[kind]} within +-{limit:.4g}, found {found}")
    if kind == "camera" and not ((array[:, 0] > 0) & (array[:, 0] < math.pi)).all():
        row = int(np.argmax((array[:, 0] <= 0) | (array[:, 0] >= math.pi)))
        found = f"{array[row, 0]:g} in row {row}"
        raise UserError(f"{where}: camera keyframes: expected pitch (column 0) between 0 and pi, found {found}")
    return array


def interpolate(keyframes: np.ndarray, kind: Kind, n_interval: int) -> np.ndarray:
    """The closed loop through `keyframes`, `n_interval` frames from each keyframe to the next.

    Expressions and cameras are interpolated linearly. Poses are interpolated as rotations, joint by joint (slerp: the
    shortest arc at constant angular speed), because Euler angles interpolated one by one swing through rotations that
    lie on no path between the two and change speed on the way. At the keyframes the given values are returned as they
    are, so n_interval = 1 returns the keyframes themselves; between them a pose comes back as the Euler angles
    (e1 within +-pi/2) of the interpolated rotation.

    Args:
        keyframes: [N,64], [N,6,3] or [N,2], as checked by `check_keyframes`.
        kind: which of the three.
        n_interval: frames per keyframe, >= 1.

    Returns:
        [N * n_interval, ...] float64.
    """
    if n_interval < 1:
        raise ValueError(f"n_interval must be at least 1, not {n_interval}")
    start = np.asarray(keyframes, dtype=np.float64)
    end = np.roll(start, -1, axis=0)
    steps = np.arange(n_interval) / n_interval  # 0 (the keyframe itself), 1/n, ... (n-1)/n
    if kind == "pose":
        frames = _slerp_eulers(start, end, steps)
    else:
        frames = start[:, None] + steps[:, None] * (end - start)[:, None]  # [N, n, C]
    frames[:, 0] = start
    return frames.reshape(-1, *start.shape[1:])


def _slerp_eulers(start: np.ndarray, end: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Euler angles [N, n, 6, 3] on the shortest arcs between `start` and `end` [N, 6, 3] at `steps` [n]."""
    q0, q1 = (roma.euler_to_unitquat("ZYX", torch.from_numpy(e).reshape(-1, 3)) for e in (start, end))  # [N*6, 4]
    between = roma.unitquat_slerp(q0, q1, torch.from_numpy(steps), shortest_arc=True)  # [n, N*6, 4]
    eulers = roma.unitquat_to_euler("ZYX", between.reshape(-1, 4))
    return eulers.reshape(len(steps), *start.shape).transpose(0, 1).numpy().copy()


def swing_camera(n_frames: int, yaw_range: float, cycle: int) -> np.ndarray:
    """Cameras [F,2] at frontal pitch whose yaw swings `yaw_range` radians to either side, once every `cycle` frames; of
    ALL_ROUND it goes round instead, by the person's left first, at one speed."""
    turn = 2 * np.pi * np.arange(n_frames) / cycle
    yaw = FRONTAL - turn if yaw_range == ALL_ROUND else FRONTAL + yaw_range * np.sin(turn)
    return np.stack([np.full(n_frames, FRONTAL), yaw], axis=1)


def make_motion(
    expression: np.ndarray | None,
    joint_eulers: np.ndarray | None,
    camera: np.ndarray | None,
    *,
    n_interval: int = 1,
    video_length: int | None = None,
    cam_yaw_range: float = 0.2,
    cam_cycle: int = 96,
    names: Sequence[str] = ("expression", "pose", "camera"),
) -> Motion:
    """One row per frame from the keyframes that are given.

    The rule on lengths: keyframes that are given together have the same number of rows, and a single row holds still.
    With `video_length` the lengths are free: every loop goes on by itself, repeated or cut, for that many frames.

    Args:
        expression: [N,64] or None for neutral.
        joint_eulers: [N,6,3] or None for neutral.
        camera: [N,2] or None for a camera that swings (`swing_camera`).
        n_interval: frames from each keyframe to the next.
        video_length: frames in all; None takes N * n_interval, or one `cam_cycle` where only the camera's swing moves.
        cam_yaw_range: half-width of the swing in radians, or ALL_ROUND.
        cam_cycle: frames per swing, or once round.
        names: how messages name the three (e.g. their files).

    Raises:
        UserError: the numbers of keyframes differ and no `video_length` is given.
    """
    kinds: tuple[Kind, ...] = ("expression", "pose", "camera")
    keys = dict(zip(kinds, (expression, joint_eulers, camera), strict=True))
    given = {kind: array for kind, array in keys.items() if array is not None}
    if video_length is None:
        lengths = {len(array) for array in given.values() if len(array) > 1}
        if len(lengths) > 1:
            name = dict(zip(kinds, names, strict=True))
            found = ", ".join(f"{name[kind]} has {len(array)}" for kind, array in given.items())
            raise UserError(
                f"keyframe files of different lengths: {found}; rule: give files with the same number of keyframes "
                "(a single keyframe holds still), or --video_length to let every loop go on by itself"
            )
        still = n_interval if camera is not None else cam_cycle  # frames where at most the camera's swing moves
        video_length = lengths.pop() * n_interval if lengths else still
    at = np.arange(video_length)
    frames = {}
    for kind, array in given.items():
        loop = interpolate(array, kind, n_interval)
        frames[kind] = loop[at % len(loop)]
    return Motion(
        expression=frames.get("expression", np.zeros((video_length, 64))),
        joint_eulers=frames.get("pose", np.zeros((video_length, 6, 3))),
        camera=frames.get("camera", swing_camera(video_length, cam_yaw_range, cam_cycle)),
    )


def main() -> None:
    """Command line: ``python -m inference.keyframes from-video --help``, and so for the others."""
    from inference import from_arkit, from_coeffs, from_video  # which nobody needs who only plays keyframes

    parser = CliParser(prog="python -m inference.keyframes")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, program, what in (
        ("from-video", from_video, "a video of a person -> keyframes and a video to check them by"),
        ("from-coeffs", from_coeffs, "tracking of a video -> keyframes and a plot"),
        ("from-arkit", from_arkit, "an ARKit recording (CSV) -> keyframes and a plot"),
    ):
        command = commands.add_parser(name, help=what, description=program.__doc__)
        program.add_arguments(command)
        command.set_defaults(run=program.run)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    run_cli(main)
