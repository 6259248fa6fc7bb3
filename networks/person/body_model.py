"""The SMPL body in canonical space: posed vertices and the transforms of its joints (paper section 3.1)."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from networks.cameras import FACE_OFFSET, FACE_RADIUS, SMPL_SCALE
from networks.person.body_assets import NUM_POSE_FEATURES, BodyArrays
from networks.person.pose_deformation import inverse_vertex_transforms
from torch_utils.device import constant, full_precision

NECK, HEAD = 12, 15
POSED_JOINTS = slice(12, 18)  # neck, left collar, right collar, head, left shoulder, right shoulder
# What moves a portrait: the trunk and the joints that turn. Every other joint moves like one of them.
MOVING = (0, *range(POSED_JOINTS.start, POSED_JOINTS.stop))
# Of SMPL's 207 pose features those of the joints that turn; the root has none.
POSED_FEATURES = slice(9 * (POSED_JOINTS.start - 1), 9 * (POSED_JOINTS.stop - 1))
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
    (c0, c1, c2), (s0, s1, s2) = eulers.cos().unbind(-1), eulers.sin().unbind(-1)
    a, b = s1 * s2, s1 * c2
    rows = (
        c0 * c1, c0 * a - s0 * c2, c0 * b + s0 * s2,
        s0 * c1, s0 * a + c0 * c2, s0 * b - c0 * s2,
        -s1, c1 * s2, c1 * c2,
    )  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def moving_weights(weights: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """SMPL's skinning weights [V, 24] gathered on MOVING [V, J]: a joint that is never bent moves like its parent."""
    group = np.zeros(len(parents), np.int64)
    for joint in range(1, len(parents)):
        group[joint] = MOVING.index(joint) if joint in MOVING else group[parents[joint]]
    return weights.astype(np.float64) @ np.eye(len(MOVING))[group]


class PosedBody(NamedTuple):
    vertices: Tensor  # [B, V', 3] posed head-and-shoulder vertices, canonical units
    joint_transforms: Tensor  # [B, 24, 4, 4] canonical pose -> this pose
    inverse_transforms: Tensor  # [B, V', 4, 4] this pose -> canonical pose, of the vertices


class _Shape(NamedTuple):
    """A body in T-pose, metres."""

    vertices: Tensor  # [B, V, 3]
    joints: Tensor  # [B, 24, 3]


class BodyModel(nn.Module):
    """SMPL with its arrays as buffers: smplx's arithmetic, for the joints that turn here.

    On a GPU nothing waits: the joint tree, which smplx reads from the device joint by joint, is kept as indices.

    Args:
        arrays: SMPL's arrays (:class:`networks.person.body_assets.BodyArrays`).
        head_shoulder_index: [V'] int64, the vertices that stand for the body in inverse skinning.
        to_mean_shape: whether inverse skinning takes people to the mean body's shape or leaves them theirs.
    """

    v_template: Tensor
    shapedirs: Tensor
    posedirs: Tensor
    J_regressor: Tensor
    lbs_weights: Tensor
    parents: Tensor
    faces: Tensor
    head_shoulder_index: Tensor
    mean_pose: Tensor
    ancestors: Tensor

    def __init__(self, arrays: BodyArrays, head_shoulder_index: Tensor, *, to_mean_shape: bool = False):
        super().__init__()
        self.to_mean_shape = to_mean_shape
        # Copies: weights that are loaded later must not run into the arrays.
        self.register_buffer("v_template", torch.tensor(arrays.v_template))  # [V, 3]
        self.register_buffer("shapedirs", torch.tensor(arrays.shapedirs))  # [V, 3, 10]
        self.register_buffer("posedirs", torch.tensor(arrays.posedirs))  # [V, 3, 207 or 0]
        self.register_buffer("J_regressor", torch.tensor(arrays.J_regressor))  # [24, V]
        self.register_buffer("lbs_weights", torch.tensor(arrays.lbs_weights))  # [V, 24]
        self.register_buffer("parents", torch.tensor(arrays.parents))  # [24]
        self.register_buffer("faces", torch.tensor(arrays.faces))  # [F, 3]
        self.register_buffer("head_shoulder_index", torch.as_tensor(head_shoulder_index).clone())  # [V']
        self.register_buffer("mean_pose", torch.tensor(MEAN_POSE), persistent=False)  # [6, 3]
        self.register_buffer("ancestors", _ancestors(arrays.parents.tolist()), persistent=False)  # [n, 25]

    @property
    def pose_directions(self) -> Tensor:
        """Pose correctives [V, 3, 207], zeros (that take no memory) where the body has none."""
        count, _, width = self.posedirs.shape
        return self.posedirs if width else self.posedirs.new_zeros(1).expand(count, 3, NUM_POSE_FEATURES)

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

    def _shape(self, betas: Tensor) -> _Shape:
        vertices = self.v_template + torch.einsum("vck,bk->bvc", self.shapedirs, betas)
        return _Shape(vertices, self.J_regressor @ vertices)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Joints [B, 24, 3] in T-pose, metres."""
        with full_precision():
            return self._shape(betas).joints

    def _pose(self, local: Tensor, joints: Tensor) -> Tensor:
        """What turns of the posed joints do to all that hangs on them.

        Args:
            local: [B, 6, 3, 3] rotations at POSED_JOINTS.
            joints: [B, 24, 3] before the turn.

        Returns:
            rigid transforms [B, 24, 4, 4], each chained over its joint's ancestors.
        """
        rotations = self._rotations(local)
        still = torch.eye(4, dtype=local.dtype, device=local.device)
        offsets = joints - (rotations @ joints[..., None]).squeeze(-1)  # each joint turns about itself
        turns = torch.cat([rotations, offsets[..., None]], -1)
        turns = torch.cat([turns, still[3:].expand(*turns.shape[:2], 1, 4)], -2)
        chain = torch.cat([turns, still.expand(len(turns), 1, 4, 4)], 1)  # [B, 25, 4, 4]
        for ancestor in self.ancestors:  # chains of 1, 2, 4 ... joints
            chain = chain[:, ancestor] @ chain
        return chain[:, :-1]

    def _skin(self, shape: _Shape, local: Tensor, index: Tensor | slice) -> Tensor:
        """Vertices [B, V', 3] that ``index`` chooses, in metres, for rotations ``local`` [B, 6, 3, 3]."""
        features = (local - torch.eye(3, dtype=local.dtype, device=local.device)).flatten(1)  # [B, 54]
        directions = self.pose_directions[..., POSED_FEATURES][index].flatten(0, 1)  # [3 V', 54]
        moved = shape.vertices[:, index] + (features @ directions.T).unflatten(1, (-1, 3))
        rows = self.lbs_weights[index] @ self._pose(local, shape.joints).flatten(2)  # [B, V', 16]
        rows = rows.unflatten(-1, (4, 4))[..., :3, :]
        return (rows[..., :3] * moved[..., None, :]).sum(-1) + rows[..., 3]

    def _from_neck(self, points: Tensor, shape: _Shape) -> Tensor:
        neck = shape.joints[:, NECK, None]
        return ((points - neck) / SMPL_SCALE - constant(FACE_OFFSET, points)) / FACE_RADIUS

    def to_canonical(self, points: Tensor, betas: Tensor) -> Tensor:
        """SMPL's metres [B, N, 3] -> canonical units, relative to the neck of the body with shape ``betas`` [B, 10]."""
        with full_precision():
            return self._from_neck(points, self._shape(betas))

    def _canonical_joints(self, shape: _Shape, mean: Tensor) -> Tensor:
        rows = self._pose(mean, shape.joints)[..., :3, :]
        return self._from_neck((rows[..., :3] @ shape.joints[..., None]).squeeze(-1) + rows[..., 3], shape)

    @full_precision()
    def canonical_vertices(self, betas: Tensor) -> Tensor:
        """All vertices in the canonical pose [B, V, 3], canonical units."""
        shape = self._shape(betas)
        return self._from_neck(self._skin(shape, self._mean_rotations(len(betas)), slice(None)), shape)

    @full_precision()
    def canonical_joints(self, betas: Tensor) -> Tensor:
        """Joints [B, 24, 3] in the canonical pose, canonical units; :meth:`joint_transforms` pose them."""
        return self._canonical_joints(self._shape(betas), self._mean_rotations(len(betas)))

    @full_precision()
    def joint_transforms(self, betas: Tensor, joint_eulers: Tensor) -> Tensor:
        """Rigid transforms [B, 24, 4, 4] from the canonical pose to ``joint_eulers`` [B, 6, 3], canonical units."""
        joints = self._canonical_joints(self._shape(betas), self._mean_rotations(len(betas)))
        return self._pose(euler_to_matrix(joint_eulers), joints)

    @full_precision()
    def posed_vertices(self, betas: Tensor, joint_eulers: Tensor) -> Tensor:
        """All vertices [B, V, 3], posed, canonical units; ``joint_eulers`` [B, 6, 3] are relative to the mean pose."""
        shape, local = self._shape(betas), euler_to_matrix(joint_eulers) @ euler_to_matrix(self.mean_pose)
        return self._from_neck(self._skin(shape, local, slice(None)), shape)

    @full_precision()
    def metric_vertices(self, rotations: Tensor) -> Tensor:
        """All vertices [B, V, 3] of the mean shape in metres, from the neck of its T-pose.

        Args:
            rotations: [B, 6, 3, 3] at joints 12..17, relative to the T-pose.
        """
        shape = self._shape(self.shapedirs.new_zeros(1, self.shapedirs.shape[-1]))
        shape = _Shape(*(part.expand(len(rotations), -1, -1) for part in shape))
        return self._skin(shape, rotations, slice(None)) - shape.joints[:, NECK, None]

    def forward(self, betas: Tensor, joint_eulers: Tensor) -> PosedBody:
        """betas [B, 10]; joint_eulers [B, 6, 3] radians of joints 12..17 (neck, collars, head, shoulders)."""
        with full_precision():  # both at once: a GPU is asked for half as many products
            turns, mean = euler_to_matrix(torch.stack([joint_eulers, self.mean_pose.expand_as(joint_eulers)]))
        return self._posed(betas, turns, mean)

    def posed(self, betas: Tensor, turns: Tensor) -> PosedBody:
        """The same, for rotations [B, 6, 3, 3] relative to the mean pose."""
        return self._posed(betas, turns, self._mean_rotations(len(betas)))

    @full_precision()
    def _posed(self, betas: Tensor, turns: Tensor, mean: Tensor) -> PosedBody:
        shape = self._shape(betas)
        vertices = self._from_neck(self._skin(shape, turns @ mean, self.head_shoulder_index), shape)
        transforms = self._pose(turns, self._canonical_joints(shape, mean))
        inverse = inverse_vertex_transforms(self.head_shoulder_weights, transforms, self.own_shape(betas))
        return PosedBody(vertices, transforms, inverse)

    def own_shape(self, betas: Tensor) -> Tensor | None:
        """What inverse skinning takes from the head-and-shoulder vertices [B, V', 3] beside the pose."""
        if not self.to_mean_shape:
            return None
        index = self.head_shoulder_index
        return self.canonical_vertices(betas)[:, index] - self.canonical_vertices(torch.zeros_like(betas[:1]))[:, index]


def _ancestors(parents: list[int]) -> Tensor:
    """[n, J + 1]: of every joint the one 1, 2, 4 ... steps above it, until nobody has one; J stands for none."""
    none = len(parents)
    steps = [[parent if parent >= 0 else none for parent in parents] + [none]]
    while any(joint != none for joint in steps[-1]) and len(steps) < none:
        steps.append([steps[-1][joint] for joint in steps[-1]])
    return torch.tensor(steps[:-1] or steps)
