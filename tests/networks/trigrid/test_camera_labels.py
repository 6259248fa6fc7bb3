"""Camera labels against golden values and by hand."""

import math

import torch

from networks.trigrid import camera_labels as labels
from tests.networks.golden import requires_golden
from tests.networks.trigrid.golden import read_golden


@requires_golden
def test_golden_cameras():
    golden = read_golden("cameras")
    pose = labels.orbit(golden["yaw"], golden["pitch"])
    torch.testing.assert_close(pose, golden["cam2world"], rtol=0, atol=1e-5)
    label = labels.make_label(pose)
    torch.testing.assert_close(label, golden["label"], rtol=0, atol=1e-5)
    torch.testing.assert_close(labels.mirror_label(label), golden["label_mirrored"], rtol=0, atol=1e-5)
    assert torch.equal(labels.is_left(golden["label"]), golden["is_left"].bool())
    rays = labels.label_rays(golden["label"], 5)
    torch.testing.assert_close(rays.origins[:, 0], golden["ray_origins"], rtol=0, atol=1e-5)
    torch.testing.assert_close(rays.directions, golden["ray_directions"], rtol=0, atol=1e-5)


def test_the_front_camera_by_hand():
    pose = labels.orbit(torch.tensor([math.pi / 2]), torch.tensor([math.pi / 2]))[0]
    torch.testing.assert_close(pose[:3, 3], torch.tensor([0.0, 0.0, 2.7]), rtol=0, atol=1e-6)
    # It looks along -z and a little up; its right is the picture's, the person's left.
    torch.testing.assert_close(pose[:3, 0], torch.tensor([1.0, 0.0, 0.0]), rtol=0, atol=1e-6)
    assert pose[2, 2] < -0.999 and pose[1, 2] > 0.02 and pose[1, 1] < -0.999


def test_mirroring_twice_changes_nothing():
    label, pose = torch.randn(3, 25), torch.randn(3, 6)
    assert torch.equal(labels.mirror_label(labels.mirror_label(label)), label)
    assert labels.mirror_pose(torch.ones(1, 6)).tolist() == [[1, -1, -1, 1, -1, -1]]
    assert torch.equal(labels.mirror_pose(labels.mirror_pose(pose)), pose)


def test_mirrored_cameras_cast_mirrored_rays():
    label = labels.make_label(labels.orbit(torch.tensor([0.3]), torch.tensor([1.2])))
    here, there = (labels.label_rays(one, 4) for one in (label, labels.mirror_label(label)))
    flipped = here.directions.unflatten(1, (4, 4)).flip(2).flatten(1, 2) * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(there.directions, flipped, rtol=0, atol=1e-6)


def test_skew_moves_pixels():
    label = labels.make_label(torch.eye(4)[None], focal=1.0)
    label[0, 17] = 0.5
    x, y, z = (labels.label_rays(label, 2).directions[0, 0]).tolist()  # u = v = 0.25
    assert math.isclose(y / z, -0.25, rel_tol=1e-6) and math.isclose(x / z, -0.25 + 0.125, rel_tol=1e-6)
