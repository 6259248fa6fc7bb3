"""Joints, points and Gaussians through a skeleton: golden values, by hand, gradients."""

import math

import pytest
import roma
import torch
from torch.autograd import gradcheck

from networks.gaussian.skinning import (
    canonical_to_live,
    joint_transforms,
    live_axes,
    matrix_to_quaternion,
    point_transforms,
    transform_points,
)
from tests.networks.gaussian.golden import golden, needs_golden
from torch_utils.ops.splat import rotation_matrices

EXACT = {"atol": 1e-9, "rtol": 0}  # float64


def made_up(count=7):
    random = torch.Generator().manual_seed(0)
    quaternions = torch.nn.functional.normalize(torch.randn(count, 4, generator=random, dtype=torch.float64), dim=-1)
    transforms = torch.eye(4, dtype=torch.float64) + 0.2 * torch.randn(count, 4, 4, generator=random).double()
    return transforms, quaternions, torch.rand(count, 3, generator=random, dtype=torch.float64)


@needs_golden
def test_golden_joints_and_gaussians():
    data = golden("gaussian_skinning")
    canonical, pose = (roma.rotvec_to_rotmat(data[name]) for name in ("canonical_pose", "pose"))
    canonical = joint_transforms(data["rest_joints"], data["parents"], canonical)
    live = joint_transforms(data["rest_joints"], data["parents"], pose, data["translation"])
    assert torch.allclose(canonical, data["canonical_transforms"], **EXACT)
    assert torch.allclose(live, data["live_transforms"], **EXACT)
    pose[0] = torch.eye(3)
    rootless = joint_transforms(data["rest_joints"], data["parents"], pose)
    assert torch.allclose(rootless, data["live_transforms_without_root"], **EXACT)
    transforms = canonical_to_live(live, canonical)
    assert torch.allclose(transforms, data["canonical_to_live"], **EXACT)
    points = point_transforms(data["lbs_weights"], transforms)
    assert torch.allclose(points, data["point_transforms"], **EXACT)
    assert torch.allclose(transform_points(points, data["positions"]), data["live_positions"], **EXACT)
    turned = points[:, :3, :3] @ rotation_matrices(data["quaternions"])
    assert torch.allclose(turned, data["live_rotation_matrices"], **EXACT)
    found, expected = matrix_to_quaternion(turned), data["live_quaternions"]
    assert torch.allclose(found * (found * expected).sum(-1, keepdim=True).sign(), expected, **EXACT)
    for law in ("exact", "published"):
        axes = live_axes(points, data["quaternions"], data["scales"], law)
        covariance = data[f"covariance_{law}"]
        assert (axes @ axes.mT - covariance).norm() < 1e-9 * covariance.norm()


@needs_golden
def test_golden_few_joints():
    data = golden("skinning")
    points = point_transforms(data["weights"], data["transforms"])
    assert torch.allclose(transform_points(points, data["positions"]), data["live_positions"], **EXACT)
    unit = torch.nn.functional.normalize(data["quaternions"], dim=-1)
    turned = points[:, :3, :3] @ rotation_matrices(unit)
    assert torch.allclose(turned, data["live_rotation_matrices"], **EXACT)


def test_an_elbow_by_hand():
    """The lower arm hangs at (1, 0, 0) and turns by 90 degrees about z: its end goes from (2, 0, 0) to (1, 1, 0)."""
    joints = torch.tensor([[0.0, 0, 0], [1, 0, 0]])
    turn = torch.stack([torch.eye(3), roma.rotvec_to_rotmat(torch.tensor([0.0, 0, math.pi / 2]))])
    transforms = joint_transforms(joints, torch.tensor([-1, 0]), turn, torch.tensor([0.0, 0, 5]))
    weights = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    ends = transform_points(point_transforms(weights, transforms), torch.tensor([[2.0, 0, 0], [2, 0, 0]]))
    assert torch.allclose(ends, torch.tensor([[1.0, 1, 5], [1.5, 0.5, 5]]), atol=1e-6)


def test_quaternions_of_rotations_come_back():
    """Of half turns about each axis, where three of the four roots are 0, too."""
    _, quaternions, _ = made_up(50)
    quaternions = torch.cat([quaternions, torch.eye(4, dtype=torch.float64)])
    found = matrix_to_quaternion(rotation_matrices(quaternions))
    assert torch.allclose(found * (found * quaternions).sum(-1, keepdim=True).sign(), quaternions, atol=1e-12)


@pytest.mark.parametrize("law", ["exact", "published"])
def test_gradients(law):
    leaves = [part.requires_grad_() for part in made_up()]
    assert gradcheck(lambda *parts: live_axes(*parts, law), leaves)
