"""The keyframe files that ship with the project are what their maker makes, and what their README says."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from inference.keyframes import SHAPES, load_keyframes

FOLDER = Path(__file__).resolve().parents[1] / "keyframes"
KINDS = {
    "expression.npy": "expression",
    "pose.npy": "pose",
    "headpose.npy": "pose",
    "shoulderpose.npy": "pose",
    "orbit.npy": "camera",
    "talk/expression.npy": "expression",
    "talk/joint_eulers.npy": "pose",
    "talk/camera_pose.npy": "camera",
}


def make_module():
    spec = importlib.util.spec_from_file_location("keyframes_make", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_file_is_left_out():
    assert {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.npy")} == set(KINDS)
    assert set(make_module().make()) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_files_are_what_the_maker_makes(name):
    made = make_module().make()[name]
    shipped = np.load(FOLDER / name)
    assert shipped.dtype == made.dtype == np.float32
    assert np.array_equal(shipped, made)
    loaded = load_keyframes(FOLDER / name, KINDS[name])
    assert loaded.shape == (100 if "talk" in name else 12, *SHAPES[KINDS[name]])


@pytest.mark.parametrize("name", KINDS)
def test_readme_has_the_checksums(name):
    line = next(line for line in (FOLDER / "README.md").read_text().splitlines() if f"`{name}`" in line)
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() in line


def test_sequences_begin_neutral_and_in_front():
    made = make_module().make()
    for name, kind in KINDS.items():
        if kind != "camera":
            np.testing.assert_allclose(made[name][0], 0, atol=1e-3)
    np.testing.assert_allclose(made["talk/camera_pose.npy"][0], np.pi / 2, atol=1e-4)


def test_the_talk_has_syllables_and_short_blinks():
    module = make_module()
    talk = module.make()["talk/expression.npy"]
    jaw, eyes = -talk[:, module.JAW], -talk[:, module.BOTH_EYES]
    peaks = (jaw[1:-1] > jaw[:-2]) & (jaw[1:-1] >= jaw[2:]) & (jaw[1:-1] > 0.2)
    assert 15 <= peaks.sum() <= 25  # about as many as there are syllables in eight seconds of speech
    assert jaw[-5:].max() < 0.01  # back at rest
    closed = eyes > 0.7
    starts = np.flatnonzero(closed & ~np.roll(closed, 1))
    assert len(starts) == 4 and (np.diff(starts) >= 12).all()  # at least a second apart
    assert closed.sum() == 8  # two frames each, 0.16 s


def test_named_amounts_have_the_right_signs():
    expression = make_module().expression
    assert expression(jaw_open=1)[0] == -1 and expression(smile=1)[1] == 1 and expression(pucker=1)[2] == -1
    assert expression(brows_up=1)[4] == 1 and expression(frown=1)[6] == 1
    assert expression(close_left=1)[8] == -1 and expression(close_right=1)[9] == -1
    assert expression(close_both=1)[32] == -0.8


def test_a_shrug_lifts_both_shoulders_and_keeps_the_arms_hanging():
    pose = make_module().pose(lift=(0.2, 0.2))
    np.testing.assert_array_equal(pose[:, 0], [0, 0.2, -0.2, 0, -0.2, 0.2])  # Rz: +x up, -x down
    assert not pose[:, 1:].any()
