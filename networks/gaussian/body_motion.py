"""Motions of whole bodies as other projects store them, told apart by what is in them: THuman4.0 and its kin, AMASS,
AIST++. All become SMPL-X rotations; reading runs no code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from networks.gaussian.smplx_body import EXPRESSIONS, JOINTS
from torch_utils.misc import UserError
from torch_utils.safe_npz import SafeArchive
from torch_utils.safe_pickle import load_pickle

# Of SMPL-X's joints: root, 21 of the body, jaw, eyes, hands.
BODY, HANDS = slice(1, 22), slice(25, 55)
LEFT_COLLAR, RIGHT_COLLAR, HEAD, WRISTS = 13, 14, 15, (20, 21)
COLLAR_DROP = 0.3  # radians that a mocap body's collars hang lower than those of fits of photos
AMASS_STEP = 4  # frames of it (120 a second) to one
AMASS_WIDTHS = {156: "SMPL-H", 165: "SMPL-X"}
AIST_MILLIMETRES = 1e-3
KINDS = ("thuman4", "amass", "aist")


class BodyMotion(NamedTuple):
    """F frames."""

    kind: str  # of KINDS
    rotations: np.ndarray  # [F, 55, 3] axis-angle of SMPL-X's joints, float32
    translation: np.ndarray  # [F, 3] metres
    expression: np.ndarray  # [F, 10]; zeros where the file has none
    has_hands: bool

    def every(self, step: int) -> "BodyMotion":
        """One of ``step`` frames."""
        parts = (self.rotations[::step], self.translation[::step], self.expression[::step])
        return BodyMotion(self.kind, *parts, self.has_hands)


def is_body_motion(path: str | Path) -> bool:
    """Whether a file says by its name or its arrays' that it holds such a motion."""
    suffix = Path(path).suffix.lower()
    if suffix == ".pkl":
        return True
    if suffix != ".npz" or not Path(path).is_file():
        return False
    arrays = SafeArchive(path)
    return "body_pose" in arrays or ("poses" in arrays and np.ndim(arrays["poses"]) == 2)


def read_body_motion(path: str | Path, *, amass_correction: bool = True) -> BodyMotion:
    """A motion file.

    Args:
        path: an ``.npz`` of SMPL-X parameters (THuman4.0, AvatarReX, ActorsHQ) or of AMASS, or a ``.pkl`` of AIST++.
        amass_correction: AMASS's shoulders as fits of photos have them, wrists and head at rest, as published.

    Raises:
        UserError: another file, another skeleton, numbers that are not finite.
    """
    path = Path(path)
    data = load_pickle(path) if path.suffix.lower() == ".pkl" else SafeArchive(path)
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: expected arrays by name, found {type(data).__name__}")
    if "body_pose" in data:
        motion = _thuman4(data, path)
    elif "poses" in data:
        motion = _amass(data, path, amass_correction)
    elif "smpl_poses" in data:
        motion = _aist(data, path)
    else:
        names = ", ".join(sorted(map(str, data))[:5]) or "none"
        raise UserError(f"{path}: expected body_pose (THuman4.0), poses (AMASS) or smpl_poses (AIST++), found {names}")
    lengths = {name: len(part) for name, part in zip(("poses", "translations"), motion[1:3], strict=True)}
    if len(set(lengths.values())) > 1 or len(motion.rotations) == 0:
        raise UserError(f"{path}: expected a translation for every pose, at least one, found {lengths}")
    return motion


def _thuman4(data: Mapping[str, Any], path: Path) -> BodyMotion:
    root, body = (_numbers(data, name, (width,), path) for name, width in (("global_orient", 3), ("body_pose", 63)))
    count = len(body)
    if len(root) != count:
        raise UserError(f"{path}: expected as many rows in global_orient as in body_pose ({count}), found {len(root)}")

    def optional(name: str, width: int) -> np.ndarray:
        return _numbers(data, name, (width,), path, count) if name in data else np.zeros((count, width), np.float32)

    hands = [optional(f"{side}_hand_pose", 45) for side in ("left", "right")]
    parts = [root, body, optional("jaw_pose", 3), np.zeros((count, 6), np.float32), *hands]
    rotations = np.concatenate(parts, 1).reshape(count, JOINTS, 3)
    expression, translation = optional("expression", EXPRESSIONS), optional("transl", 3)
    return BodyMotion("thuman4", rotations, translation, expression, "left_hand_pose" in data)


def _amass(data: Mapping[str, Any], path: Path, correction: bool) -> BodyMotion:
    poses = _numbers(data, "poses", tuple(AMASS_WIDTHS), path)
    rotations = np.zeros((len(poses), JOINTS, 3), np.float32)
    joints = poses.reshape(len(poses), -1, 3)
    rotations[:, :22], rotations[:, HANDS] = joints[:, :22], joints[:, -30:]
    if correction:
        rotations[:, RIGHT_COLLAR, 2] -= COLLAR_DROP
        rotations[:, LEFT_COLLAR, 2] += COLLAR_DROP
        rotations[:, WRISTS] = 0
        rotations[:, HEAD, 0] = 0
    translation = _numbers(data, "trans", (3,), path)
    return BodyMotion("amass", rotations, translation, np.zeros((len(poses), EXPRESSIONS), np.float32), True)


def _aist(data: Mapping[str, Any], path: Path) -> BodyMotion:
    poses = _numbers(data, "smpl_poses", (72,), path)
    rotations = np.zeros((len(poses), JOINTS, 3), np.float32)
    rotations[:, :22] = poses.reshape(-1, 24, 3)[:, :22]  # SMPL's last two are hands, which SMPL-X has fingers for
    translation = AIST_MILLIMETRES * _numbers(data, "smpl_trans", (3,), path)
    return BodyMotion("aist", rotations, translation, np.zeros((len(poses), EXPRESSIONS), np.float32), False)


def _numbers(
    data: Mapping[str, Any], name: str, widths: tuple[int, ...], path: Path, count: int | None = None
) -> np.ndarray:
    """[N, one of ``widths``] float32."""
    if name not in data:
        raise UserError(f"{path}: expected an array '{name}', found none")
    value = np.asarray(data[name])
    if (
        value.ndim != 2
        or value.shape[1] not in widths
        or value.dtype.kind not in "fiu"
        or len(value) != (len(value) if count is None else count)
    ):
        rows = "N" if count is None else str(count)
        expected = " or ".join(f"[{rows}, {width}]" for width in widths)
        skeleton = "; is it of another skeleton?" if name in ("poses", "body_pose", "smpl_poses") else ""
        raise UserError(f"{path}: {name}: expected shape {expected}, found {value.dtype} {list(value.shape)}{skeleton}")
    if not np.isfinite(value).all():
        raise UserError(f"{path}: {name}: expected finite numbers, found NaN or infinity")
    return value.astype(np.float32)
