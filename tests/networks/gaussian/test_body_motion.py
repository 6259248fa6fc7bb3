"""Motion files of other projects, each as it stores them, and what is none."""

import pickle

import numpy as np
import pytest

from networks.gaussian.body_motion import is_body_motion, read_body_motion
from torch_utils.misc import UserError

F = 3


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def test_smplx_parameters(tmp_path):
    """THuman4.0's names; jaws and expressions come along, hands as well."""
    widths = {"global_orient": 3, "transl": 3, "body_pose": 63, "jaw_pose": 3, "expression": 10, "left_hand_pose": 45}
    arrays = {name: numbers(F, width) for name, width in widths.items()}
    np.savez(tmp_path / "pose.npz", betas=np.zeros((1, 10)), right_hand_pose=numbers(F, 45), **arrays)
    found = read_body_motion(tmp_path / "pose.npz")
    assert is_body_motion(tmp_path / "pose.npz") and found.kind == "thuman4" and found.has_hands
    assert np.array_equal(found.rotations[:, 0], arrays["global_orient"])
    assert np.array_equal(found.rotations[:, 1:22].reshape(F, 63), arrays["body_pose"])
    assert np.array_equal(found.rotations[:, 22], arrays["jaw_pose"]) and not found.rotations[:, 23:25].any()
    assert np.array_equal(found.rotations[:, 25:40].reshape(F, 45), arrays["left_hand_pose"])
    assert np.array_equal(found.translation, arrays["transl"])
    assert np.array_equal(found.expression, arrays["expression"])


@pytest.mark.parametrize("width", [156, 165])
def test_amass(tmp_path, width):
    """SMPL-H's and SMPL-X's: hands are the last thirty joints. Corrected as published, or as they are."""
    poses, trans = numbers(F, width), numbers(F, 3)
    np.savez(tmp_path / "walk.npz", poses=poses, trans=trans, gender=np.array("female"), mocap_framerate=120.0)
    plain, found = (read_body_motion(tmp_path / "walk.npz", amass_correction=on) for on in (False, True))
    joints = poses.reshape(F, -1, 3)
    assert plain.kind == "amass" and np.array_equal(plain.rotations[:, :22], joints[:, :22])
    assert np.array_equal(plain.rotations[:, 25:], joints[:, -30:]) and np.array_equal(plain.translation, trans)
    change = found.rotations - plain.rotations
    assert change[:, 14, 2] == pytest.approx(-0.3, abs=1e-6) and change[:, 13, 2] == pytest.approx(0.3, abs=1e-6)
    assert not found.rotations[:, [20, 21]].any() and not found.rotations[:, 15, 0].any()
    others = [j for j in range(55) if j not in (13, 14, 15, 20, 21)]
    assert not change[:, others].any() and not change[:, 15, 1:].any()
    assert len(found.every(2).rotations) == 2


def test_aist(tmp_path):
    poses, trans = numbers(F, 72), 1000 * numbers(F, 3)
    (tmp_path / "dance.pkl").write_bytes(pickle.dumps({"smpl_poses": poses, "smpl_trans": trans, "smpl_loss": 0.1}))
    found = read_body_motion(tmp_path / "dance.pkl")
    assert found.kind == "aist" and not found.has_hands and not found.rotations[:, 22:].any()
    assert np.array_equal(found.rotations[:, :22].reshape(F, 66), poses[:, :66])
    np.testing.assert_allclose(found.translation, trans / 1000, rtol=1e-6)


class Trap:
    def __reduce__(self):
        return print, ("run",)


def test_bad_files(tmp_path):
    """One line each; nothing in a file runs."""

    def refused(name: str, match: str, **arrays) -> None:
        np.savez(tmp_path / name, **arrays)
        with pytest.raises(UserError, match=match):
            read_body_motion(tmp_path / name)

    refused("a.npz", r"poses: expected shape \[N, 156\] or \[N, 165\], found float32 \[3, 72\]; is it of another sk",
            poses=numbers(F, 72), trans=numbers(F, 3))  # fmt: skip
    refused("b.npz", r"body_pose: expected shape \[N, 63\], found float32 \[3, 69\]; is it of another skeleton",
            body_pose=numbers(F, 69), global_orient=numbers(F, 3))  # fmt: skip
    refused("c.npz", r"expected body_pose \(THuman4.0\), poses .* or smpl_poses .*, found x", x=numbers(2, 2))
    refused("d.npz", "expected a translation for every pose, at least one, found {'poses': 3, 'translations': 2}",
            poses=numbers(F, 156), trans=numbers(2, 3))  # fmt: skip
    refused("e.npz", "poses: expected finite numbers", poses=np.full((2, 156), np.nan), trans=numbers(2, 3))
    refused("f.npz", "expected an array 'global_orient', found none", body_pose=numbers(F, 63))
    refused("g.npz", r"jaw_pose: expected shape \[3, 3\]", body_pose=numbers(F, 63), global_orient=numbers(F, 3),
            jaw_pose=numbers(2, 3))  # fmt: skip
    (tmp_path / "h.pkl").write_bytes(pickle.dumps({"smpl_poses": Trap()}))
    with pytest.raises(UserError, match="h.pkl"):
        read_body_motion(tmp_path / "h.pkl")
    np.savez(tmp_path / "own.npz", poses=np.zeros((2, 6, 3)))  # keyframes of ours, whatever their array is called
    assert not is_body_motion(tmp_path / "own.npz") and not is_body_motion(tmp_path / "nowhere.npz")
