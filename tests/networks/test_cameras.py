"""Cameras and rays against closed forms."""

import math

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks.cameras import (
    FACE_CAMERA,
    FACE_OFFSET,
    FACE_RADIUS,
    PORTRAIT_CAMERA,
    CameraModel,
    camera_frame,
    cast_rays,
    pinhole,
    pixel_directions,
    project,
    sample_depths,
    to_pixels,
)
from tests.networks.helpers import max_error

FRONT = torch.full((1, 2), math.pi / 2, dtype=torch.float64)
DOUBLE = 1e-12  # a few roundings of numbers near 1 in float64
# Away from the poles, where left and right are undefined.
pitches, yaws = st.floats(0.3, math.pi - 0.3), st.floats(-math.pi, math.pi)
models = st.sampled_from([PORTRAIT_CAMERA, FACE_CAMERA, CameraModel(radius=3.0, near=2, far=4, fov_degrees=50)])


def make_camera(pitch: float, yaw: float) -> torch.Tensor:
    return torch.tensor([[pitch, yaw]], dtype=torch.float64)


def test_the_portrait_camera_looks_at_the_upper_chest():
    offset = [(a - b) / FACE_RADIUS for a, b in zip((0, 0.052552, 0), FACE_OFFSET, strict=True)]
    offset[1] += 0.01
    assert PORTRAIT_CAMERA.offset == pytest.approx(offset, abs=1e-15)
    assert PORTRAIT_CAMERA.offset == pytest.approx((0, -0.018308, -0.095907), abs=1e-6)
    assert PORTRAIT_CAMERA.radius == pytest.approx(1.895088, abs=1e-6)


def test_frontal_camera():
    rotation, origin = camera_frame(FRONT, 2.0)
    assert max_error(rotation, torch.eye(3, dtype=torch.float64)[None]) < DOUBLE
    assert max_error(origin, torch.tensor([[0, 0, 2.0]], dtype=torch.float64)) < DOUBLE


def test_quarter_turns():
    """Yaw 0: the camera is on +x (the person's left), its right is -z. A smaller pitch: the camera is higher."""
    rotation, origin = camera_frame(make_camera(math.pi / 2, 0.0), 1.0)
    columns = torch.tensor([[[0, 0, 1], [0, 1, 0], [-1, 0, 0]]], dtype=torch.float64)
    assert max_error(rotation, columns) < DOUBLE
    assert max_error(origin, torch.tensor([[1.0, 0, 0]], dtype=torch.float64)) < DOUBLE
    _, origin = camera_frame(make_camera(math.pi / 3, math.pi / 2), 1.0)
    expected = torch.tensor([[0, 0.5, math.sqrt(0.75)]], dtype=torch.float64)
    assert max_error(origin, expected) < DOUBLE


@given(pitches, yaws, models)
@settings(max_examples=50, deadline=None)
def test_frames_are_rotations_that_look_at_the_centre(pitch, yaw, model):
    rotation, origin = camera_frame(make_camera(pitch, yaw), model.radius)
    assert max_error(rotation[0] @ rotation[0].T, torch.eye(3, dtype=torch.float64)) < DOUBLE
    assert torch.linalg.det(rotation).item() == pytest.approx(1, abs=DOUBLE)
    assert max_error(rotation[:, :, 2] * model.radius, origin) < DOUBLE * 10
    assert rotation[0, 1, 0].abs() < DOUBLE  # right is level
    assert rotation[0, 1, 1] > 0  # the picture is the right way up


def test_pixel_directions_by_hand():
    """90 degrees: focal length 1. Rows from the top, ends included."""
    directions = pixel_directions(3, 90.0, dtype=torch.float64)
    unnormalised = [(x, y, -1.0) for y in (1, 0, -1) for x in (-1, 0, 1)]
    expected = torch.nn.functional.normalize(torch.tensor(unnormalised, dtype=torch.float64), dim=-1)
    assert max_error(directions, expected) < DOUBLE


def test_frontal_rays():
    """The portrait's middle ray runs along -z through the orbit's centre; the corners span the field of view."""
    rays = cast_rays(FRONT, PORTRAIT_CAMERA, 3)
    x, y, z = PORTRAIT_CAMERA.offset
    origin = torch.tensor([x, y, z + PORTRAIT_CAMERA.radius], dtype=torch.float64)
    assert max_error(rays.origins, origin.expand(1, 9, 3)) < DOUBLE
    assert max_error(rays.directions[0, 4], torch.tensor([0, 0, -1.0], dtype=torch.float64)) < DOUBLE
    tangent = math.tan(math.radians(6))
    top_left = torch.tensor([-tangent, tangent, -1], dtype=torch.float64) / math.sqrt(1 + 2 * tangent**2)
    assert max_error(rays.directions[0, 0], top_left) < DOUBLE


def test_points_along_rays():
    depths = sample_depths(FACE_CAMERA, 4, dtype=torch.float64)
    assert max_error(depths, torch.tensor([0.88, 0.96, 1.04, 1.12], dtype=torch.float64)) < DOUBLE
    points = cast_rays(FRONT, FACE_CAMERA, 3).at(depths)
    assert points.shape == (1, 9, 4, 3)
    expected = torch.stack([torch.zeros(4), torch.zeros(4), 1 - depths], -1).double()
    assert max_error(points[0, 4], expected) < DOUBLE


@given(pitches, yaws, models, st.integers(2, 5))
@settings(max_examples=50, deadline=None)
def test_project_inverts_cast_rays(pitch, yaw, model, resolution):
    camera = make_camera(pitch, yaw)
    depths = sample_depths(model, 3, dtype=torch.float64)
    seen = project(cast_rays(camera, model, resolution).at(depths).flatten(1, 2), camera, model)
    line = torch.linspace(-1, 1, resolution, dtype=torch.float64)
    y, x, distance = torch.meshgrid(line.flip(0), line, depths, indexing="ij")
    assert max_error(seen[0], torch.stack([x, y, distance], -1).reshape(-1, 3)) < 1e-10


def test_batch_of_cameras():
    cameras = torch.tensor([[1.4, 1.7], [1.6, 1.2]], dtype=torch.float64)
    both = cast_rays(cameras, PORTRAIT_CAMERA, 4)
    second = cast_rays(cameras[1:], PORTRAIT_CAMERA, 4)
    assert torch.equal(both.origins[1:], second.origins)
    assert torch.equal(both.directions[1:], second.directions)


def test_face_camera_rides_on_a_rigid_frame():
    """A point that moves with the head keeps its place on the head's rays."""
    frame = torch.eye(4, dtype=torch.float64)[None].clone()
    frame[:, :3, :3] = roma.euler_to_rotmat("ZYX", torch.tensor([[0.2, -0.5, 0.3]], dtype=torch.float64))
    frame[:, :3, 3] = torch.tensor([0.1, -0.2, 0.05])
    camera = make_camera(1.4, 1.8)
    depths = sample_depths(FACE_CAMERA, 3, dtype=torch.float64)
    resting = cast_rays(camera, FACE_CAMERA, 4).at(depths)
    riding = cast_rays(camera, FACE_CAMERA, 4, frame).at(depths)
    moved = torch.einsum("ij,brsj->brsi", frame[0, :3, :3], resting) + frame[0, :3, 3]
    assert max_error(riding, moved) < DOUBLE
    assert torch.equal(cast_rays(camera, FACE_CAMERA, 4, torch.eye(4).double()[None]).at(depths), resting)


def test_project_inverts_rays_of_a_riding_camera():
    """With a rigid frame too: the pixels' rays come back as the pixel grid, at the depths they were taken at."""
    camera = torch.tensor([[1.4, 1.9], [1.7, 1.2]], dtype=torch.float64)
    frame = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    frame[:, :3, :3] = roma.euler_to_rotmat("ZYX", torch.tensor([[0.2, -0.5, 0.3], [-0.1, 0.4, 0.2]]).double())
    frame[:, :3, 3] = torch.tensor([[0.1, -0.2, 0.05], [0.0, 0.3, -0.1]])
    depths = torch.tensor([0.9, 1.1], dtype=torch.float64)
    seen = project(cast_rays(camera, FACE_CAMERA, 5, frame).at(depths).flatten(1, 2), camera, FACE_CAMERA, frame)
    grid = torch.linspace(-1, 1, 5, dtype=torch.float64)
    expected = torch.stack(torch.meshgrid(grid.flip(0), grid, indexing="ij")[::-1], -1).view(25, 1, 2).expand(-1, 2, -1)
    assert max_error(seen[..., :2], expected.reshape(1, 50, 2).expand(2, -1, -1)) < DOUBLE * 10  # focal length 9.5
    assert max_error(seen[..., 2], depths.repeat(2, 25)) < DOUBLE


def test_to_pixels():
    """Corners of the grid are the centres of the corner pixels; y goes down."""
    corners = torch.tensor([[-1.0, 1.0, 9.0], [1.0, -1.0, 9.0], [0.0, 0.5, 9.0]])
    assert to_pixels(corners, 5).tolist() == [[0.0, 0.0], [4.0, 4.0], [2.0, 1.0]]


@given(pitches, yaws, models)
@settings(max_examples=20, deadline=None)
def test_the_pinhole_camera_is_the_same_one(pitch, yaw, model):
    """Of points anywhere before it: the same pixels, whose centres lie half a pixel off the corner, and distances."""
    points = 0.2 * torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = project(points, make_camera(pitch, yaw), model)[0]
    world_to_camera, (fx, fy, cx, cy) = pinhole(make_camera(pitch, yaw)[0], model, 37)
    assert max_error(world_to_camera[:3, :3].T @ world_to_camera[:3, :3], torch.eye(3, dtype=torch.float64)) < DOUBLE
    x, y, z = (points[0] @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]).unbind(-1)
    pixels = torch.stack([fx * x / z + cx - 0.5, fy * y / z + cy - 0.5], -1)
    assert max_error(pixels, to_pixels(expected, 37)) < 1e-9
    assert max_error(torch.stack([x, y, z], -1).norm(dim=-1), expected[:, 2]) < DOUBLE
