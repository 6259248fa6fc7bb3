"""One person's SMPL fit, as programs write it: what the numbers are called, and what they mean.

Of the keys of a kind the first that is there is read:

- rotations: pose, parm_pose, rotmat, pred_rotmat, pred_pose_rotmat, pred_pose, smpl_thetas, pred_body_pose; [72] or
  [24, 3] axis-angle in radians, or [24, 3, 3]. Or in two parts, global_orient [3] with body_pose [69] or [63], or
  matrices [1, 3, 3] with [23, 3, 3] or [21, 3, 3]; hands that are missing are straight.
- shape: betas, shape, parm_shape, pred_betas, pred_shape, smpl_betas; the first 10 numbers are taken.
- camera s, t_x, t_y: cam, pred_cam, camera, camera_bbox, which see ``s (X + t)``; or parm_cam, pred_camera, scaled_cam,
  which see ``s X + t``.
- box, its centre and side in pixels: center [2] and scale, bbox_center and bbox_scale (of 200 pixels); bbox_topLeft and
  bbox_scale_o2n, bbox_top_left and bbox_scale_ratio (its corner, and the factor that made it 224 pixels); bboxes [4]
  (centre, width, height); bbox_xyxy [4] (corners of a detection, to which its program adds a fifth); whole_photo (the
  square around the photo).

A point X of the posed body (metres; x right, y down, z away from the viewer) appears at the pixel ``centre + side / 2 *
s * (X_xy + t)``, or ``centre + side / 2 * (s * X_xy + t)``. A fit without camera or box says nothing of where in the
photo the person is. One with SMPL-X's keys has joints 0 to 21 in common with SMPL; its shape and camera belong to
another body and are left out, and so are jaw, eyes, fingers and expression.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import roma
import torch

from networks.person.tracking import SmplFit, WeakCamera
from torch_utils.misc import UserError

POSES = (
    "pose", "parm_pose", "rotmat", "pred_rotmat", "pred_pose_rotmat", "pred_pose", "smpl_thetas", "pred_body_pose",
)  # fmt: skip
PARTS = ("global_orient", "body_pose")
BETAS = ("betas", "shape", "parm_shape", "pred_betas", "pred_shape", "smpl_betas")
CAMERAS = ("cam", "pred_cam", "camera", "camera_bbox")  # s (X + t)
SCALED_CAMERAS = ("parm_cam", "pred_camera", "scaled_cam")  # s X + t
SQUARES = (("center", "scale"), ("bbox_center", "bbox_scale"))
CROPS = (("bbox_topLeft", "bbox_scale_o2n"), ("bbox_top_left", "bbox_scale_ratio"))
SMPLX = ("jaw_pose", "left_hand_pose", "right_hand_pose", "expression")
USED = frozenset(
    (*POSES, *PARTS, *BETAS, *CAMERAS, *SCALED_CAMERAS, *sum(SQUARES + CROPS, ()), *SMPLX)
    + ("bboxes", "bbox_xyxy", "whole_photo")
)  # fmt: skip
PIXELS_PER_SCALE, CROP_PIXELS, DETECTION_MARGIN = 200.0, 224.0, 1.2
JOINTS = 24
MAX_ROTATION_ERROR = 1e-2  # of R R^T - I; files hold three digits at least
MAX_COEFFICIENT = 100.0  # standard deviations


def first_key(record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of ``names`` that is in ``record`` and not None."""
    return next((name for name in names if record.get(name) is not None), None)


def has_pose(record: Any) -> bool:
    """Whether something is a record with rotations, by its keys."""
    return isinstance(record, Mapping) and (first_key(record, POSES) is not None or set(PARTS) <= record.keys())


def numbers(value: Any, sizes: tuple[int, ...], where: str) -> np.ndarray:
    """Finite numbers as flat float64, as many as one of ``sizes``; else UserError."""
    array = _floats(value, where)
    if array.size not in sizes:
        raise UserError(f"{where}: expected {' or '.join(map(str, sizes))} numbers, found {np.shape(value)}")
    return array


def _floats(value: Any, where: str) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise UserError(f"{where}: expected numbers, found {type(value).__name__}") from None
    if not np.isfinite(array).all():
        raise UserError(f"{where}: expected finite numbers, found NaN or infinity")
    return array


def smpl_fit(
    record: Mapping[str, Any], where: str, *, box_scale: float = 1.0, photo_size: tuple[int, int] | None = None
) -> SmplFit:
    """A record (module docstring) as a checked fit.

    Args:
        record: of one person.
        where: it is, for messages.
        box_scale: how much larger than its file says the box was that the tracker looked at.
        photo_size: width and height, for boxes that are the whole photo.

    Raises:
        UserError: naming ``where`` and the key.
    """
    if not isinstance(record, Mapping):
        raise UserError(f"{where}: expected a record of an SMPL fit, found {type(record).__name__}")
    rotations = _pose(record, where)
    if first_key(record, SMPLX) is not None:
        return SmplFit(rotations, np.zeros(10), None)
    camera, box = _camera(record, where), _box(record, where)
    if record.get("whole_photo") is not None and photo_size is not None:
        box = np.array(photo_size) / 2 - 0.5, float(max(photo_size))
    betas = _betas(record, where)
    if camera is None or box is None:
        return SmplFit(rotations, betas, None)
    scale, *shift = camera
    centre, side = box
    if scale <= 0 or side <= 0:
        raise UserError(f"{where}: expected positive scales, found camera {scale:g}, box {side / PIXELS_PER_SCALE:g}")
    return SmplFit(rotations, betas, WeakCamera(side * box_scale / 2 * scale, np.array(shift), centre))


def _pose(record: Mapping[str, Any], where: str) -> np.ndarray:
    """[24, 3, 3]"""
    if (name := first_key(record, POSES)) is not None:
        return _rotations(numbers(record[name], (72, 216), f"{where}: '{name}'"), f"{where}: {name}")
    if not set(PARTS) <= record.keys():
        have = ", ".join(sorted(map(str, record))) or "nothing"
        raise UserError(
            f"{where}: no '{POSES[0]}' (or {', '.join(POSES[1:])}, or {' with '.join(PARTS)}); it has: {have}"
        )
    root = numbers(record[PARTS[0]], (3, 9), f"{where}: '{PARTS[0]}'")
    body = _floats(record[PARTS[1]], f"{where}: '{PARTS[1]}'")
    if body.size == 32:
        raise UserError(
            f"{where}: '{PARTS[1]}': 32 numbers are VPoser's code of a pose; expected its angles, as "
            "vposer.decode(code, output_type='aa') of the fitting program gives them"
        )
    if body.size not in (21 * root.size, 23 * root.size):
        raise UserError(f"{where}: '{PARTS[1]}': expected 21 or 23 joints, found {body.size} numbers")
    found = _rotations(np.concatenate([root, body]), f"{where}: {PARTS[1]}")
    return np.concatenate([found, np.tile(np.eye(3), (JOINTS - len(found), 1, 1))])


def _rotations(array: np.ndarray, where: str) -> np.ndarray:
    """Axis-angle [3 J] or matrices [9 J] of 22 or 24 joints -> [J, 3, 3]."""
    if array.size <= 3 * JOINTS:
        vectors = array.reshape(-1, 3)
        longest = np.linalg.norm(vectors, axis=1).max()
        if longest > 2 * np.pi + 0.1:
            raise UserError(f"{where}: expected axis-angle in radians, found a turn of {longest:.1f} (degrees?)")
        return roma.rotvec_to_rotmat(torch.from_numpy(vectors)).numpy()
    matrices = array.reshape(-1, 3, 3)
    error = np.abs(matrices @ matrices.transpose(0, 2, 1) - np.eye(3)).max()
    if error > MAX_ROTATION_ERROR or (np.linalg.det(matrices) < 0).any():
        raise UserError(f"{where}: expected rotation matrices, found others (R R^T is off by {error:.2g})")
    return roma.special_procrustes(torch.from_numpy(matrices)).numpy()


def _betas(record: Mapping[str, Any], where: str) -> np.ndarray:
    """[10]; the mean shape where there is none."""
    if (name := first_key(record, BETAS)) is None:
        return np.zeros(10)
    betas = _floats(record[name], f"{where}: '{name}'")
    if betas.size < 10:
        raise UserError(f"{where}: '{name}': expected 10 numbers or more, found {np.shape(record[name])}")
    if (largest := np.abs(betas).max()) > MAX_COEFFICIENT:
        raise UserError(f"{where}: expected betas within +-{MAX_COEFFICIENT:g}, found {largest:g}")
    return betas[:10]


def _camera(record: Mapping[str, Any], where: str) -> np.ndarray | None:
    """s, t_x, t_y of ``s (X + t)``."""
    if (name := first_key(record, CAMERAS)) is not None:
        return numbers(record[name], (3,), f"{where}: '{name}'")
    if (name := first_key(record, SCALED_CAMERAS)) is None:
        return None
    scale, *shift = numbers(record[name], (3,), f"{where}: '{name}'")
    return np.array([scale, *shift]) / (1.0, scale or 1.0, scale or 1.0)


def _box(record: Mapping[str, Any], where: str) -> tuple[np.ndarray, float] | None:
    """Centre [2] and side, pixels; None where nothing tells."""

    def read(name: str, size: int) -> np.ndarray:
        return numbers(record[name], (size,), f"{where}: '{name}'")

    for corner, scale in CROPS:
        if first_key(record, (corner,)) and first_key(record, (scale,)):
            side = CROP_PIXELS / max(read(scale, 1)[0], 1e-6)
            return read(corner, 2) + side / 2, side
    for centre, scale in SQUARES:
        if first_key(record, (centre,)) and first_key(record, (scale,)):
            return read(centre, 2), PIXELS_PER_SCALE * read(scale, 1)[0]
    if first_key(record, ("bboxes",)):
        box = read("bboxes", 4)
        return box[:2], box[2]
    if first_key(record, ("bbox_xyxy",)):
        box = read("bbox_xyxy", 4)
        return (box[:2] + box[2:]) / 2, DETECTION_MARGIN * max(box[2:] - box[:2])
    return None
