"""Cameras as EG3D, PanoHead and 3DPortraitGAN write them: 25 numbers, a pose and intrinsics.

cam2world [4, 4] row-major, columns right, **down**, forward (OpenCV), metres; then intrinsics [3, 3] in units of the
picture's side. The origin is the neck of the unposed mean body, y up, +z out of the face, +x the person's left.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.cameras import FACE_OFFSET, FACE_RADIUS, PORTRAIT_CAMERA, SMPL_SCALE, CameraModel, Rays, camera_frame
from torch_utils.device import constant, full_precision

LABEL_SIZE, POSE_SIZE = 25, 6
FOCAL = 5000 / 1024 / 0.75  # of the picture's side
PIVOT = (0.0, 0.0649, 0.0)  # what the orbit's cameras look at
RADIUS = 2.7  # of the orbit, about the origin
_LEAST_PITCH = 1e-5
# What a mirror image changes the sign of: of cam2world its first row and column, of a pose all turns about y and z.
_MIRRORED_LABEL = (1, 2, 3, 4, 8)
_MIRRORED_POSE = (1, 2, 4, 5)


def orbit(yaw: Tensor, pitch: Tensor) -> Tensor:
    """cam2world [B, 4, 4] of cameras on the orbit.

    Args:
        yaw: [B] radians; pi/2 is the front, 0 the person's right, -pi/2 the back.
        pitch: [B] linear in height: pi/2 is level, 0 the zenith.
    """
    pivot = torch.tensor(PIVOT, dtype=yaw.dtype, device=yaw.device)
    y = 1 - 2 * pitch.clamp(_LEAST_PITCH, math.pi - _LEAST_PITCH) / math.pi
    side = (1 - y.square()).sqrt()
    position = RADIUS * torch.stack([-side * yaw.cos(), y, side * yaw.sin()], -1)
    forward = F.normalize(pivot - position, dim=-1)
    up = torch.tensor((0.0, 1.0, 0.0), dtype=yaw.dtype, device=yaw.device).expand_as(forward)
    right = F.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    matrix = torch.eye(4, dtype=yaw.dtype, device=yaw.device).repeat(len(yaw), 1, 1)
    matrix[:, :3] = torch.stack([right, down, forward, position], -1)
    return matrix


def make_label(cam2world: Tensor, focal: float = FOCAL) -> Tensor:
    """Labels [B, 25] of poses [B, 4, 4] and a focal length in units of the picture's side; its centre is the middle."""
    intrinsics = cam2world.new_tensor([focal, 0, 0.5, 0, focal, 0.5, 0, 0, 1])
    return torch.cat([cam2world.flatten(1), intrinsics.expand(len(cam2world), -1)], -1)


def orbit_label(camera: Tensor) -> Tensor:
    """Labels [B, 25] on the orbit, in the direction of this house's cameras [B, 2] (pitch, yaw)."""
    pitch, yaw = camera.unbind(-1)
    return make_label(orbit(math.pi - yaw, (1 - pitch.cos()) * math.pi / 2))


@full_precision()
def portrait_label(
    camera: Tensor, size: int, model: CameraModel = PORTRAIT_CAMERA, frame: Tensor | None = None
) -> Tensor:
    """Labels [B, 25] of this house's cameras [B, 2] (pitch, yaw).

    Args:
        size: pixels a side of the picture: its angle of view is that between the centres of its border pixels, of a
            label that between its edges.
        model: which camera it is.
        frame: rigid transform [B, 4, 4], canonical units, that the camera rides on.
    """
    rotation, origin = camera_frame(camera, model.radius)
    origin = origin + constant(model.offset, camera)
    if frame is not None:
        rotation = frame[:, :3, :3] @ rotation
        origin = (frame[:, :3, :3] @ origin[..., None]).squeeze(-1) + frame[:, :3, 3]
    position = SMPL_SCALE * (FACE_RADIUS * origin + constant(FACE_OFFSET, camera))
    right, up, backward = rotation.unbind(-1)
    matrix = torch.eye(4, dtype=camera.dtype, device=camera.device).repeat(len(camera), 1, 1)
    matrix[:, :3] = torch.stack([right, -up, -backward, position], -1)
    focal = (size - 1) / size / (2 * math.tan(math.radians(model.fov_degrees) / 2))
    return make_label(matrix, focal)


def mirror_label(label: Tensor) -> Tensor:
    """The label [B, 25] of the mirror image."""
    return label * _signs(label, _MIRRORED_LABEL)


def mirror_pose(pose: Tensor) -> Tensor:
    """The pose [B, 6] of the mirror image: axis-angle of neck and head, radians."""
    return pose * _signs(pose, _MIRRORED_POSE)


def _signs(like: Tensor, turned: tuple[int, ...]) -> Tensor:
    signs = [-1.0 if k in turned else 1.0 for k in range(like.shape[-1])]
    return torch.tensor(signs, dtype=like.dtype).to(like.device, non_blocking=True)


def is_left(label: Tensor) -> Tensor:
    """[B] bool: cameras at the person's left, x >= 0."""
    return torch.atan2(label[:, 11], label[:, 3]).abs() <= math.pi / 2


@full_precision()
def direction_harmonics(label: Tensor, order: int) -> Tensor:
    """[B, 2 + 2 order] of cameras: 1, the sine of their elevation above the neck, and cosines and sines of 1 .. order
    times the angle that they stand at about the body, 0 in front."""
    position = label[:, (3, 7, 11)]
    angle = torch.atan2(position[:, 0], position[:, 2])[:, None] * torch.arange(1, order + 1, device=label.device)
    height = F.normalize(position, dim=-1)[:, 1:2]
    return torch.cat([torch.ones_like(height), height, angle.cos(), angle.sin()], -1)


@full_precision()
def project_label(points: Tensor, label: Tensor) -> Tensor:
    """Where cameras of labels [B, 25] see points [B, N, 3] (metres): x right, y down, 0..1 between the picture's edges.

    The inverse of :func:`label_rays`; points behind a camera come out mirrored.
    """
    pose, k = label[:, :16].unflatten(-1, (4, 4)), label[:, 16:].unflatten(-1, (3, 3))
    local = (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    return (local @ k.mT)[..., :2] / local[..., 2:]


@full_precision()
def label_rays(label: Tensor, resolution: int) -> Rays:
    """Rays [B, R^2] through the pixels' centres of labels [B, 25], row-major from the top left; unit directions."""
    pose, k = label[:, :16].unflatten(-1, (4, 4)), label[:, 16:].unflatten(-1, (3, 3))
    centres = (torch.arange(resolution, dtype=label.dtype, device=label.device) + 0.5) / resolution
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    u, v = u.reshape(1, -1), v.reshape(1, -1)
    fx, fy, cx, cy, skew = (part[:, None] for part in (k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2], k[:, 0, 1]))
    y = (v - cy) / fy
    x = (u - cx - skew * y) / fx
    local = F.normalize(torch.stack([x, y, torch.ones_like(x)], -1), dim=-1)
    directions = torch.einsum("bij,brj->bri", pose[:, :3, :3], local)
    return Rays(pose[:, None, :3, 3].expand_as(directions), directions)
