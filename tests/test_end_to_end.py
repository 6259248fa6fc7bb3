"""gen_video.py with a real, tiny generator: from a checkpoint file to the pixels of the written frames."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

import gen_video
from inference.pipeline import PortraitPipeline
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model
from tests.networks.helpers import TINY_CONFIG, make_generator, make_priors_dict
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.misc import UserError
from torch_utils.pixels import image_to_uint8

TALK = Path(__file__).resolve().parents[1] / "keyframes" / "talk"


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory):
    path = tmp_path_factory.mktemp("ckpt") / "tiny.safetensors"
    priors = LabelPriors.from_dict(make_priors_dict(), "made up")
    save_checkpoint(path, pack_model(SavedModel(make_generator(), priors, {"source": "made up"})))
    return path


def talk_files(folder, n):
    """The first n frames of the shipped talk as keyframe files."""
    argv = ["--n_interval", "1", "--fps", "12.5"]
    for flag, name in (("exp", "expression"), ("pose", "joint_eulers"), ("cam", "camera_pose")):
        kept = np.load(next(TALK.glob(f"{name}.np*")))
        rows = kept if name != "expression" else kept["expression"]
        np.save(folder / f"{name}.npy", rows[10 : 10 + n])
        argv += [f"--{flag}_path", str(folder / f"{name}.npy")]
    return argv


def test_png_frames_are_the_rendered_images_and_the_same_every_time(tmp_path, ckpt):
    argv = ["--ckpt", str(ckpt), "--seeds", "4", "--psi", "0.5", "--ext", "png", *talk_files(tmp_path, 3)]
    for folder in ("a", "b"):
        gen_video.main([*argv, "--output_dir", str(tmp_path / folder)])
    names = [f"video_4_rgb_00{i}.png" for i in range(3)]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    person = PortraitPipeline.from_checkpoint(ckpt).person(seed=4, psi=0.5)
    driven = [
        torch.from_numpy(np.load(tmp_path / f"{name}.npy")) for name in ("expression", "joint_eulers", "camera_pose")
    ]
    for i, name in enumerate(names):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        expected = image_to_uint8(person.render(*(rows[i] for rows in driven), quality="fast").image)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "a" / name)), expected)


def test_mp4_depth_and_low_resolution(tmp_path, ckpt):
    gen_video.main(["--ckpt", str(ckpt), "--seeds", "1,2", "--grid", "--depth", "--lr", "--output_dir", str(tmp_path),
                    *talk_files(tmp_path, 4)])  # fmt: skip
    size = TINY_CONFIG.image_size
    for kind, height in (("rgb", size), ("depth", size), ("rgb_lr", TINY_CONFIG.lowres_size)):
        frames = imageio_ffmpeg.read_frames(str(tmp_path / f"video_grid_1-2_{kind}.mp4"))
        meta = next(frames)
        assert meta["size"] == (2 * height, height) and meta["fps"] == 12.5
        assert sum(1 for _ in frames) == 4


def test_rand_and_blending(tmp_path, ckpt, capsys):
    gen_video.main(["--ckpt", str(ckpt), "--seeds", "1", "--exp_path", "rand", "--pose_path", "rand", "--ext", "gif",
                    "--n_interval", "1", "--output_dir", str(tmp_path)])  # fmt: skip
    with Image.open(tmp_path / "video_1_rgb.gif") as gif:
        assert gif.n_frames == 8 and gif.size == (TINY_CONFIG.image_size,) * 2
    gen_video.main(["--ckpt", str(ckpt), "--seeds", "1,5", "--seeds_interval", "2", "--ext", "png", "--output_dir",
                    str(tmp_path)])  # fmt: skip
    frames = [np.asarray(Image.open(tmp_path / f"video_loop_1_5_rgb_00{i}.png")).astype(int) for i in range(4)]
    assert all(np.abs(a - b).max() > 0 for a, b in zip(frames, frames[1:], strict=False))
    assert "video_loop_1_5_rgb_000.png ... video_loop_1_5_rgb_003.png (4 frames)" in capsys.readouterr().out


def test_a_checkpoint_with_wrong_weights_says_which(tmp_path, ckpt):
    data = load_checkpoint(ckpt)
    name = "expression_deformation.output.bias"
    for change, message in (
        (None, f"1 missing: {name}"),
        (torch.zeros(9), rf"{name} \(expected \[\d\], found \[9\]\)"),
    ):
        state = {key: value for key, value in data["state"].items() if key != name}
        if change is not None:
            state[name] = change
        save_checkpoint(tmp_path / "bad", {**data, "state": state})
        with pytest.raises(UserError, match=rf"bad: weights do not fit Generator: .*{message}"):
            gen_video.main(["--ckpt", str(tmp_path / "bad"), "--output_dir", str(tmp_path / "out"), "--ext", "png"])
        assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("SSHQ", "--config: expected one of SSHQ512_inf, .*, or a .yaml file, found 'SSHQ'"),
        ("no.yaml", "no.yaml: no such configuration file"),
    ],
)
def test_unknown_config(tmp_path, config, message):
    state = {"radiance_net.network.0.layer.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "released.pt")
    with pytest.raises(UserError, match=message):
        gen_video.main(["--ckpt", str(tmp_path / "released.pt"), "--config", config, "--output_dir", str(tmp_path)])


def test_a_config_beside_our_own_format(ckpt, tmp_path):
    with pytest.raises(UserError, match="--config SSHQ512_inf: .*tiny.safetensors is not in the released layout"):
        gen_video.main(["--ckpt", str(ckpt), "--config", "SSHQ512_inf", "--output_dir", str(tmp_path)])
