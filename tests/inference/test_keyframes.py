"""Keyframes: what is read, what is refused, and the frames between."""

import math

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from inference.keyframes import LABELS, SHAPES, interpolate, load_keyframes, make_motion, swing_camera
from torch_utils.misc import UserError

ANGLES = st.floats(-3, 3, width=64)


def make_keyframes(kind, n, seed=0):
    keys = np.random.default_rng(seed).uniform(-0.8, 0.8, (n, *SHAPES[kind]))
    return keys + math.pi / 2 if kind == "camera" else keys


def rotations(eulers):
    """[..., 3] -> [..., 3, 3] = Rz(e0) Ry(e1) Rx(e2), written out."""
    (cz, cy, cx), (sz, sy, sx) = np.moveaxis(np.cos(eulers), -1, 0), np.moveaxis(np.sin(eulers), -1, 0)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def angle_between(a, b):
    """Radians between rotations [..., 3, 3], accurate near 0 and pi."""
    return roma.rotmat_geodesic_distance(torch.from_numpy(a), torch.from_numpy(b)).numpy()


# ---- between keyframes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHAPES)
def test_one_frame_per_keyframe_is_the_file_itself(kind):
    keys = make_keyframes(kind, 5)
    assert np.array_equal(interpolate(keys, kind, 1), keys)


@pytest.mark.parametrize("kind", ["expression", "camera"])
def test_linear_and_closed(kind):
    keys = make_keyframes(kind, 3)
    frames = interpolate(keys, kind, 4)
    assert frames.shape == (12, *SHAPES[kind])
    np.testing.assert_allclose(frames[1], 0.75 * keys[0] + 0.25 * keys[1], atol=1e-15)
    np.testing.assert_allclose(frames[10], 0.5 * keys[2] + 0.5 * keys[0], atol=1e-15)  # back towards the first


def test_a_single_axis_turns_at_constant_speed():
    keys = np.zeros((2, 6, 3))
    keys[1, 3, 1] = 0.8
    frames = interpolate(keys, "pose", 4)
    np.testing.assert_allclose(frames[:, 3, 1], [0, 0.2, 0.4, 0.6, 0.8, 0.6, 0.4, 0.2], atol=1e-12)
    frames[:, 3, 1] = 0
    np.testing.assert_allclose(frames, 0, atol=1e-12)


def test_poses_take_the_shortest_arc_across_pi():
    keys = np.zeros((2, 6, 3))
    keys[:, 0, 0] = [3.0, -3.0]  # 0.283 rad apart through pi, 6 rad apart as numbers
    middle = rotations(interpolate(keys, "pose", 2)[1, 0])
    np.testing.assert_allclose(middle, np.diag([-1.0, -1.0, 1.0]), atol=1e-12)


def test_a_hand_computed_rotation_between_two_axes():
    # Halfway between a quarter turn about x and one about y: the axis (1,1,0)/sqrt(2), and cos(angle/2) from slerp of
    # (c,s,0,0) and (c,0,s,0) with c = s = sqrt(1/2): their mean (c, s/2, s/2, 0) normalised by sqrt(3)/2.
    keys = np.zeros((2, 6, 3))
    keys[0, 0, 2], keys[1, 0, 1] = math.pi / 2, math.pi / 2
    quat = np.array([math.sqrt(0.5) / 2, math.sqrt(0.5) / 2, 0.0, math.sqrt(0.5)]) / (math.sqrt(3) / 2)
    expected = roma.unitquat_to_rotmat(torch.from_numpy(quat)).numpy()
    np.testing.assert_allclose(rotations(interpolate(keys, "pose", 2)[1, 0]), expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    npst.arrays(np.float64, st.tuples(st.integers(1, 4), st.just(6), st.just(3)), elements=ANGLES), st.integers(1, 6)
)
def test_pose_frames_pass_the_keyframes_at_constant_speed(keys, n):
    frames = interpolate(keys, "pose", n)
    assert frames.shape == (len(keys) * n, 6, 3)
    assert np.array_equal(frames[::n], keys)  # exactly, not re-derived
    rot = rotations(frames)
    start, end = rotations(keys), np.roll(rotations(keys), -1, axis=0)
    total = angle_between(start, end)  # [N, 6]
    for i in range(n):
        # The angle from the keyframe grows in proportion to time: monotone, and no detour.
        np.testing.assert_allclose(angle_between(start, rot[i::n]), total * i / n, atol=1e-5)
        np.testing.assert_allclose(angle_between(rot[i::n], end), total * (1 - i / n), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(npst.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(64)), elements=st.floats(-5, 5)), st.integers(1, 7))
def test_expression_frames_stay_between_their_keyframes(keys, n):
    frames = interpolate(keys, "expression", n).reshape(len(keys), n, 64)
    assert np.array_equal(frames[:, 0], keys)
    low, high = np.minimum(keys, np.roll(keys, -1, 0)), np.maximum(keys, np.roll(keys, -1, 0))
    assert (frames >= low[:, None] - 1e-12).all() and (frames <= high[:, None] + 1e-12).all()
    steps = np.diff(interpolate(keys, "expression", n), axis=0, append=keys[:1])
    np.testing.assert_allclose(steps.sum(0), 0, atol=1e-9)  # a closed loop


def test_interval_must_be_positive():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        interpolate(make_keyframes("camera", 2), "camera", 0)


# ---- a motion -----------------------------------------------------------------------------------------------------


def test_camera_swings_about_the_front():
    camera = swing_camera(8, 0.3, 4)
    np.testing.assert_allclose(camera[:, 0], math.pi / 2)
    np.testing.assert_allclose(camera[:, 1] - math.pi / 2, [0, 0.3, 0, -0.3] * 2, atol=1e-15)


def test_lengths_follow_the_keyframes():
    expression, pose, camera = (make_keyframes(kind, 5) for kind in SHAPES)
    motion = make_motion(expression, pose, camera, n_interval=3)
    assert motion.n_frames == len(motion.joint_eulers) == len(motion.camera) == 15
    assert np.array_equal(make_motion(expression, pose, camera).joint_eulers, pose)


def test_what_is_not_given_is_neutral_and_the_camera_swings():
    motion = make_motion(None, make_keyframes("pose", 4), None, n_interval=2, cam_yaw_range=0.1, cam_cycle=8)
    assert motion.n_frames == 8 and not motion.expression.any()
    assert np.array_equal(motion.camera, swing_camera(8, 0.1, 8))
    still = make_motion(None, None, None, cam_cycle=12)
    assert still.n_frames == 12 and not still.joint_eulers.any()


def test_a_single_keyframe_holds_still():
    expression, camera = make_keyframes("expression", 1), make_keyframes("camera", 6)
    motion = make_motion(expression, None, camera, n_interval=2)
    assert motion.n_frames == 12 and (motion.expression == expression).all()
    assert make_motion(expression, None, None, cam_cycle=10).n_frames == 10
    assert make_motion(expression, None, camera[:1], n_interval=1).n_frames == 1


def test_different_lengths_are_refused_and_the_rule_is_said():
    with pytest.raises(UserError) as error:
        make_motion(make_keyframes("expression", 5), make_keyframes("pose", 4), None, names=("e.npy", "p.npy", "None"))
    message = str(error.value)
    assert "different lengths: e.npy has 5, p.npy has 4; rule: " in message and "--video_length" in message


def test_video_length_lets_every_loop_go_on_by_itself():
    expression, pose = make_keyframes("expression", 2), make_keyframes("pose", 3)
    motion = make_motion(expression, pose, None, n_interval=1, video_length=7)
    assert motion.n_frames == 7
    assert np.array_equal(motion.expression, expression[[0, 1, 0, 1, 0, 1, 0]])
    assert np.array_equal(motion.joint_eulers, pose[[0, 1, 2, 0, 1, 2, 0]])


# ---- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_load(tmp_path, dtype):
    keys = make_keyframes("pose", 3).astype(dtype)
    np.save(tmp_path / "a.npy", keys)
    loaded = load_keyframes(tmp_path / "a.npy", "pose")
    assert loaded.dtype == np.float64 and np.array_equal(loaded, keys.astype(np.float64))


BAD_ARRAYS = {
    "shape": (np.zeros((5, 63)), "expression", "expected shape [N,64]", "found [5,63]"),
    "flat": (np.zeros(64), "expression", "expected shape [N,64]", "found [64]"),
    "flat pose": (np.zeros((4, 18)), "pose", "expected shape [N,6,3]", "found [4,18]"),
    "scalar": (np.array(1.0), "camera", "expected shape [N,2]", "found []"),
    "complex": (np.zeros((5, 2), dtype=complex), "camera", "expected numbers", "found dtype complex128"),
    "text": (np.full((5, 2), "a"), "camera", "expected numbers", "found dtype <U1"),
    "empty": (np.zeros((0, 6, 3)), "pose", "expected at least one keyframe", "found none (shape [0,6,3])"),
    "nan": (np.where(np.eye(64) * np.arange(64) == 9, np.nan, 0.0), "expression", "finite", "found nan at [9, 9]"),
    "infinity": (np.full((2, 6, 3), -np.inf), "pose", "expected finite numbers", "found -inf at [0, 0, 0]"),
    "huge": (np.full((1, 6, 3), -1e38), "pose", "in radians within +-6.283", "found -1e+38 at [0, 0, 0] (degrees?)"),
    "pitch": (np.array([[1.5, 1.5], [-0.1, 1.5]]), "camera", "pitch (column 0) between 0 and pi", "-0.1 in row 1"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_named(tmp_path, case):
    array, kind, *parts = BAD_ARRAYS[case]
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError) as error:
        load_keyframes(tmp_path / "a.npy", kind)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'a.npy'}: {kind} keyframes: ") and "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64])
def test_whole_numbers_lose_nothing_and_are_taken(tmp_path, dtype):
    keys = np.arange(3 * 64).reshape(3, 64).astype(dtype) % 100
    np.save(tmp_path / "a.npy", keys)
    np.savez(tmp_path / "a.npz", anything=keys)
    for name in ("a.npy", "a.npz"):
        loaded = load_keyframes(tmp_path / name, "expression")
        assert loaded.dtype == np.float64 and np.array_equal(loaded, keys)


def test_labels_of_a_data_set_are_played(tmp_path):
    """Of several arrays, each kind takes the one that is its label."""
    rows = {name: make_keyframes(kind, 4) for kind, name in LABELS.items()}
    np.savez(tmp_path / "labels.npz", z_id=np.zeros((4, 80)), betas=np.zeros((4, 10)), **rows)
    for kind, name in LABELS.items():
        assert np.array_equal(load_keyframes(tmp_path / "labels.npz", kind), rows[name])


def test_bad_files_are_named(tmp_path):
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "archive.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    np.save(tmp_path / "whole.npy", np.zeros((50, 2)))
    (tmp_path / "half.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:300])
    (tmp_path / "head.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:20])
    (tmp_path / "text.npy").write_text("0.1 0.2")
    (tmp_path / "empty.npy").write_text("")
    for name, found in (
        ("missing.npy", "no such camera keyframe file"),
        ("object.npy", "an object array, which is not loaded"),
        ("archive.npz", "expected an .npz archive of one array, found a, b"),
        ("half.npy", "found something else, or half of one"),
        ("head.npy", "found something else, or half of one"),
        ("text.npy", "found something else, or half of one"),
        ("empty.npy", "camera keyframe: expected a file of 1 to 4,294,967,296 bytes, found 0"),
        (".", "camera keyframe: expected a regular file, found a folder"),
    ):
        with pytest.raises(UserError) as error:
            load_keyframes(tmp_path / name, "camera")
        assert str(error.value).startswith(f"{tmp_path / name}: ") and found in str(error.value)
