"""Placements: where our cameras see what the trackers saw."""

import math

import numpy as np
import pytest
import torch

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA
from networks.person.body_assets import head_shoulder_vertices
from networks.person.body_model import BodyModel
from networks.person.framing import Placement, frame_points
from networks.person.tracking import (
    UNIT,
    SmplFit,
    View,
    WeakCamera,
    chest_pose,
    neck_and_head,
    portrait_view,
    to_pixels,
)
from tests.networks.helpers import make_body
from tests.networks.person.test_tracking import make_fit, make_rotations
from torch_utils.misc import UserError
from training.data.prepare.alignment import face_placement, portrait_placement

HALF = math.pi / 2


def make_view(pitch=HALF, yaw=HALF, roll=0.0) -> View:
    return View(torch.tensor([[pitch, yaw]], dtype=torch.float64), torch.tensor([roll], dtype=torch.float64))


def make_body_model() -> BodyModel:
    return BodyModel(make_body(), torch.from_numpy(head_shoulder_vertices(make_body()))).double()


def test_a_placement_by_hand():
    placement = Placement(np.array([[0.01, 0.0], [0.0, 0.01]]), np.array([-1.5, -2.0]))
    assert placement.side == pytest.approx(200)
    assert placement.frame(np.array([[50.0, 100.0], [250.0, 300.0]])).tolist() == [[-1, -1], [1, 1]]
    np.testing.assert_allclose(placement.pixels(np.array([[-1.0, -1.0]])), [[50, 100]], atol=1e-9)


def test_frame_points_have_y_down():
    """At the orbit's centre, and 0.1 above it and to the person's left: focal 1/tan(6 degrees), distance 1."""
    seen = frame_points(np.array([[0.0, 0, 0], [0.1, 0.1, 0]]), make_view(), FACE_CAMERA)
    np.testing.assert_allclose(seen, [[0, 0], [0.1 / math.tan(math.radians(6)), -0.1 / math.tan(math.radians(6))]])


@pytest.mark.parametrize("seed", range(3))
def test_the_middle_of_neck_and_head_is_where_the_camera_sees_it(seed):
    body, fit = make_body_model(), make_fit(make_rotations(seed, 0.2))
    view = portrait_view(chest_pose(torch.from_numpy(fit.rotations)[None]).chest)
    joints = neck_and_head(fit, body)
    placement = portrait_placement(fit, fit.camera, body, view)
    middle = placement.frame(to_pixels(fit.camera, joints.photo.mean(0, keepdims=True)))
    expected = frame_points(joints.canonical.mean(0, keepdims=True), view, PORTRAIT_CAMERA)
    np.testing.assert_allclose(middle, expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_small_things_round_that_middle_lie_on_each_other(seed):
    """Points within a millimetre of it, across the line of sight: turn and scale of the two pictures agree."""
    body, fit = make_body_model(), make_fit(make_rotations(seed, 0.2))
    pose = chest_pose(torch.from_numpy(fit.rotations)[None])
    view, chest = portrait_view(pose.chest), pose.chest[0].numpy()
    joints = neck_and_head(fit, body)
    across = 0.001 * np.eye(3)[:2] @ chest / UNIT  # right and down in the photo, in canonical space
    photo = joints.photo.mean(0) + across @ chest.T * UNIT
    placed = portrait_placement(fit, fit.camera, body, view).frame(to_pixels(fit.camera, photo))
    expected = frame_points(joints.canonical.mean(0) + across, view, PORTRAIT_CAMERA)
    start = frame_points(joints.canonical.mean(0, keepdims=True), view, PORTRAIT_CAMERA)
    # our camera looks at the middle a few degrees off its axis, which foreshortens by 1 - cos
    np.testing.assert_allclose(placed - start, expected - start, atol=0.01 * np.abs(expected - start).max())


def test_a_frontal_portrait_by_hand():
    """Facing the camera in the T-pose: the portrait is 2 tan(6) * depth wide, at 500 pixels a metre."""
    rotations = np.broadcast_to(np.eye(3), (24, 3, 3)).copy()
    rotations[0] = np.diag([1.0, -1, -1])
    camera = WeakCamera(500.0, np.zeros(2), np.array([250.0, 500.0]))
    fit = SmplFit(rotations, np.zeros(10), camera)
    view = portrait_view(chest_pose(torch.from_numpy(rotations)[None]).chest)
    # made-up body: joint 12 at (0, 0.288, -0.015), joint 15 at (0, 0.353, 0.037)
    depth = PORTRAIT_CAMERA.radius + PORTRAIT_CAMERA.offset[2] + 0.050608165033568 / 0.52767998683149 - 0.026 / UNIT
    side = 2 * math.tan(math.radians(6)) * depth * UNIT * 500
    assert portrait_placement(fit, camera, make_body_model(), view).side == pytest.approx(
        side, rel=1e-5
    )  # float32 joints


def make_landmarks(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.07, 0.07, (68, 3))


def make_points(landmarks, view, scale=120.0, shift=(200.0, 150.0)) -> np.ndarray:
    """The five points in a photo that shows the face camera's frame turned back, enlarged and shifted."""
    marks = np.stack([landmarks[[36, 39]].mean(0), landmarks[[42, 45]].mean(0), *landmarks[[30, 48, 54]]])
    roll = view.roll.item()
    back = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    return scale * frame_points(marks, view, FACE_CAMERA) @ back.T + shift


def test_face_placement_finds_turn_scale_and_shift():
    view, landmarks = make_view(1.4, 1.9, 0.3), make_landmarks()
    placement = face_placement(landmarks, make_points(landmarks, view), view)
    assert placement.side == pytest.approx(240)
    np.testing.assert_allclose(placement.frame(np.array([[200.0, 150.0]])), [[0, 0]], atol=1e-9)
    # a photo's point to the right comes out turned counter-clockwise by the roll, that is up, in y-down coordinates
    right = placement.frame(np.array([[320.0, 150.0]]))[0]
    np.testing.assert_allclose(right, [math.cos(0.3), -math.sin(0.3)], atol=1e-9)


def test_face_placement_refuses_points_of_something_else():
    view, landmarks = make_view(), make_landmarks()
    points = make_points(landmarks, view)
    upside_down = points * (1, -1)
    for wrong in (points[[1, 0, 2, 4, 3]], upside_down, np.full((5, 2), 7.0), points[::-1]):
        with pytest.raises(UserError, match="the five landmarks disagree with the face's coefficients"):
            face_placement(landmarks, wrong, view)
