"""Points and frames against the body model, the labels' cameras and differences of themselves."""

import math

import numpy as np
import pytest
import torch

from networks.cameras import PORTRAIT_CAMERA, project
from networks.person.body_model import HEAD, MOVING
from networks.person.fitting.frames import (
    CAMERA,
    HEAD_TURN,
    NUM_FRAME,
    ROLL,
    SCALE,
    camera,
    joint_eulers,
    linearise,
    similarity,
    to_picture,
)
from networks.person.fitting.points import BodyPoints, joint_points, open_body_model, surface_points
from networks.person.open_body.storage import read_open_body
from training.data.synthetic import SyntheticPerson, sample_expression, sample_identity, sample_pose_camera
from training.data.synthetic.drawing import camera_view
from training.data.synthetic.drawing import project as draw_project


@pytest.fixture(scope="module")
def points():
    """The 68 landmarks and two shoulders."""
    model, body = open_body_model(), read_open_body()
    marks = surface_points(model, body.landmarks[:, None], np.ones((68, 1)))
    return BodyPoints(model, marks.join(joint_points(model, np.array([16, 17]), np.array([13, 14]), np.zeros((2, 3)))))


def make_state(count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    frames = 0.15 * torch.randn(count, NUM_FRAME, generator=rng, dtype=torch.float64)
    frames[:, SCALE] += math.log(250)
    actions = torch.rand(count, 52, generator=rng, dtype=torch.float64)
    return torch.randn(90, generator=rng, dtype=torch.float64), frames, actions


def posed(points, shape, frames, actions):
    return points.pose(points.canonical(shape, actions), points.transforms(points.joints(shape), joint_eulers(frames)))


def test_points_are_where_people_are_drawn(points):
    rng = np.random.default_rng(5)
    who, expression, pose = sample_identity(rng), sample_expression(rng), sample_pose_camera(rng)
    drawn = SyntheticPerson(who.z_id, who.eps, who.betas).posed(expression, pose.joint_eulers)
    shape = torch.from_numpy(np.concatenate([who.z_id, who.betas])).double()
    canonical = points.canonical(shape, torch.from_numpy(expression[None, :52]).double())
    eulers = torch.from_numpy(pose.joint_eulers[None]).double()
    found = points.pose(canonical, points.transforms(points.joints(shape), eulers))[0, :68]
    np.testing.assert_allclose(found, drawn.landmarks, atol=1e-12)  # the same sums in double precision

    frames = torch.zeros(1, NUM_FRAME, dtype=torch.float64)
    frames[:, CAMERA] = torch.from_numpy(pose.camera).double() - math.pi / 2
    frames[:, SCALE], frames[:, 4:6] = math.log(127.5), 127.5  # the frame is the picture
    expected, _ = draw_project(drawn.landmarks, camera_view(pose.camera), 256)
    np.testing.assert_allclose(to_picture(found[None], frames)[0], expected, atol=1e-5)  # constants of seven digits


def test_transforms_are_the_body_models(points):
    shape, frames, _ = make_state(3)
    eulers = joint_eulers(frames)
    expected = points.body.joint_transforms(shape[None, 80:].expand(3, -1), eulers)[:, MOVING, :3]
    torch.testing.assert_close(points.transforms(points.joints(shape), eulers), expected, rtol=0, atol=1e-12)


def test_derivatives_are_those_of_differences(points):
    shape, frames, actions = make_state(2)
    linear = linearise(points, shape, frames, actions, shapes=True)
    torch.testing.assert_close(linear.pixels, to_picture(posed(points, shape, frames, actions), frames))

    def slope(at, step=1e-5):
        return (at(step) - at(-step)) / (2 * step)

    def moved(of, column, by):
        out = of.clone()
        out[..., column] += by
        return out

    for column in range(NUM_FRAME):

        def by_frame(step, column=column):
            changed = moved(frames, column, step)
            return to_picture(posed(points, shape, changed, actions), changed)

        torch.testing.assert_close(linear.by_frame[..., column], slope(by_frame), rtol=0, atol=1e-5)  # pixels a radian
    for column in (0, 17, 43, 51):
        by_action = slope(lambda h, c=column: to_picture(posed(points, shape, frames, moved(actions, c, h)), frames))
        torch.testing.assert_close(linear.by_action[..., column], by_action, rtol=0, atol=1e-6)
    for column in (0, 40, 79, 80, 85):
        by_shape = slope(lambda h, c=column: to_picture(posed(points, moved(shape, c, h), frames, actions), frames))
        # How betas move the joints that turn is left out: a third of a pixel a unit of betas at these wide turns.
        tolerance = 1.0 if column >= 80 else 1e-6
        torch.testing.assert_close(linear.by_shape[..., column], by_shape, rtol=0, atol=tolerance)


def test_frames_say_how_the_picture_lies():
    frames = torch.zeros(1, NUM_FRAME, dtype=torch.float64)
    frames[0, ROLL], frames[0, SCALE], frames[0, 4:6] = math.pi / 2, math.log(100), torch.tensor([7.0, 9.0]).double()
    matrix, shift = similarity(frames)
    torch.testing.assert_close(matrix[0], torch.tensor([[0.0, -100.0], [100.0, 0.0]]).double())
    assert shift.tolist() == [[7.0, 9.0]]
    torch.testing.assert_close(camera(frames), torch.full((1, 2), math.pi / 2).double())
    point = torch.tensor([[[0.1, 0.2, 0.0]]]).double()
    seen = project(point, camera(frames), PORTRAIT_CAMERA)[0, 0, :2] * torch.tensor([1.0, -1.0]).double()
    expected = torch.stack([7 - 100 * seen[1], 9 + 100 * seen[0]])
    torch.testing.assert_close(to_picture(point, frames)[0, 0], expected)


def test_head_turns_are_shared_with_the_neck(points):
    frames = torch.zeros(1, NUM_FRAME, dtype=torch.float64)
    frames[0, HEAD_TURN] = torch.tensor([0.0, 0.5, 0.0]).double()
    eulers = joint_eulers(frames)
    torch.testing.assert_close(eulers[0, [0, 3], 1].sum(), torch.tensor(0.5).double())
    head = points.transforms(points.joints(torch.zeros(90).double()), eulers)[0, MOVING.index(HEAD), :, :3]
    assert math.degrees(math.atan2(head[0, 2], head[2, 2])) == pytest.approx(math.degrees(0.5))
