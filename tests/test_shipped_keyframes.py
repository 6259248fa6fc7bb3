"""The keyframe files that ship with the project are what their maker makes, and what their README says."""

import hashlib
import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest

from inference.keyframes import SHAPES, load_file
from networks.person.open_body.actions import ACTIONS

FOLDER = Path(__file__).resolve().parents[1] / "keyframes"
KINDS = {
    "expression.npz": "expression",
    "pose.npy": "pose",
    "headpose.npy": "pose",
    "shoulderpose.npy": "pose",
    "orbit.npy": "camera",
    "talk/expression.npz": "expression",
    "talk/joint_eulers.npy": "pose",
    "talk/camera_pose.npy": "camera",
}


def make_module():
    spec = importlib.util.spec_from_file_location("keyframes_make", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_file_is_left_out():
    assert {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.np?")} == set(KINDS)
    assert set(make_module().make()) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_files_are_what_the_maker_makes(name):
    made = make_module().make()[name]
    shipped = np.load(FOLDER / name)
    shipped = shipped["expression"] if name.endswith(".npz") else shipped
    assert shipped.dtype == made.dtype == np.float32
    assert np.array_equal(shipped, made)
    rows, face_model = load_file(FOLDER / name, KINDS[name])
    assert rows.shape == (100 if "talk" in name else 12, *SHAPES[KINDS[name]])
    assert face_model == ("arkit" if KINDS[name] == "expression" else None)


def contents(path: Path) -> dict[str, bytes]:
    """Arrays as files; numpy's releases write the archive around them otherwise."""
    if path.suffix != ".npz":
        return {"": path.read_bytes()}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_command_writes_the_same_bytes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["make.py", "--out", str(tmp_path)])
    make_module().main()
    printed = capsys.readouterr().out
    for name in KINDS:
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() in printed
        assert contents(tmp_path / name) == contents(FOLDER / name)


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
    talk = make_module().make()["talk/expression.npz"]
    jaw, eyes = talk[:, ACTIONS.index("jawOpen")], talk[:, ACTIONS.index("eyeBlinkLeft")]
    peaks = (jaw[1:-1] > jaw[:-2]) & (jaw[1:-1] >= jaw[2:]) & (jaw[1:-1] > 0.08)
    assert 15 <= peaks.sum() <= 25  # about as many as there are syllables in eight seconds of speech
    assert jaw[-5:].max() < 0.01  # back at rest
    closed = eyes > 0.7
    starts = np.flatnonzero(closed & ~np.roll(closed, 1))
    assert len(starts) == 4 and (np.diff(starts) >= 12).all()  # at least a second apart
    assert closed.sum() == 8  # two frames each, 0.16 s


def test_expressions_are_amounts_of_actions():
    made = make_module().make()
    for name in ("expression.npz", "talk/expression.npz"):
        assert made[name].min() >= 0 and made[name].max() <= 1 and not made[name][:, len(ACTIONS) :].any()
    wink_left, wink_right = made["expression.npz"][5], made["expression.npz"][6]
    mirrored = [
        ACTIONS.index(name.replace("Left", "Rig").replace("Right", "Left").replace("Rig", "Right")) for name in ACTIONS
    ]
    assert np.array_equal(wink_left[mirrored], wink_right[: len(ACTIONS)])


def test_a_shrug_lifts_both_shoulders_and_keeps_the_arms_hanging():
    pose = make_module().pose(lift=(0.2, 0.2))
    np.testing.assert_array_equal(pose[:, 0], [0, 0.2, -0.2, 0, -0.2, 0.2])  # Rz: +x up, -x down
    assert not pose[:, 1:].any()
