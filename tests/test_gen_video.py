"""The program: arguments in, files out."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import gen_video
from inference.keyframes import save_expressions
from inference.pipeline import PortraitPipeline
from networks.person.controls import EVERYTHING
from torch_utils.misc import UserError

ROOT = Path(__file__).resolve().parents[1]
SIZE = 8


class FakeFrame(NamedTuple):
    image: torch.Tensor
    image_lr: torch.Tensor
    depth: torch.Tensor
    alpha: torch.Tensor


class FakeLatents(NamedTuple):
    z_id: torch.Tensor
    z_noise: torch.Tensor
    betas: torch.Tensor


class FakePriors:
    def sample_expressions(self, n, generator):
        return torch.rand(n, 64, generator=generator)

    def sample_pose_camera(self, n, generator):
        return 0.1 * torch.rand(n, 6, 3, generator=generator), math.pi / 2 + 0.1 * torch.rand(n, 2, generator=generator)


class FakePerson:
    """Paints what it is told: red is who, green the first expression coefficient, blue the camera's yaw."""

    def __init__(self, red, calls):
        self.red, self.calls = red, calls

    def render(self, expression, joint_eulers, camera, quality):
        self.calls.append((self.red, expression, joint_eulers, camera, quality))
        assert expression.shape == (64,) and joint_eulers.shape == (6, 3)
        colour = torch.tensor([self.red, float(expression[0]), camera[1] - math.pi / 2])
        image = colour[:, None, None].expand(3, SIZE, SIZE)
        return FakeFrame(image, image[:, ::4, ::4], torch.full((SIZE, SIZE), 1.9), torch.ones(SIZE, SIZE))


class FakePipeline:
    controls = EVERYTHING
    blend = PortraitPipeline.blend
    priors = FakePriors()
    face_model: str | None = None

    def __init__(self, fail_at_person=None, error=None):
        self.asked, self.calls = [], []
        self.fail_at_person, self.error = fail_at_person, error

    def sample_latents(self, seed):
        random = torch.Generator().manual_seed(seed)
        return FakeLatents(*(torch.randn(n, generator=random) for n in (80, 80, 10)))

    def people(self, seeds, by_default):
        return seeds

    def person(self, seed=None, z_id=None, z_noise=None, betas=None, psi=1.0):
        if len(self.asked) == self.fail_at_person:
            raise self.error
        self.asked.append((seed, psi, z_id, z_noise, betas))
        return FakePerson(0.1 * seed if seed is not None else 0.0, self.calls)


@pytest.fixture
def pipe(monkeypatch):
    fake = FakePipeline()
    monkeypatch.setattr(gen_video.PortraitPipeline, "from_checkpoint", lambda path, config, device: fake)
    return fake


def save(path, array):
    np.save(path, array)
    return str(path)


def make_files(folder, n=3):
    """Expression, pose and camera keyframes of n rows."""
    random = np.random.default_rng(0)
    return [
        "--exp_path", save(folder / "e.npy", random.uniform(-1, 1, (n, 64))),
        "--pose_path", save(folder / "p.npy", random.uniform(-0.5, 0.5, (n, 6, 3))),
        "--cam_path", save(folder / "c.npy", random.uniform(1.4, 1.7, (n, 2))),
    ]  # fmt: skip


def run(tmp_path, *argv):
    """Runs the program; the names it left in the output folder."""
    gen_video.main(["--output_dir", str(tmp_path / "out"), *argv])
    return sorted(os.listdir(tmp_path / "out"))


def pixel(path):
    return np.asarray(Image.open(path))[0, 0].tolist()


# ---- what it writes -----------------------------------------------------------------------------------------------


def test_every_person_gets_a_video_and_the_paths_are_printed(tmp_path, pipe, capsys):
    assert run(tmp_path, "--seeds", "0-1,4", *make_files(tmp_path)) == [f"video_{i}_rgb.mp4" for i in (0, 1, 4)]
    assert [(seed, psi) for seed, psi, *_ in pipe.asked] == [(0, 0.7), (1, 0.7), (4, 0.7)]
    assert len(pipe.calls) == 3 * 24  # 3 keyframes, 8 frames each
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / f"video_{i}_rgb.mp4") for i in (0, 1, 4)]


def test_frames_follow_the_files_exactly(tmp_path, pipe, capsys):
    names = run(tmp_path, "--seeds", "2", "--ext", "png", "--n_interval", "1", *make_files(tmp_path))
    assert names == [f"video_2_rgb_00{i}.png" for i in range(3)]
    expression, eulers, camera = (np.load(tmp_path / f"{name}.npy") for name in "epc")
    for i, (_, exp, pose, cam, _) in enumerate(pipe.calls):
        assert torch.equal(exp, torch.from_numpy(expression[i]).float())
        assert torch.equal(pose, torch.from_numpy(eulers[i]).float())
        assert cam == tuple(camera[i])
        expected = [round((v + 1) * 127.5) for v in (0.2, expression[i, 0], camera[i, 1] - math.pi / 2)]
        assert np.abs(np.subtract(pixel(tmp_path / "out" / names[i]), expected)).max() <= 1
    assert "video_2_rgb_000.png ... video_2_rgb_002.png (3 frames)" in capsys.readouterr().out


def test_the_default_plays_the_shipped_keyframes(tmp_path, pipe):
    assert run(tmp_path, "--seeds", "3") == ["video_3_rgb.mp4"]
    assert len(pipe.calls) == 96
    keys = np.load(ROOT / "keyframes/expression.npz")["expression"], np.load(ROOT / "keyframes/pose.npy")
    for i in range(12):
        assert np.array_equal(pipe.calls[8 * i][1], keys[0][i]) and np.array_equal(pipe.calls[8 * i][2], keys[1][i])
    yaws = [call[3][1] - math.pi / 2 for call in pipe.calls]
    assert max(yaws) == pytest.approx(0.2) and min(yaws) == pytest.approx(-0.2)


def test_the_default_suits_the_checkpoints_face_model(tmp_path, pipe):
    """One without names of actions draws its own."""
    argv = ["--seeds", "3", "--n_interval", "1", "--ext", "png"]
    for pipe.face_model in ("basel", "embedded"):
        pipe.calls.clear()
        run(tmp_path, *argv)
        assert len(pipe.calls) == 12 and all((call[1] > 0).all() for call in pipe.calls)  # FakePriors draws 0..1


def test_expressions_of_another_face_model_are_refused(tmp_path, pipe):
    path = tmp_path / "e.npz"
    argv = ["--seeds", "3", "--exp_path", str(path), "--n_interval", "1", "--ext", "png"]
    save_expressions(path, np.ones((2, 64)), "basel")
    pipe.face_model = "arkit"
    with pytest.raises(UserError, match="e.npz: expected expressions of the .* model, arkit, found basel's"):
        run(tmp_path, *argv)
    for pipe.face_model in ("basel", None):
        run(tmp_path, *argv)
        assert all((call[1] == 1).all() for call in pipe.calls)
    np.savez(path, expression=np.ones((2, 64)), face_model="flame")
    with pytest.raises(UserError, match="e.npz: face_model: expected one of arkit, basel, embedded, found 'flame'"):
        run(tmp_path, *argv)


def test_none_is_neutral_and_lengths_come_from_the_swing(tmp_path, pipe):
    run(tmp_path, "--seeds", "3", "--exp_path", "none", "--cam_cycle", "10", "--cam_yaw_range", "0.3", "--ext", "png")
    assert len(pipe.calls) == 10
    assert not any(call[1].any() or call[2].any() for call in pipe.calls)
    assert max(call[3][1] for call in pipe.calls) == pytest.approx(math.pi / 2 + 0.3 * math.sin(math.tau * 0.2))


def test_rand_is_drawn_from_the_priors_and_repeats_with_the_seed(tmp_path, pipe):
    argv = ["--exp_path", "rand", "--pose_path", "rand", "--cam_path", "rand", "--ext", "png", "--n_interval", "2"]
    run(tmp_path, "--seeds", "5", *argv)
    assert len(pipe.calls) == 16  # 8 keyframes
    first = [call[1] for call in pipe.calls]
    assert not torch.equal(first[0], first[2])
    pipe.calls.clear()
    run(tmp_path, "--seeds", "5", *argv)
    assert all(torch.equal(call[1], before) for call, before in zip(pipe.calls, first, strict=True))
    pipe.calls.clear()
    run(tmp_path, "--seeds", "6", "--video_length", "5", *argv)
    assert len(pipe.calls) == 5 and not torch.equal(pipe.calls[0][1], first[0])


def test_rand_takes_its_length_from_the_files(tmp_path, pipe):
    exp_path = make_files(tmp_path, n=3)[:2]
    run(tmp_path, "--seeds", "5", *exp_path, "--pose_path", "rand", "--n_interval", "4", "--ext", "png")
    assert len(pipe.calls) == 12


def test_frames_are_fast_unless_exact_ones_are_asked_for(tmp_path, pipe):
    for argv in ([], ["--quality", "exact"]):
        run(tmp_path, "--seeds", "1", "--video_length", "2", "--ext", "png", *argv)
    assert [call[4] for call in pipe.calls] == ["fast"] * 2 + ["exact"] * 2


def test_depth_and_low_resolution_come_beside(tmp_path, pipe):
    argv = ["--exp_path", "none", "--video_length", "1", "--ext", "png"]
    names = run(tmp_path, "--seeds", "1", "--depth", "--lr", *argv)
    assert names == ["video_1_depth_000.png", "video_1_rgb_000.png", "video_1_rgb_lr_000.png"]
    sizes = [Image.open(tmp_path / "out" / name).size for name in names]
    assert sizes == [(SIZE, SIZE), (SIZE, SIZE), (SIZE // 4, SIZE // 4)]
    assert pixel(tmp_path / "out" / names[0]) == [125] * 3  # (2.115 - 1.9)/0.44 of 255


def test_grid_shows_everybody_at_once(tmp_path, pipe):
    argv = ["--exp_path", "none", "--video_length", "2", "--ext", "png"]
    names = run(tmp_path, "--seeds", "0-2", "--grid", *argv)
    assert names == ["video_grid_0-2_rgb_000.png", "video_grid_0-2_rgb_001.png"]
    frame = np.asarray(Image.open(tmp_path / "out" / names[0]))
    assert frame.shape == (2 * SIZE, 2 * SIZE, 3)
    assert [frame[y, x, 0] for y in (0, SIZE) for x in (0, SIZE)] == [128, 140, 153, 255]
    names = run(tmp_path, "--seeds", "0-2", "--grid", "3x1", *argv)
    assert Image.open(tmp_path / "out" / names[0]).size == (SIZE, 3 * SIZE)


def test_seeds_interval_blends_and_closes_the_loop(tmp_path, pipe):
    names = run(tmp_path, "--seeds", "3", "8", "--seeds_interval", "4", "--ext", "png", "--exp_path", "none")
    assert names == [f"video_loop_3_8_rgb_00{i}.png" for i in range(8)]
    a, b = pipe.sample_latents(3), pipe.sample_latents(8)
    blended = [FakeLatents(*person[2:]) for person in pipe.asked]
    assert all(torch.allclose(x, y) for x, y in zip(blended[0], a, strict=True))
    assert all(torch.allclose(x, y) for x, y in zip(blended[4], b, strict=True))
    assert torch.allclose(blended[2].z_id, (a.z_id + b.z_id) / 2) and torch.allclose(blended[6].z_id, blended[2].z_id)
    assert torch.allclose(blended[2].z_noise.norm(), (a.z_noise.norm() + b.z_noise.norm()) / 2)
    cosine = torch.cosine_similarity(blended[2].z_noise, a.z_noise, dim=0)
    assert torch.allclose(cosine, torch.cosine_similarity(blended[2].z_noise, b.z_noise, dim=0), atol=1e-5)


def test_the_same_run_twice_gives_the_same_bytes(tmp_path, pipe):
    def written(folder):
        run(folder, "--seeds", "1", "--ext", "png", "--depth", "--video_length", "3")
        return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert written(tmp_path / "a") == written(tmp_path / "b")


@pytest.mark.parametrize("ext", ["mp4", "gif", "png"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("no more memory")])
def test_people_finished_before_an_interruption_stay(tmp_path, pipe, ext, error):
    pipe.fail_at_person, pipe.error = 1, error
    argv = ["--seeds", "0-2", "--ext", ext, "--video_length", "2"]
    with pytest.raises(type(error)):
        run(tmp_path, *argv)
    left = sorted(os.listdir(tmp_path / "out"))
    assert left == (["video_0_rgb_000.png", "video_0_rgb_001.png"] if ext == "png" else [f"video_0_rgb.{ext}"])


# ---- seeds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        (["3"], (3,)),
        (["0-3,7"], (0, 1, 2, 3, 7)),
        (["1", "5-6"], (1, 5, 6)),
        (["2,2,1-2"], (2, 1)),
        (["4294967295"], (4294967295,)),
        ([" 0, 1"], (0, 1)),
    ],
)
def test_seeds(words, seeds):
    assert gen_video.parse_seeds(words) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "3-1", "1,,2", "1.5", "0x1", "4294967296", "1--2", "٣", "1;2"])
def test_nonsense_in_seeds(text):
    with pytest.raises(UserError, match="--seeds: expected whole numbers and rising ranges like 0-3,7, found"):
        gen_video.parse_seeds([text])


def test_too_many_seeds():
    assert len(gen_video.parse_seeds(["0-999"])) == 1000
    for text in ("0-1000", "0-4294967295", "0-600,700-1300"):
        with pytest.raises(UserError, match="at most 1000 seeds"):
            gen_video.parse_seeds([text])


def test_rand_without_priors(tmp_path, pipe):
    pipe.priors = None
    with pytest.raises(UserError, match="`rand` keyframes are drawn from the checkpoint's priors"):
        run(tmp_path, "--exp_path", "rand")
    assert os.listdir(tmp_path / "out") == []


FLAGS = [
    "--ckpt", "--config", "--output_dir", "--seeds", "--psi", "--exp_path", "--pose_path", "--cam_path", "--n_interval",
    "--cam_yaw_range", "--cam_cycle", "--video_length", "--fps", "--ext", "--device", "--seeds_interval", "--grid",
    "--depth", "--lr",
]  # fmt: skip


def test_help_explains_the_rules(capsys):
    with pytest.raises(SystemExit) as exit_info:
        gen_video.main(["--help"])
    out = capsys.readouterr().out
    assert exit_info.value.code == 0
    for word in ("rand", "closed loop", "pitch first", "exit code", *FLAGS):
        assert word in out
