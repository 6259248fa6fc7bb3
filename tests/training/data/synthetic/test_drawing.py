"""The cameras of drawings, what they see, antialiased and in order."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, cast_rays
from networks.cameras import project as project_reference
from tests.training.data.synthetic.meshes import FRONT, make_sphere
from training.data.synthetic import (
    ColouredMesh,
    draw_mesh,
)
from training.data.synthetic import light as lighting
from training.data.synthetic.drawing import camera_view, project
from training.data.synthetic.mesh import nearby
from training.data.synthetic.noise import noise2, noise3


@pytest.mark.parametrize("kind, model", [("portrait", PORTRAIT_CAMERA), ("face", FACE_CAMERA)])
def test_projection_agrees_with_the_camera(kind, model):
    points = np.random.default_rng(0).uniform(-0.15, 0.15, (50, 3))
    camera = (1.7, 1.3)
    pixels, _ = project(points, camera_view(camera, kind), 129)
    expected = project_reference(torch.tensor(points)[None], torch.tensor([camera], dtype=torch.float64), model)[0]
    # pixel (0, 0) is (-1, 1); pixel (128, 128) is (1, -1); both sides in float64
    np.testing.assert_allclose(pixels[:, 0], (expected[:, 0].numpy() + 1) * 64, atol=1e-9)
    np.testing.assert_allclose(pixels[:, 1], (1 - expected[:, 1].numpy()) * 64, atol=1e-9)


def test_a_small_sphere_lands_where_the_ray_passes():
    camera, size, row, column = (1.65, 1.45), 65, 20, 40
    rays = cast_rays(torch.tensor([camera], dtype=torch.float64), PORTRAIT_CAMERA, size)
    ray = row * size + column
    centre = (rays.origins + 1.9 * rays.directions)[0, ray].numpy()
    picture = draw_mesh(make_sphere(0.012, centre), camera, size)
    rows, columns = np.mgrid[:size, :size]
    weight = picture.alpha / picture.alpha.sum()
    # the disc's centroid; a sphere this small is symmetric to a tenth of a pixel
    assert abs((rows * weight).sum() - row) < 0.1
    assert abs((columns * weight).sum() - column) < 0.1
    # the mean over a pixel of a sphere four pixels wide
    assert picture.depth[row, column] == pytest.approx(1.9 - 0.012, abs=5e-4)


def test_drawing_is_white_outside_and_antialiased():
    picture = draw_mesh(make_sphere(0.1), FRONT, 64)
    assert picture.image.shape == (3, 64, 64) and picture.image.dtype == np.float32
    assert picture.image.min() >= -1 and picture.image.max() <= 1
    assert (picture.image[:, picture.alpha == 0] == 1).all()
    partial = (picture.alpha > 0) & (picture.alpha < 1)
    assert set(np.unique(picture.alpha)) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert 20 < partial.sum() < 250  # a rim about one pixel wide round a disc of 16 pixels radius
    assert (picture.depth[picture.alpha == 0] == 0).all()


def test_nearest_surface_wins():
    near, far = make_sphere(0.03, (0, 0, 0.05)), make_sphere(0.1)
    blue = near._replace(colours=np.tile(np.float32([0, 0, 1]), (len(near.vertices), 1)))
    both = ColouredMesh(
        np.concatenate([blue.vertices, far.vertices]),
        np.concatenate([blue.faces, far.faces + len(near.vertices)]),
        np.concatenate([blue.colours, far.colours]),
    )
    merged = draw_mesh(both, FRONT, 65).image[
        :, 29, 32
    ]  # the canonical origin lies a little above the picture's centre
    np.testing.assert_allclose(
        merged, draw_mesh(far, FRONT, 65).image[:, 29, 32], atol=1e-6
    )  # it is inside the big one
    is_near = np.arange(len(both.vertices)) < len(near.vertices)
    moved = both._replace(vertices=both.vertices + np.float32([0, 0, 0.1]) * is_near[:, None])
    np.testing.assert_allclose(draw_mesh(moved, FRONT, 65).image[:, 29, 32], [-1, -1, 1], atol=1e-5)


def test_light_without_shadows_is_nearly_a_quadratic():
    normals = np.random.default_rng(0).standard_normal((500, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = lighting.make_light(0.4, 0.6, 0.5, 0.0)
    exact = sum(w * lighting.facing(normals, d) for d, w in zip(light.directions, light.weights, strict=True))
    # what spherical harmonics above the second order hold of a clamped cosine: a few per cent
    np.testing.assert_allclose(lighting.irradiance(normals, light), exact, atol=0.06)


def test_a_roof_shadows_what_is_under_it():
    grid = np.stack(np.meshgrid(np.linspace(-0.2, 0.2, 130), [0.1], np.linspace(-0.2, 0.2, 130)), -1).reshape(-1, 3)
    light, up = lighting.make_light(0.0, 1.2, 0.5, 0.0), np.array([[0.0, 1.0, 0.0]])
    under, above = (lighting.openness(np.array([[0.0, y, 0.0]]), up, light, grid)[0] for y in (0.05, 0.3))
    assert under < 0.25 and above > 0.95


def test_noise_is_smooth_and_the_same_everywhere():
    points = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    a, b = noise3(points, 7.0), noise3(points + 1e-6, 7.0)
    assert np.abs(a - b).max() < 1e-4 and a.std() > 0.2 and np.abs(a).max() <= 1
    # The numbers themselves: another machine must find them.
    np.testing.assert_allclose(noise3(np.array([[0.1, 0.2, 0.3]]), 5.0, 2), [0.30352391], atol=1e-8)
    np.testing.assert_allclose(noise2(np.array([0.4]), np.array([1.7]), 3), [-0.19167028], atol=1e-8)


def test_nearby_weights_do_not_jump_at_a_tie():
    """Which of two equally far points is the last neighbour is a matter of the last bit: its weight is nothing."""
    points = np.array([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 3, 0]])
    index, weight = nearby(cKDTree(points), np.array([[0.0, 0.1, 0.0]]), k=3, soft=0.1)
    assert index[0, 0] == 0 and weight[0, 0] == pytest.approx(1.0, abs=1e-9)
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
