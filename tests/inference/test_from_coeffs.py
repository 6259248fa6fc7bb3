"""Tracking of a video -> keyframes: order, gaps, smoothing on rotations, files, and complaints."""

import argparse
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from inference import from_coeffs, keyframes
from inference.from_coeffs import fill, fill_rotations, order_frames, smooth, smooth_rotations, to_eulers
from inference.keyframes import load_keyframes
from networks.cameras import camera_frame
from networks.person.body_model import MEAN_POSE, euler_to_matrix
from torch_utils.misc import UserError

FRAMES = 30
FLIP = np.diag([1.0, -1.0, -1.0])
KINDS = ("expression", "pose", "camera")


def make_keyframes() -> dict[str, np.ndarray]:
    """Slow movements of everything; float64."""
    t = np.arange(FRAMES)[:, None] / FRAMES
    phase = np.arange(64) * 0.3
    pose = 0.2 * np.sin(2 * np.pi * t + np.arange(18)).reshape(FRAMES, 6, 3)
    camera = math.pi / 2 + 0.2 * np.sin(2 * np.pi * t + [0.0, 1.0])
    return {"expression": 0.5 * np.sin(2 * np.pi * t + phase), "pose": pose, "camera": camera}


def make_rotations(pose: np.ndarray, camera: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """SMPL's rotations [24, 3, 3] of a person with these labels, its spine bent."""
    rotations = Rotation.from_rotvec(0.1 * np.random.default_rng(0).standard_normal((24, 3))).as_matrix()
    mean = euler_to_matrix(torch.tensor(MEAN_POSE, dtype=torch.float64))
    rotations[12:18] = (euler_to_matrix(torch.from_numpy(pose)) @ mean).numpy()
    upright = camera_frame(torch.from_numpy(camera)[None], 1.0)[0][0].numpy()
    chest = FLIP @ (upright @ Rotation.from_rotvec([0, 0, roll]).as_matrix()).T
    rotations[0] = chest @ np.linalg.inv(rotations[3] @ rotations[6] @ rotations[9])
    return rotations


def write_tracking(root, keys: dict[str, np.ndarray], *, no_face=(), no_body=(), roll: float = 0.0) -> list[str]:
    """face/frame_0100.mat ... and fits.npz; returns the command's arguments."""
    (root / "face").mkdir()
    rest = {"id": np.zeros((1, 80)), "angle": np.zeros((1, 3)), "trans": np.zeros((1, 3))}
    names = [f"frame_{100 + i:04d}" for i in range(FRAMES)]
    for i, name in enumerate(names):
        if i not in no_face:
            savemat(root / f"face/{name}.mat", rest | {"exp": keys["expression"][i][None]})
    rows = [i for i in range(FRAMES) if i not in no_body]
    rotations = np.stack([make_rotations(keys["pose"][i], keys["camera"][i], roll) for i in rows])
    count = len(rows)
    np.savez(
        root / "fits.npz", imgname=np.array([names[i] + ".png" for i in rows]), rotmat=rotations,
        betas=np.zeros((count, 10)), cam=np.ones((count, 3)), center=np.ones((count, 2)), scale=np.ones(count),
    )  # fmt: skip
    return ["--face", str(root / "face"), "--smpl", str(root / "fits.npz"), "--out", str(root / "out")]


def run(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    from_coeffs.add_arguments(parser)
    from_coeffs.run(parser.parse_args(argv))


def written(root) -> dict[str, np.ndarray]:
    return {kind: load_keyframes(root / f"out/{kind}.npy", kind) for kind in KINDS}


def about_y(*degrees: float) -> np.ndarray:
    """[F, 1, 3, 3]"""
    return Rotation.from_rotvec(np.radians(degrees)[:, None] * (0, 1, 0)).as_matrix()[:, None]


# ---- whole runs -----------------------------------------------------------------------------------------------------


def test_keyframes_come_back(tmp_path, capsys):
    keys = make_keyframes()
    run([*write_tracking(tmp_path, keys), "--smooth", "0"])
    for kind, array in written(tmp_path).items():
        np.testing.assert_allclose(array, keys[kind], atol=1e-6)  # written in float32
    out = capsys.readouterr().out
    assert "30 frames, frame_0100 to frame_0129\n" in out and "missing" not in out and "leans" not in out
    assert "--n_interval 1 --fps 25" in out
    with Image.open(tmp_path / "out/plot.png") as plot:
        assert plot.size == (1200, 8 * 170) and plot.convert("L").getextrema() == (0, 255)


def test_a_little_smoothing_changes_slow_movements_little(tmp_path):
    """A sine of period T under a Gaussian of sigma s keeps exp(-(2 pi s / T)^2 / 2) of itself: 0.98 here."""
    keys = make_keyframes()
    run([*write_tracking(tmp_path, keys), "--smooth", "0.04", "--fps", "25"])
    middle = slice(4, -4)  # the ends hold
    for kind, array in written(tmp_path).items():
        assert np.abs(array - keys[kind])[middle].max() < 0.03 * np.abs(keys[kind] - keys[kind].mean(0)).max()


def test_gaps_are_filled_and_reported(tmp_path, capsys):
    keys = make_keyframes()
    argv = write_tracking(tmp_path, keys, no_face=(0, 10, 11), no_body=(20, 29))
    (tmp_path / "face/frame_0105.mat").write_bytes(b"half a file")
    run([*argv, "--smooth", "0"])
    found = written(tmp_path)
    expression = keys["expression"]
    np.testing.assert_allclose(found["expression"][10], (2 * expression[9] + expression[12]) / 3, atol=1e-6)
    np.testing.assert_allclose(found["expression"][5], (expression[4] + expression[6]) / 2, atol=1e-6)
    np.testing.assert_allclose(found["expression"][0], expression[1], atol=1e-6)
    # curvature of 0.2 sin over one frame: 0.2 (2 pi / 30)^2 / 2
    np.testing.assert_allclose(found["pose"][20], keys["pose"][20], atol=0.006)
    np.testing.assert_allclose(found["camera"][29], keys["camera"][28], atol=1e-6)
    out = capsys.readouterr().out
    assert "face: 4 frames missing, interpolated: frame_0100, frame_0105, frame_0110..frame_0111\n" in out
    assert "body: 2 frames missing, interpolated: frame_0120, frame_0129\n" in out
    assert "not used: " in out and "frame_0105.mat: not a readable MATLAB file" in out


def test_a_leaning_body_is_mentioned(tmp_path, capsys):
    keys = make_keyframes()
    run([*write_tracking(tmp_path, keys, roll=0.3), "--smooth", "0"])
    np.testing.assert_allclose(written(tmp_path)["camera"], keys["camera"], atol=1e-6)
    assert "the body leans by up to 17 degrees" in capsys.readouterr().out


def test_the_command_line(tmp_path, monkeypatch, capsys):
    argv = ["keyframes", "from-coeffs", *write_tracking(tmp_path, make_keyframes())]
    monkeypatch.setattr("sys.argv", argv)
    keyframes.main()
    assert set(written(tmp_path)) == set(KINDS)


# ---- parts ----------------------------------------------------------------------------------------------------------


def test_order_of_frames():
    assert order_frames(["f9", "f10", "f12"]) == {9: "f9", 10: "f10", 11: None, 12: "f12"}
    assert order_frames(["0", "5", "15"]) == {0: "0", 5: "5", 10: None, 15: "15"}  # every fifth frame was tracked
    assert order_frames(["b", "a1"]) == {0: "b", 1: "a1"}
    assert order_frames(["x1", "y1"]) == {0: "x1", 1: "y1"}
    assert order_frames(["only7"]) == {7: "only7"}
    with pytest.raises(UserError, match="expected numbered frames of one video, found 0 to 20231121093000"):
        order_frames(["0", "20231121093000", "7"])


def test_gaps_by_hand():
    known = np.array([False, True, False, False, True, False])
    values = np.array([[9.0], [1.0], [9.0], [9.0], [4.0], [9.0]])
    assert fill(values, known)[:, 0].tolist() == [1, 1, 2, 3, 4, 4]
    turned = fill_rotations(about_y(9, 170, 9, 9, -160, 9), known)  # 30 degrees apart, the short way over 180
    angles = [170, 170, 180, -170, -160, -160]
    np.testing.assert_allclose(turned, about_y(*angles), atol=1e-12)
    once = np.array([False, True, False])
    np.testing.assert_allclose(fill_rotations(about_y(1, 2, 3), once), about_y(2, 2, 2), atol=1e-12)


def test_smoothing_rotations_ignores_where_angles_jump():
    """A shake of +-20 degrees round 180: matrices average to 180, angles (160 and -160) would to 0."""
    turned = about_y(*[160, -160] * 20)
    mean = smooth_rotations(turned, 5.0)
    np.testing.assert_allclose(mean[10:30], about_y(*[180] * 20), atol=0.02)
    np.testing.assert_allclose(mean @ mean.swapaxes(-1, -2), np.broadcast_to(np.eye(3), mean.shape), atol=1e-12)


def test_smoothing_commutes_with_turning_everything():
    rotations = Rotation.random(20, random_state=0).as_matrix()[:, None]
    rotations = rotations[:1] @ smooth_rotations(rotations, 3.0)  # not too wild
    turn = Rotation.from_rotvec([0.5, 1.0, -0.3]).as_matrix()
    np.testing.assert_allclose(
        smooth_rotations(turn @ rotations, 2.0), turn @ smooth_rotations(rotations, 2.0), atol=1e-9
    )


def test_smoothing_keeps_what_is_still_and_zero_keeps_all():
    still = np.full((7, 3), 0.4)
    np.testing.assert_allclose(smooth(still, 2.0), still, atol=1e-15)
    values = np.random.default_rng(0).standard_normal((7, 3))
    assert smooth(values, 0.0) is values
    eulers = 0.3 * np.random.default_rng(1).standard_normal((5, 6, 3))
    np.testing.assert_allclose(to_eulers(euler_to_matrix(torch.from_numpy(eulers)).numpy()), eulers, atol=1e-12)


# ---- complaints -----------------------------------------------------------------------------------------------------


def test_complaints(tmp_path):
    argv = write_tracking(tmp_path, make_keyframes())
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for options, message in (
        (["--fps", "0"], "--fps: expected 0.1 to 240, found 0"),
        (["--smooth", "-1"], "--smooth: expected 0 to 10, found -1"),
        (["--smooth", "nan"], "--smooth: expected 0 to 10, found nan"),
        (["--face", str(tmp_path / "no")], "--face: .*no: no such folder"),
        (["--face", str(tmp_path / "empty")], "expected files of the same frames, found no name that both have"),
        (["--smpl", str(tmp_path / "no.npz")], "no.npz: no such file of SMPL fits"),
        (["--out", str(tmp_path / "file/x")], "cannot write there"),
    ):
        with pytest.raises(UserError, match=message):
            run([*argv, *options])
    for path in (tmp_path / "face").iterdir():
        path.write_bytes(b"bad")
    with pytest.raises(
        UserError, match="expected face coefficients of some frames, found none; .*not a readable MATLAB"
    ):
        run(argv)
    assert not (tmp_path / "out").exists()
