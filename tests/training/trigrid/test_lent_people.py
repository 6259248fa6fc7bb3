"""People of another generator: what they are, how they are disguised, and that poses are learned from them."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from networks.saved_model import SavedModel, pack_model
from networks.trigrid.camera_labels import portrait_label
from networks.trigrid.superresolution import resized
from tests.networks.trigrid.test_portrait import make_portrait
from tests.training.trigrid.tiny_portraits import make_config, make_dataset, make_step
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError
from training.trigrid import lent_people
from training.trigrid.lent_people import Looks, disguised, hidden, learn_to_read, look_at, moved, read_lender
from training.trigrid.phases import Clock, poses_held
from training.trigrid.pose_lessons import sampler_of

BATCH = 2


@torch.no_grad()
def test_people_are_the_lenders_in_poses_of_the_game(tmp_path, monkeypatch):
    dataset = make_dataset(tmp_path / "noise", 4)
    config, networks, *_ = make_step(dataset)
    monkeypatch.setattr(lent_people, "BATCH", BATCH)
    monkeypatch.setattr(lent_people, "RAYS", 16)
    save_checkpoint(tmp_path / "lender", pack_model(SavedModel(networks.generator, None, {})))
    lender = read_lender(tmp_path / "lender", config)
    assert lender.config == replace(networks.generator.config, samples=20, importance_samples=12)
    sampler = sampler_of(dataset, networks.generator, config)
    looks = look_at(lender, networks.generator, config, sampler, BATCH + 1, 5)
    assert len(looks.pose) == 2 * BATCH  # whole batches
    inputs = sampler.draw(BATCH, 5, lent_people.LENDING_KEY, 1)
    chosen, pose = poses_held(networks.generator.trigrid, inputs, Clock.at(config, 16))
    turned = config.schedules.pose_noise.at(0.016)
    torch.testing.assert_close(
        (pose - chosen)[:, 0, 1], turned * inputs.turns[:, 0, 1], rtol=0, atol=1e-6
    )  # necks yaw by all of the noise
    assert torch.equal(looks.pose[BATCH:], pose[:, 0]) and torch.equal(looks.camera[BATCH:], inputs.camera[:, 0])
    assert looks.image.shape == (2 * BATCH, 3, 64, 64) and looks.mask.shape == (2 * BATCH, 1, 10, 10)
    again = look_at(lender, networks.generator, config, sampler, BATCH, 5)
    assert all(torch.equal(a, b[:BATCH]) for a, b in zip(again, looks, strict=True))


def test_lenders_with_other_cameras_are_refused(tmp_path):
    config = make_config()
    save_checkpoint(tmp_path / "lender", pack_model(SavedModel(make_portrait(orbit="phq"), None, {})))
    with pytest.raises(UserError, match="lender: generator.orbit: expected the same in both runs, found phq"):
        read_lender(tmp_path / "lender", config)


def test_pictures_and_masks_move_alike():
    torch.manual_seed(0)
    mask = F.interpolate(torch.rand(6, 1, 6, 6), (24, 24), mode="bilinear", align_corners=True)
    image, found = moved(resized(mask, 48).expand(-1, 3, -1, -1), mask)
    again = resized(found, 48).expand_as(image)  # of another grid, whose edges are elsewhere
    torch.testing.assert_close(again[..., 4:-4, 4:-4], image[..., 4:-4, 4:-4], rtol=0, atol=0.05)
    assert (found - mask).abs().amax((1, 2, 3)).min() > 0.01  # all of them


def test_a_third_is_partly_hidden():
    torch.manual_seed(0)
    image = torch.full((3000, 3, 16, 16), 7.0)  # no colour that is drawn
    gone = (hidden(image) != 7).any(1)
    share = gone.flatten(1).float().mean(1)
    assert abs((share > 0).float().mean() - 1 / 3) < 0.03  # 3.5 deviations of the draw
    assert share.max() < 0.17  # 0.35 x 0.35 of the sides, and a row of pixels more


def test_turns_that_show_are_learned(monkeypatch):
    """A bar that is further to the right the more a person turns, whatever its colours."""
    monkeypatch.setattr(lent_people, "LOOKS", 24)
    torch.manual_seed(0)
    yaw = torch.rand(256) - 0.5
    columns = torch.arange(64)
    bar = ((columns - 32 - 40 * yaw[:, None]).abs() < 4).float()[:, None, None].expand(-1, 1, 64, 64)
    pose = torch.zeros(256, 6)
    pose[:, 1] = yaw
    camera = portrait_label(torch.full((256, 2), torch.pi / 2), 64)
    looks = Looks((2 * bar - 1).expand(-1, 3, -1, -1).half(), resized(bar, 24).half(), camera, pose)
    regressor, losses = learn_to_read(looks, 30, 0)
    part = looks.part(torch.arange(256))
    with torch.no_grad():
        found = regressor(part.image, part.mask, part.camera)
    assert torch.corrcoef(torch.stack([found[:, 1], yaw]))[0, 1] > 0.9
    image, mask = disguised(part.image, part.mask)
    assert image.abs().max() <= 1.3 and mask.min() >= 0 and mask.max() <= 1
    assert not regressor.training and len(losses) == 30
