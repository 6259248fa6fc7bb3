"""Poses of photos, by other people: by E_D or by the tracker."""

import types

import numpy as np
import pytest
import roma
import torch
from PIL import Image

from inference import pose_transfer
from networks.person.body_model import MEAN_POSE, euler_to_matrix
from networks.saved_model import SavedModel, pack_model
from networks.trigrid.discriminator import PoseAwareDiscriminator
from networks.trigrid.pose_reader import PoseReader, pack_pose_reader, unpack_pose_reader
from tests.inference.made_photos import tracked
from tests.networks.helpers import make_generator
from tests.networks.trigrid.test_portrait import make_portrait
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.misc import UserError

SETTINGS = {"image_size": 16, "channel_base": 64, "max_channels": 8, "pose_widths": (6,), "group": 1,
            "fold_mirror": False}  # fmt: skip
POSE = torch.tensor([[0.1, -0.2, 0.05, -0.1, 0.3, 0.2]])


@pytest.fixture
def photo(monkeypatch):
    """What every photo shows: somebody who shrugs and nods."""
    eulers = torch.zeros(6, 3)
    eulers[1, 0], eulers[3, 2] = 0.2, 0.3
    found = tracked(torch.zeros(3, 40, 40), torch.ones(40, 40), joint_eulers=eulers, expression=torch.ones(64))
    monkeypatch.setattr(pose_transfer, "track_photo", lambda picture: found)
    return found


@pytest.mark.parametrize("rest_pose", ["mean", "t_pose"])
def test_neck_and_head_are_as_e_d_sees_them(photo, rest_pose):
    """Turns from the rest pose, which is the mean pose or SMPL's; the collar stays as tracked."""
    portrait = make_portrait(rest_pose=rest_pose)
    reader = types.SimpleNamespace(discriminator=types.SimpleNamespace(image_size=16))
    asked = []

    class Known:
        discriminator = reader.discriminator

        def __call__(self, image, mask, camera):
            asked.append((image.shape, mask.shape, camera.shape))
            return POSE

    found = pose_transfer.read_pose(Known(), portrait, photo)
    assert asked == [((1, 3, 16, 16), (1, 1, 16, 16), (1, 25))]
    mean = euler_to_matrix(torch.tensor(MEAN_POSE))
    for row, turn in ((0, POSE[0, :3]), (3, POSE[0, 3:])):
        expected = roma.rotvec_to_rotmat(turn) @ (mean[row] if rest_pose == "mean" else torch.eye(3))
        torch.testing.assert_close(euler_to_matrix(found[row]) @ mean[row], expected, rtol=0, atol=1e-5)
    assert torch.equal(found[[1, 2, 4, 5]], photo.joint_eulers[[1, 2, 4, 5]])


def write_model(path, portrait=None) -> None:
    save_checkpoint(path, pack_model(SavedModel(portrait or make_portrait(), None, {})))


def write_reader(path, rest_pose: str = "mean") -> None:
    torch.manual_seed(0)
    settings = {name: value for name, value in SETTINGS.items() if name != "image_size"}
    reader = PoseReader(PoseAwareDiscriminator(16, **settings), 8, rest_pose)
    save_checkpoint(path, pack_pose_reader(reader, SETTINGS, rest_pose))


def run(root, *words) -> None:
    Image.new("RGB", (40, 40)).save(root / "photo.png")
    places = ["--ckpt", str(root / "model.safetensors"), "--out", str(root / "poses.png"), "--device", "cpu"]
    pose_transfer.main([str(root / "photo.png"), *places, *map(str, words)])


def test_a_photo_beside_three_people(photo, tmp_path):
    write_model(tmp_path / "model.safetensors")
    write_reader(tmp_path / "reader.safetensors")
    run(tmp_path, "--pose_reader", tmp_path / "reader.safetensors")
    with Image.open(tmp_path / "poses.png") as sheet:
        assert sheet.width >= 4 * 32
    pose = np.load(tmp_path / "poses_pose.npy")
    assert pose.shape == (1, 6, 3) and not np.allclose(pose[0, 3], photo.joint_eulers[3])
    np.testing.assert_allclose(np.load(tmp_path / "poses_camera.npy"), photo.camera[None], atol=1e-6)


def test_readers_without_harmonics_say_nothing_of_them(tmp_path):
    write_reader(tmp_path / "reader.safetensors")
    data = load_checkpoint(tmp_path / "reader.safetensors")
    assert data["settings"].pop("camera_harmonics") == 0
    assert unpack_pose_reader(data, "it").discriminator.camera_harmonics == 0


def test_the_tracker_s_pose_for_models_of_manifolds(photo, tmp_path):
    write_model(tmp_path / "model.safetensors", make_generator())
    run(tmp_path, "--seeds", "1")
    np.testing.assert_allclose(np.load(tmp_path / "poses_pose.npy"), photo.joint_eulers[None], atol=1e-6)


def test_what_does_not_go_together(photo, tmp_path):
    write_reader(tmp_path / "reader.safetensors", "t_pose")
    reader = tmp_path / "reader.safetensors"
    write_model(tmp_path / "model.safetensors", make_generator())
    with pytest.raises(UserError, match=r"--pose_reader: expected none, for .* is no tri-grid"):
        run(tmp_path, "--pose_reader", reader)
    write_model(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="expected one of the model's rest pose, mean, found one of t_pose"):
        run(tmp_path, "--pose_reader", reader)
    with pytest.raises(UserError, match=r"expected what reads poses"):
        run(tmp_path, "--pose_reader", tmp_path / "model.safetensors")
