"""The SMPL body in canonical space: posed vertices and the transforms of its joints (paper section 3.1)."""

from typing import NamedTuple

import roma
import torch
from smplx.lbs import batch_rigid_transform, blend_shapes, lbs, vertices2joints
from torch import Tensor, nn

from networks.cameras import FACE_OFFSET, FACE_RADIUS, SMPL_SCALE
from networks.person.body_assets import BodyArrays

NECK, HEAD = 12, 15
POSED_JOINTS = slice(12, 18)  # neck, left collar, right collar, head, left shoulder, right shoulder
# Euler angles of the canonical ("mean") pose at POSED_JOINTS: arms hang down, the head is slightly bowed.
MEAN_POSE = (
    (0.0, 0.0, 0.0),
    (0.0, 0.0, 0.0),
    (0.0, 0.0, 0.0),
    (0.0, 0.0, 0.15536945),
    (-1.05, 0.0, 0.13),
    (1.05, 0.0, 0.13),
)


def euler_to_matrix(eulers: Tensor) -> Tensor:
    """Euler angles [..., 3] in radians -> rotation [..., 3, 3] = Rz(e0) Ry(e1) Rx(e2)."""
    return roma.euler_to_rotmat("ZYX", eulers)


class PosedBody(NamedTuple):
    vertices: Tensor  # [B, V', 3] posed head-and-shoulder vertices, canonical units
    joint_transforms: Tensor  # [B, 24, 4, 4] canonical pose -> this pose


class BodyModel(nn.Module):
    """SMPL with its arrays as buffers; skinning through smplx.

    Args:
        arrays: SMPL's arrays (:class:`networks.person.body_assets.BodyArrays`).
        head_shoulder_index: [V'] int64, the vertices that stand for the body in inverse skinning.
    """

    def __init__(self, arrays: BodyArrays, head_shoulder_index: Tensor):
        super().__init__()
        # Copies: weights that are loaded later must not run into the arrays.
        self.register_buffer("v_template", torch.tensor(arrays.v_template))  # [V, 3]
        self.register_buffer("shapedirs", torch.tensor(arrays.shapedirs))  # [V, 3, 10]
        self.register_buffer("posedirs", torch.tensor(arrays.posedirs))  # [V, 3, 207]
        self.register_buffer("J_regressor", torch.tensor(arrays.J_regressor))  # [24, V]
        self.register_buffer("lbs_weights", torch.tensor(arrays.lbs_weights))  # [V, 24]
        self.register_buffer("parents", torch.tensor(arrays.parents))  # [24]
        self.register_buffer("faces", torch.tensor(arrays.faces))  # [F, 3]
        self.register_buffer("head_shoulder_index", torch.as_tensor(head_shoulder_index).clone())  # [V']
        self.register_buffer("mean_pose", torch.tensor(MEAN_POSE), persistent=False)  # [6, 3]

    @property
    def head_shoulder_weights(self) -> Tensor:
        """Skinning weights of the head-and-shoulder vertices [V', 24]."""
        return self.lbs_weights[self.head_shoulder_index]

    def _rotations(self, local: Tensor) -> Tensor:
        """Rotations [B, 24, 3, 3] with ``local`` [B, 6, 3, 3] at POSED_JOINTS and identity elsewhere."""
        rotations = torch.eye(3, dtype=local.dtype, device=local.device).repeat(len(local), 24, 1, 1)
        rotations[:, POSED_JOINTS] = local
        return rotations

    def _mean_rotations(self, count: int) -> Tensor:
        """The canonical pose's rotations [count, 6, 3, 3] at POSED_JOINTS."""
        return euler_to_matrix(self.mean_pose).expand(count, -1, -1, -1)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Joints [B, 24, 3] in T-pose, metres."""
        return vertices2joints(self.J_regressor, self.v_template + blend_shapes(betas, self.shapedirs))

    def _skin(self, betas: Tensor, local: Tensor) -> Tensor:
        """Vertices [B, V, 3] in metres for rotations ``local`` [B, 6, 3, 3]."""
        posedirs = self.posedirs.reshape(-1, self.posedirs.shape[-1]).T
        vertices, _ = lbs(
            betas, self._rotations(local), self.v_template[None], self.shapedirs, posedirs, self.J_regressor,
            self.parents, self.lbs_weights, pose2rot=False,
        )  # fmt: skip
        return vertices

    def to_canonical(self, points: Tensor, betas: Tensor) -> Tensor:
        """SMPL's metres [B, N, 3] -> canonical units, relative to the neck of the body with shape ``betas`` [B, 10]."""
        neck = self.rest_joints(betas)[:, NECK, None]
        offset = torch.tensor(FACE_OFFSET, dtype=points.dtype, device=points.device)
        return ((points - neck) / SMPL_SCALE - offset) / FACE_RADIUS

    def canonical_vertices(self, betas: Tensor) -> Tensor:
        """All vertices in the canonical pose [B, V, 3], canonical units."""
        return self.to_canonical(self._skin(betas, self._mean_rotations(len(betas))), betas)

    def canonical_joints(self, betas: Tensor) -> Tensor:
        """Joints [B, 24, 3] in the canonical pose, canonical units; :meth:`joint_transforms` pose them."""
        mean = self._rotations(self._mean_rotations(len(betas)))
        joints, _ = batch_rigid_transform(mean, self.rest_joints(betas), self.parents)
        return self.to_canonical(joints, betas)

    def joint_transforms(self, betas: Tensor, joint_eulers: Tensor) -> Tensor:
        """Rigid transforms [B, 24, 4, 4] from the canonical pose to ``joint_eulers`` [B, 6, 3], canonical units."""
        joints = self.canonical_joints(betas)
        _, transforms = batch_rigid_transform(self._rotations(euler_to_matrix(joint_eulers)), joints, self.parents)
        return transforms

    def posed_vertices(self, betas: Tensor, joint_eulers: Tensor) -> Tensor:
        """All vertices [B, V, 3], posed, canonical units; ``joint_eulers`` [B, 6, 3] are relative to the mean pose."""
        local = euler_to_matrix(joint_eulers) @ euler_to_matrix(self.mean_pose)
        return self.to_canonical(self._skin(betas, local), betas)

    def forward(self, betas: Tensor, joint_eulers: Tensor) -> PosedBody:
        """betas [B, 10]; joint_eulers [B, 6, 3] radians of joints 12..17 (neck, collars, head, shoulders)."""
        vertices = self.posed_vertices(betas, joint_eulers)[:, self.head_shoulder_index]
        return PosedBody(vertices, self.joint_transforms(betas, joint_eulers))
