"""Space about a posed body -> space about the body at rest (3DPortraitGAN, section 3.2; AniPortraitGAN, section 3.1).

By triangle frames, as published: rigid by triangles, and it jumps where the nearest one changes. Or by this house's
inverse skinning, smoothed by D^p along the rays, or as it is.
"""

from __future__ import annotations

from functools import partial

import roma
import torch
from torch import Tensor, nn

from networks.cameras import FACE_OFFSET, FACE_RADIUS, SMPL_SCALE, Rays
from networks.person.body_model import HEAD, NECK, POSED_JOINTS, BodyModel, PosedBody, euler_to_matrix
from networks.person.pose_deformation import GRID_STRIDE, PoseDeformationProcessor, inverse_lbs_volume
from networks.person.triangle_frames import faces_within, to_rest_pose
from networks.trigrid.config import TriGridConfig
from networks.trigrid.generator import Deformation
from torch_utils.device import constant, full_precision
from torch_utils.ops.nearest_vertex import nearest_vertices

UNIT = SMPL_SCALE * FACE_RADIUS  # metres of a canonical unit
TURNING = [joint - POSED_JOINTS.start for joint in (NECK, HEAD)]  # rows of neck and head among the joints that turn


def to_metres(points: Tensor) -> Tensor:
    """Canonical units [..., 3] -> metres from the neck of the body in T-pose."""
    return points * UNIT + SMPL_SCALE * constant(FACE_OFFSET, points)


def to_canonical(points: Tensor) -> Tensor:
    """The inverse of :func:`to_metres`."""
    return (points - SMPL_SCALE * constant(FACE_OFFSET, points)) / UNIT


class PosedSpace(nn.Module):
    """Poses of one body of mean shape, metres from its neck in T-pose.

    A body's pose here is the rotations [B, 6, 3, 3] of joints 12..17 from the T-pose. The body is not a part of this
    module: it belongs to the generator.

    Args:
        body: SMPL's arrays.
        config: what its ``pose`` and ``rest_pose`` say, its box and thickness.
    """

    rest: Tensor
    faces: Tensor
    rest_rotations: Tensor

    def __init__(self, body: BodyModel, config: TriGridConfig):
        super().__init__()
        self.config = config
        self.smoothing = PoseDeformationProcessor() if config.pose == "smoothed" else None
        mean = euler_to_matrix(body.mean_pose)
        rotations = mean if config.rest_pose == "mean" else torch.eye(3).expand_as(mean).clone()
        with torch.no_grad():
            rest = body.metric_vertices(rotations[None])[0]
        self.register_buffer("rest_rotations", rotations, persistent=False)  # [6, 3, 3]
        self.register_buffer("rest", rest, persistent=False)  # [V, 3]
        self.register_buffer("faces", faces_within(rest, body.faces, config.box / 2), persistent=False)

    # ---- poses ------------------------------------------------------------------------------------------------------

    @full_precision()
    def rotations(self, pose: Tensor) -> Tensor:
        """Of poses [B, 6], axis-angle of neck and head from rest; the other joints rest."""
        turns = roma.rotvec_to_rotmat(pose.unflatten(-1, (2, 3)))
        rotations = self.rest_rotations.to(pose.dtype).repeat(len(pose), 1, 1, 1)
        rotations[:, TURNING] = turns @ rotations[:, TURNING]
        return rotations

    @full_precision()
    def rotations_of(self, body: BodyModel, joint_eulers: Tensor) -> Tensor:
        """Of Euler angles [B, 6, 3] relative to the mean pose; collars and shoulders rest unless ``shoulders``."""
        rotations = euler_to_matrix(joint_eulers) @ euler_to_matrix(body.mean_pose)
        if self.config.shoulders:
            return rotations
        resting = self.rest_rotations.repeat(len(rotations), 1, 1, 1)
        resting[:, TURNING] = rotations[:, TURNING]
        return resting

    def with_shoulders(self, body: BodyModel, rotations: Tensor, joint_eulers: Tensor) -> Tensor:
        """``rotations`` with collars and shoulders of ``joint_eulers`` [B, 6, 3], where the config has them."""
        if not self.config.shoulders:
            return rotations
        others = self.rotations_of(body, joint_eulers)
        others[:, TURNING] = rotations[:, TURNING]
        return others

    @full_precision()
    def pose_of(self, rotations: Tensor) -> Tensor:
        """The inverse of :meth:`rotations`: poses [B, 6]."""
        turns = rotations[:, TURNING] @ self.rest_rotations[TURNING].transpose(-1, -2)
        return roma.rotmat_to_rotvec(turns).flatten(1)

    # ---- space ------------------------------------------------------------------------------------------------------

    @full_precision()
    def forward(
        self, body: BodyModel, rotations: Tensor, rays: Rays, depths: tuple[float, float] | None = None
    ) -> Deformation | None:
        """What :meth:`networks.trigrid.generator.TriGridGenerator.render` takes for the rays [B, R] of square pictures.
        Gradients flow to ``rotations`` through the body. None: nothing moves, by config. ``depths``: near and far of
        the samples; the config's by default."""
        if self.config.pose == "none":
            return None
        if self.config.pose == "frames":
            return partial(self._by_frames, body.metric_vertices(rotations))
        posed = self._posed(body, rotations)
        if self.config.pose == "nearest":
            return partial(_by_nearest, posed)
        depths = depths or (self.config.near, self.config.far)
        return partial(_by_volume, self._volume(posed, rays, depths), rays, depths)

    def _posed(self, body: BodyModel, rotations: Tensor) -> PosedBody:
        turns = rotations @ euler_to_matrix(body.mean_pose).transpose(-1, -2)
        return body.posed(body.shapedirs.new_zeros(len(turns), body.shapedirs.shape[-1]), turns)

    @full_precision()
    def head_frame(self, body: BodyModel, rotations: Tensor) -> Tensor:
        """The posed head joint's rigid transform [B, 4, 4] from the mean pose, canonical units."""
        return self._posed(body, rotations).joint_transforms[:, HEAD]

    def _by_frames(self, vertices: Tensor, points: Tensor) -> Tensor:
        return to_rest_pose(points, vertices, self.rest, self.faces, self.config.thickness)

    def _volume(self, posed: PosedBody, rays: Rays, ends: tuple[float, float]) -> Tensor:
        """D^p(T) [B, R, S, 12] at evenly spread depths of the rays."""
        assert self.smoothing is not None
        config, size = self.config, round(rays.directions.shape[1] ** 0.5)
        depths = torch.linspace(*ends, config.samples, device=rays.directions.device)
        points = to_canonical(rays.at(depths)).unflatten(1, (size, size))[
            :, ::GRID_STRIDE, ::GRID_STRIDE, ::GRID_STRIDE
        ]
        transforms = inverse_lbs_volume(points, posed.vertices, posed.inverse_transforms[:, :, :3])
        return self.smoothing(transforms).flatten(3).permute(0, 3, 2, 1)


@full_precision()
def _by_nearest(posed: PosedBody, points: Tensor) -> Tensor:
    """Inverse skinning by the nearest vertex, points [B, R, S, 3]."""
    local = to_canonical(points)
    size = round(points.shape[1] ** 0.5)
    squares = local.detach().unflatten(1, (size, -1))  # the search is fastest among neighbours
    index = torch.stack([nearest_vertices(*pair) for pair in zip(squares, posed.vertices.detach(), strict=True)])
    rows = posed.inverse_transforms[:, :, :3].flatten(2)  # [B, V', 12]
    chosen = rows.gather(1, index.flatten(1)[..., None].expand(-1, -1, 12))
    return _moved(chosen.view(*points.shape[:3], 12), local)


@full_precision()
def _by_volume(volume: Tensor, rays: Rays, ends: tuple[float, float], points: Tensor) -> Tensor:
    """Transforms [B, R, S, 12] between whose depths the samples [B, R, N, 3] of the same rays lie."""
    depths = ((points - rays.origins[:, :, None]) * rays.directions[:, :, None]).sum(-1)
    last = volume.shape[2] - 1
    place = ((depths - ends[0]) / (ends[1] - ends[0]) * last).clamp(0, last).detach()
    below = place.floor().clamp_max(last - 1)
    first, second = (
        volume.gather(2, (below.long() + k)[..., None].expand(*below.shape, 12)) for k in range(2)
    )  # fmt: skip
    return _moved(torch.lerp(first, second, (place - below)[..., None]), to_canonical(points))


def _moved(transforms: Tensor, points: Tensor) -> Tensor:
    """Affine transforms [..., 12] of canonical points [..., 3] -> metres."""
    matrix = transforms.unflatten(-1, (3, 4))
    return to_metres((matrix[..., :3] * points[..., None, :]).sum(-1) + matrix[..., 3])
