"""Tracking of a video -> keyframes: order, gaps, smoothing on rotations, files, and complaints."""

import argparse
import math
import shlex

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from inference import from_coeffs, keyframes
from inference.frame_names import order_frames
from inference.keyframes import load_file, load_keyframes
from inference.tracks import fill, fill_rotations, smooth, smooth_rotations, to_eulers
from networks.cameras import camera_frame
from networks.person.body_model import MEAN_POSE, euler_to_matrix
from tests.networks.person.tracker_results import PROGRAMS, Tracked
from torch_utils.misc import UserError

FRAMES = 30
FLIP = np.diag([1.0, -1.0, -1.0])
FILES = {"expression": "expression.npz", "pose": "pose.npy", "camera": "camera.npy"}


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
    return {kind: load_keyframes(root / f"out/{name}", kind) for kind, name in FILES.items()}


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
    assert load_file(tmp_path / "out/expression.npz", "expression").face_model == "basel"
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
    assert set(written(tmp_path)) == set(FILES)


# ---- parts ----------------------------------------------------------------------------------------------------------


def frames(*names: str) -> dict[int, str | None]:
    return order_frames(names).frames


def test_order_of_frames():
    assert frames("f9", "f10", "f12") == {9: "f9", 10: "f10", 11: None, 12: "f12"}
    assert frames("0", "5", "15") == {0: "0", 5: "5", 10: None, 15: "15"}  # every fifth frame was tracked
    assert frames("10_crop", "9_crop", "12_crop") == {9: "9_crop", 10: "10_crop", 11: None, 12: "12_crop"}
    assert frames("take2_08", "take2_09", "take2_10") == {8: "take2_08", 9: "take2_09", 10: "take2_10"}
    assert frames("only7") == {7: "only7"}
    with pytest.raises(UserError, match="expected numbered frames of one video, found 0 to 20231121093000"):
        frames("0", "20231121093000", "7")


def test_names_that_do_not_say_which_frame_are_in_their_natural_order():
    assert frames("b", "a10", "a9") == {9: "a9", 10: "a10"}  # b is a stray
    assert frames("y1", "x1") == {0: "x1", 1: "y1"}
    assert frames("1_2", "1_10", "2_1") == {0: "1_2", 1: "1_10", 2: "2_1"}
    assert frames("1", "01") == {0: "1", 1: "01"} or frames("1", "01") == {0: "01", 1: "1"}


def test_strays_are_no_frames():
    order = order_frames(["8", "9", "10", "similarity_Lm3D_all", "mean"])
    assert order.frames == {8: "8", 9: "9", 10: "10"} and order.strays == ["mean", "similarity_Lm3D_all"]
    order = order_frames(["f_001.x", "f_003.x"])
    assert order.shown == ["f_001.x", "f_003.x"] and order.numbered(2) == "f_002.x"


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


# ---- files as people have them --------------------------------------------------------------------------------------


def write_face(path, number: float, angle=(0.0, 0.0, 0.0)) -> None:
    path.parent.mkdir(exist_ok=True)
    exp = np.zeros((1, 64))
    exp[0, 0] = number
    savemat(path, {"id": np.zeros((1, 80)), "exp": exp, "angle": np.array([angle]), "trans": np.zeros((1, 3))})


@pytest.mark.parametrize("pattern", ["{}", "{}_crop", "{:04d}"])
def test_unpadded_names_gaps_and_a_stray_file(tmp_path, capsys, pattern):
    """Frame k has expression k; 5 and 6 were not tracked; Deep3DFaceRecon ships similarity_Lm3D_all.mat."""
    for k in (1, 2, 3, 4, 7, 8, 9, 10, 11, 12):
        write_face(tmp_path / f"face/{pattern.format(k)}.mat", k)
    savemat(tmp_path / "face/similarity_Lm3D_all.mat", {"lm": np.zeros((68, 3))})
    run(["--face", str(tmp_path / "face"), "--out", str(tmp_path / "out"), "--smooth", "0"])
    np.testing.assert_allclose(written(tmp_path)["expression"][:, 0], np.arange(1, 13), atol=1e-6)
    out = capsys.readouterr().out
    first, last = pattern.format(5), pattern.format(6)
    assert f"face: 2 frames missing, interpolated: {first}..{last}\n" in out
    assert "left out, since not named as the other frames: similarity_Lm3D_all\n" in out
    options = ["--face", str(tmp_path / "face"), "--out", str(tmp_path / "no"), "--max_gap", "0.05", "--fps", "20"]
    message = f"face: 2 frames in a row are missing, {first} to {last}; expected 1 at most; --max_gap 0.1 interpolates"
    with pytest.raises(UserError, match=message):
        run(options)
    assert not (tmp_path / "no").exists()
    run([*options, "--max_gap", "0.1"])


def test_faces_alone_move_the_head(tmp_path, capsys):
    """Neck and head share the face's turn; together they are it."""
    angles = [(0.2, 0.0, 0.0), (0.0, 0.4, 0.0), (0.1, -0.3, 0.2)]
    for k, angle in enumerate(angles):
        write_face(tmp_path / f"face/{k}.mat", k, angle)
    run(["--face", str(tmp_path / "face"), "--out", str(tmp_path / "out"), "--smooth", "0"])
    found = written(tmp_path)
    for k, angle in enumerate(angles):
        rotations = euler_to_matrix(torch.from_numpy(found["pose"][k]).double()).numpy()
        expected = Rotation.from_euler("ZYX", angle[::-1]).as_matrix()  # Rz Ry Rx
        np.testing.assert_allclose(rotations[0] @ rotations[3], expected, atol=1e-6)
        np.testing.assert_allclose(rotations[0], rotations[3], atol=1e-6)
        np.testing.assert_allclose(rotations[[1, 2, 4, 5]], np.tile(np.eye(3), (4, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(found["camera"], math.pi / 2, atol=1e-6)
    assert "no --smpl: the chest faces the camera" in capsys.readouterr().out


def test_a_face_alone_turns_as_with_a_body(tmp_path):
    """A frontal body whose head is turned: the tracker's face has the product of neck and head."""
    keys = make_keyframes()
    pose = np.zeros((1, 6, 3))
    pose[0, 0], pose[0, 3] = [0.1, 0.2, -0.1], [0.0, 0.3, 0.1]
    chain = euler_to_matrix(torch.from_numpy(pose[0, [0, 3]])).numpy()
    angle = Rotation.from_matrix(chain[0] @ chain[1]).as_euler("ZYX")[::-1]
    write_face(tmp_path / "face/0.mat", 1, angle)
    run(["--face", str(tmp_path / "face"), "--out", str(tmp_path / "out")])
    found = euler_to_matrix(torch.from_numpy(written(tmp_path)["pose"][0])).numpy()
    np.testing.assert_allclose(found[0] @ found[3], chain[0] @ chain[1], atol=1e-6)
    assert keys["camera"].shape == (FRAMES, 2)


def test_bodies_alone_have_no_expressions(tmp_path, capsys):
    keys = make_keyframes()
    argv = write_tracking(tmp_path, keys)
    run([*argv[2:], "--smooth", "0"])
    assert not (tmp_path / "out/expression.npz").exists()
    np.testing.assert_allclose(load_keyframes(tmp_path / "out/pose.npy", "pose"), keys["pose"], atol=1e-6)
    out = capsys.readouterr().out
    assert "no --face: no expressions" in out and "--exp_path" not in out


@pytest.mark.parametrize("program", ["phalp", "vibe", "romp_video"])
def test_keyframes_from_a_trackers_results(tmp_path, program):
    """Frames 1, 2 and 4 were tracked; a counting program calls them 0, 1 and 3."""
    keys = make_keyframes()
    people = []
    for frame in (1, 2, 4):
        rotations = make_rotations(keys["pose"][frame], keys["camera"][frame])
        pose = Rotation.from_matrix(rotations).as_rotvec().ravel()
        people.append(Tracked(f"{frame:06d}", pose, np.zeros(10), np.ones(3), np.ones(2), 100.0))
        people.append(people[-1]._replace(person=2, pose=np.zeros(72)))
    for frame in (1, 2, 3, 4):
        write_face(tmp_path / f"face/{frame:06d}.mat", frame)
    fits, _ = PROGRAMS[program](people, tmp_path)
    argv = ["--face", str(tmp_path / "face"), "--smpl", str(fits), "--out", str(tmp_path / "out"), "--smooth", "0"]
    with pytest.raises(UserError, match="3 of 3 photos have several people .*--person: largest, or one of 1 "):
        run(argv)
    run([*argv, "--person", "1"])
    found = written(tmp_path)
    np.testing.assert_allclose(found["pose"][[0, 1, 3]], keys["pose"][[1, 2, 4]], atol=1e-5)
    np.testing.assert_allclose(found["camera"][[0, 1, 3]], keys["camera"][[1, 2, 4]], atol=1e-5)
    np.testing.assert_allclose(found["expression"][:, 0], [1, 2, 3, 4], atol=1e-6)
    if program == "vibe":
        run([*argv, "--person", "1", "--first_frame", "2"])  # faces 1 to 4, bodies 2, 3, 5
        np.testing.assert_allclose(written(tmp_path)["pose"][[1, 2, 4]], keys["pose"][[1, 2, 4]], atol=1e-5)


def test_the_printed_command_can_be_pasted(tmp_path, capsys):
    (tmp_path / "a b").mkdir()
    write_face(tmp_path / "a b/face/1.mat", 1)
    out = tmp_path / "a b/it's"
    run(["--face", str(tmp_path / "a b/face"), "--out", str(out)])
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command[:4] == ["python", "gen_video.py", "--exp_path", str(out / "expression.npz")]


# ---- complaints -----------------------------------------------------------------------------------------------------


def test_complaints(tmp_path):
    argv = write_tracking(tmp_path, make_keyframes())
    (tmp_path / "empty").mkdir()
    write_face(tmp_path / "other/x.mat", 0)
    (tmp_path / "file").write_text("")
    for options, message in (
        (["--fps", "0"], "--fps: expected 0.1 to 240, found 0"),
        (["--smooth", "-1"], "--smooth: expected 0 to 10, found -1"),
        (["--smooth", "nan"], "--smooth: expected 0 to 10, found nan"),
        (["--face", str(tmp_path / "no")], "--face: .*no: no such folder"),
        (["--face", str(tmp_path / "empty")], "--face: .*empty: expected Deep3DFaceRecon's NAME.mat, found none"),
        (
            ["--face", str(tmp_path / "other")],
            "no name that both have: x in .*other and frame_0100, .* in .*fits",
        ),
        (["--max_gap", "-1"], "--max_gap: expected 0 to 3600, found -1"),
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
    with pytest.raises(UserError, match="expected --face, --smpl or both, found neither"):
        run(["--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
