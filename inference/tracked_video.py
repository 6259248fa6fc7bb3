"""Per-frame tracking of a video: which frames there are, and what face and body do in them.

From Deep3DFaceRecon's coefficients come expressions, from SMPL fits the pose of head and shoulders and the chest's turn
before the camera. With faces alone the chest is taken to face the camera, and neck and head share the face's rotation
H = R Q^T (R of Deep3DFaceRecon, Q how its face model lies in canonical space): R(e_neck) = R(e_head) = H^(1/2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import roma
import torch

from inference.frame_names import FrameNames, order_frames
from networks.person.body_model import HEAD, NECK, POSED_JOINTS, euler_to_matrix
from networks.person.tracking import FaceFit, SmplFit, chest_pose
from networks.person.tracking_files import SmplFits, load_face_fit
from torch_utils.files import list_files
from torch_utils.misc import UserError, one_line

FRONTAL_CHEST = np.diag([1.0, -1.0, -1.0])  # for the trackers' camera: x right, y down, z away
SHOWN = 6  # names in a message
Fit = TypeVar("Fit")


class Tracking(NamedTuple):
    """A video's frames; rows of frames that are not known are 0 or at rest."""

    names: list[str]  # F of them, also of frames that were not tracked
    expression: np.ndarray  # [F, 64]
    face_known: np.ndarray  # [F] bool
    joints: np.ndarray  # [F, 6, 3, 3] rotations relative to the canonical pose
    chest: np.ndarray  # [F, 3, 3]
    body_known: np.ndarray  # [F] bool
    notes: list[str]  # what was there and is not used


def read_tracking(
    face: str | Path | None,
    fits: SmplFits | None,
    *,
    first_frame: int | None = None,
    rotation: np.ndarray | None = None,
) -> Tracking:
    """The tracking of all frames.

    Args:
        face: folder of Deep3DFaceRecon's files.
        fits: of the bodies; at least one of the two is given.
        first_frame: the number that the names of the face's files have for frame 0 of fits that are counted; None: 0
            where there is such a file, else 1.
        rotation: [3, 3] how Deep3DFaceRecon's face model lies in canonical space; the same by default.

    Raises:
        UserError: a place is missing, or no frame has a sound file.
    """
    faces = {} if face is None else _face_files(Path(face))
    if fits is not None:
        _name_counted(fits, faces, first_frame)
    bodies = set() if fits is None else set(fits.names)
    if face is not None and fits is not None and not faces.keys() & bodies:
        found = f"{_some(faces)} in {face} and {_some(bodies)} in {fits.path}"
        raise UserError(f"expected files of the same frames, found no name that both have: {found}")
    order = order_frames(faces.keys() | bodies)
    if fits is not None:
        fits.check(name for name in order.frames.values() if name in bodies)
    names, notes = list(order.frames.values()), []
    if order.strays:
        notes.append(f"left out, since not named as the other frames: {_some(order.strays)}")
    face_fits = _read(names, faces, lambda name: load_face_fit(faces[name]), notes)
    known = np.array([fit is not None for fit in face_fits])
    if face is not None and not known.any():
        raise UserError(f"{face}: expected face coefficients of some frames, found none" + "; ".join(["", *notes[:1]]))
    if fits is None:
        joints, chest = _face_poses(face_fits, rotation)
        body_known = known
    else:
        body_fits = _read(names, bodies, fits.fit, notes)
        body_known = np.array([fit is not None for fit in body_fits])
        if not body_known.any():
            raise UserError(f"{fits.path}: expected SMPL fits of some frames, found none" + "; ".join(["", *notes[:1]]))
        joints, chest = _poses(body_fits)
    expression = np.stack([np.zeros(64) if fit is None else fit.z_exp for fit in face_fits])
    return Tracking(order.shown, expression, known, joints, chest, body_known, notes)


def _face_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"--face: {folder}: no such folder")
    faces = {path.stem: path for path in list_files(folder, (".mat",))}
    if not faces:
        raise UserError(f"--face: {folder}: expected Deep3DFaceRecon's NAME.mat, found none")
    return faces


def _name_counted(fits: SmplFits, faces: Mapping[str, Path], first_frame: int | None) -> None:
    """Fits that are counted get the names of the face's files, or numbers."""
    if not fits.counted:
        return
    order = order_frames(faces) if faces else FrameNames({}, [], None)
    if faces and order.numbered is None:
        raise UserError(
            f"{fits.path}: its fits are counted; expected files of faces with the frame's number in their names, found "
            f"{_some(faces)}"
        )
    first = first_frame if first_frame is not None else 0 if 0 in order.frames else 1
    name = order.numbered or "{:06d}".format
    fits.name_frames({count: order.frames.get(count + first) or name(count + first) for count in fits.counted})


def _read(
    names: list[str | None], there: set[str] | Mapping[str, Path], load: Callable[[str], Fit], notes: list[str]
) -> list[Fit | None]:
    """What ``load`` makes of the names that are ``there``; None for others and, with a note, where that fails."""
    fits: list[Fit | None] = []
    for name in names:
        try:
            fits.append(load(name) if name is not None and name in there else None)
        except UserError as error:
            notes.append(f"not used: {one_line(str(error))}")
            fits.append(None)
    return fits


def _poses(fits: list[SmplFit | None]) -> tuple[np.ndarray, np.ndarray]:
    """Joints [F, 6, 3, 3] and chest [F, 3, 3] of SMPL fits."""
    rest = np.broadcast_to(np.eye(3), (24, 3, 3))
    pose = chest_pose(torch.from_numpy(np.stack([rest if fit is None else fit.rotations for fit in fits])))
    return euler_to_matrix(pose.joint_eulers).numpy(), pose.chest.numpy()


def _face_poses(fits: list[FaceFit | None], rotation: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Joints [F, 6, 3, 3] and chest [F, 3, 3] by faces alone (module docstring)."""
    angles = torch.from_numpy(np.stack([np.zeros(3) if fit is None else fit.angle for fit in fits]))
    head = euler_to_matrix(angles.flip(-1))
    if rotation is not None:
        head = head @ torch.from_numpy(rotation).mT
    joints = torch.eye(3, dtype=head.dtype).repeat(len(fits), 6, 1, 1)
    half = roma.rotvec_to_rotmat(roma.rotmat_to_rotvec(head) / 2)
    for joint in (NECK, HEAD):
        joints[:, joint - POSED_JOINTS.start] = half
    return joints.numpy(), np.tile(FRONTAL_CHEST, (len(fits), 1, 1))


def _some(names) -> str:
    names = sorted(names)
    return ", ".join(names[:SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > SHOWN else "")
