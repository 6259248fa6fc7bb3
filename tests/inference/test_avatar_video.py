"""Videos of avatars from all sides: a whole body by motion files, head and shoulders by those and by keyframes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inference import avatar_video
from inference.keyframes import load_keyframes
from networks.gaussian.avatar import GaussianAvatar, pack_avatar
from networks.gaussian.maps import CanonicalMaps, Window
from tests.networks.gaussian.made_up import make_avatar, make_template
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError


def coloured(avatar: GaussianAvatar) -> GaussianAvatar:
    """Opaque; red in front, blue behind."""
    with torch.no_grad():
        front = avatar.maps.pixels % (2 * avatar.maps.size) < avatar.maps.size
        avatar.canonical["colour"][:] = torch.where(
            front[:, None], torch.tensor([0.9, 0, 0]), torch.tensor([0, 0, 0.9])
        )
        avatar.canonical["other"][:, 0] = 4.0
    return avatar


@pytest.fixture(scope="module")
def body(tmp_path_factory) -> Path:
    """A ball that hangs on the first of 55 joints."""
    maps = CanonicalMaps.from_template(make_template(55, 10), Window((0.0, 0.0), 0.25, 16))
    maps.lbs_weights.zero_()[:, 0] = 1.0
    config = make_avatar("static").config
    avatar = GaussianAvatar(config, maps, torch.zeros(55, 3), torch.tensor([-1] + [0] * 54))
    avatar.start()
    path = tmp_path_factory.mktemp("body") / "latest"
    save_checkpoint(path, pack_avatar(coloured(avatar), {}))
    return path


def frames(body: Path, *words: str) -> list[np.ndarray]:
    """Pictures of a command that writes PNG files."""
    out = body.parent / "out" / "a.png"
    out.parent.mkdir(exist_ok=True)
    for old in out.parent.glob("*.png"):
        old.unlink()
    avatar_video.main(["--ckpt", str(body), "--size", "32", "--device", "cpu", "--out", str(out), *words])
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(out.parent.glob("*.png"))]


def save_motion(path: Path, count: int = 3) -> Path:
    """Somebody who goes to the left of the picture's world, half a metre a frame, and faces +x from the first frame."""
    root, way = np.zeros((count, 3)), np.zeros((count, 3))
    root[:, 1], way[:, 2] = math.pi / 2, -0.2 * np.arange(count)
    np.savez(path, global_orient=root, transl=way, body_pose=np.zeros((count, 63)))
    return path


def test_views_of_a_body(body, tmp_path):
    """However somebody stands in the world, the front is seen from the front, the back from behind."""
    motion = str(save_motion(tmp_path / "walk.npz"))
    front, back, free = (frames(body, "--poses", motion, "--view", view) for view in ("front", "back", "free"))
    assert len(front) == 3 and front[0][16, 16].tolist() == pytest.approx([232, 0, 0], abs=12)
    assert back[0][16, 16].tolist() == pytest.approx([0, 0, 232], abs=12)
    assert np.array_equal(free[0], front[0]) and (front[0][0, 0] == 255).all()
    # Facing +x, whoever goes along -z goes to the person's left: to the right of a picture from the front.
    place = [np.argwhere(picture.min(-1) < 128)[:, 1].mean() for picture in front]
    assert place[2] > place[0] + 3
    still = frames(body, "--poses", motion, "--view", "moving")
    assert len(frames(body, "--poses", motion, "--frames", "0", "3", "2")) == 2
    assert len(still) == 3 and len(frames(body)) == 1


def test_given_cameras(body, tmp_path):
    camera = {"K": [40, 0, 10, 0, 40, 12, 0, 0, 1], "R": np.diag([1, -1, -1]).ravel().tolist(), "T": [0, 0, 3.0],
              "imgSize": [20, 24]}  # fmt: skip
    (tmp_path / "cameras.json").write_text(json.dumps({"one": camera, "two": {**camera, "T": [0, 0, 6.0]}}))
    words = ["--view", "camera", "--calibration", str(tmp_path / "cameras.json")]
    [near], [far] = frames(body, *words), frames(body, *words, "--camera", "two")
    assert near.shape == (24, 20, 3)
    assert (near.min(-1) < 128).sum() > 2 * (far.min(-1) < 128).sum() > 0
    with pytest.raises(UserError, match="--camera three: expected one of one, two"):
        frames(body, *words, "--camera", "three")
    with pytest.raises(UserError, match="--view camera: expected --calibration, found none"):
        frames(body, "--view", "camera")


def test_head_and_shoulders_take_what_is_theirs(tmp_path):
    """Of AMASS: one frame in four; a neck that turns by 0.4 about y is a keyframe of 0.4."""
    poses = np.zeros((8, 156))
    poses[4:, 3 * 12 + 1] = 0.4
    np.savez(tmp_path / "nod.npz", poses=poses, trans=np.zeros((8, 3)))
    rows = load_keyframes(tmp_path / "nod.npz", "pose")
    assert rows.shape == (2, 6, 3)
    np.testing.assert_allclose(rows[:, 0], [[0, 0, 0], [0, 0.4, 0]], atol=1e-6)
    save_checkpoint(tmp_path / "latest", pack_avatar(coloured(make_avatar("static")), {}))
    np.save(tmp_path / "own.npy", rows)
    ours, theirs = (frames(tmp_path / "latest", "--poses", str(tmp_path / name), "--view", "front")
                    for name in ("own.npy", "nod.npz"))  # fmt: skip
    assert len(ours) == 2 and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not np.array_equal(ours[0], ours[1])


def test_bad_input(body, tmp_path):
    with pytest.raises(UserError, match="--out: expected a name that ends in one of"):
        avatar_video.main(["--ckpt", str(body), "--out", "a.avi"])
    motion = str(save_motion(tmp_path / "walk.npz"))
    with pytest.raises(UserError, match="--frames: expected some of the 3 frames, found 3 9 1"):
        frames(body, "--poses", motion, "--frames", "3", "9", "1")
    np.savez(tmp_path / "other.npz", poses=np.zeros((2, 72)), trans=np.zeros((2, 3)))
    with pytest.raises(UserError, match="is it of another skeleton"):
        frames(body, "--poses", str(tmp_path / "other.npz"))
