"""Captured actors: small sets in every layout, what their lists say, and what is refused."""

import json

import numpy as np
import pytest
import roma
import torch

from networks.gaussian.calibrations import read_csv_cameras
from networks.gaussian.maps import CanonicalMaps
from tests.networks.gaussian.golden import GOLDEN, golden, needs_golden
from tests.training.avatar.captures import HEIGHT, NAMES, WIDTH, make_set, registration
from torch_utils.config import config_from_dict, merge
from torch_utils.misc import UserError
from training.avatar.captured import CapturedViews, read_registration
from training.avatar.config import CaptureConfig
from training.avatar.layouts import LAYOUTS, open_capture
from training.avatar.masks import split_mask

CPU = torch.device("cpu")


def views(root, layout: str, **changes) -> CapturedViews:
    config = {"body": str(root / "smplx.npz"), "held_out_every": 2}
    return CapturedViews(root, layout, config_from_dict(CaptureConfig, merge(config, changes), "capture"), CPU)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    """The same cameras in all of them; frames 0 and 2 are held out."""
    found = views(make_set(tmp_path / "set", layout), layout)
    assert found.items == [(1, name) for name in NAMES[layout]] and found.frames == 2
    assert found.others == [(f, name) for f in (0, 2) for name in NAMES[layout]]
    shot = found.shot(1)
    assert shot.colour[12, 10].tolist() == pytest.approx([40 / 255, 100 / 255, 200 / 255], abs=2 / 255)  # JPEG
    assert not shot.colour[0].any() and shot.alpha.sum() == 14 * 10
    assert not shot.counts[5, 10] and not shot.counts[7, 10] and shot.counts[12, 10] and shot.counts[0, 0]
    assert shot.view.intrinsics.tolist() == pytest.approx([24, 24, 10, 12], abs=1e-4)
    assert shot.view.size == (HEIGHT, WIDTH)
    origin = roma.rotvec_to_rotmat(torch.tensor([0, -0.5, 0])) @ torch.tensor([0, 0, 3.0])
    assert torch.allclose(shot.view.origin, origin, atol=1e-5)


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_missing_frames(tmp_path, slash):
    """What the list names is left out; what is gone without being named is an error; the list may be absent."""
    root = make_set(tmp_path / "set", "thuman4")
    LAYOUTS["thuman4"].picture(root, "cam01", 1).unlink()
    expected = r"expected pictures and masks of all frames, missing images/cam01/00000001.jpg; see missing_img_files"
    with pytest.raises(UserError, match=expected):
        views(root, "thuman4")
    (root / "missing_img_files.txt").write_text(f"some{slash}where{slash}cam01{slash}00000001.jpg\n\n")
    assert views(root, "thuman4").items == [(1, "cam00")]
    (root / "missing_img_files.txt").write_text("nothing\n")
    with pytest.raises(UserError, match=r"missing_img_files.txt:1: expected a path that ends in CAMERA/FRAME.jpg"):
        views(root, "thuman4")


def test_the_body(tmp_path):
    """Hips are apart in the template; the rest pose leads there; the nets see flat hands and no root."""
    found = views(make_set(tmp_path / "set", "avatarrex"), "avatarrex")
    actor = found.actor(32)
    assert actor.joints.shape == (55, 3) and actor.window.half_extent == 1
    assert len(CanonicalMaps.from_template(actor.template, actor.window).pixels) > 20
    assert torch.allclose(actor.template.expression_basis[:, 2, 0], torch.tensor(0.01))
    pose = found.pose(1)
    assert pose.expression.shape == (10,)
    # The root's own points: turned and carried by the registration; still, for the nets.
    turn = roma.rotvec_to_rotmat(found.registration.rotations[1, 0])
    assert torch.allclose(pose.transforms[0, :3, :3], turn, atol=1e-5)
    assert torch.allclose(pose.rootless[0], torch.eye(4), atol=1e-6)
    assert torch.allclose(pose.rootless[30], torch.eye(4), atol=1e-6)
    vertices, transforms, _ = found.body.canonical()
    leg = found.body.lbs_weights[:, 1] == 1
    assert torch.allclose(
        transforms[1, :3, :3] @ found.body.vertices[leg].T + transforms[1, :3, 3:], vertices[leg].T, atol=1e-6
    )


def test_bad_sets(tmp_path):
    """One line each."""
    root = make_set(tmp_path / "set", "thuman4")

    def wrong(message, layout="thuman4", **changes):
        with pytest.raises(UserError, match=message):
            views(root, layout, **changes)

    wrong("expected capture.body, your SMPL-X file, found none", body=None)
    wrong("smpl_params.npz: expected SMPL-X, found no array 'v_template'", body=str(root / "smpl_params.npz"))
    wrong("calibration_full.json: a calibration cannot be read", "avatarrex")
    wrong(r"expected cameras of the calibration \(cam00, cam01 ...\), found cam07", held_out_cameras=["cam07"])
    wrong("expected registrations up to frame 8, found 3 rows in smpl_params.npz", frames=[0, 9, 4])
    np.savez(root / "smpl_params.npz", **registration(2))
    wrong("expected registrations of all frames, or capture.frames, found pictures of frame 2 and 2 rows in smpl_par")
    assert views(root, "thuman4", frames=[0, 2, 1]).items
    np.savez(root / "smpl_params.npz", **registration())
    wrong("expected pictures of both kinds, found 6 to learn from and 0 held out", held_out_every=0)
    for key, value, message in [
        ("R", [1, 0], "camera cam01: R: expected 9 finite numbers, found 2"),
        ("R", [2] * 9, "camera cam01: R: expected a rotation"),
        ("K", None, "camera cam01: K: expected 9 finite numbers, found 1"),
        ("T", ["a"] * 3, "camera cam01: T: expected 3 numbers"),
    ]:
        data = json.loads((root / "calibration.json").read_text())
        data["cam01"][key] = value
        (tmp_path / "calibration.json").write_text(json.dumps(data))
        with pytest.raises(UserError, match=message):
            open_capture(tmp_path, "thuman4")
    for name, value, message in [
        ("transl", np.zeros((2, 3)), "expected as many rows in all arrays"),
        ("body_pose", np.zeros((3, 69)), r"body_pose: expected shape \[N, 63\], found float64 \[3, 69\]"),
        ("gender", np.array("male"), "expected the neutral SMPL-X, found gender male"),
        ("jaw_pose", np.full((3, 3), np.nan), "jaw_pose: expected finite numbers"),
    ]:
        np.savez(tmp_path / "bad.npz", **(registration() | {name: value}))
        with pytest.raises(UserError, match=message):
            read_registration(tmp_path / "bad.npz")


@needs_golden
def test_golden_masks_and_calibration(tmp_path):
    data = golden("data_steps")
    found = split_mask(data["mask"].numpy())
    assert np.array_equal(found.foreground, data["foreground"]) and np.array_equal(found.boundary, data["boundary"])
    arrays = np.load(GOLDEN / "data_steps.npz")
    header, row = str(arrays["actorshq_header"].item()), str(arrays["actorshq_row"].item())
    (tmp_path / "calibration.csv").write_text(f"{header}\n{row}\n")
    (camera,) = read_csv_cameras(tmp_path / "calibration.csv")
    assert np.allclose(camera.world_to_camera, data["actorshq_extrinsic"], atol=1e-6)
    assert np.allclose(camera.intrinsics, data["actorshq_intrinsic"].numpy()[[0, 1, 0, 1], [0, 1, 2, 2]], atol=1e-6)
