"""Cameras on a sphere around the head, and the rays they cast.

A camera is (pitch, yaw) in radians; (pi/2, pi/2) looks straight at the face. Canonical space: y up, +z out of the
face, 1 unit = 1.1775 m.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from torch_utils.device import constant, full_precision

FRONTAL = math.pi / 2  # pitch and yaw of the camera that looks straight at the face

# Constants that tie SMPL's metres to canonical space (shared with networks.person.body_model).
SMPL_SCALE = 2.2314079
FACE_OFFSET = (0.0, 0.067489409707008, 0.050608165033568)
FACE_RADIUS = 0.52767998683149


@dataclass(frozen=True, kw_only=True)
class CameraModel:
    """Intrinsics and orbit of a camera. Lengths in canonical units.

    ``offset`` moves the orbit's centre: ray origins and samples are shifted by it.
    """

    radius: float
    near: float
    far: float
    fov_degrees: float = 12.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)


PORTRAIT_CAMERA = CameraModel(
    radius=1.0 / FACE_RADIUS,
    near=1.675087979372887,
    far=2.115087979372887,
    offset=(
        -FACE_OFFSET[0] / FACE_RADIUS,
        (0.052552 - FACE_OFFSET[1]) / FACE_RADIUS + 0.01,
        -FACE_OFFSET[2] / FACE_RADIUS,
    ),
)
FACE_CAMERA = CameraModel(radius=1.0, near=0.88, far=1.12)


class Rays(NamedTuple):
    """Rays in row-major pixel order from the top left."""

    origins: Tensor  # [B, R, 3]
    directions: Tensor  # [B, R, 3], unit length

    def at(self, depths: Tensor) -> Tensor:
        """Points at ``depths`` [S] (canonical units) along every ray -> [B, R, S, 3]."""
        return self.origins[:, :, None] + self.directions[:, :, None] * depths[:, None]


def camera_frame(camera: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Rotation and origin of cameras that look at 0 from a sphere.

    Args:
        camera: [B, 2] (pitch, yaw) in radians.
        radius: of the sphere, canonical units.

    Returns:
        rotation [B, 3, 3] whose columns are the camera's right, up and backward axes; origin [B, 3].
    """
    pitch, yaw = camera.unbind(-1)
    origin = radius * torch.stack([pitch.sin() * yaw.cos(), pitch.cos(), pitch.sin() * yaw.sin()], -1)
    forward = torch.nn.functional.normalize(-origin, dim=-1)
    x, _, z = forward.unbind(-1)
    left = torch.nn.functional.normalize(torch.stack([z, torch.zeros_like(z), -x], -1), dim=-1)  # (0, 1, 0) x forward
    up = torch.nn.functional.normalize(torch.cross(forward, left, dim=-1), dim=-1)
    return torch.stack([-left, up, -forward], -1), origin


def pixel_directions(resolution: int, fov_degrees: float, *, dtype=torch.float32, device=None) -> Tensor:
    """Unit directions through the pixels of a square image, camera frame -> [resolution^2, 3].

    Pixel centres run over linspace(-1, 1) with both ends included, rows from the top.
    """
    x = torch.linspace(-1, 1, resolution, dtype=dtype, device=device)
    grid_y, grid_x = torch.meshgrid(x.flip(0), x, indexing="ij")
    focal = 1.0 / math.tan(math.radians(fov_degrees) / 2)
    directions = torch.stack([grid_x, grid_y, torch.full_like(grid_x, -focal)], -1)
    return torch.nn.functional.normalize(directions.reshape(-1, 3), dim=-1)


@full_precision()
def cast_rays(camera: Tensor, model: CameraModel, resolution: int, frame: Tensor | None = None) -> Rays:
    """Rays of a square image.

    Args:
        camera: [B, 2] (pitch, yaw) in radians.
        model: intrinsics and orbit.
        resolution: pixels a side; R = resolution^2.
        frame: optional rigid transform [B, 4, 4] the camera rides on. The face camera rides on the posed head
            joint, so that the face stays framed however the head turns (paper section 3.2).
    """
    rotation, origin = camera_frame(camera, model.radius)
    directions = pixel_directions(resolution, model.fov_degrees, dtype=camera.dtype, device=camera.device)
    directions = torch.einsum("bij,rj->bri", rotation, directions)
    origin = origin + constant(model.offset, camera)
    if frame is not None:
        directions = torch.einsum("bij,brj->bri", frame[:, :3, :3], directions)
        origin = torch.einsum("bij,bj->bi", frame[:, :3, :3], origin) + frame[:, :3, 3]
    return Rays(origin[:, None].expand_as(directions), directions)


def sample_depths(model: CameraModel, num_samples: int, *, dtype=torch.float32, device=None) -> Tensor:
    """Depths along a ray from near to far, ends included -> [num_samples], canonical units."""
    return torch.linspace(model.near, model.far, num_samples, dtype=dtype, device=device)


@full_precision()
def project(points: Tensor, camera: Tensor, model: CameraModel, frame: Tensor | None = None) -> Tensor:
    """Where points appear: the inverse of :func:`cast_rays`.

    Args:
        points: [B, N, 3] canonical, in front of the camera; those behind it come out mirrored.
        camera: [B, 2] (pitch, yaw) in radians, pitch in (0, pi): at the poles there is no up.
        frame: optional rigid transform [B, 4, 4] the camera rides on.

    Returns:
        [B, N, 3]: x right and y up in -1..1 (the centres of the border pixels), and the distance from the camera
        along the ray, canonical units.
    """
    if frame is not None:
        points = (points - frame[:, None, :3, 3]) @ frame[:, :3, :3]
    rotation, origin = camera_frame(camera, model.radius)
    local = torch.einsum("bij,bni->bnj", rotation, points - (origin + constant(model.offset, points))[:, None])
    focal = 1.0 / math.tan(math.radians(model.fov_degrees) / 2)
    return torch.cat([focal * local[..., :2] / -local[..., 2:], local.norm(dim=-1, keepdim=True)], -1)


def to_pixels(projected: Tensor, resolution: int) -> Tensor:
    """What :func:`project` gives [..., 2 or 3] as pixels [..., 2] of a square image.

    x goes right and y down; pixel centres are the integers 0 .. resolution - 1.
    """
    x, y = projected[..., 0], projected[..., 1]
    return 0.5 * (resolution - 1) * torch.stack([1 + x, 1 - y], -1)


def pinhole(camera: Tensor, model: CameraModel, resolution: int) -> tuple[Tensor, Tensor]:
    """The same camera as other programs describe one: the picture of :func:`cast_rays`, pixel by pixel.

    Args:
        camera: [2] (pitch, yaw) in radians.
        resolution: pixels a side.

    Returns:
        world_to_camera [4, 4], x right, y down, z forward; intrinsics [4] fx, fy, cx, cy in pixels, the first pixel's
        centre at 0.5.
    """
    rotation, origin = camera_frame(camera[None], model.radius)
    right, up, backward = rotation[0].unbind(-1)
    axes = torch.stack([right, -up, -backward])
    result = torch.eye(4, dtype=camera.dtype, device=camera.device)
    result[:3, :3] = axes
    result[:3, 3] = -axes @ (origin[0] + constant(model.offset, camera))
    focal = 0.5 * (resolution - 1) / math.tan(math.radians(model.fov_degrees) / 2)
    return result, constant((focal, focal, resolution / 2, resolution / 2), camera)
