"""From SMPL fits and face coefficients to poses and cameras, against closed forms, scipy and smplx."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from smplx.lbs import batch_rigid_transform

from networks.cameras import FACE_CAMERA, camera_frame
from networks.person.body_assets import head_shoulder_vertices
from networks.person.body_model import MEAN_POSE, BodyModel, euler_to_matrix
from networks.person.tracking import (
    UNIT,
    FaceFrame,
    SmplFit,
    WeakCamera,
    chest_pose,
    face_frame,
    face_view,
    five_points,
    neck_and_head,
    portrait_view,
    to_pixels,
)
from tests.networks.helpers import make_body

DOUBLE = 1e-9  # rotations composed, taken apart and composed again in float64; acos near its ends costs digits
HALF = math.pi / 2
FLIP = np.diag([1.0, -1.0, -1.0])
IDENTITY_FRAME = FaceFrame(0.1, np.eye(3), np.zeros(3))


def make_rotations(seed=0, spread=0.3) -> np.ndarray:
    vectors = spread * np.random.default_rng(seed).standard_normal((24, 3))
    return Rotation.from_rotvec(vectors).as_matrix()


def make_fit(rotations=None) -> SmplFit:
    rotations = make_rotations() if rotations is None else rotations
    betas = np.random.default_rng(5).standard_normal(10)
    return SmplFit(rotations, betas, WeakCamera(405.0, np.array([0.1, -0.2]), np.array([250.0, 480.0])))


def make_body_model() -> BodyModel:
    return BodyModel(make_body(), torch.from_numpy(head_shoulder_vertices(make_body()))).double()


def tensor(*rows) -> torch.Tensor:
    return torch.from_numpy(np.array(rows, dtype=np.float64))


# ---- pose -----------------------------------------------------------------------------------------------------------


def test_the_canonical_pose_has_no_angles():
    rotations = np.broadcast_to(np.eye(3), (24, 3, 3)).copy()
    rotations[12:18] = euler_to_matrix(torch.tensor(MEAN_POSE, dtype=torch.float64))
    pose = chest_pose(torch.from_numpy(rotations)[None])
    assert pose.joint_eulers.abs().max() < DOUBLE
    assert (pose.chest[0] - torch.eye(3)).abs().max() < DOUBLE


def test_the_t_pose_lifts_the_head_and_the_arms():
    """SMPL's T-pose is the canonical pose turned back: e = euler(R(adjust)^-1); for the head, about x alone."""
    pose = chest_pose(torch.eye(3, dtype=torch.float64).repeat(1, 24, 1, 1))
    assert pose.joint_eulers[0, 3].tolist() == pytest.approx([0, 0, -0.15536945], abs=DOUBLE)
    assert pose.joint_eulers[0, :3].abs().max() < DOUBLE
    arm = torch.linalg.inv(euler_to_matrix(tensor(*MEAN_POSE))[4])
    assert (euler_to_matrix(pose.joint_eulers[0, 4]) - arm).abs().max() < DOUBLE


def test_angles_and_adjustment_make_the_fit_again():
    rotations = torch.from_numpy(make_rotations())
    eulers = chest_pose(rotations[None]).joint_eulers[0]
    again = euler_to_matrix(eulers) @ euler_to_matrix(tensor(*MEAN_POSE))
    assert (again - rotations[12:18]).abs().max() < DOUBLE


def test_the_spine_becomes_part_of_the_chest():
    """However a turn is shared between pelvis and spine, the chest and its children come out the same."""
    rotations = make_rotations()
    whole = rotations.copy()
    whole[0] = rotations[0] @ rotations[3] @ rotations[6] @ rotations[9]
    whole[[3, 6, 9]] = np.eye(3)
    a, b = (chest_pose(torch.from_numpy(r)[None]) for r in (rotations, whole))
    assert (a.chest - b.chest).abs().max() < DOUBLE
    assert torch.equal(a.joint_eulers, b.joint_eulers)


# ---- portrait camera ------------------------------------------------------------------------------------------------


def view_of(chest: np.ndarray) -> list[float]:
    view = portrait_view(torch.from_numpy(chest)[None])
    return [*view.camera[0].tolist(), view.roll.item()]


def test_a_person_who_faces_the_photographer():
    """Trackers' axes are upside down: standing and facing the camera is half a turn about x."""
    assert view_of(FLIP) == pytest.approx([HALF, HALF, 0], abs=DOUBLE)


@pytest.mark.parametrize("angle", [0.3, -0.7])
def test_single_turns(angle):
    about = Rotation.from_rotvec
    # The person turns to its own left (about its y): the camera is then on its right, at a larger yaw.
    assert view_of(FLIP @ about([0, angle, 0]).as_matrix()) == pytest.approx([HALF, HALF + angle, 0], abs=DOUBLE)
    # The person bows (about its x): the camera sees it from above, at a smaller pitch.
    assert view_of(FLIP @ about([angle, 0, 0]).as_matrix()) == pytest.approx([HALF - angle, HALF, 0], abs=DOUBLE)
    # The person leans so that its head moves to the picture's left (about its z): the photo has to turn clockwise.
    assert view_of(FLIP @ about([0, 0, angle]).as_matrix()) == pytest.approx([HALF, HALF, -angle], abs=DOUBLE)


@given(st.floats(0.3, math.pi - 0.3), st.floats(-3.1, 3.1), st.floats(-3.1, 3.1))
@settings(max_examples=50, deadline=None)
def test_view_undoes_camera_and_roll(pitch, yaw, roll):
    upright = camera_frame(tensor([pitch, yaw]), 1.0)[0][0].numpy()
    chest = FLIP @ (upright @ Rotation.from_rotvec([0, 0, roll]).as_matrix()).T
    assert view_of(chest) == pytest.approx([pitch, yaw, roll], abs=1e-7)


# ---- joints in the photo --------------------------------------------------------------------------------------------


def test_neck_and_head_are_where_smplx_has_them():
    body, fit = make_body_model(), make_fit()
    rest = body.rest_joints(torch.from_numpy(fit.betas)[None])
    joints, _ = batch_rigid_transform(torch.from_numpy(fit.rotations)[None], rest, body.parents)
    found = neck_and_head(fit, body)
    assert np.abs(found.photo - joints[0, [12, 15]].numpy()).max() < DOUBLE


def test_neck_and_head_are_where_the_model_poses_them():
    body, fit = make_body_model(), make_fit()
    betas, eulers = torch.from_numpy(fit.betas)[None], chest_pose(torch.from_numpy(fit.rotations)[None]).joint_eulers
    rest = neck_and_head(fit._replace(rotations=np.broadcast_to(np.eye(3), (24, 3, 3))), body).canonical
    transforms = body.joint_transforms(betas, eulers)[0].numpy()
    # The head joint moves with the neck's transform, and its own transform leaves it there.
    moved = [transforms[j, :3, :3] @ rest[1] + transforms[j, :3, 3] for j in (12, 15)]
    found = neck_and_head(fit, body)
    # SMPL's constants pass through float32 buffers in the body model
    np.testing.assert_allclose(moved, [found.canonical[1]] * 2, atol=1e-7)
    assert np.abs(found.canonical[0] - rest[0]).max() == 0  # the neck is where canonical space begins
    # The two frames differ by the chest's turn and the unit.
    chest = chest_pose(torch.from_numpy(fit.rotations)[None]).chest[0].numpy()
    between = [points[1] - points[0] for points in (found.photo, found.canonical)]
    assert np.abs(between[0] - UNIT * chest @ between[1]).max() < DOUBLE


def test_pixels_by_hand():
    """s = 0.9 in a box of 900 pixels: 405 pixels a metre, counted from the box's centre."""
    pixels = to_pixels(make_fit().camera, np.array([[0.0, 0.0, 5.0], [0.4, 1.2, -3.0]]))
    np.testing.assert_allclose(pixels, [[250 + 40.5, 480 - 81], [250 + 202.5, 480 + 405]], atol=1e-9)


# ---- face camera ----------------------------------------------------------------------------------------------------


def face_of(angle, translation=(0, 0, 0), frame=IDENTITY_FRAME, centre=(0.0, 0, 0)) -> list[float]:
    view = face_view(tensor(angle), tensor(translation), frame, tensor(centre))
    return [*view.camera[0].tolist(), view.roll.item()]


@pytest.mark.parametrize("angle", [0.4, -0.2])
def test_single_turns_of_the_face(angle):
    assert face_of([0.0, 0.0, 0.0]) == pytest.approx([HALF, HALF, 0], abs=DOUBLE)
    assert face_of([0.0, angle, 0.0]) == pytest.approx([HALF, HALF + angle, 0], abs=DOUBLE)  # turns to its left
    assert face_of([angle, 0.0, 0.0]) == pytest.approx([HALF - angle, HALF, 0], abs=DOUBLE)  # bows
    assert face_of([0.0, 0.0, angle]) == pytest.approx([HALF, HALF, -angle], abs=DOUBLE)  # tilts


def test_a_face_beside_the_axis_is_seen_from_the_side():
    """1 unit to the picture's right, at distance 10: the camera is towards the person's right by atan(1/10)."""
    assert face_of([0.0, 0.0, 0.0], [1.0, 0, 0]) == pytest.approx([HALF, HALF + math.atan(0.1), 0], abs=1e-3)
    assert face_of([0.0, 0.0, 0.0], [0, 1.0, 0])[0] == pytest.approx(HALF + math.atan(0.1), abs=DOUBLE)


def test_the_face_camera_is_on_the_line_from_the_face_to_the_tracker():
    """The line is horizontal, 0.3 below the origin; it meets the unit sphere at (0, -0.3, sqrt(0.91))."""
    found = face_of([0.0, 0.0, 0.0], [0, 3.0, 0], centre=[0, -0.3, 0.05])
    assert found == pytest.approx([math.acos(-0.3), HALF, 0], abs=DOUBLE)


def test_a_turned_and_shifted_face_model_gives_the_same_camera():
    """The same head described in another frame: X' = Q^T (X - c), R' = R Q, t' = t + R c."""
    q = Rotation.from_rotvec([0.3, -0.2, 0.1])
    angle, translation, offset = np.array([0.1, -0.4, 0.2]), np.array([0.05, 0.1, -0.3]), np.array([0.1, -0.2, 0.3])
    rotation = Rotation.from_euler("ZYX", angle[::-1])
    other = (rotation * q).as_euler("ZYX")[::-1].copy()
    moved = translation + rotation.apply(offset)
    frame = FaceFrame(0.1, q.as_matrix(), 0.1 * offset)
    assert face_of(other, moved, frame) == pytest.approx(face_of(angle, translation), abs=DOUBLE)


def test_face_frame_finds_how_the_model_was_laid():
    mean = np.random.default_rng(3).standard_normal((50, 3))
    rotation = Rotation.from_rotvec([0.2, 0.1, -0.3]).as_matrix()
    laid = 0.085 * mean @ rotation.T + [0.01, -0.02, 0.07]
    frame = face_frame(mean, laid)
    assert frame.scale == pytest.approx(0.085, abs=DOUBLE)
    assert np.abs(frame.rotation - rotation).max() < DOUBLE
    # Deep3DFaceRecon puts the mean of the vertices at its origin.
    again = frame.scale * (mean - mean.mean(0)) @ frame.rotation.T + frame.shift
    assert np.abs(again - laid).max() < DOUBLE
    assert FACE_CAMERA.radius == 1.0


def test_five_points():
    marks = np.arange(68.0)[:, None] * [1, 10]
    assert five_points(marks)[:, 0].tolist() == [37.5, 43.5, 30, 48, 54]
