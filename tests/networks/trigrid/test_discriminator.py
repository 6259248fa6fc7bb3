"""The pose-aware discriminator against golden values and by hand."""

import pytest
import torch

from networks.trigrid.camera_labels import direction_harmonics, mirror_label, mirror_pose
from networks.trigrid.discriminator import Observed, PoseAwareDiscriminator, deviation
from tests.networks.golden import requires_golden
from tests.networks.trigrid.golden import read_golden, weights_of


@requires_golden
def test_golden_judgement():
    golden = read_golden("discriminator")
    network = PoseAwareDiscriminator(64, channel_base=512, max_channels=16, pose_widths=(32, 24, 16, 8), group=2)
    network.load_state_dict(weights_of(golden, ""))
    seen, camera = Observed(golden["image"], golden["image_raw"], golden["image_mask"]), golden["c"]
    close = {"rtol": 0, "atol": 1e-4}  # float32 sums of some hundred terms
    torch.testing.assert_close(network.features(seen), golden["score_features"], **close)
    torch.testing.assert_close(
        network.features(seen.mirrored_where(golden["is_left"].bool())), golden["pose_features"], **close
    )
    found = network(seen, camera)
    torch.testing.assert_close(found.pose, golden["pose"], **close)
    torch.testing.assert_close(found.score, golden["score"], **close)
    given = network(seen, camera, golden["given_pose"]).score
    torch.testing.assert_close(given, golden["score_given_pose"], **close)
    condition = network.mapping(None, torch.cat([camera, golden["pose"]], -1))
    torch.testing.assert_close(condition, golden["conditioning"], **close)


def test_deviation_by_hand():
    """Groups are samples i and i + 2: deviations of 1 and of 0."""
    x = torch.tensor([1.0, 5.0, 3.0, 5.0])[:, None, None, None].expand(4, 2, 4, 4)
    assert deviation(x, 2)[:, 0, 0, 0].tolist() == pytest.approx([1, 1e-4, 1, 1e-4], rel=1e-3)
    with pytest.raises(ValueError, match="expected a batch that groups of 3 divide, found 4"):
        deviation(x, 3)


@pytest.mark.parametrize("settings", [{}, {"fold_mirror": True, "camera_harmonics": 2}])
def test_mirrored_portraits_have_mirrored_poses(settings):
    torch.manual_seed(0)
    network = PoseAwareDiscriminator(16, channel_base=128, max_channels=8, pose_widths=(8,), group=1, **settings)
    seen = Observed(torch.randn(1, 3, 16, 16), torch.randn(1, 3, 8, 8), torch.rand(1, 1, 8, 8))
    camera = torch.zeros(1, 25)  # E_D is told cameras as they are: these differ in nothing but their side
    camera[:, 3] = 1e-9
    pose = network.predict_pose(seen, camera)
    mirrored = network.predict_pose(seen.mirrored_where(torch.tensor([True])), mirror_label(camera))
    torch.testing.assert_close(mirror_pose(mirrored), pose, rtol=0, atol=1e-6)


def test_last_layer_turns_with_the_camera():
    """All else alike, a camera's answers are a Fourier series in the angle that it stands at."""
    torch.manual_seed(0)
    network = PoseAwareDiscriminator(8, channel_base=64, max_channels=8, pose_widths=(4,), group=1, camera_harmonics=1)
    layer = network.pose_branch.net[-1]
    assert layer.weight.shape == (6, 4 * 4)
    hidden, angle = torch.randn(1, 4), torch.tensor(0.7)
    network.pose_branch.net[0] = torch.nn.Identity()
    camera = torch.zeros(1, 25)
    camera[0, 3], camera[0, 7], camera[0, 11] = 2 * angle.sin(), 1.5, 2 * angle.cos()
    found = network.pose_branch(hidden, direction_harmonics(camera, 1))
    series = torch.stack([torch.tensor(1.0), torch.tensor(0.6), angle.cos(), angle.sin()])
    weight = layer.weight.unflatten(1, (4, 4)) / 4  # equalised: 16 inputs
    expected = torch.einsum("ohf,bh,f->bo", weight, hidden, series) + layer.bias
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_pose_of_the_score_is_not_learned_from_it():
    torch.manual_seed(0)
    network = PoseAwareDiscriminator(8, channel_base=64, max_channels=8, pose_widths=(8,), group=1)
    seen = Observed(torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4), torch.rand(2, 1, 4, 4))
    network(seen, torch.randn(2, 25)).score.sum().backward()
    assert all(parameter.grad is None for parameter in network.pose_branch.parameters())
