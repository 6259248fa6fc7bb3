"""What reads poses off portraits: E_D, and what may look beside it."""

import pytest
import torch

from networks.trigrid.camera_labels import mirror_label, mirror_pose, portrait_label
from networks.trigrid.discriminator import PoseAwareDiscriminator
from networks.trigrid.pose_reader import PoseReader, pack_pose_reader, unpack_pose_reader
from networks.trigrid.pose_regressor import PoseRegressor
from torch_utils.misc import UserError

SETTINGS = {
    "image_size": 16,
    "channel_base": 64,
    "max_channels": 8,
    "pose_widths": [8],
    "group": 1,
    "fold_mirror": True,
}


@pytest.fixture(scope="module")
def portraits():
    """Pictures, masks and cameras, two of which stand on the left."""
    random = torch.Generator().manual_seed(0)
    image, mask = 2 * torch.rand(4, 3, 64, 64, generator=random) - 1, torch.rand(4, 1, 24, 24, generator=random)
    return image, mask, portrait_label(torch.tensor([[1.5, 0.3], [1.4, 1.2], [1.6, 2.5], [1.5, -1.2]]), 64)


def make_regressor() -> PoseRegressor:
    """Whose every weight counts."""
    torch.manual_seed(1)
    regressor = PoseRegressor(channels=4)
    for parameter in regressor.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return regressor.eval()


@torch.no_grad()
def test_mirror_images_are_read_as_mirrored_poses(portraits):
    image, mask, camera = portraits
    regressor = make_regressor()
    pose = regressor(image, mask, camera)
    mirrored = regressor(image.flip(-1), mask.flip(-1), mirror_label(camera))
    torch.testing.assert_close(mirrored, mirror_pose(pose), rtol=0, atol=1e-6)
    assert pose.std(0).min() > 1e-3  # pictures, or cameras, count


@torch.no_grad()
def test_nothing_behind_people_counts(portraits):
    image, mask, camera = portraits
    regressor, mask = make_regressor(), torch.zeros_like(mask)
    torch.testing.assert_close(regressor(image, mask, camera), regressor(-image, mask, camera))


@torch.no_grad()
def test_a_reader_says_the_mean_of_both_and_is_read_back(portraits):
    image, mask, camera = portraits
    torch.manual_seed(0)
    discriminator = PoseAwareDiscriminator(**{**SETTINGS, "pose_widths": (8,)}).eval()
    alone = PoseReader(discriminator, 8)
    both = PoseReader(discriminator, 24, regressor=make_regressor())
    small = torch.nn.functional.interpolate(image, (16, 16), mode="bilinear", antialias=True, align_corners=False)
    alone.raw_size = 24
    expected = (alone(image, mask, camera) + both.regressor(small, mask, camera)) / 2
    torch.testing.assert_close(both(image, mask, camera), expected, rtol=0, atol=1e-6)
    packed = pack_pose_reader(both, SETTINGS, "mean")
    again = unpack_pose_reader(packed, "reader")
    assert torch.equal(again(image, mask, camera), both(image, mask, camera))
    assert "regressor" not in pack_pose_reader(alone, SETTINGS, "mean")
    packed["regressor"] = {"channels": 4, "state": {}}
    with pytest.raises(UserError, match="reader: regressor"):
        unpack_pose_reader(packed, "reader")
