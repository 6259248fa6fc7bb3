"""A person's body for frames: what does not depend on the pose is computed once, what is small on the CPU.

The same body as ``BodyModel.forward`` with ``inverse_vertex_transforms``, up to rounding. Of SMPL's 24 joints only six
turn; the others stay, or move with the nearest of those above them. So a vertex follows 7 transforms instead of 24, and
54 of the 207 pose directions count; and of the vertices those of head and shoulders.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from networks.cameras import FACE_RADIUS, SMPL_SCALE
from networks.person.body_model import POSED_FEATURES, POSED_JOINTS, BodyModel, euler_to_matrix
from networks.person.pose_deformation import inverse_vertex_transforms
from torch_utils.device import full_precision

_POSED = range(POSED_JOINTS.start, POSED_JOINTS.stop)


class Pose(NamedTuple):
    """What a frame needs to know of a pose: a few hundred numbers."""

    features: Tensor  # [54] rotations at the posed joints, less the identity
    # [2, 7, 4, 4] of what stays and of the posed joints: from T-pose in metres, and from the canonical pose
    transforms: Tensor

    def to(self, device: torch.device) -> "Pose":
        return Pose(*(part.to(device, non_blocking=True) for part in self))


NO_POSE = Pose(torch.zeros(9 * len(_POSED)), torch.zeros(2, len(_POSED) + 1, 4, 4))


class FastBody:
    """One shape of a body, ready to be posed.

    Args:
        body: on its device.
        betas: [1, 10].
    """

    @full_precision()
    def __init__(self, body: BodyModel, betas: Tensor):
        index = body.head_shoulder_index
        # Skinned in metres, as SMPL is: where rounded weights do not add up to 1, it matters where the origin is.
        self._rest = body.v_template[index] + body.shapedirs[index] @ betas[0]  # [V', 3]
        self._directions = body.pose_directions[index][..., POSED_FEATURES].flatten(0, 1).T.contiguous()  # [54, 3 V']
        self._origin = body.to_canonical(torch.zeros_like(self._rest[None, :1]), betas)[0]  # [1, 3]
        joints = body.rest_joints(betas), body.canonical_joints(betas)
        self.joints = torch.cat(joints)[:, POSED_JOINTS].cpu()  # [2, 6, 3]
        self._mean = euler_to_matrix(body.mean_pose.cpu())  # [6, 3, 3]
        followed = _followed(body.parents.tolist())
        # Of the posed joints: the transform above each. Here and in `weights` 0 is what stays, then come the joints.
        self.above = [followed[parent] for parent in body.parents[POSED_JOINTS].tolist()]
        weights = body.head_shoulder_weights
        follows = torch.eye(len(_POSED) + 1)[followed]  # [24, 7]
        self.weights = weights @ follows.to(weights)  # [V', 7]
        self._shape = body.own_shape(betas)

    def pose(self, joint_eulers: Tensor) -> Pose:
        """The pose of ``joint_eulers`` [6, 3] radians; both on the CPU."""
        rotations = euler_to_matrix(joint_eulers)
        local = rotations @ self._mean
        features = (local - torch.eye(3)).flatten()
        return Pose(features, self._chain(torch.stack([local, rotations])))

    def _chain(self, rotations: Tensor) -> Tensor:
        """Each joint turns about itself [2, 6, 3, 3], and with it what is below -> [2, 7, 4, 4]."""
        turns = torch.eye(4).repeat(*rotations.shape[:2], 1, 1)
        turns[..., :3, :3] = rotations
        turns[..., :3, 3] = self.joints - (rotations @ self.joints[..., None]).squeeze(-1)
        chain = [torch.eye(4).expand(len(rotations), 4, 4)]
        for above, turn in zip(self.above, turns.unbind(1), strict=True):
            chain.append(chain[above] @ turn)
        return torch.stack(chain, 1)

    @full_precision()
    def vertices(self, pose: Pose) -> Tensor:
        """Posed head-and-shoulder vertices [V', 3]; the pose on the body's device."""
        moved = self._rest + (pose.features @ self._directions).view(-1, 3)
        rows = (self.weights @ pose.transforms[0].flatten(1)).view(-1, 4, 4)[:, :3]
        metres = (rows[..., :3] * moved[:, None]).sum(-1) + rows[..., 3]
        return metres / (SMPL_SCALE * FACE_RADIUS) + self._origin

    def inverse_transforms(self, pose: Pose) -> Tensor:
        """Posed -> canonical pose, of every vertex [V', 16]."""
        return inverse_vertex_transforms(self.weights, pose.transforms[1:], self._shape)[0].flatten(1)


def _followed(parents: list[int]) -> list[int]:
    """Which of the posed joints, from 1 on, every joint moves with; 0 where it stays. Parents come first."""
    followed: list[int] = []
    for joint, parent in enumerate(parents):
        followed.append(_POSED.index(joint) + 1 if joint in _POSED else followed[parent] if parent >= 0 else 0)
    return followed
