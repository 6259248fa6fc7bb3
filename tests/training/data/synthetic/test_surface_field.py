"""Distances and colours around a sphere and a person."""

import numpy as np
import torch

from networks.cameras import PORTRAIT_CAMERA, cast_rays
from tests.training.data.synthetic.meshes import FRONT, make_sphere
from training.data.synthetic import SurfaceField, SyntheticPerson, draw


def test_surface_field_of_a_sphere():
    field = SurfaceField(make_sphere(0.1), samples=20_000)
    points = np.random.default_rng(0).uniform(-0.15, 0.15, (4000, 3))
    rgb, distance = field.query(points)
    true = np.linalg.norm(points, axis=1) - 0.1
    # Sample spacing is 2.5e-3, and four times that for the far field; facets lie up to 2e-4 inside the sphere.
    near = np.abs(true) < 0.01
    assert np.abs(distance - true)[near].max() < 1.5e-3
    assert np.abs(distance - true).max() < 6e-3
    assert (np.sign(distance) == np.sign(true))[np.abs(true) > 5e-4].all()
    side = np.abs(points[:, 0]) > 0.02
    red, green = side & (points[:, 0] < 0), side & (points[:, 0] > 0)
    assert (rgb[red] @ [1, 0, 0] > 0.99).mean() > 0.99 and (rgb[green] @ [0, 1, 0] > 0.99).mean() > 0.99


def test_surface_field_of_a_person():
    mesh = SyntheticPerson.sample(1).canonical_mesh()
    field = SurfaceField(mesh)
    _, distance = field.query(np.array([[0, 0.02, -0.07], [0, -0.15, -0.11], [0, 0.02, 0.1], [0.18, 0.1, 0.0]]))
    assert (distance[:2] < -0.02).all() and (distance[2:] > 0.05).all()
    picture = draw(mesh, FRONT, 128)
    rays = cast_rays(torch.tensor([FRONT], dtype=torch.float64), PORTRAIT_CAMERA, 128)
    inner = np.nonzero((picture.alpha > 0.99).ravel())[0][::7]
    depth = torch.tensor(picture.depth.ravel()[inner], dtype=torch.float64)
    surface = (rays.origins[0, inner] + depth[:, None] * rays.directions[0, inner]).numpy()
    rgb, distance = field.query(surface)
    # the drawn surface is the field's zero set (pixels over a depth step average two surfaces)
    assert np.quantile(np.abs(distance), 0.9) < 2e-3
    drawn = (picture.image.reshape(3, -1)[:, inner].T + 1) / 2
    assert np.abs(rgb - drawn).mean() < 0.04
