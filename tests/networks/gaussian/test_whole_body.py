"""Whole bodies in motion, and the published cameras (golden values)."""

import numpy as np
import pytest
import roma
import torch

from networks.gaussian.skinning import joint_transforms
from networks.gaussian.smplx_body import canonical_rotations
from networks.gaussian.whole_body import fists, orbit_camera, rest_joints, square_view, whole_body_pose
from tests.networks.gaussian.golden import golden, needs_golden

PARENTS = torch.tensor([-1, 0, 0, 0, 1, 2, 3, *range(6, 54)])


def test_joints_at_rest_come_back():
    rest = torch.randn(55, 3, generator=torch.Generator().manual_seed(0))
    transforms = joint_transforms(rest, PARENTS, canonical_rotations())
    canonical = (transforms[:, :3, :3] @ rest[..., None]).squeeze(-1) + transforms[:, :3, 3]
    assert (canonical - rest).norm(dim=-1).max() > 0.1
    assert torch.allclose(rest_joints(canonical, PARENTS), rest, atol=1e-5)


def test_poses():
    """In the canonical pose nothing moves; the root's turn is the world's, and the nets do not see it nor hands."""
    rest = torch.randn(55, 3, generator=torch.Generator().manual_seed(0))
    rotations, zero = canonical_rotations(), torch.zeros(10)
    still = whole_body_pose(rest, PARENTS, rotations, torch.zeros(3), zero)
    assert torch.allclose(still.transforms, torch.eye(4).expand(55, 4, 4), atol=1e-5)
    turn, way = roma.rotvec_to_rotmat(torch.tensor([0.1, 0.8, 0.2])), torch.tensor([1.0, 2, 3])
    rotations[0], rotations[30] = turn, turn
    found = whole_body_pose(rest, PARENTS, rotations, way, zero)
    assert torch.allclose(found.rootless, torch.eye(4).expand(55, 4, 4), atol=1e-5)
    assert torch.allclose(found.transforms[9, :3, :3], turn, atol=1e-5)
    assert torch.allclose(found.transforms[0, :3] @ torch.tensor([*rest[0], 1.0]), rest[0] + way, atol=1e-5)


def test_fists_bend_fingers_down():
    """Left fingers point to +x, right ones to -x, palms down: both go down. Thumbs rest."""
    hands = roma.rotvec_to_rotmat(fists()).reshape(2, 5, 3, 3, 3)
    fingers = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])
    assert ((hands[:, :4] @ fingers[:, None, None, :, None])[..., 1, 0] < -0.9).all()
    assert torch.equal(hands[:, 4], torch.eye(3).expand(2, 3, 3, 3))


@needs_golden
@pytest.mark.parametrize("name, yaw, pitch", [
    ("front", 0.0, 0.0), ("front_bird", 0.0, 0.3), ("back", np.pi, 0.0), ("back_bird", np.pi, np.pi / 8),
    ("free_54", 2 * np.pi * 54 / 216, 0.0), ("free_100_bird", 2 * np.pi * 100 / 216, 0.3),
])  # fmt: skip
def test_cameras(name, yaw, pitch):
    known = golden("data_steps", torch.float32)
    centre, orientation = known["object_centre"], known["global_orientation"]
    for key, turn in (("extrinsic", orientation), ("extrinsic_world", None)):
        found = orbit_camera(centre, yaw, pitch, 2.5, turn)
        np.testing.assert_allclose(found.numpy(), known[f"{key}_{name}"].numpy(), atol=1e-5)  # float32
    view = square_view(found, 1100 / 1024, 512)
    assert view.intrinsics.tolist() == [550, 550, 256, 256] and view.size == (512, 512)
