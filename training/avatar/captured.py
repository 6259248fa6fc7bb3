"""A captured actor: pictures and masks of calibrated cameras, and SMPL-X registrations frame by frame."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor

from networks.gaussian.avatar import Pose, View
from networks.gaussian.maps import Template, Window
from networks.gaussian.smplx_body import BETAS, EXPRESSIONS, JOINTS, SmplxBody, load_smplx
from networks.gaussian.whole_body import whole_body_pose
from torch_utils.misc import UserError
from torch_utils.pictures import open_picture, read_picture
from torch_utils.safe_npz import SafeArchive
from training.avatar.config import CaptureConfig
from training.avatar.layouts import REGISTRATION, open_capture
from training.avatar.masks import split_mask
from training.avatar.views import Actor, Shot

HALF_EXTENT = 1.0  # metres that the maps span to each side of the body's middle
# Of a registration, numbers a frame; joints in SMPL-X's order: root, body, jaw, eyes (not used), hands.
WIDTHS = {
    "global_orient": 3, "transl": 3, "body_pose": 63, "jaw_pose": 3, "expression": EXPRESSIONS, "left_hand_pose": 45,
    "right_hand_pose": 45,
}  # fmt: skip


class Registration(NamedTuple):
    """SMPL-X of one actor; rows are the frames' absolute numbers."""

    betas: np.ndarray  # [10]
    rotations: Tensor  # [N, 55, 3] axis-angle
    translation: Tensor  # [N, 3]
    expression: Tensor  # [N, 10]


def read_registration(path: Path) -> Registration:
    """``smpl_params.npz``. Raises UserError: an array is missing, misshapen, or not as long as the others."""
    archive = SafeArchive(path)
    if "gender" in archive and str(archive["gender"]) not in ("neutral", "b'neutral'"):
        raise UserError(f"{path}: expected the neutral SMPL-X, found gender {archive['gender']}")
    found: dict[str, np.ndarray] = {}
    for name, width in {"betas": BETAS, **WIDTHS}.items():
        if name not in archive:
            raise UserError(f"{path}: expected SMPL-X registrations, found no array '{name}'")
        value = np.asarray(archive[name])
        if value.ndim != 2 or value.shape[1] != width or len(value) == 0 or value.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name}: expected shape [N, {width}], found {value.dtype} {list(value.shape)}")
        if not np.isfinite(value).all():
            raise UserError(f"{path}: {name}: expected finite numbers, found NaN or infinity")
        found[name] = value.astype(np.float32)
    lengths = {name: len(found[name]) for name in WIDTHS}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{path}: expected as many rows in all arrays, found {lengths}")
    eyes = np.zeros((len(found["transl"]), 6), np.float32)
    parts = ("global_orient", "body_pose", "jaw_pose", None, "left_hand_pose", "right_hand_pose")
    rotations = np.concatenate([eyes if part is None else found[part] for part in parts], 1)
    numbers = (rotations.reshape(-1, JOINTS, 3), found["transl"], found["expression"])
    return Registration(found["betas"][0], *(torch.from_numpy(value) for value in numbers))


class CapturedViews:
    """Pictures of a set; see ``training.avatar.views.Views``.

    Pictures are taken as they are: nothing is cropped, resized or undistorted.

    Args:
        root: the set's folder. layout: of ``training.avatar.layouts.LAYOUTS``.

    Raises:
        UserError: what the set's files lack.
    """

    def __init__(self, root: str | Path, layout: str, config: CaptureConfig, device: torch.device):
        self.capture, self.device, self.config = open_capture(root, layout), device, config
        if config.body is None:
            raise UserError(f"--data {root}: expected capture.body, your SMPL-X file, found none in the configuration")
        self.registration = read_registration(self.capture.root / REGISTRATION)
        frames = range(*config.frames) if config.frames else range(len(self.registration.translation))
        if len(frames) == 0 or max(frames) >= len(self.registration.translation):
            found = f"{len(self.registration.translation)} rows in {REGISTRATION}"
            raise UserError(f"{root}: expected registrations up to frame {max(frames, default=0)}, found {found}")
        held_out = frames[:: config.held_out_every] if config.held_out_every else range(0)
        names = self._cameras()
        if config.frames is None:
            self._check_nothing_follows(names)
        learned = [item for item in self.capture.items(frames, names) if item[0] not in held_out]
        others = self.capture.items(held_out, names) if config.held_out_every else []
        others += self.capture.items(frames, list(config.held_out_cameras))
        if not learned or not others:
            found = f"{len(learned)} to learn from and {len(others)} held out"
            raise UserError(f"{root}: expected pictures of both kinds, found {found}")
        self.items, self.others, self.frames = learned, others, len(learned)
        self.body: SmplxBody = load_smplx(config.body, self.registration.betas)
        self.summary = f"{layout} {self.capture.root.name}, {len(frames)} frames of {len(names)} cameras"
        self.metadata: dict[str, Any] = {"source": self.summary, "body": "smplx"}

    def _check_nothing_follows(self, names: list[str]) -> None:
        """Raises UserError: pictures go on where registrations end, and nobody said where to stop."""
        capture, count = self.capture, len(self.registration.translation)
        if any(capture.layout.picture(capture.root, name, count).is_file() for name in names):
            found = f"pictures of frame {count} and {count} rows in {REGISTRATION}"
            raise UserError(f"{capture.root}: expected registrations of all frames, or capture.frames, found {found}")

    def _cameras(self) -> list[str]:
        """Names of those to learn from."""
        there, held_out = self.capture.cameras, self.config.held_out_cameras
        names = self.config.cameras or tuple(name for name in there if name not in held_out)
        unknown = [name for name in (*names, *held_out) if name not in there]
        if unknown:
            some = ", ".join(list(there)[:5])
            raise UserError(
                f"{self.capture.root}: expected cameras of the calibration ({some} ...), found {unknown[0]}"
            )
        return list(names)

    def actor(self, map_size: int) -> Actor:
        """The body's own surface in the canonical pose, about the middle of its box."""
        vertices, transforms, expressions = self.body.canonical()
        middle = (vertices.amin(0) + vertices.amax(0)) / 2
        window = Window((middle[0].item(), middle[1].item()), HALF_EXTENT, map_size)
        template = Template(vertices, self.body.faces, self.body.lbs_weights, expressions)
        joints = transforms[:, :3, :3] @ self.body.joints[..., None]
        return Actor(template, window, joints.squeeze(-1) + transforms[:, :3, 3], self.body.parents)

    def pose(self, frame: int) -> Pose:
        """Of a registration."""
        registered, body = self.registration, self.body
        parts = (roma.rotvec_to_rotmat(registered.rotations[frame]), registered.translation[frame])
        pose = whole_body_pose(body.joints, body.parents, *parts, registered.expression[frame])
        return Pose(*(part.to(self.device) for part in pose))

    def look(self, index: int) -> tuple[Pose, View]:
        frame, name = self.items[index % len(self.items)]
        return self.pose(frame), self._view(name)

    def _view(self, name: str) -> View:
        camera = self.capture.cameras[name]
        numbers = (camera.world_to_camera, camera.intrinsics)
        extrinsic, intrinsics = (torch.from_numpy(part).float().to(self.device) for part in numbers)
        return View(extrinsic, intrinsics, camera.size)

    def _shot(self, frame: int, name: str) -> Shot:
        camera, capture = self.capture.cameras[name], self.capture
        picture = np.array(read_picture(capture.layout.picture(capture.root, name, frame)))
        path = capture.layout.mask(capture.root, name, frame)
        mask = np.array(open_picture(path, lambda image: image.convert("L")))
        for where, found in ((name, picture.shape[:2]), (f"mask of {name}", mask.shape)):
            if found != camera.size:
                raise UserError(f"{capture.root}: {where}, frame {frame}: expected {camera.size}, found {tuple(found)}")
        foreground, boundary = (torch.from_numpy(part).to(self.device) for part in split_mask(mask))
        colour = torch.from_numpy(picture).to(self.device).float() / 255 * foreground[..., None]
        return Shot(colour, foreground.float(), self.pose(frame), self._view(name), ~boundary)

    def shot(self, index: int) -> Shot:
        return self._shot(*self.items[index])

    def held_out(self, index: int) -> Shot:
        spread = (index * max(1, len(self.others) // 16)) % len(self.others)
        return self._shot(*self.others[spread])

    def poses(self, count: int) -> list[Pose]:
        frames = sorted({frame for frame, _ in self.items})
        return [self.pose(frame) for frame in frames[:: max(1, -(-len(frames) // count))]]
