"""Gaussians through a skeleton: joints' transforms, blended by each Gaussian's weights."""

from typing import Literal

import torch
from torch import Tensor

from torch_utils.device import full_precision
from torch_utils.ops.splat import rotation_matrices

Law = Literal["exact", "published"]


@full_precision()
def joint_transforms(
    rest_joints: Tensor, parents: Tensor, rotations: Tensor, translation: Tensor | None = None
) -> Tensor:
    """A_j: what a pose does to points that hang on joint j alone.

    Args:
        rest_joints: [J, 3].
        parents: [J] int64, below their children; that of the root, the first, is not used.
        rotations: [J, 3, 3] of each joint relative to its parent.
        translation: [3] of the whole body.

    Returns:
        [J, 4, 4]: its chain transform times (I, -rest joint).
    """
    transforms = torch.eye(4, dtype=rotations.dtype, device=rotations.device).repeat(len(rotations), 1, 1)
    transforms[:, :3, :3] = rotations
    transforms[:, :3, 3] = rest_joints - (rotations @ rest_joints[..., None]).squeeze(-1)
    chain = [transforms[0]]
    for joint, parent in enumerate(parents.tolist()[1:], 1):
        chain.append(chain[parent] @ transforms[joint])
    result = torch.stack(chain)
    if translation is not None:
        result[:, :3, 3] += translation
    return result


def canonical_to_live(live: Tensor, canonical: Tensor) -> Tensor:
    """T_j = A_j(live) A_j(canonical)^-1: [J, 4, 4] each."""
    return live @ torch.linalg.inv(canonical)


@full_precision()
def point_transforms(lbs_weights: Tensor, transforms: Tensor) -> Tensor:
    """M_i = sum_j w_ij T_j: [N, J] and [J, 4, 4] -> [N, 4, 4]."""
    return (lbs_weights @ transforms.flatten(1)).unflatten(1, (4, 4))


def transform_points(transforms: Tensor, points: Tensor) -> Tensor:
    """[N, 4, 4] and [N, 3] -> [N, 3]."""
    return (transforms[:, :3, :3] * points[:, None]).sum(-1) + transforms[:, :3, 3]


@full_precision()
def live_axes(transforms: Tensor, quaternions: Tensor, scales: Tensor, law: Law = "exact") -> Tensor:
    """Half axes of skinned Gaussians, for ``splat_axes``.

    ``exact``: M R S, so that the covariance is M R S S R^T M^T. ``published``: M R as a quaternion, which where joints
    disagree is not a unit one, and is not made one; released avatars were trained so.

    Args:
        transforms: [N, 4, 4]. quaternions: [N, 4] unit, (w, x, y, z). scales: [N, 3].

    Returns:
        [N, 3, 3].
    """
    turned = transforms[:, :3, :3] @ rotation_matrices(quaternions)
    if law == "published":
        turned = rotation_matrices(matrix_to_quaternion(turned))
    return turned * scales[:, None]


def matrix_to_quaternion(matrices: Tensor) -> Tensor:
    """[N, 3, 3] -> [N, 4]: of the four candidates the one with the largest root (PyTorch3D's rule).

    Of a matrix that also shrinks, the quaternion is not a unit one.
    """
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (row.unbind(-1) for row in matrices.unbind(-2))
    squares = [1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22]
    roots = torch.stack(squares, -1).clamp(min=0)
    roots = torch.where(roots > 0, roots.clamp(min=1e-12).sqrt(), 0.0)  # the root's slope at 0 is infinite
    square = roots.square()
    rows = [
        torch.stack([square[:, 0], m21 - m12, m02 - m20, m10 - m01], -1),
        torch.stack([m21 - m12, square[:, 1], m10 + m01, m02 + m20], -1),
        torch.stack([m02 - m20, m10 + m01, square[:, 2], m12 + m21], -1),
        torch.stack([m10 - m01, m20 + m02, m21 + m12, square[:, 3]], -1),
    ]
    candidates = torch.stack(rows, 1) / (2 * roots[..., None].clamp(min=0.1))
    largest = roots.argmax(-1)
    return candidates[torch.arange(len(largest), device=largest.device), largest]
