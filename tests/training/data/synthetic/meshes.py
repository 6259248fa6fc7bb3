"""A mesh with a known shape, and the camera in front of it."""

import numpy as np

from training.data.synthetic import ColouredMesh
from training.data.synthetic.mesh import grid_faces

FRONT = (np.pi / 2, np.pi / 2)


def make_sphere(radius=0.1, centre=(0.0, 0.0, 0.0)) -> ColouredMesh:
    """A sphere, red where x < 0 and green where x > 0."""
    theta, phi = np.meshgrid(np.linspace(1e-4, np.pi - 1e-4, 60), np.linspace(0, 2 * np.pi, 100, False), indexing="ij")
    unit = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], -1).reshape(-1, 3)
    colours = np.where(unit[:, :1] < 0, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    vertices = unit * radius + np.array(centre)
    return ColouredMesh(vertices.astype(np.float32), grid_faces(60, 100, True), colours.astype(np.float32))
